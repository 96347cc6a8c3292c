internal import Foundation
package import FirnCore
internal import Platform

/// Shows the progress of an operation on one line of a terminal, which is drawn again and again.
package final class ProgressLine: Sendable {
  private let isEnded = Monitor(false)
  private let thread: Monitor<WorkerThread?> = Monitor(nil)

  /// Draws nothing if standard error is no terminal, or a dumb one.
  package init(_ progress: WorkProgress, isShown: Bool) {
    guard isShown && Terminal.errorIsTerminal && Terminal.understandsEscapes else { return }
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

  /// Removes the line.
  package func end() {
    isEnded.update { $0 = true }
    thread.current?.join()
  }

  /// The line for a terminal of this width: the phase, a bar if there is room, the share, bytes and rate, the time left, and the table.
  package static func line(_ state: WorkProgress.State, columns: Int) -> String {
    let seconds = (ContinuousClock.now - state.started).inSeconds
    var parts = [state.phase]
    if state.done > 0 {
      let rate = Double(state.done) / max(0.1, seconds)
      let speed = "\(Quantity.size(state.done)) at \(Quantity.size(Int64(rate)))/s"
      if let expected = state.expected, expected > 0 {
        // The expected total is an estimate, so the share stays below 100 %.
        let share = min(0.99, Double(state.done) / Double(expected))
        let width = columns >= 100 ? 20 : columns >= 70 ? 10 : 0
        let filled = Int(share * Double(width))
        let bar = width == 0 ? "" : "[\(String(repeating: "#", count: filled))\(String(repeating: ".", count: width - filled))] "
        parts += ["\(bar)\(Int(share * 100)) %", speed]
        if seconds > 2, share < 0.99, rate > 0 { parts.append("\(Quantity.span(Double(expected - state.done) / rate)) left") }
      } else {
        parts.append(speed)
      }
    } else if seconds > 2 {
      parts.append(Quantity.span(seconds))
    }
    if !state.item.isEmpty { parts.append(state.item) }
    let line = Terminal.oneLine(parts.joined(separator: "  "))
    return line.count < columns ? line : String(line.prefix(max(1, columns - 2))) + (Terminal.isUTF8 ? "…" : ">")
  }
}
