/// A table as COPY names it, as pg_dump writes it.
package struct CopyTarget: Sendable {
  /// Such as `public.orders`.
  package let table: String
  /// The columns that hold values, such as `id, item`.
  package let columns: String

  /// The archive's statement for its rows (pg_dump.c, dumpTableData).
  package var statement: String { "COPY \(table) (\(columns)) FROM stdin;\n" }

  /// The statement that reads the rows in some of its blocks, in their order: a TID range scan.
  /// - Parameter end: the first block that is not read; nil if there is none.
  package func reading(from first: Int64, to end: Int64?) -> String {
    "COPY (SELECT \(columns) FROM ONLY \(table) WHERE ctid >= '(\(first),0)'" + (end.map { " AND ctid < '(\($0),0)'" } ?? "") + ") TO STDOUT"
  }
}

/// Sessions that read very large tables in ranges of blocks.
extension Connection {
  /// Whether the server reads ranges of blocks without reading the whole table.
  package var readsRanges: Bool { serverVersion >= 140000 }

  /// Bytes of a block of a table.
  package func blockSize() throws -> Int64 { try value("SELECT pg_catalog.current_setting('block_size')").flatMap { Int64($0) } ?? 8192 }

  /// The names that COPY needs, by the tables' object ids. Tables without columns are left out.
  package func copyTargets(_ tables: [UInt32]) throws -> [UInt32: CopyTarget] {
    let found = try rows(
      """
      SELECT c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
        pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum)
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
      WHERE c.oid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' GROUP BY 1, 2
      """, ["{\(tables.map { "\($0)" }.joined(separator: ","))}"])
    return Dictionary(
      found.compactMap { row in row[0].flatMap { UInt32($0) }.map { ($0, CopyTarget(table: row[1] ?? "", columns: row[2] ?? "")) } },
      uniquingKeysWith: { first, _ in first })
  }

  /// Begins a transaction that reads the rows of an exported snapshot as pg_dump does (pg_dump.c, setup_connection), and always in the order
  /// of the blocks.
  /// - Parameters:
  ///   - tables: as SQL names them; they are locked.
  ///   - lockWait: how long a lock on an index may be waited for.
  ///   - disabled: settings to be off.
  /// - Throws: `PostgresError.statementFailed` with state 55P03 if someone waits for a stronger lock: waiting behind it would never end.
  package func beginReading(snapshot: String, tables: [String], lockWait: Duration, disabled: [String]) throws {
    try execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try execute("SET TRANSACTION SNAPSHOT \(Self.literal(snapshot))")
    let off =
      ["synchronize_seqscans", "row_security", "enable_seqscan", "enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan", "jit"] + disabled
    let zero =
      ["statement_timeout", "idle_in_transaction_session_timeout", "max_parallel_workers_per_gather"]
      + (serverVersion >= 170000 ? ["transaction_timeout"] : [])
    let settings =
      ValueText.settings + [("extra_float_digits", "3"), ("search_path", "")] + off.map { ($0, "off") } + zero.map { ($0, "0") }
    let calls = (settings + [("enable_tidscan", "on"), ("lock_timeout", "\(Self.limit(lockWait))")]).map {
      "pg_catalog.set_config(\(Self.literal($0.0)), \(Self.literal($0.1)), false)"
    }
    try execute("SELECT \(calls.joined(separator: ", "))")
    try execute("LOCK TABLE \(tables.map { "ONLY \($0)" }.joined(separator: ", ")) IN ACCESS SHARE MODE NOWAIT")
  }

  /// Runs a body and gives back the locks that it took: planning a query locks all indexes of its table. A session that rebuilds one
  /// would wait for them, and all writers of the table with it.
  package func releasingLocks(_ body: () throws -> Void) throws {
    try execute("SAVEPOINT rows")
    try body()
    try execute("ROLLBACK TO SAVEPOINT rows; RELEASE SAVEPOINT rows")
  }
}
