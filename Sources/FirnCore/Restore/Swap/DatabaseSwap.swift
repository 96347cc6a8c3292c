internal import Foundation
internal import Platform
internal import Postgres

/// Swaps a database with another in one transaction. If this process or the server stops at any moment, the name
/// belongs to one of the two complete databases.
///
/// The first rename takes the lock that new sessions of the database need. PostgreSQL then waits up to five seconds
/// for existing sessions (dbcommands.c, RenameDatabase; procarray.c, CountOtherDBBackends). Another connection ends
/// these sessions, but only during this wait. New sessions wait for the transaction. So no database setting has to
/// keep them out, and a crash can leave none behind.
struct DatabaseSwap {
  /// A database as it was when the swap was planned.
  struct Side {
    let name: String
    let oid: UInt32
  }

  /// A connection to a third database of the server.
  let settings: ConnectionSettings
  /// The name that the replacement gets.
  let live: String
  /// The database that has the name now; nil if there is none.
  let replaced: Side?
  /// The database that will have the name.
  let replacement: Side
  /// The new name of the previous database.
  let keptName: String
  /// The record kept with the previous database.
  let record: KeptDatabase.Record
  /// Statements that complete the new database once it is called `live`: settings, privileges, comment.
  let finishing: [String]

  private static let attempts = 6
  private static let boundedWait = "SET LOCAL lock_timeout = '5s'"
  /// lock_not_available, deadlock_detected, object_in_use, and internal_error, which a concurrently changed catalog row causes.
  private static let passingStates: Set<String> = [
    SQLState.lockNotAvailable, SQLState.deadlockDetected, SQLState.objectInUse, SQLState.internalError,
  ]

  /// The state of the attempts.
  private struct Progress {
    /// When new sessions began to wait.
    var closedSince: ContinuousClock.Instant?
    /// The sessions that hold a lock on one of the databases.
    var holders: [String] = []
  }

  /// The replacement is renamed first: if another session has it locked, no session of the live database is ended.
  private func statements() throws -> [String] {
    let passing = "firn_swap_\(UUID().uuidString.prefix(8).lowercased())"
    var statements = [Connection.renameStatement(replacement.name, to: passing)]
    if replaced != nil {
      statements += [
        Connection.renameStatement(live, to: keptName), Connection.commentStatement(keptName, try KeptDatabase.comment(for: record)),
      ]
    }
    return statements + [Connection.renameStatement(passing, to: live)] + finishing
  }

  /// - Returns: the downtime: from the first ended session to the commit, including failed attempts.
  /// - Throws: the server's error, or `FirnError.refused` if a session has one of the databases locked, or if the names belong to other
  ///   databases now. Then nothing was swapped.
  func run() throws -> Duration {
    let statements = try statements()
    let ender = try Connection(settings, applicationName: "firn-restore")
    var progress = Progress()
    var last: PostgresError = .connectionLost(reason: "the swap was not answered")
    for attempt in 1...Self.attempts {
      do {
        let begun = ContinuousClock.now
        try swap(statements, ender, &progress)
        return ContinuousClock.now - (progress.closedSince ?? begun)
      } catch PostgresError.statementFailed(let message, let state) where Self.passingStates.contains(state) {
        last = .statementFailed(message: message, state: state)
        Thread.sleep(forTimeInterval: 0.2 * Double(attempt))
      }
    }
    if case .statementFailed(_, SQLState.lockNotAvailable) = last {
      let holders = progress.holders.isEmpty ? "another session" : progress.holders.joined(separator: ", ")
      throw FirnError.refused(reasons: ["\(live) could not be swapped and is unchanged: it or \(replacement.name) is locked by \(holders)"])
    }
    throw last
  }

  private func swap(_ statements: [String], _ ender: Connection, _ progress: inout Progress) throws {
    let isReady = Monitor<Int32?>(nil)
    let outcome = Monitor<Result<Void, any Error>?>(nil)
    let sides = [replaced, replacement].compactMap(\.self)
    let thread = WorkerThread(name: "swap") { [settings, live] in
      let result = Result {
        let connection = try Connection(settings, applicationName: "firn-restore")
        // A rename waits first for sessions, and then for other changes of the database. With this statement the
        // transaction waits for other changes first.
        let claims = try sides.map { try connection.claimStatement($0.name, oid: $0.oid) }
        guard !claims.contains(nil) else {
          throw FirnError.replacedMeanwhile(live)
        }
        let process = try connection.processID()
        isReady.update { $0 = process }
        try connection.executeTogether([Self.boundedWait] + claims.compactMap(\.self) + statements)
      }
      outcome.update { $0 = result }
      isReady.update { $0 = $0 ?? 0 }
    }
    let swapping = isReady.wait(until: { $0 != nil }) { $0 ?? 0 }
    var failure: (any Error)?
    var before = ContinuousClock.now
    while !outcome.wait(atMost: .milliseconds(15), until: { $0 != nil }) {
      guard failure == nil else { continue }
      do {
        // Sessions of other databases are never ended. Those of this database are ended only once nothing else blocks the swap.
        let blocking = try ender.sessions(blocking: swapping, exceptOf: sides.map(\.name))
        if blocking.isEmpty { try ender.endSessions(in: sides.map(\.name), for: swapping) } else { progress.holders = blocking }
        if progress.closedSince == nil, try ender.hasLocked(replaced?.oid ?? replacement.oid, by: swapping) { progress.closedSince = before }
        before = ContinuousClock.now
      } catch { failure = error }
    }
    if progress.closedSince == nil { progress.closedSince = before }
    thread.join()
    do {
      try outcome.current?.get()
    } catch PostgresError.statementFailed(let message, let state) {
      // The connection that ends sessions was lost.
      throw failure ?? PostgresError.statementFailed(message: message, state: state)
    } catch let refusal as FirnError {
      throw refusal
    } catch {
      // The answer was lost or not awaited: ask the server for the result.
      if try !isDone() { throw error }
    }
  }

  /// Whether the swap took place. Waits for a server that restarts.
  private func isDone() throws -> Bool {
    try ServerConnection.patiently {
      let server = try Connection(settings, applicationName: "firn-restore")
      return try server.databaseEntries().contains { $0.oid == replacement.oid && $0.name.isSame(as: live) }
    }
  }
}
