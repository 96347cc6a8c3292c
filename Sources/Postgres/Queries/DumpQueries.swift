internal import Foundation
internal import Platform

/// A table whose rows a dump holds.
package struct DumpedTable: Hashable, Sendable {
  package let oid: UInt32
  package let schema: String
  package let name: String
  /// Whether it has rows of its own: a partitioned table has none.
  package let hasRows: Bool
  /// The extension it belongs to: dumped only if the extension says so.
  package let ofExtension: String?
  /// The partitioned table its rows are loaded through: a restore may put them in another partition.
  package let loadedThrough: QualifiedName?

  package var qualifiedName: QualifiedName { QualifiedName(schema: schema, name: name) }
  package var identifier: String { "\(Connection.identifier(schema)).\(Connection.identifier(name))" }
}

/// Objects that are in the database and not in its dump.
package struct LeftOut: Sendable {
  package var invalidIndexes: [String] = []
  package var foreignTables: [String] = []
  package var extensionTables: [String] = []
  package var unloggedTables: [String] = []
  /// User mappings of servers and roles whose options this role can't see.
  package var hiddenMappings: [String] = []
  /// Extension tables that this role may not read.
  package var hiddenTables: [String] = []
  /// Made by users where only the system's are looked for.
  package var catalogObjects: [String] = []
  package var securityLabels: [String] = []
}

extension Connection {
  /// Ordinary and partitioned tables of users, in the state this transaction sees.
  ///
  /// Partitions by the hash of an enum are loaded through their root, as an enum's hash differs from database to database
  /// (pg_dump.c, forcePartitionRootLoad).
  package func tables() throws -> Set<DumpedTable> {
    let found = try rows(
      """
      SELECT c.oid, n.nspname, c.relname, c.relkind, (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'), rn.nspname, r.relname
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_class r ON c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid)
          AND EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = a.relid
            JOIN pg_catalog.pg_opclass o ON o.oid = ANY (p.partclass) JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
            WHERE m.amname = 'hash' AND o.opcname = 'enum_ops' AND o.opcnamespace = 'pg_catalog'::pg_catalog.regnamespace)
        LEFT JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
      WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND (n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        OR EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig)))
      """)
    return Set(
      found.map { row in
        DumpedTable(
          oid: UInt32(row[0] ?? "") ?? 0, schema: row[1] ?? "", name: row[2] ?? "", hasRows: row[3] == "r", ofExtension: row[4],
          loadedThrough: row[6].map { .init(schema: row[5] ?? "", name: $0) })
      })
  }

  /// Tables that a pattern names as pg_dump's options take it, with the partitions of those that have some.
  package func tables(matching pattern: String) throws -> [(name: QualifiedName, isPartition: Bool)] {
    let parts = DumpPattern(pattern)
    // As pg_dump does, names without a schema are found by the role's own search_path (pg_dump.c, expand_table_name_patterns).
    let place = parts.schema == nil ? "pg_catalog.pg_table_is_visible(c.oid)" : "n.nspname ~ $2"
    try execute("SET LOCAL search_path TO DEFAULT")
    defer { try? execute("SET LOCAL search_path = ''") }
    let found = try rows(
      """
      WITH named AS (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'm', 'f', 'v', 'S') AND c.relname OPERATOR(pg_catalog.~) $1 AND \(place))
      SELECT n.nspname, c.relname, pg_catalog.bool_and(f.is_partition) FROM (SELECT oid, false AS is_partition FROM named
        UNION ALL SELECT t.relid, true FROM named, LATERAL pg_catalog.pg_partition_tree(named.oid) t WHERE t.relid <> named.oid) f
        JOIN pg_catalog.pg_class c ON c.oid = f.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace GROUP BY 1, 2 ORDER BY 1, 2
      """, [parts.name] + (parts.schema.map { [$0] } ?? []))
    return found.map { (QualifiedName(schema: $0[0] ?? "", name: $0[1] ?? ""), $0[2] == "t") }
  }

  /// Tables, sequences, schemas and settings of an SQL_ASCII database whose names or values are not UTF-8, as
  /// escaped text.
  package func namesThatAreNoText() throws -> [String] {
    try rows(
      """
      SELECT kind, pg_catalog.encode(pg_catalog.convert_to(name, 'SQL_ASCII'), 'hex') FROM (
        SELECT 'relation' AS kind, n.nspname::text || '.' || c.relname::text AS name FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'S', 'm', 'v', 'f')
        UNION ALL SELECT 'schema', nspname::text FROM pg_catalog.pg_namespace
        UNION ALL SELECT 'setting', c FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
          WHERE s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) o ORDER BY 1, 2
      """
    ).compactMap { row in
      let digits = Array((row[1] ?? "").utf8)
      let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap { UInt8(String(decoding: digits[$0...($0 + 1)], as: UTF8.self), radix: 16) }
      guard String(validating: bytes, as: UTF8.self) == nil else { return nil }
      let text = bytes.map { $0 < 0x80 ? String(UnicodeScalar($0)) : "\\x" + String($0, radix: 16, uppercase: true) }.joined()
      return "\(row[0] ?? "") \(text)"
    }
  }

