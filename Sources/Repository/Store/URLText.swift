internal import Foundation

/// Parts of URLs.
enum URLText {
  struct Malformed: Error { let reason: String }

  /// The parameters behind a question mark.
  /// - Parameter known: names that there are.
  static func parameters(in text: Substring, known: [String]) throws(Malformed) -> [String: String] {
    var values: [String: String] = [:]
    for pair in text.split(separator: "&") {
      let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(sides[0])
      guard known.contains(name) else {
        // A mangled URL may hold a key here: only what looks like a misspelt name is printed.
        let isName = sides.count == 2 && name.utf8.count <= 20 && name.utf8.allSatisfy { (0x61...0x7A).contains($0) || $0 == UInt8(ascii: "-") }
        throw Malformed(reason: "it has \(isName ? "a parameter \(name)" : "an unknown parameter"); there are \(known.joined(separator: ", "))")
      }
      guard sides.count == 2, let value = String(sides[1]).removingPercentEncoding, !value.isEmpty, values.updateValue(value, forKey: name) == nil
      else { throw Malformed(reason: "its parameter \(name) has no value, or two") }
    }
    return values
  }

  /// A path with each of its parts encoded.
  static func encoded(path: String) -> String {
    path.split(separator: "/", omittingEmptySubsequences: false).map { encoded($0) }.joined(separator: "/")
  }

  /// Whether a signature leaves the byte unescaped.
  static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    default: "-_.~".utf8.contains(byte)
    }
  }

  /// With every byte but letters, digits, `-`, `_`, `.` and `~` as `%XX`.
  static func encoded(_ text: some StringProtocol) -> String {
    if text.utf8.allSatisfy(isPlain) { return String(text) }
    return text.utf8.map { isPlain($0) ? String(UnicodeScalar($0)) : "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true) }.joined()
  }
}

extension StringProtocol {
  /// The text without the part before an `@`, which holds names and passwords in addresses.
  package var withoutLogin: SubSequence { lastIndex(of: "@").map { self[index(after: $0)...] } ?? self[...] }
}
