internal import Foundation
internal import Platform

/// A session in the current database, from `pg_stat_activity`.
package struct SessionState: Sendable, Equatable {
  package let process: Int32
  package let user: String
  package let application: String
  package let state: String
  /// How long its transaction is open; nil outside of one.
  package let transaction: Duration?
  /// How long it has been in its state: running a statement, or idle.
  package let sinceChange: Duration
  /// The event it waits for, such as `Lock: relation`; nil if it does not wait.
  package let waitsFor: String?
  /// The processes whose locks it waits for.
  package let blockers: [Int32]
  /// The first line of its statement, which may hold data.
  package let statement: String
}

/// A table with what it takes and what of that is dead.
package struct TableSize: Sendable, Equatable {
  package let name: String
  /// Bytes with indexes and TOAST.
  package let bytes: Int64
  package let liveRows: Int64
  package let deadRows: Int64
}

/// A server that follows this one.
package struct ReplicaState: Sendable, Equatable {
  package let name: String
  package let state: String
  /// Bytes of log that it has not replayed yet; nil if unknown.
  package let bytesBehind: Int64?
  /// How long it takes until it has replayed what is written here.
  package let behind: Duration?
}

/// A slot that keeps log for someone who doesn't come for it.
package struct IdleSlot: Sendable, Equatable {
  package let name: String
  package let bytesKept: Int64?
}

/// The versions that Rails' own table of applied migrations holds.
package enum AppliedMigrations: Sendable, Equatable {
  case noTable
  case versions([String])

  package var versions: [String] { if case .versions(let versions) = self { versions } else { [] } }
}

/// How far a long statement is, by one of the `pg_stat_progress_*` views.
package struct StatementProgress: Sendable, Equatable {
  package let process: Int32
  package let command: String
  package let relation: String
  package let phase: String
  /// The progress within this phase; nil if nothing is counted.
  package let done: Int64?
  package let total: Int64?
}

/// About a database that is going to be migrated, or is.
extension Connection {
  /// Every other session of a client in this database.
  package func sessions() throws -> [SessionState] {
    try rows(
      """
      SELECT pid, coalesce(usename, '?'), coalesce(application_name, ''), coalesce(state, 'unknown'),
        extract(epoch FROM pg_catalog.clock_timestamp() - xact_start)::float8, greatest(0, extract(epoch FROM pg_catalog.clock_timestamp() - state_change))::float8,
        wait_event_type || ': ' || wait_event, pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(pid), ','),
        pg_catalog.split_part(pg_catalog.btrim(query, E' \\t\\n\\r'), E'\\n', 1)
      FROM pg_catalog.pg_stat_activity
      WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
        AND (backend_type = 'client backend' OR backend_type IS NULL AND usesysid IS NOT NULL)
      ORDER BY xact_start NULLS LAST, pid
      """
    ).map { row in
      SessionState(
        process: Int32(row[0] ?? "") ?? 0, user: row[1] ?? "", application: row[2] ?? "", state: row[3] ?? "",
        transaction: row[4].flatMap(Double.init).map { .seconds(max(0, $0)) }, sinceChange: .seconds(row[5].flatMap(Double.init) ?? 0),
        waitsFor: row[6], blockers: (row[7] ?? "").split(separator: ",").compactMap { Int32($0) }, statement: row[8] ?? "")
    }
  }

  /// Whether this role is shown what others' sessions and replicas do; else that is null.
  package func seesOthersSessions() throws -> Bool { try value("SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')") == "t" }

  /// Locks in this database that were asked for and not got, in words.
  package func awaitedLocks() throws -> [String] {
    try rows(
      """
      SELECT l.pid, l.mode, coalesce(l.relation::pg_catalog.regclass::text, l.locktype)
      FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
      WHERE NOT l.granted AND l.pid <> pg_catalog.pg_backend_pid()
        AND (l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
          OR l.database IS NULL AND a.datname = pg_catalog.current_database())
      ORDER BY 1
      """
    ).map { "process \($0[0] ?? "") waits for \($0[1] ?? "") on \($0[2] ?? "")" }
  }

  /// Names of transactions that were prepared in this database and neither committed nor rolled back.
  package func preparedTransactions() throws -> [String] {
    try rows("SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() ORDER BY 1").compactMap { $0[0] }
  }