  /// Relations of users, and large objects: what a dump locks or reads.
  package func relationCount() throws -> Int {
    try value(
      "SELECT count(*) FROM pg_catalog.pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p')"
    ).flatMap { Int($0) } ?? 0
  }

  /// Begins the transaction whose snapshot the dump reads. Nothing is looked at before the locks are held: a snapshot taken
  /// while a lock is waited for sees tables as empty that a transaction before it rewrote.
  package func beginExport(lockWait: Duration) throws {
    try execute(
      """
      BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = \(Self.limit(lockWait));
      SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0
      """)
    if serverVersion >= 170000 { try execute("SET LOCAL transaction_timeout = 0") }
  }

  /// As the server has time limits, in ms: 0 would be none.
  static func limit(_ duration: Duration) -> Int64 { max(1, duration.milliseconds) }

  /// Sets how long later statements wait for locks, including those on catalogs that are being rewritten.
  package func waitForLocks(_ duration: Duration) throws { try execute("SET LOCAL lock_timeout = \(Self.limit(duration))") }

  /// Locks tables against changes of their definition until the transaction ends.
  /// - Throws: `PostgresError.statementFailed` with state 55P03 if the wait was too long, 42P01 if one does not
  ///   exist any more.
  package func lockForReading(_ tables: [DumpedTable]) throws {
    for start in stride(from: 0, to: tables.count, by: 500) {
      let list = tables[start..<min(start + 500, tables.count)].map { "ONLY \($0.identifier)" }.joined(separator: ", ")
      try execute("LOCK TABLE \(list) IN ACCESS SHARE MODE")
    }
  }

  package func exportSnapshot() throws -> String {
    guard let name = try value("SELECT pg_catalog.pg_export_snapshot()") else { throw PostgresError.connectionLost(reason: "no snapshot") }
    return name
  }

  /// The write-ahead log's place; nil where this role or server doesn't tell.
  package func logPosition() throws -> String? {
    try value(
      """
      SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
        ELSE pg_catalog.pg_current_wal_lsn() END::text
      """)
  }

  /// Tables rewritten since this transaction's snapshot: they may look empty. Materialized views are not included,
  /// since a dump has no rows of them and they may be refreshed while it runs.
  package func rewrittenRelations() throws -> [String] {
    try rows(
      """
      SELECT oid::pg_catalog.regclass::text FROM pg_catalog.pg_class
      WHERE relkind = 'r' AND oid >= 16384 AND relpersistence <> 't'
        AND relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(oid)
      """
    ).compactMap { $0[0] }
  }

  package func rollback() throws { try execute("ROLLBACK") }

  /// Sessions that hold or await locks which keep a reader out of a table of this database, in words.
  package func sessionsInTheWay() throws -> [String] {
    try rows(
      """
      SELECT DISTINCT a.pid::text, a.usename, a.application_name, a.state, pg_catalog.left(a.query, 80), c.relname,
        pg_catalog.date_trunc('second', pg_catalog.now() - a.xact_start)::text, l.granted
      FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        JOIN pg_catalog.pg_class c ON c.oid = l.relation
      WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND a.pid <> pg_catalog.pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        AND c.relkind IN ('r', 'p', 'm')
      ORDER BY l.granted DESC LIMIT 5
      """
    ).map { row in
      let session = "process \(row[0] ?? "?") (\(row[1] ?? "?")\(row[2].map { $0.isEmpty ? "" : ", \($0)" } ?? ""), \(row[3] ?? "?"))"
      let query = (row[4] ?? "").split(whereSeparator: \.isNewline).joined(separator: " ")
      return "\(session) \(row[7] == "t" ? "holds" : "waits for") a lock on \(row[5] ?? "?") for \(row[6] ?? "some time"): \(query)"
    }
  }

  /// Whether a session of that name waits for one that waits for us.
  package func isStuckBehindUs(_ applicationName: String) throws -> Bool {
    // Within a transaction the first look at pg_stat_activity would be repeated for ever.
    try execute("SELECT pg_catalog.pg_stat_clear_snapshot()")
    return try value(
      """
      SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a, pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) b
        WHERE a.application_name = $1 AND a.wait_event_type = 'Lock' AND b <> pg_catalog.pg_backend_pid()
          AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(b)))
      """, [applicationName]) == "t"
  }

  /// The statements that sessions of an application are running, as far as `pg_stat_activity` shows them (1,024 bytes by default).
  package func runningStatements(of applicationName: String) throws -> [String] {
    try rows(
      "SELECT query FROM pg_catalog.pg_stat_activity WHERE application_name = $1 AND state = 'active' ORDER BY backend_start, pid", [applicationName]
    ).compactMap { $0[0] }
  }

