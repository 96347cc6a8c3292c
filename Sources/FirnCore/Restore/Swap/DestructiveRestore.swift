internal import Foundation
internal import Platform
internal import Postgres
package import Repository

/// A restore failed after the database it was to replace had been dropped.
package struct DatabaseDestroyed: Error {
  package let database: String
  /// Whether the database is certainly gone; false if the server disappeared during the drop.
  package let isCertain: Bool
  /// The snapshot that was made of it.
  package let safetySnapshot: SnapshotID?
  /// The complete new database, if only renaming it failed.
  package let built: String?
  package let cause: any Error
  /// Whether the application was stopped and still is.
  package let applicationIsStopped: Bool
}

/// The trial of the snapshot's schema failed, before anything was stopped or dropped.
package struct TrialFailed: Error {
  package let database: String
  package let cause: any Error
}

/// The new database is complete but could not be renamed.
struct NotNamed: Error {
  let built: String
  let cause: any Error
}

/// Drops a database and has another built in its place, for a disk that can't hold both. The application is stopped before the last
/// snapshot is made, and started when there is a database again.
struct DestructiveRestore {
  let name: String
  let server: Connection
  let maintenance: ApplicationControl
  let progress: WorkProgress

  /// - Parameters:
  ///   - requireSameDatabase: throws if the name leads to another database than was confirmed.
  ///   - takeSafetySnapshot: takes a snapshot of the current database and reads it back; nil if the operator refused
  ///     one.
  ///   - build: prepares everything, calls its parameter with the temporary name of the new database, which drops the
  ///     old one, and continues.
  /// - Throws: `DatabaseDestroyed` for every failure after the old database was dropped.
  func run(
    requireSameDatabase: @escaping () throws -> Void, takeSafetySnapshot: () throws -> Manifest?,
    build: (Manifest?, (String) throws -> Void) throws -> RestoreResult
  ) throws -> RestoreResult {
    try Interruption.check()
    let mark = try maintenance.stop.isEmpty ? nil : StoppedApplication(database: name, start: maintenance.start)
    var safety: Manifest?
    var isGone = false
    var isCertain = true
    let start = ContinuousClock.now
    var result: RestoreResult
    do {
      try maintenance.stopAll(progress)
      try requireSameDatabase()
      // A session could still write rows that the snapshot would not contain.
      try server.endSessions(in: [name])
      safety = try takeSafetySnapshot()
      result = try build(safety) { newName in
        try Interruption.check()
        progress.begin("dropping \(name)")
        // For the process that reads the note if this one is killed from here on. The database may be the old one.
        let either = try server.databaseEntries().filter { $0.name.isSame(as: name) || $0.name == newName }.map(\.oid)
        mark?.awaitDatabase(either)
        do {
          try requireSameDatabase()
          try server.dropDatabase(name)
          isGone = true
        } catch {
          let isThere = try? isThere(either)
          isGone = isThere != true
          isCertain = isThere != nil
          throw error
        }
      }
    } catch {
      guard isGone else {
        let failures = StoppedApplication.start(maintenance, noted: mark, progress)
        throw failures.isEmpty ? error : ApplicationNotStarted(cause: error, startFailures: failures)
      }
      // Started now, it would find nothing, or make a database of its own: the note stays.
      let unnamed = error as? NotNamed
      throw DatabaseDestroyed(
        database: name, isCertain: isCertain, safetySnapshot: safety?.id, built: unnamed?.built, cause: unnamed?.cause ?? error,
        applicationIsStopped: !maintenance.stop.isEmpty)
    }
    result.downtime = ContinuousClock.now - start
    result.warnings += StoppedApplication.start(maintenance, noted: mark, progress)
    if let check = maintenance.healthCheck, !maintenance.isHealthy(progress) {
      result.warnings.append("the application is not well: \(check) keeps failing")
    }
    return result
  }

  /// Whether the database is still one that sessions can begin in.
  private func isThere(_ oids: [UInt32]) throws -> Bool {
    try ServerConnection.patiently { try ServerConnection.open(server.settings, except: name).hasUsableDatabase(name, among: oids) }
  }
}
