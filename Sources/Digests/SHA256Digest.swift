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

  /// 64 small hexadecimal digits.
  package var description: String {
    var text: [UInt8] = []
    text.reserveCapacity(64)
    for lane in lanes { Hexadecimal.append(lane, digits: 16, to: &text) }
    return String(decoding: text, as: UTF8.self)
  }

  package static func == (left: Self, right: Self) -> Bool { left.words == right.words }
  package func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
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
