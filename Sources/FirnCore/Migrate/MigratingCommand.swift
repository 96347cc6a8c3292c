internal import Foundation
package import Platform
internal import SystemPackage

/// A command of the user's that changes a database: a migration, or its way back. It runs in a process group of its own, with
/// everything it prints passed on line by line.
package struct MigratingCommand: Sendable {
  package struct Outcome: Sendable {
    package let process: Int32
    /// Its exit code, or 128 + the signal that ended it.
    package let exitCode: Int32
    package let elapsed: Duration
    /// The signal that we were sent, and passed on.
    package let interruption: Interruption?
    package let ranOutOfTime: Bool

    package var succeeded: Bool { exitCode == 0 && interruption == nil && !ranOutOfTime }
  }

  private let words: [String]
  private let environment: [String: String]
  private let timeLimit: Duration?

  /// - Parameters:
  ///   - words: a program, found on the PATH, and its arguments.
  ///   - added: to our own environment.
  ///   - isLeftOut: which of our own variables it does not get.
  package init(
    _ words: [String], environment added: [String: String], without isLeftOut: (String) -> Bool = { _ in false }, timeLimit: Duration? = nil
  ) {
    self.words = words
    self.timeLimit = timeLimit
    environment = ProcessInfo.processInfo.environment.filter { !isLeftOut($0.key) }.merging(added) { $1 }
  }

  /// A command for `/bin/sh`.
  package init(shell command: String, environment added: [String: String], timeLimit: Duration? = nil) {
    self.init(["/bin/sh", "-c", command], environment: added, timeLimit: timeLimit)
  }

  /// Runs it to its end. If this process is interrupted, the command is asked to end, and killed after half a
  /// minute.
  /// - Parameters:
  ///   - begun: called with its process id.
  ///   - line: called with its output, on a thread of its own.
  package func run(begun: (Int32) -> Void = { _ in }, line: @escaping @Sendable (String) -> Void) throws -> Outcome {
    let start = ContinuousClock.now
    // The shell finds the program, or reports that it doesn't exist: 127.
    let child = try ChildProcess(
      "/bin/sh", arguments: ["-c", #"exec "$@""#, "sh"] + words, environment: environment, output: .withErrors, makesPrivateFiles: false,
      onErrorLine: line)
    begun(child.id)
    var interruption: Interruption?
    var ranOutOfTime = false
    // It may want to tidy up.
    let grace = Duration.seconds(30)
    let code = child.wait {
      if let signal = Interruption.signal {
        interruption = Interruption(signal: signal)
        child.terminate(with: signal, grace: grace)
      } else if let timeLimit, ContinuousClock.now - start > timeLimit {
        ranOutOfTime = true
        child.terminate(grace: grace)
      }
    }
    return Outcome(
      process: child.id, exitCode: code, elapsed: ContinuousClock.now - start, interruption: interruption, ranOutOfTime: ranOutOfTime)
  }
}
