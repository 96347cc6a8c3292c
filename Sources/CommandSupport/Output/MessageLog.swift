internal import Foundation
internal import Platform
internal import Repository

/// Writes messages to standard error in the form the user chose.
package enum MessageLog {
  package enum Format: String, Sendable {
    /// For people.
    case text
    /// A line of JSON each.
    case json
    /// For people, each line with its priority, as systemd's journal takes it (sd-daemon(3)).
    case journal
  }

  package enum Level: String, Sendable {
    case detail, note, warning, error

    /// As syslog(3) counts.
    fileprivate var priority: Int {
      switch self {
      case .error: 3
      case .warning: 4
      case .note: 6
      case .detail: 7
      }
    }
  }

  private struct Line: Encodable {
    let time: String
    let level: String
    let command: String
    let message: String
    let hint: String?
  }

  private static let chosen = Monitor<Format>(.text)

  /// From here on.
  package static func use(_ format: Format) { chosen.update { $0 = format } }

  /// The text with every line but the first indented: one in a name or in a server's message does not look like a line of Firn's.
  static func indented(_ text: String) -> String {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    return lines.enumerated().map { $0 == 0 || $1.isEmpty || $1.hasPrefix(" ") || $1.hasPrefix("\t") ? String($1) : "    \($1)" }.joined(
      separator: "\n")
  }

  /// The text with its level in colour, on a terminal.
  private static func painted(_ text: String, _ start: String, _ level: Level) -> String {
    guard level == .warning || level == .error, text.hasPrefix(start), Terminal.showsColor(on: .error) else { return text }
    return Terminal.painted(String(start.dropLast()), level == .error ? .bad : .warning, on: .error) + " " + text.dropFirst(start.count)
  }

  /// - Parameter hint: the next step for the operator.
  package static func write(_ level: Level, _ message: String, hint: String? = nil, command: String) {
    let format = chosen.current
    if format == .json {
      let line = Line(time: Date().formatted(.iso8601), level: level.rawValue, command: command, message: message, hint: hint)
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      return Terminal.writeError(String(decoding: (try? encoder.encode(line)) ?? Data(), as: UTF8.self) + "\n")
    }
    let start =
      switch level {
      case .detail: "\(command): "
      case .note: ""
      case .warning: "\(command): warning: "
      case .error: "\(command): error: "
      }
    // libpq indents with tabs.
    let parts = [indented(start + message), hint.map { indented("hint: \($0)") }].compactMap(\.self)
    let text = Terminal.printable(parts.joined(separator: "\n").replacing("\t", with: "  "))
    guard format == .journal else { return Terminal.writeError(painted(text, start, level) + "\n") }
    Terminal.writeError(text.split(separator: "\n", omittingEmptySubsequences: false).map { "<\(level.priority)>\($0)\n" }.joined())
  }
}
