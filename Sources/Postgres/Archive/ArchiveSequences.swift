internal import Foundation

extension ArchiveDirectory {
  /// Where the archive sets its sequences to; nil for those never used.
  package var sequenceValues: [QualifiedName: Int64?] {
    Self.sequenceValues(inScript: entries.filter { $0.kind == "SEQUENCE SET" }.map { "\n\($0.definition)" }.joined())
  }

  /// Reads statements of the form `SELECT pg_catalog.setval('schema."a name"', 12, true);`.
  package static func sequenceValues(inScript sql: String) -> [QualifiedName: Int64?] {
    var values: [QualifiedName: Int64?] = [:]
    let call = Array("\nSELECT pg_catalog.setval(".utf8)
    let bytes = [0x0A] + Array(sql.utf8)
    var rest = bytes[...]
    // Only at the beginning of a line: the comment before it contains the name, which may look like such a call.
    while let start = rest.firstRange(of: call) {
      rest = rest[start.upperBound...]
      // A literal with a backslash in it is written E'…', backslashes doubled.
      let isEscaped = rest.first == UInt8(ascii: "E")
      rest = rest.dropFirst(isEscaped ? 2 : 1)
      var literal: [UInt8] = []
      while let byte = rest.popFirst() {
        if byte == UInt8(ascii: "'") {
          guard rest.first == byte else { break }
          rest = rest.dropFirst()
        } else if isEscaped && byte == UInt8(ascii: "\\") {
          rest = rest.dropFirst()
        }
        literal.append(byte)
      }
      let arguments = String(decoding: rest.prefix { $0 != UInt8(ascii: ")") }, as: UTF8.self).split(separator: ",")
        .map { $0.trimmingCharacters(in: .whitespaces) }
      guard arguments.count == 2, let value = Int64(arguments[0]),
        let name = QualifiedName(quoted: String(decoding: literal, as: UTF8.self))
      else { continue }
      values[name] = .some(arguments[1] == "true" ? value : nil)
    }
    return values
  }
}
