/// The options that follow `CREATE ROLE name` or `ALTER ROLE name`.
///
/// A globals file may be forged. Options that give no power are known, and everything else is shown, whatever it means.
struct RoleOptions {
  private enum Token: Equatable {
    case word(String)
    /// A quoted name.
    case name(String)
    case literal
    case comma
  }

  private let tokens: [Token]

  /// - Parameter text: SQL, without the semicolon.
  init(_ text: String) {
    var tokens: [Token] = []
    var rest = text[...].unicodeScalars
    while let first = rest.first {
      switch first {
      case "'", "\"":
        rest.removeFirst()
        var content = String.UnicodeScalarView()
        while let scalar = rest.popFirst() {
          if scalar == first {
            guard rest.first == first else { break }
            rest.removeFirst()
          }
          content.append(scalar)
        }
        tokens.append(first == "'" ? .literal : .name(String(content)))
      case ",":
        rest.removeFirst()
        tokens.append(.comma)
      case _ where first.properties.isWhitespace: rest.removeFirst()
      default:
        let word = rest.prefix { !$0.properties.isWhitespace && !"'\",".unicodeScalars.contains($0) }
        rest = rest.dropFirst(word.count)
        tokens.append(.word(String(word)))
      }
    }
    self.tokens = tokens
  }

  private static let harmless: Set = [
    "WITH", "NOSUPERUSER", "NOCREATEDB", "NOCREATEROLE", "INHERIT", "NOINHERIT", "LOGIN", "NOLOGIN", "NOREPLICATION", "NOBYPASSRLS", "ENCRYPTED",
  ]

  /// Rights beyond logging in and owning objects, such as `SUPERUSER`, `member of postgres`, `SET search_path`, and whatever is not known.
  var powers: [String] {
    var powers: [String] = []
    var rest = tokens[...]
    func text(_ token: Token) -> String {
      switch token {
      case .word(let text), .name(let text): text
      case .literal: "'…'"
      case .comma: ","
      }
    }
    func names() -> [String] {
      var names: [String] = []
      while let token = rest.popFirst() {
        names.append(text(token))
        guard rest.first == .comma else { break }
        rest.removeFirst()
      }
      return names
    }
    while let token = rest.popFirst() {
      guard case .word(let written) = token else {
        powers.append(text(token))
        continue
      }
      let word = written.uppercased()
      switch (word, rest.first) {
      case (_, _) where Self.harmless.contains(word): break
      case ("PASSWORD", .literal), ("PASSWORD", .word("NULL")): rest.removeFirst()
      case ("VALID", .word(let next)) where next.uppercased() == "UNTIL" && rest.dropFirst().first == .literal: rest.removeFirst(2)
      case ("CONNECTION", .word(let next)) where next.uppercased() == "LIMIT":
        rest.removeFirst()
        // Before PostgreSQL 15 a keyword may follow a number without a space.
        if case .word(let number)? = rest.first, Int(number) != nil { rest.removeFirst() }
      case ("SET", let name?): return powers + ["SET \(text(name))"]
      case ("IN", .word(let next)) where ["ROLE", "GROUP"].contains(next.uppercased()):
        rest.removeFirst()
        powers += names().map { "member of \($0)" }
      case ("ROLE", _), ("USER", _), ("ADMIN", _): powers += names().map { "with the member \($0)" }
      default: powers.append(written)
      }
    }
    return powers
  }
}
