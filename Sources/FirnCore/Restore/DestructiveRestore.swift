internal import Foundation
internal import Platform
internal import Postgres
package import Repository

/// A restore failed after the database it was to replace had been dropped.
package struct DatabaseDestroyed: Error {
  package let database: String
  /// The snapshot that was made of it.
  package let safetySnapshot: SnapshotID?
  package let cause: any Error
  package let startFailures: [String]
}

/// Drops a database and has another built in its place, for a disk that can't hold both. The application is stopped all the while.
struct DestructiveRestore {
  let name: String
  let server: Connection
  let maintenance: Maintenance
  let safety: SnapshotID?
  let progress: WorkProgress

  /// - Throws: `DatabaseDestroyed` for whatever fails once the old database is gone.
  func run(_ build: () throws -> RestoreResult) throws -> RestoreResult {
    try Interruption.check()
    let mark = try maintenance.stop.isEmpty ? nil : StoppedApplication(database: name, start: maintenance.start)
    defer { mark?.remove() }
    let start: ContinuousClock.Instant
    do {
      try maintenance.stopAll(progress)
      progress.begin("dropping \(name)")
      start = ContinuousClock.now
      try server.dropDatabase(name)
    } catch {
      let failures = maintenance.startAll(progress)
      throw failures.isEmpty ? error : ApplicationNotStarted(cause: error, startFailures: failures)
    }
    var result: RestoreResult
    do {
      result = try build()
    } catch {
      throw DatabaseDestroyed(database: name, safetySnapshot: safety, cause: error, startFailures: maintenance.startAll(progress))
    }
    result.downtime = ContinuousClock.now - start
    result.warnings += maintenance.startAll(progress)
    if let check = maintenance.healthCheck, !maintenance.isHealthy(progress) {
      result.warnings.append("the application is not well: \(check) keeps failing")
    }
    return result
  }
}
