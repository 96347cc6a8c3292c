/// Turns an Ed25519 public key into the X25519 key of the same secret: u = (1 + y) / (1 - y) modulo 2^255 - 19 (RFC 7748, 4.1).
/// Nothing here is secret, so nothing takes care to need the same time for all keys.
enum EdwardsKey {
  /// - Parameter key: 32 bytes, the least first.
  /// - Returns: nil for a key that has no such point.
  static func montgomery(_ key: [UInt8]) -> [UInt8]? {
    guard key.count == 32 else { return nil }
    var bytes = key
    // The sign of x.
    bytes[31] &= 0x7F
    let y = Field(bytes)
    let divisor = Field.one - y
    guard divisor != Field.zero else { return nil }
    return ((Field.one + y) * divisor.inverse).bytes
  }
}

/// A number modulo 2^255 - 19, in sixteen parts of 16 bits, the least first.
private struct Field: Equatable {
  private var parts: [Int64]

  static let zero = Field([UInt8](repeating: 0, count: 32))
  static let one = Field([1] + [UInt8](repeating: 0, count: 31))

  init(_ bytes: [UInt8]) {
    parts = (0..<16).map { Int64(bytes[2 * $0]) | Int64(bytes[2 * $0 + 1]) << 8 }
    reduce()
  }

  private init(parts: [Int64]) {
    self.parts = parts
    reduce()
  }

  var bytes: [UInt8] { parts.flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] } }

  /// Brings each part into 16 bits, and the number below the modulus.
  private mutating func reduce() {
    for _ in 0..<4 { carry() }
    let modulus: [Int64] = [0xFFED] + [Int64](repeating: 0xFFFF, count: 14) + [0x7FFF]
    for _ in 0..<2 {
      var less = parts
      var borrow: Int64 = 0
      for index in 0..<16 {
        less[index] -= modulus[index] + borrow
        borrow = less[index] < 0 ? 1 : 0
        if borrow == 1 { less[index] += 0x10000 }
      }
      if borrow == 0 { parts = less }
    }
  }

  private mutating func carry() {
    for index in 0..<16 {
      let over = parts[index] >> 16
      parts[index] -= over << 16
      // 2^256 is 38.
      if index < 15 { parts[index + 1] += over } else { parts[0] += 38 * over }
    }
  }

  static func + (left: Field, right: Field) -> Field { Field(parts: zip(left.parts, right.parts).map { $0 + $1 }) }

  static func - (left: Field, right: Field) -> Field { Field(parts: zip(left.parts, right.parts).map { $0 - $1 }) }

  static func * (left: Field, right: Field) -> Field {
    var products = [Int64](repeating: 0, count: 31)
    for (place, part) in left.parts.enumerated() {
      for (other, factor) in right.parts.enumerated() { products[place + other] += part * factor }
    }
    return Field(parts: (0..<16).map { products[$0] + ($0 < 15 ? 38 * products[$0 + 16] : 0) })
  }

  /// The power of the modulus less 2 (Fermat).
  var inverse: Field {
    var result = Field.one
    // 2^255 - 21: all bits set but the second and the fourth.
    for bit in stride(from: 254, through: 0, by: -1) {
      result = result * result
      if bit != 2 && bit != 4 { result = result * self }
    }
    return result
  }
}
