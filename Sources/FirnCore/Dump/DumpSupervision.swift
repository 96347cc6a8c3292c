internal import Foundation
internal import Platform
internal import Postgres
internal import SystemPackage

/// Runs pg_dump into a spool that others empty: stops it while too much lies there, ends it when the work has failed.
struct DumpSupervision {
  let follower: SpoolFollower
  let failure: FirstFailure
  /// Bytes that may lie unread in the spool.
  let spoolCap: Int64
  let progress: WorkProgress
  /// Asked now and then; throws where the dump can't go on.
  var watch: () throws -> Void = {}

  static let watchInterval: Duration = .milliseconds(250)

  /// Returns when pg_dump has ended and the follower has been informed. Errors are recorded.
  func run(_ dump: DumpTool, messages: ToolMessages) {
    failure.capture {
      let code = try supervise(dump.start(into: follower.folder, messages: messages))
      if code != 0 { throw PostgresError.toolFailed(tool: "pg_dump", exitCode: code, messages: messages.errors) }
    }
    follower.end()
  }

  private func supervise(_ child: ChildProcess) throws -> Int32 {
    var isStopped = false
    var watched = ContinuousClock.now
    return try child.wait {
      if let signal = Interruption.signal { failure.record(Interruption(signal: signal)) }
      if ContinuousClock.now - watched > Self.watchInterval {
        failure.capture(watch)
        watched = .now
      }
      try failure.check()
      let unread = follower.unreadBytes
      if !isStopped && unread > spoolCap {
        child.stop()
        isStopped = true
        progress.note("the spool is full: pg_dump waits")
      } else if isStopped && unread <= spoolCap / 2 {
        child.resume()
        isStopped = false
      }
    }
  }
}
