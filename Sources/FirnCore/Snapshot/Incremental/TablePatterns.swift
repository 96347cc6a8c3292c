package import Postgres

/// Patterns for `pg_dump --exclude-table-data` that match tables by their exact names.
///
/// The server compares each pattern, as a regular expression, with its relations. A tree of what names have in common, such as
/// `events_202(4_0[89]|5_1[012])`, takes a fraction of the time that a list of them takes, because only one branch of it is followed.
package struct TablePatterns {
  /// Every one of some tables in every one of some schemas.
  package struct Pattern {
    fileprivate let schemas: ArraySlice<Name>
    fileprivate let names: ArraySlice<Name>

    package var text: String { "\(NameTree(schemas).pattern).\(NameTree(names).pattern)" }
    package var tables: [QualifiedName] {
      schemas.flatMap { schema in
        names.map { QualifiedName(schema: String(String.UnicodeScalarView(schema)), name: String(String.UnicodeScalarView($0))) }
      }
    }
  }

  // Arrays, because names that are equal for Unicode are different ones for PostgreSQL.
  fileprivate typealias Name = [Unicode.Scalar]

  /// Bytes of names in one pattern. The server's time to compile one grows with the square of its length: 4 kB of words take 50 ms, 2 kB take
  /// 8 ms, less than a pattern's search of the relations in large databases.
  private static let longestPattern = 2 << 10

  package let patterns: [Pattern]

  /// - Parameter tables: without duplicates.
  package init(_ tables: some Sequence<QualifiedName>) {
    let names = tables.map { (schema: Name($0.schema.unicodeScalars), table: Name($0.name.unicodeScalars)) }
    // Tenants have tables of the same names in many schemas. Either the same tables of several schemas share a pattern, or the same schemas of
    // several tables.
    let bySchema = Self.alike(names.map { ($0.schema, $0.table) }).map { Pattern(schemas: $0.keys, names: $0.values) }
    let byTable = Self.alike(names.map { ($0.table, $0.schema) }).map { Pattern(schemas: $0.values, names: $0.keys) }
    patterns = byTable.count < bySchema.count ? byTable : bySchema
  }

  /// Keys that have the same values, with these, in parts that are not too long for a pattern.
  private static func alike(_ pairs: [(Name, Name)]) -> [(keys: ArraySlice<Name>, values: ArraySlice<Name>)] {
    let values = Dictionary(grouping: pairs) { $0.0 }.mapValues { sorted($0.map(\.1)) }
    return Dictionary(grouping: values.keys) { values[$0] ?? [] }.flatMap { values, keys in
      divided(sorted(keys)).flatMap { keys in divided(values).map { (keys, $0) } }
    }
  }

  private static func sorted(_ names: [Name]) -> [Name] { names.sorted { $0.lexicographicallyPrecedes($1) } }

  private static func divided(_ names: [Name]) -> [ArraySlice<Name>] {
    var parts: [ArraySlice<Name>] = []
    var (start, length) = (0, 0)
    for (place, name) in names.enumerated() {
      length += name.reduce(1) { $0 + UTF8.width($1) }
      if length > longestPattern, place > start {
        parts.append(names[start..<place])
        (start, length) = (place, 0)
      }
    }
    return parts + [names[start...]]
  }
}

/// The rest of names after a common beginning, as a regular expression.
private struct NameTree: Hashable {
  private enum Part: Hashable {
    case character(Unicode.Scalar)
    /// Syntax of regular expressions.
    case syntax(String)
  }

  private var parts: [Part] = []

  /// - Parameters:
  ///   - names: sorted, and at least one.
  ///   - depth: the characters that they have in common.
  init(_ names: ArraySlice<[Unicode.Scalar]>, from depth: Int = 0) {
    // Each rest after one more character, and all characters before the same rest.
    var branches: [(characters: [Unicode.Scalar], rest: Self)] = []
    var places: [Self: Int] = [:]
    var rest = names.drop { $0.count == depth }
    let endsHere = rest.count < names.count
    while let character = rest.first?[depth] {
      let branch = rest.prefix { $0[depth] == character }
      rest = rest[branch.endIndex...]
      let following = Self(branch, from: depth + 1)
      if let place = places[following] {
        branches[place].characters.append(character)
      } else {
        places[following] = branches.count
        branches.append(([character], following))
      }
    }
    var alternatives = branches.map { Self.oneOf($0.characters) + $0.rest.parts }
    if endsHere { alternatives.insert([], at: 0) }
    parts = Self.either(alternatives)
  }

  private static func either(_ alternatives: [[Part]]) -> [Part] {
    if alternatives.count == 1 { return alternatives[0] }
    return [.syntax("(")] + alternatives.joined(separator: [.syntax("|")]) + [.syntax(")")]
  }

  private static func oneOf(_ characters: [Unicode.Scalar]) -> [Part] {
    guard characters.count > 1, characters.allSatisfy(isPlain) else { return either(characters.map { [.character($0)] }) }
    return [.syntax("[\(characters.map(String.init).joined())]")]
  }

  /// Whether `pg_dump` sends it as it is without quotes.
  private static func isPlain(_ character: Unicode.Scalar) -> Bool {
    ("a"..."z").contains(character) || ("0"..."9").contains(character) || character == "_"
  }

  /// As `pg_dump` reads it.
  var pattern: String {
    var (pattern, literal) = ("", [Unicode.Scalar]())
    func closeLiteral() {
      let text = String(String.UnicodeScalarView(literal))
      // Within quotes, pg_dump escapes what has a meaning in regular expressions.
      pattern += literal.allSatisfy(Self.isPlain) ? text : Connection.identifier(text)
      literal = []
    }
    for part in parts {
      switch part {
      case .character(let character): literal.append(character)
      case .syntax(let text):
        closeLiteral()
        pattern += text
      }
    }
    closeLiteral()
    return pattern
  }
}
