internal import Foundation

/// Finds in a globals file the statements that make given roles.
package struct GlobalsScript: Sendable {
  /// A role, and what makes it as it was.
  package struct Role: Sendable, Equatable {
    package let name: String
    /// Rights beyond logging in and owning objects, such as `SUPERUSER`, `member of postgres`, `SET search_path`.
    package let powers: [String]
    package let statements: [String]
  }

  /// Statements without their semicolons, in order.
  package let statements: [String]

  /// Splits at semicolons outside quotes; comments, also behind a statement, and lines for psql are left out.
  package init(_ sql: String) {
    var statements: [String] = []
    var current = String.UnicodeScalarView()
    var quote: Unicode.Scalar?
    // By scalars: a quote joined with an accent would be no quote as a `Character`.
    for line in sql.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false) {
      if quote == nil && current.isEmpty && line.first == "\\" { continue }
      var before: Unicode.Scalar?
      for scalar in line {
        if quote == nil, scalar == "-", before == "-" {
          current.removeLast()
          break
        }
        before = scalar
        if let open = quote {
          if scalar == open { quote = nil }
        } else if scalar == "'" || scalar == "\"" {
          quote = scalar
        } else if scalar == ";" {
          statements.append(String(current).trimmed)
          current = .init()
          continue
        }
        current.append(scalar)
      }
      if !current.isEmpty { current.append("\n") }
    }
    self.statements = statements.filter { !$0.isEmpty }
  }

  /// All roles that the file creates.
  package var roleNames: Set<String> { Set(statements.map(Statement.init).compactMap { if case .create(let name, _) = $0 { name } else { nil } }) }

  /// The roles to make, with those they are members of, as far as the file has them. Roles that exist are changed in nothing:
  /// they become members of none.
  package func roles(toMake wanted: Set<String>, existing: Set<String>) -> [Role] {
    let parsed = statements.map(Statement.init)
    var wanted = wanted
    while true {
      let more = parsed.compactMap { statement -> String? in
        guard case .grant(let role, let member) = statement, wanted.contains(member), !existing.contains(role) else { return nil }
        return role
      }
      if wanted.isSuperset(of: more) { break }
      wanted.formUnion(more)
    }
    var made: [String: Role] = [:]
    var order: [String] = []
    for (statement, text) in zip(parsed, statements) {
      guard case .create(let name, let powers) = statement, wanted.contains(name), made[name] == nil else { continue }
      order.append(name)
      made[name] = Role(name: name, powers: powers, statements: [text])
    }
    for (statement, text) in zip(parsed, statements) {
      switch statement {
      case .change(let name, let powers):
        guard let role = made[name] else { continue }
        made[name] = Role(name: name, powers: role.powers + powers, statements: role.statements + [text])
      case .grant(let role, let member):
        guard let known = made[member], made[role] != nil || existing.contains(role) else { continue }
        // The grantor may not exist here.
        made[member] = Role(
          name: member, powers: known.powers + ["member of \(role)"], statements: known.statements + [StatementWords(text).beforeGrantor])
      case .create, .other: break
      }
    }
    // Every role is there before one becomes a member of another.
    let creations = order.compactMap { made[$0] }
    guard let first = creations.first else { return [] }
    let all = Role(name: first.name, powers: first.powers, statements: creations.map { $0.statements[0] } + first.statements.dropFirst())
    return [all] + creations.dropFirst().map { Role(name: $0.name, powers: $0.powers, statements: Array($0.statements.dropFirst())) }
  }

  private enum Statement {
    case create(String, powers: [String])
    case change(String, powers: [String])
    case grant(role: String, member: String)
    case other

    init(_ text: String) {
      var words = StatementWords(text)
      switch (words.next(), words.next()) {
      case ("CREATE", "ROLE"):
        guard let name = words.next() else { self = .other; return }
        self = .create(name, powers: RoleOptions(words.remainder).powers)
      case ("ALTER", "ROLE"):
        guard let name = words.next() else { self = .other; return }
        self = .change(name, powers: RoleOptions(words.remainder).powers)
      case ("COMMENT", "ON"):
        guard words.next() == "ROLE", let name = words.next() else { self = .other; return }
        self = .change(name, powers: [])
      case ("GRANT", let role?):
        guard words.next() == "TO", let member = words.next() else { self = .other; return }
        self = .grant(role: role, member: member)
      default: self = .other
      }
    }
  }
}

extension String {
  fileprivate var trimmed: String {
    String(drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
  }
}
