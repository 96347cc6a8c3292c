/// Takes the statements of an archive apart.
package enum TableStatement {
  /// The columns of a `CREATE TABLE`, in their parentheses; nil for a table that has others besides.
  package static func columns(of definition: String) -> String? {
    guard let statement = GlobalsScript(definition).statements.first else { return nil }
    var rest = statement[...].unicodeScalars
    for prefix in ["CREATE UNLOGGED TABLE ", "CREATE TABLE "] where rest.starts(with: prefix.unicodeScalars) {
      rest = rest.dropFirst(prefix.unicodeScalars.count)
      guard skipName(&rest), rest.starts(with: " (".unicodeScalars) else { return nil }
      rest = rest.dropFirst(1)
      var depth = 0
      var quote: Unicode.Scalar?
      var columns = String.UnicodeScalarView()
      while let scalar = rest.popFirst() {
        columns.append(scalar)
        if let open = quote {
          if scalar == open { quote = nil }
          continue
        }
        switch scalar {
        case "'", "\"": quote = scalar
        case "(": depth += 1
        case ")": depth -= 1
        default: break
        }
        if depth == 0 { return rest.starts(with: "\nINHERITS".unicodeScalars) ? nil : String(columns) }
      }
      return nil
    }
    return nil
  }

  /// Steps over `schema.name`, with quotes or without.
  private static func skipName(_ rest: inout Substring.UnicodeScalarView) -> Bool {
    var isQuoted = false
    var length = 0
    while let scalar = rest.first {
      if scalar == "\"" { isQuoted.toggle() }
      if !isQuoted && (scalar == " " || scalar == "(") { break }
      rest.removeFirst()
      length += 1
    }
    return length > 0 && !isQuoted
  }
}
