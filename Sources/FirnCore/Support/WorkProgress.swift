internal import Platform

/// The progress of a long operation. Written by its threads, read by the display.
package final class WorkProgress: Sendable {
  package struct State: Sendable {
    package var phase = ""
    package var item = ""
    package var done: Int64 = 0
    /// The estimated total of bytes; nil if unknown.
    package var expected: Int64?
    package var started = ContinuousClock.now
    /// Whether programs of others write to the terminal meanwhile.
    package var sharesTerminal = false

    package init() {}

    fileprivate init(phase: String, expected: Int64? = nil) {
      self.phase = phase
      self.expected = expected
    }
  }

  private let monitor = Monitor(State())
  private let sharing = Monitor<(@Sendable (String) -> Void)?>(nil)
  private let log: @Sendable (String) -> Void

  /// - Parameter note: takes lines for `--verbose`.
  package init(note: @escaping @Sendable (String) -> Void = { _ in }) { log = note }

  package func begin(_ phase: String, expected: Int64? = nil) {
    monitor.update { $0 = State(phase: phase, expected: expected) }
    log(phase)
  }

  /// Has a body called, before they begin, for work by programs of others.
  package func onSharing(_ body: @escaping @Sendable (String) -> Void) { sharing.update { $0 = body } }

  /// Begins work by programs of others, which write to the terminal themselves.
  package func beginOthers(_ phase: String) {
    monitor.update {
      $0 = State(phase: phase)
      $0.sharesTerminal = true
    }
    sharing.current?(phase)
    log(phase)
  }

  package func advance(by bytes: Int) { monitor.update { $0.done += Int64(bytes) } }
  package func show(item: String) { monitor.update { $0.item = item } }
  package func note(_ line: String) { log(line) }
  package var current: State { monitor.current }
}
