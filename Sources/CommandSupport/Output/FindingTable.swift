internal import FirnCore
internal import Foundation

extension [Finding] {
  /// As a table, with a hint below what needs one.
  package func show(_ write: (String) -> Void) {
    let width = map(\.name.count).max() ?? 0
    for finding in self {
      let name = finding.name.padding(toLength: width, withPad: " ", startingAt: 0)
      write("  \(finding.verdict.rawValue.padding(toLength: 7, withPad: " ", startingAt: 0))  \(name)  \(Self.line(finding.detail))")
      if finding.verdict != .pass, let hint = finding.hint { write("  \(String(repeating: " ", count: 9 + width))  (\(Self.line(hint)))") }
    }
  }

  /// Messages of libraries may have several lines.
  private static func line(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }.joined(separator: " ")
  }
}
