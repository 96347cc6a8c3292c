internal import Foundation
internal import Platform
package import Postgres

/// The transaction whose snapshot pg_dump reads. It proves that no table was rewritten under it.
package final class ExportTransaction {
  package let connection: Connection
  /// The tables it locked, by their object ids.
  package let tables: [UInt32: DumpedTable]
  /// The name for `pg_dump --snapshot`.
  package let snapshot: String

  /// Why a begun transaction can't be used, and another may.
  private enum Unusable: Error { case changed(String) }

  private static let attempts = 5
  /// How long one lock is waited for while others are held. Whoever waits for one of these meanwhile, and is waited for, looks for a
  /// deadlock after a second, as a rule, and is ended by it: rather we step back, and come again.
  private static let longestStand: Duration = .milliseconds(300)
  private static let pause: Duration = .milliseconds(200)

  private init(connection: Connection, tables: [UInt32: DumpedTable], snapshot: String) {
    self.connection = connection
    self.tables = tables
    self.snapshot = snapshot
  }

  /// Begins, trying again while tables come and go.
  /// - Parameters:
  ///   - lockWait: how long another session's lock is waited for.
  ///   - locked: called when the tables are locked, before the snapshot is taken; once in each attempt.
  /// - Throws: `PostgresError.lockTimeout`, `FirnError.tablesKeptChanging`, `.noRights`, `.lockTableTooSmall`.
  package static func begin(
    on connection: Connection, lockWait: Duration, progress: WorkProgress, locked: () throws -> Void = {}
  ) throws -> ExportTransaction {
    try checkCapacity(of: connection)
    var last = ""
    var attempt = 1
    let deadline = ContinuousClock.now + lockWait
    while attempt <= attempts {
      do {
        return try tryToBegin(on: connection, lockWait: min(longestStand, max(.zero, deadline - .now)), longestWait: lockWait, locked)
      } catch Unusable.changed(let what) {
        try connection.rollback()
        progress.note("attempt \(attempt): \(what)")
        last = what
        try Interruption.sleep(until: .now + .milliseconds(200 * attempt))
        attempt += 1
      } catch PostgresError.statementFailed(let message, SQLState.lockNotAvailable) {
        try connection.rollback()
        guard ContinuousClock.now > deadline else {
          try Interruption.sleep(until: .now + pause)
          continue
        }
        throw PostgresError.lockTimeout(message: message, holders: try connection.sessionsInTheWay())
      } catch PostgresError.statementFailed(let message, SQLState.insufficientPrivilege) {
        try connection.rollback()
        let barred = try connection.unreadableTables()
        guard !barred.isEmpty else { throw PostgresError.statementFailed(message: message, state: SQLState.insufficientPrivilege) }
        throw FirnError.noRights(role: connection.user, tables: barred)
      }
    }
    throw FirnError.tablesKeptChanging(attempts: attempts, example: last)
  }

  /// How many jobs of pg_dump the server's lock table has room for, besides our own locks. The first session of pg_dump locks every table
  /// once more, and if there are others, each table is locked by one of them too. The table keeps two holders for each of its locks (lock.c,
  /// InitLocks).
  package func dumpJobs(wanted: Int, note: (String) -> Void) throws -> Int {
    let capacity = try connection.lockTableCapacity()
    guard wanted > 1, 3 * tables.count > capacity / 5 * 9 else { return wanted }
    note(
      "dumped with one job instead of \(wanted): the database has \(tables.count) tables, and the server's lock table has room for about \(capacity) locks (max_locks_per_transaction)"
    )
    return 1
  }

  private static func checkCapacity(of connection: Connection) throws {
    let relations = try connection.relationCount()
    let capacity = try connection.lockTableCapacity()
    // pg_dump locks each table once, its workers again.
    if relations > capacity { throw FirnError.lockTableTooSmall(relations: relations, capacity: capacity) }
  }

  /// - Parameters:
  ///   - lockWait: for the lock of a table.
  ///   - longestWait: for what else may be locked, now and while the transaction lasts.
  private static func tryToBegin(on connection: Connection, lockWait: Duration, longestWait: Duration, _ locked: () throws -> Void) throws
    -> ExportTransaction
  {
    let listed = try connection.tables()
    try connection.beginExport(lockWait: lockWait)
    do {
      try connection.lockForReading(listed.sorted { $0.oid < $1.oid })
    } catch PostgresError.statementFailed(let message, SQLState.undefinedTable) {
      throw Unusable.changed("a table went away: \(message)")
    } catch PostgresError.statementFailed(let message, SQLState.invalidSchemaName) {
      throw Unusable.changed("a schema went away: \(message)")
    } catch PostgresError.statementFailed(let message, SQLState.deadlockDetected) {
      throw Unusable.changed(message)
    }
    try locked()
    try connection.waitForLocks(max(longestWait, .seconds(30)))
    let snapshot = try connection.exportSnapshot()
    let seen = try connection.tables()
    if let different = seen.symmetricDifference(listed).first { throw Unusable.changed("\(different.identifier) came or went") }
    if let rewritten = try connection.rewrittenRelations().first { throw Unusable.changed("\(rewritten) was rewritten") }
    let tables = Dictionary(listed.map { ($0.oid, $0) }, uniquingKeysWith: { first, _ in first })
    return ExportTransaction(connection: connection, tables: tables, snapshot: snapshot)
  }

  /// A change waits for our locks, and the dump, to which none of them belongs, waits behind the change: neither would end.
  package struct Deadlock: Error {
    package let holder: String
  }

  /// - Throws: `Deadlock`.
  package func check(dump applicationName: String) throws {
    guard try connection.isStuckBehindUs(applicationName) else { return }
    throw Deadlock(holder: try connection.sessionsInTheWay().first ?? "a session")
  }

  /// The tables that pg_dump is dumping at this moment, for the display.
  package func tables(dumpedBy applicationName: String) throws -> [String] {
    try connection.runningStatements(of: applicationName).compactMap { statement in
      guard statement.hasPrefix("COPY ") else { return nil }
      // As COPY public.orders (id, item) TO stdout;
      let target = statement.dropFirst(5)
      return target.firstRange(of: " (").map { String(target[..<$0.lowerBound]) }
        ?? target.firstRange(of: " TO ").map { String(target[..<$0.lowerBound]) }
    }
  }

  /// The first relation rewritten while the dump ran; the dump counts only if this is nil.
  package func rewritten() throws -> String? { try connection.rewrittenRelations().first }

  package func end() throws { try connection.rollback() }
}
