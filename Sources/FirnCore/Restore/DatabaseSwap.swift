internal import Foundation
internal import Platform
internal import Postgres

/// Exchanges a database for another in one transaction: whatever ends this process or the server, the name leads to the one
/// or to the other, whole.
///
/// The first rename takes the lock that a new session of the database needs, and then waits, five seconds at most, for the sessions
/// there are (dbcommands.c, RenameDatabase; procarray.c, CountOtherDBBackends). While it waits another connection ends these. So
/// nobody is shut out by a setting that a crash could leave behind: those who come meanwhile wait for the transaction.
struct DatabaseSwap {
  /// Of the server, in a database that is neither of these.
  let settings: ConnectionSettings
  /// The name that is to lead to another database.
  let live: String
  /// That database.
  let replacement: String
  /// What the old one is called then.
  let keptName: String
  let record: KeptDatabase.Record
  /// What the new one still needs, under the name `live`: settings, privileges, comment.
  let finishing: [String]

  private static let attempts = 6

  private func statements() throws -> [String] {
    [
      "SET LOCAL lock_timeout = '5s'", Connection.renameStatement(live, to: keptName),
      Connection.commentStatement(keptName, try KeptDatabase.comment(for: record)), Connection.renameStatement(replacement, to: live),
    ] + finishing
  }

  /// - Returns: how long sessions were ended and none could begin: from the first that was ended to the commit, attempts in vain included.
  /// - Throws: what the server said. Then nothing was exchanged.
  func run() throws -> Duration {
    let statements = try statements()
    let ender = try Connection(settings, applicationName: "firn-restore")
    var last: (any Error)?
    var inVain: Duration = .zero
    for attempt in 1...Self.attempts {
      let start = ContinuousClock.now
      do {
        return try inVain + exchange(statements, ender)
      } catch PostgresError.statementFailed(let message, let state) where state == "55006" || state == "55P03" {
        last = PostgresError.statementFailed(message: message, state: state)
        inVain += ContinuousClock.now - start
        Thread.sleep(forTimeInterval: 0.2 * Double(attempt))
      }
    }
    throw last ?? PostgresError.connectionLost(reason: "the exchange was not answered")
  }

  private func exchange(_ statements: [String], _ ender: Connection) throws -> Duration {
    let isReady = Monitor(false)
    let outcome = Monitor<Result<Void, any Error>?>(nil)
    let thread = WorkerThread(name: "swap") { [settings] in
      let result = Result {
        let connection = try Connection(settings, applicationName: "firn-restore")
        isReady.update { $0 = true }
        try connection.executeTogether(statements)
      }
      outcome.update { $0 = result }
      isReady.update { $0 = true }
    }
    isReady.wait(until: { $0 }) { _ in }
    let start = ContinuousClock.now
    var failure: (any Error)?
    while !outcome.wait(atMost: .milliseconds(15), until: { $0 != nil }) {
      do { if failure == nil { try ender.endSessions(in: [live, replacement]) } } catch { failure = error }
    }
    let elapsed = ContinuousClock.now - start
    thread.join()
    do {
      try outcome.current?.get()
      return elapsed
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
      return try server.databaseExists(keptName) && !server.databaseExists(replacement)
    }
  }
}
