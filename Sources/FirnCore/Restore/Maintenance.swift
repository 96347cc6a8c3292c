internal import Foundation
internal import Platform

/// What has to be done around an exchange of databases: programs that are stopped before and started after, and how to see that they run.
package struct Maintenance: Sendable, Equatable {
  /// Commands for `/bin/sh`, in order.
  package var stop: [String] = []
  package var start: [String] = []
  /// A command for `/bin/sh` that succeeds when all is well, such as `curl -fsS http://localhost:3000/health`.
  package var healthCheck: String?
  package var healthRetries = 10
  package var healthPause: Duration = .seconds(3)

  package init() {}

  /// A command of these failed.
  package struct Failure: Error, Equatable {
    package let command: String
    package let exitCode: Int32
  }

  /// - Throws: `Failure` at the first command that fails.
  func stopAll(_ progress: WorkProgress) throws {
    guard !stop.isEmpty else { return }
    progress.beginOthers("stopping the application")
    for command in stop { try Self.run(command, progress) }
  }

  /// Runs every command, whatever becomes of the others.
  /// - Returns: what failed, in words.
  func startAll(_ progress: WorkProgress) -> [String] { Self.startAll(start, progress) }

  static func startAll(_ commands: [String], _ progress: WorkProgress) -> [String] {
    if !commands.isEmpty { progress.beginOthers("starting the application") }
    return commands.compactMap { command in
      do {
        try run(command, progress)
        return nil
      } catch let failure as Failure {
        return "\(failure.command) failed with exit code \(failure.exitCode)"
      } catch {
        return "\(command) could not be run: \(error)"
      }
    }
  }

  /// Asks until the application came back, the patience has run out, or somebody interrupts.
  /// - Returns: whether it came back; true where nobody said how to see it.
  func isHealthy(_ progress: WorkProgress) -> Bool {
    guard let healthCheck else { return true }
    for attempt in 0...healthRetries {
      if attempt > 0 {
        let deadline = ContinuousClock.now + healthPause
        while ContinuousClock.now < deadline {
          if Interruption.signal != nil { return false }
          Thread.sleep(forTimeInterval: min(0.1, max(0.001, (deadline - ContinuousClock.now).inSeconds)))
        }
      }
      progress.beginOthers("looking whether the application is well, attempt \(attempt + 1)")
      if (try? Self.run(healthCheck, progress)) != nil { return true }
    }
    return false
  }

  private static func run(_ command: String, _ progress: WorkProgress) throws {
    progress.tell("running: \(command)")
    let code = try ShellCommand.run(command)
    if code != 0 { throw Failure(command: command, exitCode: code) }
  }
}