  package func invalidIndexes() throws -> [String] {
    try rows(
      """
      SELECT i.indexrelid::pg_catalog.regclass::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relnamespace <> 'pg_toast'::pg_catalog.regnamespace ORDER BY 1
      """
    ).compactMap { $0[0] }
  }

  /// Constraints that were added NOT VALID and not validated since, as `public.orders: orders_user_fk`.
  package func unvalidatedConstraints() throws -> [String] {
    try rows(
      "SELECT conrelid::pg_catalog.regclass || ': ' || conname FROM pg_catalog.pg_constraint WHERE NOT convalidated AND conrelid <> 0 ORDER BY 1"
    ).compactMap { $0[0] }
  }

  /// The largest tables, largest first.
  ///
  /// If one of them is locked, its current size is unknown; then all sizes are those of the last VACUUM or ANALYZE.
  package func largestTables(_ count: Int) throws -> [TableSize] {
    do {
      return try withLockTimeout(.milliseconds(250)) { try largestTables(count, size: "pg_catalog.pg_total_relation_size(c.oid)") }
    } catch let error as PostgresError where error.isLockTimeout {
      return try largestTables(
        count,
        size: """
          (SELECT sum(p.relpages::int8) FROM pg_catalog.pg_class p WHERE p.oid IN (c.oid, c.reltoastrelid)
            OR p.oid IN (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid))::int8
            * pg_catalog.current_setting('block_size')::int8
          """)
    }
  }

  private func largestTables(_ count: Int, size: String) throws -> [TableSize] {
    try rows(
      """
      SELECT c.oid::pg_catalog.regclass::text, \(size), coalesce(s.n_live_tup, 0), coalesce(s.n_dead_tup, 0)
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_stat_user_tables s ON s.relid = c.oid
      WHERE c.relkind IN ('r', 'm') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      ORDER BY 2 DESC NULLS LAST, 1 LIMIT \(count)
      """
    ).map { TableSize(name: $0[0] ?? "", bytes: Int64($0[1] ?? "") ?? 0, liveRows: Int64($0[2] ?? "") ?? 0, deadRows: Int64($0[3] ?? "") ?? 0) }
  }

  /// Runs `body` with a limit for lock waits, such as those for a table that another session has locked.
  package func withLockTimeout<Result>(_ limit: Duration, _ body: () throws -> Result) throws -> Result {
    try execute("SET lock_timeout = \(limit.milliseconds)")
    defer { try? execute("SET lock_timeout = 0") }
    return try body()
  }

  /// Servers that follow this one, as far as this role may see them.
  package func replicas() throws -> [ReplicaState] {
    try rows(
      """
      SELECT coalesce(nullif(application_name, ''), 'no name'), coalesce(state, 'hidden'),
        CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), replay_lsn) END::int8,
        extract(epoch FROM replay_lag)::float8
      FROM pg_catalog.pg_stat_replication ORDER BY 1
      """
    ).map { row in
      ReplicaState(
        name: row[0] ?? "", state: row[1] ?? "", bytesBehind: row[2].flatMap { Int64($0) },
        behind: row[3].flatMap(Double.init).map { .seconds($0) })
    }
  }

  package func idleSlots() throws -> [IdleSlot] {
    try rows(
      """
      SELECT slot_name, CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
        ELSE pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn) END::int8
      FROM pg_catalog.pg_replication_slots WHERE NOT active AND NOT temporary ORDER BY 1
      """
    ).map { IdleSlot(name: $0[0] ?? "", bytesKept: $0[1].flatMap { Int64($0) }) }
  }

  /// A table of Rails' own where the application's sessions find it: by this role's and database's own search path.
  private func railsTable(_ name: String) throws -> String? {
    try withOwnSearchPath {
      try value(
        """
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = pg_catalog.to_regclass($1)
        """, [name])
    }
  }

  /// Names mean what they mean to the application's sessions.
  func withOwnSearchPath<Result>(_ body: () throws -> Result) throws -> Result {
    try execute("RESET search_path")
    defer { try? execute("SET search_path = ''") }
    return try body()
  }

  /// The environment in `ar_internal_metadata`; nil if there is no such table or entry.
  /// - Throws: a `PostgresError` that is a lock timeout if another session has locked the table.
  package func railsEnvironment() throws -> String? {
    guard let table = try railsTable("ar_internal_metadata") else { return nil }
    return try withLockTimeout(Self.patience) { try value("SELECT value FROM \(table) WHERE key = 'environment'") }
  }

