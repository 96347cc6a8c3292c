extension Connection {
  /// A setting as SQL's SET takes it, such as `search_path = 'a', 'b'`.
  package static func assignment(_ name: String, _ value: String) -> String { "\(settingName(name)) = \(settingValue(name, value))" }

  private static func settingName(_ name: String) -> String {
    name.unicodeScalars.split(separator: ".").map { identifier(String($0)) }.joined(separator: ".")
  }

  /// Lists are recorded as they are to be written; other values are one literal (dumputils.c, variable_is_guc_list_quote).
  private static func settingValue(_ name: String, _ value: String) -> String {
    let lists: Set = [
      "local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries", "temp_tablespaces",
      "unix_socket_directories",
    ]
    guard lists.contains(name.lowercased()) else { return literal(value) }
    return splitList(value).map(literal).joined(separator: ", ")
  }

  /// Splits a list of identifiers; quotes within quotes are doubled.
  package static func splitList(_ text: String) -> [String] {
    var items: [String] = []
    var item = String.UnicodeScalarView()
    var isQuoted = false
    var rest = text[...].unicodeScalars
    while let scalar = rest.popFirst() {
      if scalar == "\"" {
        if isQuoted && rest.first == "\"" {
          item.append("\"")
          rest.removeFirst()
        } else {
          isQuoted.toggle()
        }
      } else if isQuoted {
        item.append(scalar)
      } else if scalar == "," {
        items.append(String(item))
        item = .init()
      } else if scalar != " " {
        item.append(scalar)
      }
    }
    return items + [String(item)]
  }
}
