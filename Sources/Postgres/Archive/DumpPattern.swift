/// A pattern of tables as pg_dump's options and psql's `\\d` take it, as regular expressions of PostgreSQL (string_utils.c,
/// patternToSQLRegex): `*` and `?` stand for any letters, unquoted letters are small, and all else is a regular expression but `$`.
package struct DumpPattern: Sendable, Equatable {
  /// Nil if no schema is named.
  package let schema: String?
  package let name: String

  package init(_ pattern: String) {
    var parts = [String.UnicodeScalarView()]
    var isQuoted = false
    var rest = pattern[...].unicodeScalars
    while let scalar = rest.popFirst() {
      switch scalar {
      case "\"" where isQuoted && rest.first == "\"":
        rest.removeFirst()
        parts[parts.count - 1].append("\"")
      case "\"": isQuoted.toggle()
      case "*" where !isQuoted: parts[parts.count - 1].append(contentsOf: ".*".unicodeScalars)
      case "?" where !isQuoted: parts[parts.count - 1].append(".")
      case "." where !isQuoted: parts.append(.init())
      case "$": parts[parts.count - 1].append(contentsOf: "\\$".unicodeScalars)
      case _ where isQuoted && "|*+?()[]{}.^\\".unicodeScalars.contains(scalar):
        parts[parts.count - 1].append("\\")
        parts[parts.count - 1].append(scalar)
      case "[" where rest.first == "]":
        parts[parts.count - 1].append("\\")
        parts[parts.count - 1].append(scalar)
      case _ where !isQuoted: parts[parts.count - 1].append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
      default: parts[parts.count - 1].append(scalar)
      }
    }
    // A database may stand before them.
    let texts = parts.suffix(2).map { "^(\(String($0)))$" }
    name = texts.last ?? "^()$"
    schema = texts.count > 1 ? texts[0] : nil
  }
}
