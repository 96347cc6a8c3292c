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

  /// Asks until the application came back and still is there a moment later, the patience has run out, or somebody interrupts.
  /// - Returns: whether it came back; true where nobody said how to see it.
  func isHealthy(_ progress: WorkProgress) -> Bool {
    guard let healthCheck else { return true }
    var wasWell = false
    // The last look but one may be the first that finds it well.
    for attempt in 0...(healthRetries + 1) {
      if attempt > healthRetries && !wasWell { break }
      let pause = wasWell ? min(healthPause, .milliseconds(500)) : healthPause
      if attempt > 0, (try? Interruption.sleep(until: ContinuousClock.now + pause)) == nil { return false }
      progress.beginOthers("looking whether the application is well, attempt \(attempt + 1)")
      let isWell = (try? Self.run(healthCheck, progress)) != nil
      if isWell && wasWell { return true }
      wasWell = isWell
    }
    return false
  }

  private static func run(_ command: String, _ progress: WorkProgress) throws {
    progress.note("running: \(command)")
    let code = try ShellCommand.run(command)
    if code != 0 { throw Failure(command: command, exitCode: code) }
  }
}
