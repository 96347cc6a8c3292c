internal import Foundation
internal import Platform

/// Commands around a swap: services to stop before it and to start after it, and a health check.
package struct ApplicationControl: Sendable, Equatable {
  /// Commands for `/bin/sh`, in order.
  package var stop: [String] = []
  package var start: [String] = []
  /// A health check for `/bin/sh`, such as `curl -fsS http://localhost:3000/health`.
  package var healthCheck: String?
  package var healthRetries = 10
  package var healthPause: Duration = .seconds(3)

  package init() {}

  /// One of these commands failed.
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

  /// Runs every command, even if others fail.
  /// - Returns: descriptions of failures.
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

  /// Repeats the health check until it succeeds twice, the attempts are used up, or an interruption arrives.
  /// - Returns: whether it succeeded; true if none is configured.
  func isHealthy(_ progress: WorkProgress) -> Bool {
    guard let healthCheck else { return true }
    var wasWell = false
    // The second to last check may be the first that succeeds.
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
