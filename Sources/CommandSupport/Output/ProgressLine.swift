internal import Foundation
package import FirnCore
internal import Platform

/// Shows how far an operation is, on one line of a terminal that is drawn again and again.
package final class ProgressLine: Sendable {
  private let isEnded = Monitor(false)
  private let thread: Monitor<WorkerThread?> = Monitor(nil)

  /// Draws nothing where standard error is no terminal.
  package init(_ progress: WorkProgress, isShown: Bool) {
    guard isShown && Terminal.errorIsTerminal else { return }
    // At once, and whole: what others print comes below.
    progress.onSharing { Terminal.writeError(MessageLog.indented(Terminal.printable($0)) + "\n") }
    let worker = WorkerThread(name: "progress") { [isEnded] in
      while !isEnded.wait(atMost: .milliseconds(200), until: { $0 }) {
        Terminal.drawLine {
          let state = progress.current
          return state.sharesTerminal ? nil : Self.line(state, columns: Terminal.columns)
        }
      }
      Terminal.clearLine()
    }
    thread.update { $0 = worker }
  }

  /// Takes the line away.
  package func end() {
    isEnded.update { $0 = true }
    thread.current?.join()
  }

  static func line(_ state: WorkProgress.State, columns: Int) -> String {
    var parts = [state.phase]
    let seconds = (ContinuousClock.now - state.started).inSeconds
    if state.done > 0 {
      let rate = Double(state.done) / max(0.1, seconds)
      if let expected = state.expected, expected > 0 {
        // The expected total is an estimate, so the share stays below 100 %.
        let share = min(0.99, Double(state.done) / Double(expected))
        parts.append("\(Int(share * 100)) %")
        parts.append("\(Quantity.size(state.done)) at \(Quantity.size(Int64(rate)))/s")
        if seconds > 2, share < 0.99, rate > 0 {
          parts.append("\(Quantity.span(Double(expected - state.done) / rate)) left")
        }
      } else {
        parts.append("\(Quantity.size(state.done)) at \(Quantity.size(Int64(rate)))/s")
      }
    } else if seconds > 2 {
      parts.append(Quantity.span(seconds))
    }
    if !state.item.isEmpty { parts.append(state.item) }
    return String(Terminal.oneLine(parts.joined(separator: "  ")).prefix(columns - 1))
  }
}
