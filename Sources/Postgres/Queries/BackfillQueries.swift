internal import Platform

/// A table whose rows are changed in batches, by its primary key.
package struct BackfillTable: Sendable, Equatable {
  /// Quoted.
  package let name: String
  /// Quoted, with the type of each.
  package let key: [(column: String, type: String)]
  /// Rows by the server's own count.
  package let estimatedRows: Int64

  package static func == (left: Self, right: Self) -> Bool {
    left.name == right.name && left.key.map(\.column) == right.key.map(\.column) && left.key.map(\.type) == right.key.map(\.type)
  }
}

/// One batch, in a transaction that is open until it is committed.
package struct BackfillBatch: Sendable {
  /// Rows that were looked at: none where the end is reached.
  package let rows: Int64
  /// The key of the last of them, a value a column.
  package let lastKey: [String]
  /// The number of the transaction, for asking what became of it.
  package let transaction: String
  /// Whether any row has another key now: it would be met again.
  package let movesKeys: Bool
}

package enum TransactionState: String, Sendable { case committed, aborted, inProgress = "in progress" }

extension Connection {
  /// - Returns: nil where there is no such table.
  /// - Parameter name: as SQL has it, such as `documents` or `app."Odd name"`, found by the search path of the role and database.
  package func backfillTable(_ name: String) throws -> BackfillTable? {
    let found: [[String?]]
    do {
      found = try withOwnSearchPath {
        try rows(
          """
          SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), greatest(c.reltuples, 0)::int8, c.oid
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind IN ('r', 'p')
          """, [name])
      }
    } catch PostgresError.statementFailed(_, "42601") { return nil }
    guard let row = found.first, let oid = row[2] else { return nil }
    let key = try rows(
      """
      SELECT pg_catalog.quote_ident(a.attname), pg_catalog.format_type(a.atttypid, a.atttypmod)
      FROM pg_catalog.pg_index i, pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place), pg_catalog.pg_attribute a
      WHERE i.indrelid = $1::oid AND i.indisprimary AND k.place <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.number
      ORDER BY k.place
      """, [oid])
    return BackfillTable(name: row[0] ?? "", key: key.map { ($0[0] ?? "", $0[1] ?? "") }, estimatedRows: Int64(row[1] ?? "") ?? 0)
  }

  /// Rows that a condition picks.
  package func count(_ table: BackfillTable, where condition: String?) throws -> Int64 {
    try withOwnSearchPath { try value("SELECT count(*) FROM \(table.name)\(condition.map { " WHERE \($0)" } ?? "")").flatMap { Int64($0) } ?? 0 }
  }

  /// Changes the next rows by key, in a transaction that stays open.
  /// - Parameters:
  ///   - after: the key of the last row of the batch before.
  ///   - lockTimeout: how long to wait for rows that others hold.
  /// - Throws: `PostgresError.statementFailed` with the state `55P03` where it waited in vain; the transaction is over then.
  package func beginBatch(
    _ table: BackfillTable, set assignments: String, where condition: String?, after key: [String]?, size: Int, lockTimeout: Duration
  ) throws -> BackfillBatch {
    let columns = table.key.map(\.column).joined(separator: ", ")
    let filter = Self.filter(table, where: condition, after: key)
    let join = table.key.map { "firn_target.\($0.column) = firn_batch.\($0.column)" }.joined(separator: " AND ")
    let parameters: [String?] = key ?? []
    do {
      try execute("BEGIN; SET LOCAL lock_timeout = \(lockTimeout.milliseconds); SET LOCAL search_path TO DEFAULT")
      // All rows of the batch are locked in the order of the key before any is changed: two that do so can't lock each other out.
      let changed = try rows(
        """
        WITH firn_batch AS MATERIALIZED (SELECT \(columns) FROM \(table.name)\(filter) ORDER BY \(columns) LIMIT \(size) FOR NO KEY UPDATE),
          firn_changed AS (UPDATE \(table.name) firn_target SET \(assignments) FROM firn_batch WHERE \(join) RETURNING \(join) AS keeps)
        SELECT (SELECT count(*) FROM firn_batch), (SELECT bool_and(keeps) FROM firn_changed),
          pg_catalog.pg_current_xact_id()::text\(table.key.map { ", (SELECT \($0.column)::text FROM firn_batch ORDER BY \(descending(table)) LIMIT 1)" }.joined())
        """, parameters)
      guard let row = changed.first, row.count == 3 + table.key.count else { throw PostgresError.connectionLost(reason: "no answer") }
      return BackfillBatch(
        rows: Int64(row[0] ?? "") ?? 0, lastKey: row.dropFirst(3).map { $0 ?? "" }, transaction: row[2] ?? "", movesKeys: row[1] == "f")
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

  /// Whether any row is left: a batch may be empty because others changed just its rows.
  package func hasRows(_ table: BackfillTable, where condition: String?, after key: [String]?) throws -> Bool {
    try withOwnSearchPath {
      try value("SELECT EXISTS (SELECT FROM \(table.name)\(Self.filter(table, where: condition, after: key)))", key ?? []) == "t"
    }
  }

  /// Qualified: a bare name would mean the column that is selected, which is text.
  private func descending(_ table: BackfillTable) -> String { table.key.map { "firn_batch.\($0.column) DESC" }.joined(separator: ", ") }

  package func commitBatch() throws { try execute("COMMIT") }
  package func rollBackBatch() throws { try execute("ROLLBACK") }

  /// What became of a transaction; nil where that is too long ago to tell.
  package func state(ofTransaction number: String) throws -> TransactionState? {
    do {
      return try value("SELECT pg_catalog.pg_xact_status($1::xid8)", [number]).flatMap(TransactionState.init)
    } catch PostgresError.statementFailed(_, "22023") {
      // Of another cluster, or of a restored copy that never came so far.
      return nil
    }
  }
}
