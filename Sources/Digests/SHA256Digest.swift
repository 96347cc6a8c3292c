internal import Crypto
internal import Foundation

/// A SHA-256 value (FIPS 180-4).
package struct SHA256Digest: Hashable, Comparable, Sendable, CustomStringConvertible {
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

  /// From 64 small hexadecimal digits, else nil.
  package init?(hexadecimal text: some StringProtocol) {
    let digits = Array(text.utf8)
    guard digits.count == 64 else { return nil }
    self.init(hexadecimal: digits.span, at: 0)
  }

  /// From the 64 small hexadecimal digits that begin at `start`, which must lie in `text`; nil where others are there.
  package init?(hexadecimal text: Span<UInt8>, at start: Int) {
    precondition(start >= 0 && start + 64 <= text.count)
    let bytes = unsafe text.bytes
    func word(_ place: Int) -> UInt64? {
      guard let high = unsafe Hexadecimal.value(bytes.unsafeLoadUnaligned(fromByteOffset: place, as: UInt64.self)),
        let low = unsafe Hexadecimal.value(bytes.unsafeLoadUnaligned(fromByteOffset: place + 8, as: UInt64.self))
      else { return nil }
      return UInt64(high) << 32 | UInt64(low)
    }
    guard let first = word(start), let second = word(start + 16), let third = word(start + 32), let fourth = word(start + 48) else { return nil }
    words = (first, second, third, fourth)
  }

  /// The most significant 64 bits.
  package var first: UInt64 { words.0 }

  /// The value in four words, the first the most significant.
  var lanes: [UInt64] { [words.0, words.1, words.2, words.3] }

  /// 64 small hexadecimal digits.
  package var description: String {
    var text: [UInt8] = []
    text.reserveCapacity(64)
    for lane in lanes { Hexadecimal.append(lane, digits: 16, to: &text) }
    return String(decoding: text, as: UTF8.self)
  }

  /// As HTTP's headers have it.
  package var base64: String {
    let bytes = lanes.flatMap { lane in (0..<8).map { UInt8(truncatingIfNeeded: lane >> (56 - 8 * $0)) } }
    return Data(bytes).base64EncodedString()
  }

  package static func == (left: Self, right: Self) -> Bool { left.words == right.words }
  package static func < (left: Self, right: Self) -> Bool { left.words < right.words }
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
