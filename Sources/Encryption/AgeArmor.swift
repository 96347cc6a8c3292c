internal import Foundation

/// The armor of age files that are text: strict PEM (RFC 7468).
enum AgeArmor {
  private static let beginning = "-----BEGIN AGE ENCRYPTED FILE-----"
  private static let end = "-----END AGE ENCRYPTED FILE-----"
  private static let columns = 64

  /// The content of an armored file; a file without armor is returned unchanged.
  /// - Throws: `AgeError.malformed`.
  static func opened(_ file: [UInt8]) throws(AgeError) -> [UInt8] {
    let isSpace = { (byte: UInt8) in byte == 0x20 || (0x09...0x0D).contains(byte) }
    let trimmed = file.drop(while: isSpace)
    guard trimmed.starts(with: beginning.utf8) else { return file }
    let stop = trimmed.lastIndex { !isSpace($0) }!
    let lines = trimmed[...stop].split(separator: 0x0A, omittingEmptySubsequences: false).map { line in
      String(decoding: line.last == 0x0D ? line.dropLast() : line, as: UTF8.self)
    }
    guard lines.count >= 2, lines.first == beginning, lines.last == end else { throw .malformed(reason: "its armor") }
    let body = lines.dropFirst().dropLast()
    for line in body.dropLast() where line.utf8.count != columns { throw .malformed(reason: "its armor") }
    guard body.last.map({ (1...columns).contains($0.utf8.count) }) ?? true else { throw .malformed(reason: "its armor") }
    let text = body.joined()
    guard let data = Data(base64Encoded: text), data.base64EncodedString() == text else { throw .malformed(reason: "its armor") }
    return Array(data)
  }
}
