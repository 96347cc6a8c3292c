/// The words of a statement, quoted identifiers without their quotes.
package struct StatementWords {
  private let statement: String
  private var rest: Substring.UnicodeScalarView

  package init(_ statement: String) {
    self.statement = statement
    rest = statement[...].unicodeScalars
  }

  /// The text after the words that were taken.
  var remainder: String { String(rest) }

  package mutating func next() -> String? {
    rest = rest.drop { $0.properties.isWhitespace }
    guard rest.first == "\"" else {
      let word = rest.prefix { !$0.properties.isWhitespace }
      rest = rest.dropFirst(word.count)
      return word.isEmpty ? nil : String(word)
    }
    var word = String.UnicodeScalarView()
    rest.removeFirst()
    while let scalar = rest.popFirst() {
      if scalar == "\"" {
        guard rest.first == "\"" else { return String(word) }
        rest.removeFirst()
      }
      word.append(scalar)
    }
    return nil
  }

  /// The statement without `GRANTED BY` and what follows.
  var beforeGrantor: String {
    var words = self
    while true {
      let isQuoted = words.rest.drop { $0.properties.isWhitespace }.first == "\""
      let start = words.rest.startIndex
      guard let word = words.next() else { return statement }
      if word == "GRANTED" && !isQuoted { return String(statement[..<start]) }
    }
  }

  /// The roles of a `CREATE POLICY name ON table … TO role, …`, `PUBLIC` and the like left out.
  package static func roles(ofPolicy definition: String) -> [String] {
    var words: [String] = []
    var word = String.UnicodeScalarView()
    var isQuoted = false
    for scalar in definition.unicodeScalars {
      if scalar == "\"" { isQuoted.toggle() }
      if isQuoted || !(scalar.properties.isWhitespace || scalar == "," || scalar == "(" || scalar == ";") {
        word.append(scalar)
        continue
      }
      if !word.isEmpty { words.append(String(word)) }
      word = .init()
      // An expression follows.
      if scalar == "(" { break }
    }
    // After "CREATE POLICY name ON table" keywords are as written.
    guard let start = words.dropFirst(5).firstIndex(of: "TO") else { return [] }
    let roles = words[(start + 1)...].prefix { !["USING", "WITH"].contains($0) }
    return roles.filter { !["PUBLIC", "CURRENT_ROLE", "CURRENT_USER", "SESSION_USER"].contains($0) }.map { role in
      role.hasPrefix("\"") ? String(role.dropFirst().dropLast()).replacing("\"\"", with: "\"") : role
    }
  }
}
