internal import Foundation
internal import Platform
internal import SystemPackage

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
    package let lastLine: String
  }

  /// - Throws: `Failure` at the first command that fails.
  func stopAll(_ progress: WorkProgress) throws {
    for command in stop { try Self.run(command, progress) }
  }

  /// Runs every command, whatever becomes of the others.
  /// - Returns: what failed, in words.
  func startAll(_ progress: WorkProgress) -> [String] {
    start.compactMap { command in
      do {
        try Self.run(command, progress)
        return nil
      } catch let failure as Failure {
        return "\(failure.command) failed with exit code \(failure.exitCode): \(failure.lastLine)"
      } catch {
        return "\(command) could not be run: \(error)"
      }
    }
  }

  /// - Returns: whether the application came back; true where nobody said how to see it.
  func isHealthy(_ progress: WorkProgress) -> Bool {
    guard let healthCheck else { return true }
    for attempt in 0...healthRetries {
      if attempt > 0 { Thread.sleep(forTimeInterval: healthPause.inSeconds) }
      progress.begin("looking whether the application is well, attempt \(attempt + 1)")
      if (try? Self.run(healthCheck, progress)) != nil { return true }
    }
    return false
  }

  private static func run(_ command: String, _ progress: WorkProgress) throws {
    progress.tell("running: \(command)")
    let last = Monitor("")
    // To its end, whoever interrupts: half a stop or start is worse than either.
    let child = try ChildProcess(
      "/bin/sh", arguments: ["-c", command], environment: ProcessInfo.processInfo.environment, keepsOutput: true
    ) { line in
      progress.tell("  \(line)")
      last.update { $0 = line }
    }
    let code = child.wait()
    if code != 0 { throw Failure(command: command, exitCode: code, lastLine: last.current) }
  }
}
