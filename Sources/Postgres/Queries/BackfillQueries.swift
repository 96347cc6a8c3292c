internal import Platform

/// A table whose rows are changed in batches, by its primary key.
package struct BackfillTable: Sendable, Equatable {
  /// Quoted, with its schema.
  package let name: String
  /// Quoted, alone.
  package let bareName: String
  /// Quoted, with the type of each.
  package let key: [(column: String, type: String)]
  /// Rows by the server's own count.
  package let estimatedRows: Int64
  /// Its object identifier, and that of its database: another of the same name is another.
  package let identity: String
  /// Whether tables inherit from it, whose rows have keys of their own.
  package let hasHeirs: Bool

  package static func == (left: Self, right: Self) -> Bool {
    left.name == right.name && left.key.map(\.column) == right.key.map(\.column) && left.key.map(\.type) == right.key.map(\.type)
  }
}

/// One batch, in a transaction that is open until it is committed.
package struct BackfillBatch: Sendable {
  /// Rows that were looked at: none where the end is reached.
  package let seen: Int64
  /// Those that were changed: others may have been faster.
  package let rows: Int64
  /// The key of the last of them, a value a column.
  package let lastKey: [String]
  /// The number of the transaction, for asking what became of it.
  package let transaction: String
  /// The end of the server's log before it is committed.
  package let lsn: String
  /// Whether any row has another key now: it would be met again.
  package let movesKeys: Bool
  /// Whether any that was changed still meets the condition.
  package let stillMeets: Bool
}

package enum TransactionState: String, Sendable { case committed, aborted, inProgress = "in progress" }

extension Connection {
  /// Whether no other session of the server is at work. Sessions whose state this role may not see count as at work.
  package func isAlone() throws -> Bool {
    try value(
      """
      SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND state IS DISTINCT FROM 'idle'
        AND pid <> pg_catalog.pg_backend_pid())
      """) == "t"
  }

  /// - Parameter name: an SQL name, such as `documents` or `app."Odd name"`, found by the search path of the role
  ///   and database.
  /// - Returns: nil if there is no such table.
  package func backfillTable(_ name: String) throws -> BackfillTable? {
    let found: [[String?]]
    do {
      found = try withOwnSearchPath {
        try rows(
          """
          SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), greatest(c.reltuples, 0)::int8, c.oid,
            (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
            c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid),
            pg_catalog.quote_ident(c.relname)
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind IN ('r', 'p')
          """, [name])
      }
    } catch PostgresError.statementFailed(_, SQLState.syntaxError) { return nil }
    guard let row = found.first, let oid = row[2] else { return nil }
    let key = try rows(
      """
      SELECT pg_catalog.quote_ident(a.attname), pg_catalog.format_type(a.atttypid, a.atttypmod)
      FROM pg_catalog.pg_index i, pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place), pg_catalog.pg_attribute a
      WHERE i.indrelid = $1::oid AND i.indisprimary AND k.place <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.number
      ORDER BY k.place
      """, [oid])
    return BackfillTable(
      name: row[0] ?? "", bareName: row[5] ?? "", key: key.map { ($0[0] ?? "", $0[1] ?? "") }, estimatedRows: Int64(row[1] ?? "") ?? 0,
      identity: "\(row[3] ?? "").\(oid)", hasHeirs: row[4] == "t")
  }

  /// Rows that a condition picks.
  package func count(_ table: BackfillTable, where condition: String?) throws -> Int64 {
    try withOwnSearchPath { try value("SELECT count(*) FROM \(table.name)\(condition.map { " WHERE \($0)" } ?? "")").flatMap { Int64($0) } ?? 0 }
  }

