/// The statement by which an archive restores a table's rows, `COPY schema.table (columns) FROM stdin;`, byte for byte:
/// in a database of encoding SQL_ASCII its names need not be text (pg_dump.c, dumpTableData).
package struct CopyStatement: Sendable, Equatable {
  /// The table, as SQL writes it.
  package let target: [UInt8]
  /// The columns in their parentheses, as SQL writes them; empty for all.
  package let columns: [UInt8]

  private static let start = Array("COPY ".utf8)
  private static let end = Array(" FROM stdin;\n".utf8)

  /// Nil for a statement of another form.
  package init?(_ statement: [UInt8]) {
    guard statement.starts(with: Self.start), statement.suffix(Self.end.count).elementsEqual(Self.end),
      statement.count > Self.start.count + Self.end.count
    else { return nil }
    let middle = statement[Self.start.count..<(statement.count - Self.end.count)]
    var isQuoted = false
    let length = middle.prefix { byte in
      if byte == UInt8(ascii: "\"") { isQuoted.toggle() }
      return isQuoted || byte != UInt8(ascii: " ")
    }.count
    let columns = middle.dropFirst(length).drop { $0 == UInt8(ascii: " ") }
    guard length > 0, !isQuoted, columns.isEmpty || columns.first == UInt8(ascii: "(") && columns.last == UInt8(ascii: ")") else { return nil }
    target = Array(middle.prefix(length))
    self.columns = Array(columns)
  }

  private init(target: [UInt8], columns: [UInt8]) { (self.target, self.columns) = (target, columns) }

  /// The same columns of another table.
  package func with(target: [UInt8]) -> CopyStatement { CopyStatement(target: target, columns: columns) }

  /// Reads rows from the client.
  /// - Parameter freezes: for rows that need no vacuuming afterwards. The same transaction must have created or emptied the table.
  package func loading(freezes: Bool) -> [UInt8] {
    Self.start + target + spacedColumns + Array((freezes ? " FROM stdin WITH (FREEZE)" : " FROM stdin").utf8)
  }

  /// Writes the rows to the client, its columns in the archive's order.
  /// - Parameter condition: the rows of an extension's table that a dump holds (`pg_extension.extcondition`), such as `WHERE NOT builtin`.
  package func dumping(condition: String) -> [UInt8] {
    if condition.isEmpty { return Self.start + target + spacedColumns + Array(" TO stdout".utf8) }
    let list = columns.isEmpty ? Array("*".utf8) : Array(columns.dropFirst().dropLast())
    return Array("COPY (SELECT ".utf8) + list + Array(" FROM ONLY ".utf8) + target + Array(" \(condition)) TO stdout".utf8)
  }

  /// Empties the table, and no child of it.
  package var truncation: [UInt8] { Array("TRUNCATE TABLE ONLY ".utf8) + target }

  private var spacedColumns: [UInt8] { columns.isEmpty ? [] : [UInt8(ascii: " ")] + columns }
}
