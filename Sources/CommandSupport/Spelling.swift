/// Corrections of mistyped words.
package enum Spelling {
  /// - Returns: nil if no word is similar enough.
  package static func nearest(to word: String, in words: [String]) -> String? {
    words.min { distance($0, word) < distance($1, word) }.flatMap { isNear($0, word) ? $0 : nil }
  }

  static func isNear(_ left: String, _ right: String) -> Bool { distance(left, right) <= max(1, right.count / 3) }

  /// Edits that make one word of the other (Levenshtein).
  static func distance(_ left: String, _ right: String) -> Int {
    let right = Array(right)
    var row = Array(0...right.count)
    for (line, character) in left.enumerated() {
      var diagonal = row[0]
      row[0] = line + 1
      for column in right.indices {
        let cost = min(row[column + 1] + 1, row[column] + 1, diagonal + (character == right[column] ? 0 : 1))
        diagonal = row[column + 1]
        row[column + 1] = cost
      }
    }
    return row[right.count]
  }
}
