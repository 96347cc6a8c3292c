/// The words of a statement, quoted identifiers without their quotes.
struct StatementWords {
  private let statement: String
  private var rest: Substring.UnicodeScalarView

  init(_ statement: String) {
    self.statement = statement
    rest = statement[...].unicodeScalars
  }

  mutating func next() -> String? {
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
}
