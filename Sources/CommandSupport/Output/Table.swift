package import Platform

/// Rows below a header, in columns as wide as they need. On a terminal that is too narrow, cells are wrapped between words.
package struct Table {
  package struct Cell: ExpressibleByStringLiteral {
    let text: String
    let paint: Paint?

    package init(_ text: String, _ paint: Paint? = nil) {
      self.text = Terminal.oneLine(text)
      self.paint = paint
    }

    package init(stringLiteral text: String) { self.init(text) }
  }

  private let header: [String]
  private let rows: [[Cell]]
  private let details: [[String]]

  /// - Parameters:
  ///   - header: empty for a table without one.
  ///   - details: lines below each row.
  package init(header: [String], rows: [[Cell]], details: [[String]] = []) {
    self.header = header
    self.rows = rows
    self.details = details
  }

  /// The table's lines, printable.
  /// - Parameters:
  ///   - columns: the width of the terminal; nil for no limit.
  ///   - isPainted: whether cells have colours, if standard output shows them.
  package func lines(columns: Int?, isPainted: Bool = true) -> [String] {
    let (widths, gap) = fitted(to: columns)
    var lines = header.isEmpty ? [] : Self.lines(header.map { Cell($0) }, widths, gap, isPainted: false)
    for (number, row) in rows.enumerated() {
      lines += Self.lines(row, widths, gap, isPainted: isPainted)
      guard details.indices.contains(number) else { continue }
      for detail in details[number] {
        let text = Terminal.oneLine(detail)
        lines += Self.wrapped(text, to: columns.map { $0 - 2 } ?? .max).map { "  \($0)" }
      }
    }
    return lines
  }

  /// The width of each column, and of the gap between them. If they do not fit, columns of long texts become narrower, then the gap, then the
  /// other columns, the widest first. No word is broken.
  private func fitted(to columns: Int?) -> (widths: [Int], gap: Int) {
    let all = (header.isEmpty ? [] : [header]) + rows.map { $0.map(\.text) }
    let count = all.map(\.count).max() ?? 0
    var widths = (0..<count).map { column in all.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
    guard let columns else { return (widths, 2) }
    let least = (0..<count).map { column in
      all.map { row in column < row.count ? Self.tokens(row[column]).map(\.text.count).max() ?? 0 : 0 }.max() ?? 0
    }
    let longText = 12
    let natural = widths
    for (gap, narrowsAll) in [(2, false), (1, false), (1, true)] {
      while widths.reduce(0, +) + gap * (count - 1) > columns,
        let widest = widths.indices.filter({ widths[$0] > least[$0] && (narrowsAll || natural[$0] > longText) }).max(by: { widths[$0] < widths[$1] })
      {
        widths[widest] -= 1
      }
      if widths.reduce(0, +) + gap * (count - 1) <= columns { return (widths, gap) }
    }
    return (widths, 1)
  }

  private static func lines(_ row: [Cell], _ widths: [Int], _ gap: Int, isPainted: Bool) -> [String] {
    let cells = row.enumerated().map { wrapped($1.text, to: widths[$0]) }
    return (0..<(cells.map(\.count).max() ?? 0)).map { line in
      var text = ""
      for (column, cell) in cells.enumerated() {
        let part = line < cell.count ? cell[line] : ""
        if isPainted, !part.isEmpty, let paint = row[column].paint { text += Terminal.painted(part, paint, on: .output) } else { text += part }
        let isLast = cells[(column + 1)...].allSatisfy { line >= $0.count || $0[line].isEmpty }
        if isLast { break }
        text += String(repeating: " ", count: widths[column] - part.count + gap)
      }
      return text
    }
  }

  /// The text in lines of at most this width, broken between words, or within words such as `pre-migration`. A longer word has a line of its
  /// own. Spaces within a line stay as they are.
  static func wrapped(_ text: String, to width: Int) -> [String] {
    guard text.count > width else { return [text] }
    var lines: [String] = []
    for token in tokens(text) {
      let joint = token.followsSpace ? " " : ""
      if let last = lines.last, last.count + joint.count + token.text.count <= width {
        lines[lines.count - 1] = last + joint + token.text
      } else {
        lines.append(token.text)
      }
    }
    return lines
  }

  /// The parts of a text between which a line may end. Identifiers with digits are never broken.
  private static func tokens(_ text: String) -> [(text: String, followsSpace: Bool)] {
    text.split(separator: " ", omittingEmptySubsequences: false).flatMap { word -> [(text: String, followsSpace: Bool)] in
      guard word.wholeMatch(of: /[a-z]{2,}(-[a-z]{2,})+/) != nil else { return [(String(word), true)] }
      let pieces = word.split(separator: "-").map(String.init)
      return pieces.enumerated().map { (text: $1 + ($0 < pieces.count - 1 ? "-" : ""), followsSpace: $0 == 0) }
    }
  }
}
