internal import Crypto
internal import Foundation

/// A SHA-256 value (FIPS 180-4).
package struct SHA256Digest: Hashable, Sendable, CustomStringConvertible {
  private let words: (UInt64, UInt64, UInt64, UInt64)

  /// The digest of `bytes`.
  package init(of bytes: Span<UInt8>) {
    var hasher = SHA256Hasher()
    hasher.update(bytes)
    self = hasher.finalize()
  }

  package init(of bytes: [UInt8]) { self.init(of: bytes.span) }

  fileprivate init(_ bytes: [UInt8]) {
    func word(_ start: Int) -> UInt64 { (0..<8).reduce(0) { $0 << 8 | UInt64(bytes[start + $1]) } }
    words = (word(0), word(8), word(16), word(24))
  }

  /// From 64 hexadecimal digits, else nil.
  package init?(hexadecimal text: some StringProtocol) {
    let digits = Array(text.utf8)
    guard digits.count == 64 else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: 64, by: 2) {
      guard let high = Self.value(digits[index]), let low = Self.value(digits[index + 1]) else { return nil }
      bytes.append(high << 4 | low)
    }
    self.init(bytes)
  }

  private static func value(_ digit: UInt8) -> UInt8? {
    switch digit {
    case 0x30...0x39: digit - 0x30
    case 0x61...0x66: digit - 0x61 + 10
    default: nil
    }
  }

  /// The value in four words, the first the most significant.
  var lanes: [UInt64] { [words.0, words.1, words.2, words.3] }

  /// The first 128 bits.
  package var prefix: ChunkDigest { ChunkDigest(high: words.0, low: words.1) }

  /// 64 small hexadecimal digits.
  package var description: String {
    prefix.description + ChunkDigest(high: words.2, low: words.3).description
  }

  package static func == (left: Self, right: Self) -> Bool { left.words == right.words }
  package func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

/// The first 128 bits of a chunk's SHA-256: what tells chunks apart within a repository.
package struct ChunkDigest: Hashable, Sendable, CustomStringConvertible {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  package func hash(into hasher: inout Hasher) { hasher.combine(low) }

  private static let digits = Array("0123456789abcdef".utf8)

  /// Appends 32 hexadecimal digits.
  package func appendHexadecimal(to text: inout [UInt8]) {
    for word in [high, low] {
      var shift = 60
      while shift >= 0 {
        text.append(Self.digits[Int(truncatingIfNeeded: word >> UInt64(shift)) & 15])
        shift -= 4
      }
    }
  }

  package var description: String {
    var text: [UInt8] = []
    appendHexadecimal(to: &text)
    return String(decoding: text, as: UTF8.self)
  }
}

/// SHA-256 of bytes that come in pieces.
package struct SHA256Hasher: Sendable {
  private var state = SHA256()

  package init() {}

  package mutating func update(_ bytes: Span<UInt8>) {
    unsafe bytes.withUnsafeBytes { unsafe state.update(bufferPointer: $0) }
  }

  package func finalize() -> SHA256Digest { SHA256Digest(Array(state.finalize())) }
}
