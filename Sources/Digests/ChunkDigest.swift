internal import Crypto

/// Identifies a chunk within a repository: the first 96 bits of the SHA-256 of the repository's digest key and the
/// chunk.
///
/// The key is unknown to those who write to the database, so they can't construct two chunks with the same digest. By
/// chance a chunk matches another about once in 10^16 nights of a terabyte.
package struct ChunkDigest: Hashable, Sendable, CustomStringConvertible {
  package let high: UInt64
  package let low: UInt32

  package init(high: UInt64, low: UInt32) {
    self.high = high
    self.low = low
  }

  package func hash(into hasher: inout Hasher) { hasher.combine(high) }

  /// Digits of the written form.
  package static let digits = 24

  /// Appends `digits` hexadecimal digits.
  package func appendHexadecimal(to text: inout [UInt8]) {
    Hexadecimal.append(high, digits: 16, to: &text)
    Hexadecimal.append(UInt64(low), digits: 8, to: &text)
  }

  package var description: String {
    var text: [UInt8] = []
    appendHexadecimal(to: &text)
    return String(decoding: text, as: UTF8.self)
  }
}

/// Makes chunk digests under one key.
package struct ChunkHasher: Sendable {
  private let keyed: SHA256

  package init(key: SHA256Digest) {
    var state = SHA256()
    // A whole block of SHA-256, so that the chunk begins a block of its own.
    let block = Array("\(key)".utf8)
    state.update(data: block)
    keyed = state
  }

  package func digest(of chunk: Span<UInt8>) -> ChunkDigest {
    var state = keyed
    unsafe chunk.withUnsafeBytes { unsafe state.update(bufferPointer: $0) }
    return unsafe state.finalize().withUnsafeBytes { bytes in
      unsafe ChunkDigest(
        high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)), low: UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
      )
    }
  }
}

/// Numbers as small hexadecimal digits.
package enum Hexadecimal {
  private static let digits = Array("0123456789abcdef".utf8)

  /// The value of eight lower-case hexadecimal digits as they lie in memory, all eight at once; nil if one is no
  /// digit.
  static func value(_ text: UInt64) -> UInt32? {
    let text = UInt64(bigEndian: text)
    let ones: UInt64 = 0x0101_0101_0101_0101
    // Letters have bit 6.
    let values = (text & (ones &* 0x0F)) &+ ((text >> 6) & ones) &* 9
    let isLetter = ((values &+ ones &* 6) >> 4) & ones
    guard values & (ones &* 0xF0) == 0, values &+ ones &* 0x30 &+ isLetter &* 0x27 == text else { return nil }
    var packed = (values | values >> 4) & 0x00FF_00FF_00FF_00FF
    packed = (packed | packed >> 8) & 0x0000_FFFF_0000_FFFF
    return UInt32(truncatingIfNeeded: packed | packed >> 16)
  }

  package static func text(of bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    for byte in bytes { append(UInt64(byte), digits: 2, to: &text) }
    return String(decoding: text, as: UTF8.self)
  }

  static func append(_ word: UInt64, digits count: Int, to text: inout [UInt8]) {
    var shift = (count - 1) * 4
    while shift >= 0 {
      text.append(digits[Int(truncatingIfNeeded: word >> UInt64(shift)) & 15])
      shift -= 4
    }
  }
}
