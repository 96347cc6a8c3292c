internal import Foundation
internal import Platform
internal import Postgres

/// Exchanges a database for another in one transaction: whatever ends this process or the server, the name leads to the one
/// or to the other, whole.
///
/// The first rename takes the lock that a new session of the database needs, and then waits, five seconds at most, for the sessions
/// there are (dbcommands.c, RenameDatabase; procarray.c, CountOtherDBBackends). While it waits, and not before, another connection ends
/// these. So nobody is shut out by a setting that a crash could leave behind: those who come meanwhile wait for the transaction.
struct DatabaseSwap {
  /// A database as it was when the exchange was decided on.
  struct Side {
    let name: String
    let oid: UInt32
  }

  /// Of the server, in a database that is neither of these.
  let settings: ConnectionSettings
  /// The name that is to lead to another database.
  let live: String
  /// The database that has it; nil where none has.
  let replaced: Side?
  /// The database that is to have it.
  let replacement: Side
  /// What the old one is called then.
  let keptName: String
  /// What is to be known of the old one.
  let record: KeptDatabase.Record
  /// What the new one still needs, under the name `live`: settings, privileges, comment.
  let finishing: [String]

  private static let attempts = 6
  private static let boundedWait = "SET LOCAL lock_timeout = '5s'"
  /// lock_not_available, deadlock_detected, object_in_use, and internal_error, as of a row that somebody else has changed.
  private static let passingStates: Set<String> = ["55P03", "40P01", "55006", "XX000"]

  /// What is known while it is tried.
  private struct Progress {
    /// Since when no session could begin.
    var closedSince: ContinuousClock.Instant?
    /// Whoever has one of the databases locked.
    var holders: [String] = []
  }

  /// The replacement gives its name up first: where somebody has it locked, no session of the live one ends.
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

  /// - Returns: how long sessions were ended and none could begin: from the first that was ended to the commit, attempts in vain included.
  /// - Throws: what the server said, or `FirnError.refused` where somebody has one of the databases locked, or where they are not these
  ///   databases any more. Then nothing was exchanged.
  func run() throws -> Duration {
    let statements = try statements()
    let ender = try Connection(settings, applicationName: "firn-restore")
    var progress = Progress()
    var last: PostgresError = .connectionLost(reason: "the exchange was not answered")
    for attempt in 1...Self.attempts {
      do {
        let begun = ContinuousClock.now
        try exchange(statements, ender, &progress)
        return ContinuousClock.now - (progress.closedSince ?? begun)
      } catch PostgresError.statementFailed(let message, let state) where Self.passingStates.contains(state) {
        last = .statementFailed(message: message, state: state)
        Thread.sleep(forTimeInterval: 0.2 * Double(attempt))
      }
    }
    if case .statementFailed(_, "55P03") = last {
      let holders = progress.holders.isEmpty ? "somebody" : progress.holders.joined(separator: ", ")
      throw FirnError.refused(reasons: ["\(live) could not be exchanged, and is as it was: it, or \(replacement.name), is locked by \(holders)"])
    }
    throw last
  }

  private func exchange(_ statements: [String], _ ender: Connection, _ progress: inout Progress) throws {
    let isReady = Monitor<Int32?>(nil)
    let outcome = Monitor<Result<Void, any Error>?>(nil)
    let sides = [replaced, replacement].compactMap(\.self)
    let thread = WorkerThread(name: "swap") { [settings, live] in
      let result = Result {
        let connection = try Connection(settings, applicationName: "firn-restore")
        // Renaming waits for sessions to end before it waits for another who changes the database: this has it wait for him first.
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
        // Who holds a lock from another database is not ended, and nobody loses a session while he is waited for.
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
      // Nobody was there to end sessions any more.
      throw failure ?? PostgresError.statementFailed(message: message, state: state)
    } catch let refusal as FirnError {
      throw refusal
    } catch {
      // The answer was lost, or not waited for: the server knows what became of it.
      if try !isDone() { throw error }
    }
  }

  /// Whether the exchange took place. Waits a while for a server that starts anew.
  private func isDone() throws -> Bool {
    try ServerConnection.patiently {
      let server = try Connection(settings, applicationName: "firn-restore")
      return try server.databaseEntries().contains { $0.oid == replacement.oid && $0.name.isSame(as: live) }
    }
  }
}
