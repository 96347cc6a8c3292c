internal import Compression
internal import Foundation
internal import Repository

/// Finds in a globals file the statements that make given roles.
package struct GlobalsScript: Sendable {
  /// A role, and what makes it as it was.
  package struct Role: Sendable, Equatable {
    package let name: String
    package let isSuperuser: Bool
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

  /// The globals of a snapshot.
  init(of manifest: Manifest, in repository: Repository) throws {
    let key = repository.files(of: manifest.place).globals
    guard let digest = try repository.catalog.checksums(of: manifest.place).files[key] else {
      throw RepositoryError.malformed(key: key, reason: "the list of checksums doesn't name it")
    }
    let stored = try repository.contents.read(key, limit: 1 << 28, expecting: digest)
    self.init(String(decoding: try ZstdDecompressor().decompressAll(stored, limit: 1 << 28), as: UTF8.self))
  }

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
      guard case .create(let name) = statement, wanted.contains(name), made[name] == nil else { continue }
      order.append(name)
      made[name] = Role(name: name, isSuperuser: false, statements: [text])
    }
    for (statement, text) in zip(parsed, statements) {
      switch statement {
      case .change(let name, let isSuperuser):
        guard let role = made[name] else { continue }
        made[name] = Role(name: name, isSuperuser: role.isSuperuser || isSuperuser, statements: role.statements + [text])
      case .grant(let role, let member):
        guard let known = made[member], made[role] != nil || existing.contains(role) else { continue }
        // Who granted it may not exist here.
        made[member] = Role(name: member, isSuperuser: known.isSuperuser, statements: known.statements + [StatementWords(text).beforeGrantor])
      case .create, .other: break
      }
    }
    // Every role is there before one becomes a member of another.
    let creations = order.compactMap { made[$0] }
    guard let first = creations.first else { return [] }
    let all = Role(name: first.name, isSuperuser: first.isSuperuser, statements: creations.map { $0.statements[0] } + first.statements.dropFirst())
    return [all] + creations.dropFirst().map { Role(name: $0.name, isSuperuser: $0.isSuperuser, statements: Array($0.statements.dropFirst())) }
  }

  private enum Statement {
    case create(String)
    case change(String, isSuperuser: Bool)
    case grant(role: String, member: String)
    case other

    init(_ text: String) {
      var words = StatementWords(text)
      switch (words.next(), words.next()) {
      case ("CREATE", "ROLE"): self = words.next().map { .create($0) } ?? .other
      case ("ALTER", "ROLE"):
        guard let name = words.next() else { self = .other; return }
        self = .change(name, isSuperuser: words.next() == "WITH" && words.next() == "SUPERUSER")
      case ("COMMENT", "ON"):
        guard words.next() == "ROLE", let name = words.next() else { self = .other; return }
        self = .change(name, isSuperuser: false)
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