  package func leftOut() throws -> LeftOut {
    func names(_ sql: String) throws -> [String] { try rows(sql).compactMap { $0[0] } }
    var left = LeftOut()
    left.invalidIndexes = try names(
      """
      SELECT i.indexrelid::pg_catalog.regclass::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      WHERE NOT i.indisvalid AND c.relkind = 'i' AND i.indexrelid >= 16384
      """)
    left.foreignTables = try names("SELECT ftrelid::pg_catalog.regclass::text FROM pg_catalog.pg_foreign_table")
    if try isInRecovery() {
      left.unloggedTables = try rows(
        """
        SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence = 'u'
        """
      ).map { "\(Self.identifier($0[0] ?? "")).\(Self.identifier($0[1] ?? ""))" }
    }
    let members = try rows(
      """
      SELECT c.oid::pg_catalog.regclass::text, pg_catalog.age(e.xmin) FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
        JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
      WHERE c.relkind = 'r' AND NOT c.oid = ANY (coalesce(e.extconfig, '{}')) AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
      """)
    if try !isSuperuser() {
      left.hiddenMappings = try names(
        "SELECT srvname || ' for ' || usename FROM pg_catalog.pg_user_mappings WHERE umoptions IS NULL ORDER BY 1")
      left.hiddenTables = try names(
        """
        SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
          JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
        WHERE c.relkind = 'r' AND NOT c.oid = ANY (coalesce(e.extconfig, '{}')) AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
        """)
    }
    left.catalogObjects = try names(
      """
      SELECT o.name FROM (
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass AS kind, oid, oid::pg_catalog.regprocedure::text AS name FROM pg_catalog.pg_proc
        WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace
        UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, oid::pg_catalog.regclass::text FROM pg_catalog.pg_class
        WHERE relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        UNION ALL SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oid::pg_catalog.regoperator::text FROM pg_catalog.pg_operator
        WHERE oprnamespace = 'pg_catalog'::pg_catalog.regnamespace) o
      WHERE o.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.kind AND d.objid = o.oid AND d.deptype IN ('e', 'i'))
      ORDER BY 1
      """)
    left.securityLabels = try names(
      """
      SELECT provider FROM pg_catalog.pg_shseclabel WHERE classoid = 'pg_catalog.pg_database'::pg_catalog.regclass
        AND objoid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
      """)
    // Rows as old as the extension are made by its script, here and wherever it is created.
    left.extensionTables = try members.filter {
      try value("SELECT EXISTS (SELECT FROM ONLY \($0[0] ?? "") t WHERE pg_catalog.age(t.xmin) < \($0[1] ?? "0"))") == "t"
    }
    .compactMap { $0[0] }
    return left
  }

  /// Settings under which damaged pages pass for empty ones, or damaged rows for sound ones, and which are on.
  package func settingsThatHideDamage() throws -> [String] {
    try ["zero_damaged_pages", "ignore_checksum_failure"].filter { try value("SELECT pg_catalog.current_setting($1)", [$0]) == "on" }
  }

  package func largeObjectCount() throws -> Int64 {
    try value("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata").flatMap { Int64($0) } ?? 0
  }

  /// Bytes on disk of the database with its catalogs and indexes. It waits for no lock.
  package func sizeOnDisk() throws -> Int64 {
    try value("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())").flatMap { Int64($0) } ?? 0
  }

  /// Bytes on disk of the database, the measure of progress.
  package func databaseSize() throws -> Int64 {
    try value(
      // Other sessions' temporary relations are skipped, as they may be locked.
      """
      SELECT coalesce(sum(pg_catalog.pg_table_size(c.oid)), 0)::int8 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      """
    ).flatMap { Int64($0) } ?? 0
  }
}

/// Things that pg_dump would fail at as this role.
package struct DumpBarrier: Sendable {
  package enum Kind: String, Sendable {
    case table, sequence
    /// Rows of this table are hidden from the role.
    case rowSecurity
    case largeObject
  }

  package let kind: Kind
  package let count: Int
  /// The first of them.
  package let example: String
}

extension Connection {
  /// All that pg_dump would fail at as this role for want of rights.
  package func dumpBarriers() throws -> [DumpBarrier] {
    let owned = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
    // A partitioned table has no rows of its own.
    let hidden = try rows(
      """
      SELECT kind, pg_catalog.count(*), pg_catalog.min(name) FROM (
      SELECT 'rowSecurity' AS kind, c.oid::pg_catalog.regclass::text AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND \(owned) AND c.relrowsecurity AND pg_catalog.row_security_active(c.oid)
      UNION ALL
      SELECT 'sequence', c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND \(owned)
        AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT'))
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
      UNION ALL
      SELECT 'largeObject', m.oid::text FROM pg_catalog.pg_largeobject_metadata m
      WHERE NOT pg_catalog.current_setting('lo_compat_privileges')::bool AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
        AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a
          WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
      ) found GROUP BY kind ORDER BY kind DESC
      """)
    let tables = try unreadableTables()
    let barred = tables.first.map { [DumpBarrier(kind: .table, count: tables.count, example: $0)] } ?? []
    return barred
      + hidden.compactMap { row in
        guard let kind = row[0].flatMap(DumpBarrier.Kind.init), let count = row[1].flatMap(Int.init), let name = row[2] else { return nil }
        return DumpBarrier(kind: kind, count: count, example: name)
      }
  }

  /// Tables of users that this role may not read.
  package func unreadableTables() throws -> [String] {
    try rows(
      """
      SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))
      ORDER BY 1
      """
    ).compactMap { $0[0] }
  }
}
