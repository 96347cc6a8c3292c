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
  /// Of the server, in a database that is neither of these.
  let settings: ConnectionSettings
  /// The name that is to lead to another database.
  let live: String
  /// That database.
  let replacement: String
  /// What the old one is called then.
  let keptName: String
  /// What is to be known of the old one; nil where there is none.
  let record: KeptDatabase.Record?
  /// What the new one still needs, under the name `live`: settings, privileges, comment.
  let finishing: [String]

  private static let attempts = 6
  private static let lockWait = 5
  private static var boundedWait: String { "SET LOCAL lock_timeout = '\(lockWait)s'" }

  private func statements() throws -> [String] {
    var statements: [String] = []
    if let record {
      statements += [
        Connection.renameStatement(live, to: keptName), Connection.commentStatement(keptName, try KeptDatabase.comment(for: record)),
      ]
    }
    return statements + [Connection.renameStatement(replacement, to: live)] + finishing
  }

  /// - Returns: how long sessions were ended and none could begin: from the first that was ended to the commit, attempts in vain included.
  /// - Throws: what the server said, or `FirnError.refused` where somebody has one of the databases locked. Then nothing was exchanged.
  func run() throws -> Duration {
    let statements = try statements()
    let ender = try Connection(settings, applicationName: "firn-restore")
    var last: (any Error)?
    var inVain: Duration = .zero
    for attempt in 1...Self.attempts {
      let start = ContinuousClock.now
      do {
        return try inVain + exchange(statements, ender)
      } catch PostgresError.statementFailed(let message, let state) where state == "55006" || message.contains("concurrently updated") {
        last = PostgresError.statementFailed(message: message, state: state)
        inVain += ContinuousClock.now - start
        Thread.sleep(forTimeInterval: 0.2 * Double(attempt))
      }
    }
    throw last ?? PostgresError.connectionLost(reason: "the exchange was not answered")
  }

  private func exchange(_ statements: [String], _ ender: Connection) throws -> Duration {
    let isReady = Monitor<Int32?>(nil)
    let outcome = Monitor<Result<Void, any Error>?>(nil)
    let thread = WorkerThread(name: "swap") { [settings] in
      let result = Result {
        let connection = try Connection(settings, applicationName: "firn-restore")
        // Renaming waits for sessions to end before it waits for another who changes the database: this has it wait for him first.
        let claims = try connection.claimStatements(for: [live, replacement])
        let process = try connection.processID()
        isReady.update { $0 = process }
        try connection.executeTogether([Self.boundedWait] + claims + statements)
      }
      outcome.update { $0 = result }
      isReady.update { $0 = $0 ?? 0 }
    }
    let swapping = isReady.wait(until: { $0 != nil }) { $0 ?? 0 }
    let start = ContinuousClock.now
    var failure: (any Error)?
    var holders: [String] = []
    while !outcome.wait(atMost: .milliseconds(15), until: { $0 != nil }) {
      guard failure == nil else { continue }
      do {
        // Who holds a lock from another database is not ended, and nobody loses a session while he is waited for.
        let blocking = try ender.sessions(blocking: swapping, exceptOf: [live, replacement])
        if blocking.isEmpty { try ender.endSessions(in: [live, replacement], for: swapping) } else { holders = blocking }
      } catch { failure = error }
    }
    let elapsed = ContinuousClock.now - start
    thread.join()
    do {
      try outcome.current?.get()
      return elapsed
    } catch PostgresError.statementFailed(_, "55P03") {
      throw FirnError.refused(reasons: [
        "\(live) could not be renamed within \(Self.lockWait) s, and is as it was: \(holders.isEmpty ? "somebody has it locked" : "it is locked by \(holders.joined(separator: ", "))")"
      ])
    } catch PostgresError.statementFailed(let message, let state) {
      throw PostgresError.statementFailed(message: message, state: state)
    } catch {
      // The answer was lost, or not waited for: the server knows what became of it.
      if try isDone() { return elapsed }
      throw error
    }
  }

  /// Whether the exchange took place. Waits a while for a server that starts anew.
  private func isDone() throws -> Bool {
    try ServerConnection.patiently {
      let server = try Connection(settings, applicationName: "firn-restore")
      return try server.databaseExists(record == nil ? live : keptName) && !server.databaseExists(replacement)
    }
  }
}