  /// Changes the next rows by key, in a transaction that stays open.
  /// - Parameters:
  ///   - after: the key of the last row of the previous batch.
  ///   - lockTimeout: the longest wait for rows that other sessions have locked.
  /// - Throws: `PostgresError.statementFailed` with the state `55P03` after that time; the transaction is over
  ///   then.
  package func beginBatch(
    _ table: BackfillTable, set assignments: String, where condition: String?, after key: [String]?, size: Int, lockTimeout: Duration
  ) throws -> BackfillBatch {
    let columns = table.key.map(\.column).joined(separator: ", ")
    // Names of our own: those of the table mean the table in what the user wrote.
    let names = table.key.indices.map { "firn_key_\($0 + 1)" }
    let named = zip(table.key, names).map { "\($0.column) AS \($1)" }.joined(separator: ", ")
    func join(_ other: String) -> String {
      zip(table.key, names).map { "\(table.name).\($0.column) = \(other).\($1)" }.joined(separator: " AND ")
    }
    let filter = Self.filter(table, where: condition, after: key)
    let again = condition.map { " AND (\($0))" } ?? ""
    let last = names.map { ", (SELECT \($0)::text FROM firn_span ORDER BY \(names.map { "firn_span.\($0) DESC" }.joined(separator: ", ")) LIMIT 1)" }
    let parameters: [String?] = key ?? []
    do {
      try execute("BEGIN; SET LOCAL lock_timeout = \(lockTimeout.milliseconds); SET LOCAL search_path TO DEFAULT")
      // How far it goes is said by what was there when it began: a row that another moves meanwhile takes no others with it.
      // All rows of the batch are locked in the order of the key before any is changed: two that do so can't lock each other out.
      let changed = try rows(
        """
        WITH firn_span AS MATERIALIZED (SELECT \(named) FROM \(table.name)\(filter) ORDER BY \(columns) LIMIT \(size)),
          firn_batch AS MATERIALIZED (SELECT \(names.map { "firn_span.\($0)" }.joined(separator: ", ")) FROM firn_span JOIN \(table.name) ON \(join("firn_span"))\(again)
            ORDER BY \(columns) FOR NO KEY UPDATE OF \(table.bareName)),
          firn_changed AS (UPDATE \(table.name) SET \(assignments) FROM firn_batch WHERE \(join("firn_batch"))
            RETURNING \(join("firn_batch")) AS firn_keeps, \(condition.map { "(\($0))" } ?? "true") AS firn_meets)
        SELECT (SELECT count(*) FROM firn_span), (SELECT count(*) FROM firn_changed), (SELECT bool_and(firn_keeps) FROM firn_changed),
          (SELECT bool_or(firn_meets) FROM firn_changed), pg_catalog.pg_current_xact_id()::text, pg_catalog.pg_current_wal_lsn()\(last.joined())
        """, parameters)
      guard let row = changed.first, row.count == 6 + table.key.count else { throw PostgresError.connectionLost(reason: "no answer") }
      return BackfillBatch(
        seen: Int64(row[0] ?? "") ?? 0, rows: Int64(row[1] ?? "") ?? 0, lastKey: row.dropFirst(6).map { $0 ?? "" }, transaction: row[4] ?? "",
        lsn: row[5] ?? "",
        movesKeys: row[2] == "f", stillMeets: row[3] == "t")
    } catch {
      try? execute("ROLLBACK")
      throw error
    }
  }

  private static func filter(_ table: BackfillTable, where condition: String?, after key: [String]?) -> String {
    let columns = table.key.map(\.column).joined(separator: ", ")
    let start = key == nil ? nil : "(\(columns)) > (\(table.key.enumerated().map { "$\($0 + 1)::\($1.type)" }.joined(separator: ", ")))"
    let conditions = [start, condition.map { "(\($0))" }].compactMap(\.self)
    return conditions.isEmpty ? "" : " WHERE " + conditions.joined(separator: " AND ")
  }

  package func commitBatch() throws { try execute("COMMIT") }
  package func rollBackBatch() throws { try execute("ROLLBACK") }

  /// The outcome of a transaction; nil if it is too old to be known.
  package func state(ofTransaction number: String) throws -> TransactionState? {
    do {
      return try value("SELECT pg_catalog.pg_xact_status($1::xid8)", [number]).flatMap(TransactionState.init)
    } catch PostgresError.statementFailed(_, SQLState.invalidParameterValue) {
      // It belongs to another cluster, or to a restored copy that never got so far.
      return nil
    }
  }
}
