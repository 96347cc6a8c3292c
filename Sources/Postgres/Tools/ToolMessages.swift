internal import Foundation
internal import Platform
internal import SystemPackage

/// The messages of a PostgreSQL tool on standard error, by kind.
package final class ToolMessages: Sendable {
  private struct State: Sendable {
    var warnings: [String] = []
    var errors: [String] = []
    /// Whether the lines that come belong to a statement that failed.
    var isInStatement = false
  }
  private let state = Monitor(State())
  private let tool: String

  package init(tool: String) { self.tool = tool }

  /// Adds one line. A detail or hint after a warning belongs to it. A failed statement is left out with all its
  /// lines, since it may hold rows or passwords.
  package func add(_ line: String) {
    let isMessage = line.hasPrefix("\(tool): ")
    let text = isMessage ? String(line.dropFirst(tool.count + 2)) : line
    state.update { state in
      if isMessage { state.isInStatement = false }
      if text.hasPrefix("Command was:") { state.isInStatement = true }
      if state.isInStatement || text.isEmpty { return }
      if text.hasPrefix("warning: ") {
        state.warnings.append(String(text.dropFirst(9)))
      } else if state.errors.isEmpty, !state.warnings.isEmpty, text.hasPrefix("detail: ") || text.hasPrefix("hint: ") {
        state.warnings[state.warnings.count - 1] += "; " + text
      } else if state.errors.count < 100 {
        state.errors.append(text)
      }
    }
  }

  package var warnings: [String] { state.current.warnings }
  package var errors: [String] { state.current.errors }
}