  /// The longest wait for small tables that another session has locked.
  private static let patience: Duration = .seconds(2)

  /// The versions in `schema_migrations`, in order.
  /// - Throws: as `railsEnvironment`.
  package func appliedMigrations() throws -> AppliedMigrations {
    guard let table = try railsTable("schema_migrations") else { return .noTable }
    return try withLockTimeout(Self.patience) {
      .versions(try rows("SELECT version::text FROM \(table) ORDER BY version::text COLLATE \"C\"").compactMap { $0[0] })
    }
  }

  /// Long statements that report their progress.
  package func statementProgress() throws -> [StatementProgress] {
    let relation = "CASE WHEN datname = pg_catalog.current_database() THEN relid::pg_catalog.regclass::text END"
    var views = [
      "SELECT pid, command, \(relation), phase, nullif(greatest(blocks_done, tuples_done), 0), nullif(CASE WHEN blocks_done >= tuples_done THEN blocks_total ELSE tuples_total END, 0) FROM pg_catalog.pg_stat_progress_create_index",
      "SELECT pid, command, \(relation), phase, nullif(heap_blks_scanned, 0), nullif(heap_blks_total, 0) FROM pg_catalog.pg_stat_progress_cluster",
      "SELECT pid, 'VACUUM', \(relation), phase, nullif(heap_blks_scanned, 0), nullif(heap_blks_total, 0) FROM pg_catalog.pg_stat_progress_vacuum",
      "SELECT pid, 'ANALYZE', \(relation), phase, nullif(sample_blks_scanned, 0), nullif(sample_blks_total, 0) FROM pg_catalog.pg_stat_progress_analyze",
    ]
    if serverVersion >= 140000 {
      views.append(
        "SELECT pid, command, \(relation), type, nullif(bytes_processed, 0), nullif(bytes_total, 0) FROM pg_catalog.pg_stat_progress_copy")
    }
    return try views.flatMap { try rows($0) }.compactMap { row in
      guard let relation = row[2] else { return nil }
      return StatementProgress(
        process: Int32(row[0] ?? "") ?? 0, command: row[1] ?? "", relation: relation, phase: row[3] ?? "", done: row[4].flatMap { Int64($0) },
        total: row[5].flatMap { Int64($0) })
    }
  }

  /// Ends one session, if this role may.
  /// - Returns: whether the server was asked to; false if the session does not exist any more.
  package func endSession(_ process: Int32) throws -> Bool { try value("SELECT pg_catalog.pg_terminate_backend($1)", ["\(process)"]) == "t" }

  /// Ends the sessions of one application in this database, and waits as long as this for their end.
  /// - Returns: how many there were, and how many are left.
  @discardableResult package func endSessions(ofApplication name: String, patience: Duration) throws -> (found: Int, left: Int) {
    let first = try tellToEnd(ofApplication: name)
    let deadline = ContinuousClock.now + patience
    var left = first
    while left > 0, ContinuousClock.now < deadline {
      Thread.sleep(forTimeInterval: 0.1)
      left = try tellToEnd(ofApplication: name)
    }
    return (first, left)
  }

  private func tellToEnd(ofApplication name: String) throws -> Int {
    try rows(
      """
      SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
      WHERE datname = pg_catalog.current_database() AND application_name = $1 AND pid <> pg_catalog.pg_backend_pid()
      """, [name]
    ).count
  }

  /// Takes an advisory lock, which ends with this session and concerns only sessions that ask for the same key.
  package func tryAdvisoryLock(_ key: Int64) throws -> Bool { try value("SELECT pg_catalog.pg_try_advisory_lock($1)", ["\(key)"]) == "t" }

  /// The process that holds such a lock, and what it calls itself.
  package func holderOfAdvisoryLock(_ key: Int64) throws -> String? {
    // How a key of 64 bits is shown (pg_locks, objsubid 1).
    let (high, low) = (UInt32(truncatingIfNeeded: key >> 32), UInt32(truncatingIfNeeded: key))
    return try rows(
      """
      SELECT l.pid, a.application_name FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
      WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.classid = $1::oid AND l.objid = $2::oid
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
      """, ["\(high)", "\(low)"]
    ).first.map { "\($0[1] ?? "a session") (server process \($0[0] ?? "?"))" }
  }
}
