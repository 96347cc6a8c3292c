internal import CLinux
internal import Foundation
internal import Synchronization

/// A request to end the program: SIGINT, SIGTERM, SIGHUP or SIGQUIT.
package struct Interruption: Error, Equatable {
  package let signal: Int32

  package init(signal: Int32) { self.signal = signal }

  private static let received = Mutex<Int32?>(nil)

  /// The signal that arrived, if one did.
  package static var signal: Int32? { received.withLock { $0 } }

  /// Throws once a signal has arrived. Long work calls it between its steps.
  package static func check() throws(Interruption) {
    if let signal { throw Interruption(signal: signal) }
  }

  /// Sleeps until then, or throws soon after a signal has arrived.
  package static func sleep(until end: ContinuousClock.Instant) throws(Interruption) {
    try check()
    while case let left = end - ContinuousClock.now, left > .zero {
      Thread.sleep(forTimeInterval: min(0.1, left.inSeconds))
      try check()
    }
  }

  /// Clears a handled signal, so that cleanup can finish.
  package static func clear() { received.withLock { $0 = nil } }

  /// Runs `body` although a signal has arrived, which takes effect again afterwards. Another signal that arrives meanwhile interrupts it.
  package static func putOff<Result>(_ body: () throws -> Result) rethrows -> Result {
    let wish = signal
    clear()
    defer { if let wish { received.withLock { if $0 == nil { $0 = wish } } } }
    return try body()
  }

  /// Handles these signals for the whole process. Call it before any other thread starts.
  /// A writer to a closed pipe gets an error instead of a signal.
  package static func takeOver() {
    _ = Glibc.signal(SIGPIPE, SIG_IGN)
    // Ctrl-Z would stop this process but not its children, which have their own process groups.
    _ = Glibc.signal(SIGTSTP, SIG_IGN)
    // Otherwise waitpid would not report ended children.
    _ = Glibc.signal(SIGCHLD, SIG_DFL)
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    // Ignored signals stay ignored, as nohup wants.
    for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] where firn_is_ignored(number) == 0 { unsafe sigaddset(&signals, number) }
    unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    let waited = signals
    _ = WorkerThread(name: "signals") {
      var signals = waited
      while true {
        var number: Int32 = 0
        if unsafe sigwait(&signals, &number) == 0 { received.withLock { if $0 == nil { $0 = number } } }
      }
    }
  }
}

extension Int32 {
  /// The name of a signal, for messages.
  package var signalName: String {
    switch self {
    case SIGINT: "SIGINT"
    case SIGTERM: "SIGTERM"
    case SIGHUP: "SIGHUP"
    case SIGQUIT: "SIGQUIT"
    default: "signal \(self)"
    }
  }
}
