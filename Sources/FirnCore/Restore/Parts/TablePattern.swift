internal import Platform
internal import Postgres

/// Tables as a user names them: `SCHEMA.TABLE`, or `TABLE` in any schema, with `*` and `?`; within double quotes everything is itself.
package struct TablePattern: Sendable, Equatable {
  private enum Part: Equatable {
    case exactly(Unicode.Scalar)
    case one
    case any
  }

  private var schema: [Part]?
  private var name: [Part] = []
  package let text: String

  /// - Throws: `FirnError.invalidName`.
  package init(_ text: String) throws {
    self.text = text
    var isQuoted = false
    var rest = text[...].unicodeScalars
    while let scalar = rest.popFirst() {
      switch scalar {
      case "\"" where isQuoted && rest.first == "\"":
        rest.removeFirst()
        name.append(.exactly("\""))
      case "\"": isQuoted.toggle()
      case "*" where !isQuoted: name.append(.any)
      case "?" where !isQuoted: name.append(.one)
      case "." where !isQuoted:
        guard schema == nil else { throw FirnError.invalidName(name: text, reason: "a table is named as SCHEMA.TABLE") }
        schema = name
        name = []
      default: name.append(.exactly(scalar))
      }
    }
    if isQuoted || name.isEmpty || schema?.isEmpty == true {
      throw FirnError.invalidName(name: text, reason: "a table is named as SCHEMA.TABLE, odd names within double quotes")
    }
  }

  package func matches(schema: String, name: String) -> Bool {
    (self.schema.map { Self.matches($0[...], schema[...].unicodeScalars) } ?? true) && Self.matches(self.name[...], name[...].unicodeScalars)
  }

  private static func matches(_ parts: ArraySlice<Part>, _ text: Substring.UnicodeScalarView) -> Bool {
    // Backtracks to the last `*` only, so the time is linear apart from repetitions.
    var (parts, text) = (parts, text)
    var retry: (parts: ArraySlice<Part>, text: Substring.UnicodeScalarView)?
    while true {
      if case .any? = parts.first {
        parts = parts.dropFirst()
        retry = (parts, text)
      } else if let scalar = text.first, let part = parts.first, part == .one || part == .exactly(scalar) {
        parts = parts.dropFirst()
        text = text.dropFirst()
      } else if parts.isEmpty && text.isEmpty {
        return true
      } else if let (after, from) = retry, !from.isEmpty {
        retry = (after, from.dropFirst())
        (parts, text) = (after, from.dropFirst())
      } else {
        return false
      }
    }
  }
}
