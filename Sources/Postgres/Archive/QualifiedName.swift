internal import Platform

/// The name of a relation in its schema. Names are equal if their bytes are: PostgreSQL distinguishes `é` from `e`
/// with a combining accent.
package struct QualifiedName: Hashable, Sendable {
  package let schema: String
  package let name: String

  package init(schema: String, name: String) {
    self.schema = schema
    self.name = name
  }

  package static func == (left: Self, right: Self) -> Bool { left.schema.isSame(as: right.schema) && left.name.isSame(as: right.name) }

  package func hash(into hasher: inout Hasher) {
    for byte in schema.utf8 { hasher.combine(byte) }
    hasher.combine(0 as UInt8)
    for byte in name.utf8 { hasher.combine(byte) }
  }

  /// Parses `schema.name` as SQL writes it, quoted if necessary; nil if it is none.
  package init?(quoted text: String) {
    var parts = [String.UnicodeScalarView()]
    var isQuoted = false
    var rest = text[...].unicodeScalars
    while let scalar = rest.popFirst() {
      if scalar == "\"" {
        if isQuoted && rest.first == "\"" {
          rest.removeFirst()
          parts[parts.count - 1].append("\"")
        } else {
          isQuoted.toggle()
        }
      } else if scalar == "." && !isQuoted {
        parts.append(.init())
      } else {
        parts[parts.count - 1].append(scalar)
      }
    }
    guard parts.count == 2, !isQuoted else { return nil }
    self.init(schema: String(parts[0]), name: String(parts[1]))
  }
}
