internal import Foundation

/// The meaning of coloured text.
package enum Paint: Sendable {
  case bad, warning, good, strong

  /// The parameter of ECMA-48's SGR.
  fileprivate var code: String {
    switch self {
    case .bad: "31"
    case .warning: "33"
    case .good: "32"
    case .strong: "1"
    }
  }
}

extension Terminal {
  package enum Stream: Sendable { case output, error }

  /// Whether the terminal understands escape sequences.
  package static let understandsEscapes: Bool = {
    let name = ProcessInfo.processInfo.environment["TERM"] ?? ""
    return !name.isEmpty && name != "dumb"
  }()

  /// Whether a stream shows colours: a terminal does, unless NO_COLOR is set (https://no-color.org).
  package static func showsColor(on stream: Stream) -> Bool {
    (stream == .output ? outputIsTerminal : errorIsTerminal) && understandsEscapes
      && (ProcessInfo.processInfo.environment["NO_COLOR"] ?? "").isEmpty
  }

  /// The text in the colour of its meaning, if the stream shows colours. The text must be printable already.
  package static func painted(_ text: String, _ paint: Paint, on stream: Stream) -> String {
    showsColor(on: stream) ? "\u{1B}[\(paint.code)m\(text)\u{1B}[0m" : text
  }

  /// The columns of the terminal on standard output; nil if it is none.
  package static var outputColumns: Int? { outputIsTerminal ? columns(of: 1) : nil }

  /// Whether the locale's encoding is UTF-8, by the variables of locale(7).
  package static let isUTF8: Bool = {
    let environment = ProcessInfo.processInfo.environment
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].compactMap { environment[$0] }.first { !$0.isEmpty } ?? "C"
    return locale.lowercased().replacing("-", with: "").contains("utf8")
  }()

  /// Firn's own characters outside ASCII, and their replacements in other locales. Names of users stay as they are.
  private static let substitutes: [Character: String] = [
    "…": "...", "→": "->", "–": "-", "—": "-", "−": "-", "×": "x", "±": "+/-", "·": "-", "✓": "ok", "“": "\"", "”": "\"", "’": "'",
  ]

  /// The text as the locale can show it.
  package static func inLocale(_ text: String) -> String {
    guard !isUTF8, text.utf8.contains(where: { $0 > 127 }) else { return text }
    return text.reduce(into: "") { result, character in
      if let other = substitutes[character] { result += other } else { result.append(character) }
    }
  }
}
