/// The text form of age's keys (BIP 173, without its limit on length).
enum Bech32 {
  private static let alphabet = Array("qpzry9x8gf2tvdw0s3jn54khce6mua7l".utf8)

  /// - Parameter prefix: small letters.
  static func encode(_ bytes: [UInt8], prefix: String) -> String {
    let words = regroup(bytes, from: 8, to: 5, padding: true) ?? []
    let sum = checksum(expanded(prefix) + words + [0, 0, 0, 0, 0, 0]) ^ 1
    let check = (0..<6).map { UInt8((sum >> UInt32(5 * (5 - $0))) & 31) }
    return prefix + "1" + String(decoding: (words + check).map { alphabet[Int($0)] }, as: UTF8.self)
  }

  /// - Returns: the prefix in small letters and the bytes; nil for what is no such text, or is in letters of both sizes.
  static func decode(_ text: String) -> (prefix: String, bytes: [UInt8])? {
    let small = text.lowercased()
    guard text == small || text == text.uppercased(), let separator = small.lastIndex(of: "1"), separator != small.startIndex else { return nil }
    let prefix = String(small[..<separator])
    guard prefix.utf8.allSatisfy({ (33...126).contains($0) }) else { return nil }
    var words: [UInt8] = []
    for letter in small[small.index(after: separator)...].utf8 {
      guard let word = alphabet.firstIndex(of: letter) else { return nil }
      words.append(UInt8(word))
    }
    guard words.count >= 6, checksum(expanded(prefix) + words) == 1, let bytes = regroup(words.dropLast(6), from: 5, to: 8, padding: false) else {
      return nil
    }
    return (prefix, bytes)
  }

  private static func expanded(_ prefix: String) -> [UInt8] { prefix.utf8.map { $0 >> 5 } + [0] + prefix.utf8.map { $0 & 31 } }

  private static func checksum(_ words: [UInt8]) -> UInt32 {
    let generator: [UInt32] = [0x3B6A_57B2, 0x2650_8E6D, 0x1EA1_19FA, 0x3D42_33DD, 0x2A14_62B3]
    var sum: UInt32 = 1
    for word in words {
      let top = sum >> 25
      sum = (sum & 0x1FF_FFFF) << 5 ^ UInt32(word)
      for bit in 0..<5 where top >> UInt32(bit) & 1 == 1 { sum ^= generator[bit] }
    }
    return sum
  }

  private static func regroup(_ input: some Sequence<UInt8>, from: UInt32, to: UInt32, padding: Bool) -> [UInt8]? {
    var (accumulator, bits): (UInt32, UInt32) = (0, 0)
    var output: [UInt8] = []
    for value in input {
      accumulator = (accumulator << from | UInt32(value)) & 0xFFFF
      bits += from
      while bits >= to {
        bits -= to
        output.append(UInt8(accumulator >> bits & (1 << to - 1)))
      }
    }
    if padding {
      if bits > 0 { output.append(UInt8(accumulator << (to - bits) & (1 << to - 1))) }
    } else if bits >= from || accumulator & (1 << bits - 1) != 0 {
      return nil
    }
    return output
  }
}
