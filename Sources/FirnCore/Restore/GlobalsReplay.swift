/// Finds in a globals file the statements that make given roles.
package struct GlobalsScript: Sendable {
  /// Statements without their semicolons, in order.
  package let statements: [String]

  /// Splits at semicolons outside quotes; comments and lines for psql fall away.
  package init(_ sql: String) {
    var statements: [String] = []
    var current = ""
    var quote: Character?
    for line in sql.split(separator: "\n", omittingEmptySubsequences: false) {
      if quote == nil && current.isEmpty && (line.hasPrefix("--") || line.hasPrefix("\\")) { continue }
      for character in line {
        if let open = quote {
          if character == open { quote = nil }
        } else if character == "'" || character == "\"" {
          quote = character
        } else if character == ";" {
          statements.append(current.trimmed)
          current = ""
          continue
        }
        current.append(character)
      }
      if !current.isEmpty { current.append("\n") }
    }
    self.statements = statements.filter { !$0.isEmpty }
  }

  /// The statements that make `roles`, with the roles they are members of, as far as the file has them.
  package func statements(making roles: Set<String>, existing: Set<String>) -> (statements: [String], made: Set<String>) {
    var wanted = roles
    // A role brings those it is a member of.
    while true {
      let more = memberships.filter { wanted.contains($0.member) && !existing.contains($0.role) }.map(\.role)
      if wanted.isSuperset(of: more) { break }
      wanted.formUnion(more)
    }
    let chosen = statements.filter { statement in
      var words = Words(statement)
      switch (words.next(), words.next()) {
      case ("CREATE", "ROLE"), ("ALTER", "ROLE"): return wanted.contains(words.next() ?? "")
      case ("COMMENT", "ON"): return words.next() == "ROLE" && wanted.contains(words.next() ?? "")
      case ("GRANT", let role?): return words.next() == "TO" && (wanted.contains(words.next() ?? "") || wanted.contains(role))
      default: return false
      }
    }
    let made = Set(
      chosen.compactMap { statement -> String? in
        var words = Words(statement)
        return words.next() == "CREATE" && words.next() == "ROLE" ? words.next() : nil
      })
    return (chosen, made)
  }

  private var memberships: [(role: String, member: String)] {
    statements.compactMap { statement in
      var words = Words(statement)
      guard words.next() == "GRANT", let role = words.next(), words.next() == "TO", let member = words.next() else { return nil }
      return (role, member)
    }
  }
}

/// The words of a statement, quoted identifiers without their quotes.
private struct Words {
  private var rest: Substring

  init(_ statement: String) { rest = statement[...] }

  mutating func next() -> String? {
    rest = rest.drop { $0.isWhitespace }
    guard rest.first == "\"" else {
      let word = rest.prefix { !$0.isWhitespace }
      rest = rest.dropFirst(word.count)
      return word.isEmpty ? nil : String(word)
    }
    var word = ""
    var place = rest.index(after: rest.startIndex)
    while place < rest.endIndex {
      let after = rest.index(after: place)
      if rest[place] == "\"" {
        guard after < rest.endIndex, rest[after] == "\"" else {
          rest = rest[after...]
          return word
        }
        word.append("\"")
        place = rest.index(after: after)
      } else {
        word.append(rest[place])
        place = after
      }
    }
    return nil
  }
}

extension String {
  fileprivate var trimmed: String {
    String(drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
  }
}
