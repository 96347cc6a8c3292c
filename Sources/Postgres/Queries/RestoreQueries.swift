internal import Foundation
internal import Platform

/// An object of a database, as PostgreSQL names it (`pg_identify_object`).
package struct UserObject: Sendable, Hashable {
  /// Its catalog and its number there.
  package let id: String
  /// Such as `table` or `event trigger`.
  package let kind: String
  /// As it follows its kind in `DROP`.
  package let identity: String
}

/// About the server a database is restored to, and the new database itself.
extension Connection {
  /// The first value of a statement's first row.
  package func answer(to sql: String) throws -> String? { try value(sql) }

  package func hasSessions(in database: String) throws -> Bool {
    try value("SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE datname = $1)", [database]) == "t"
  }

  package func databaseExists(_ name: String) throws -> Bool {
    try value("SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", [name]) != nil
  }

  package func databaseOID(_ name: String) throws -> UInt32? {
    try value("SELECT oid FROM pg_catalog.pg_database WHERE datname = $1", [name]).flatMap { UInt32($0) }
  }

  /// Whether dropping a database was interrupted: PostgreSQL accepts no connections to it.
  package func isHalfDropped(_ name: String) throws -> Bool {
    try value("SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1 AND datconnlimit = -2", [name]) != nil
  }

  package func roleNames() throws -> Set<String> {
    Set(try rows("SELECT rolname FROM pg_catalog.pg_roles").compactMap { $0[0] })
  }

  /// Roles to which this role may give what it owns.
  package func assumableRoles() throws -> Set<String> {
    let privilege = serverMajor >= 16 ? "SET" : "MEMBER"
    return Set(try rows("SELECT rolname FROM pg_catalog.pg_roles WHERE pg_catalog.pg_has_role(oid, $1)", [privilege]).compactMap { $0[0] })
  }

  /// Extensions that this role may make in a database of its own.
  package func creatableExtensions() throws -> Set<String> {
    Set(
      try rows(
        """
        SELECT DISTINCT name FROM pg_catalog.pg_available_extension_versions WHERE NOT superuser OR trusted
          OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
        """
      ).compactMap { $0[0] })
  }

  package func tablespaceNames() throws -> Set<String> {
    Set(try rows("SELECT spcname FROM pg_catalog.pg_tablespace").compactMap { $0[0] })
  }

  package func availableExtensions() throws -> [String: [String]] {
    var versions: [String: [String]] = [:]
    for row in try rows("SELECT name, version FROM pg_catalog.pg_available_extension_versions") {
      versions[row[0] ?? "", default: []].append(row[1] ?? "")
    }
    return versions
  }

  package func mayCreateDatabases() throws -> Bool {
    try value("SELECT rolsuper OR rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user") == "t"
  }

  /// Users' objects in this database, except members and schemas of extensions.
  package func userObjects() throws -> [UserObject] {
    let catalogs = [
      "pg_namespace", "pg_extension", "pg_class", "pg_proc", "pg_type", "pg_event_trigger", "pg_publication", "pg_foreign_data_wrapper",
      "pg_foreign_server", "pg_language", "pg_cast", "pg_collation", "pg_conversion", "pg_operator", "pg_opclass", "pg_opfamily", "pg_ts_config",
      "pg_ts_dict", "pg_ts_parser", "pg_ts_template", "pg_am", "pg_statistic_ext",
    ]
    let all =
      catalogs.map { "SELECT 'pg_catalog.\($0)'::pg_catalog.regclass AS classid, oid FROM pg_catalog.\($0)" }
      + ["SELECT 'pg_catalog.pg_largeobject'::pg_catalog.regclass, oid FROM pg_catalog.pg_largeobject_metadata"]
    return try rows(
      """
      SELECT o.classid::int8 || ' ' || o.oid, i.type, i.identity FROM (\(all.joined(separator: " UNION ALL "))) o
        CROSS JOIN LATERAL pg_catalog.pg_identify_object(o.classid, o.oid, 0) i
      WHERE o.oid >= 16384 AND i.identity IS NOT NULL AND i.identity !~ '^pg_(temp|toast)'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension e
          WHERE o.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND e.extnamespace = o.oid)
        -- Types of tables, and of arrays.
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype IN ('i', 'a'))
      ORDER BY 1
      """
    ).map { UserObject(id: $0[0] ?? "", kind: $0[1] ?? "", identity: $0[2] ?? "") }
  }

  /// Drops objects. Objects that can't be dropped stay.
  package func drop(_ objects: [UserObject]) throws {
    // In this order, dependent objects are dropped with the ones they depend on.
    let first = ["event trigger", "publication", "schema", "extension", "foreign-data wrapper", "language"]
    func rank(_ object: UserObject) -> Int { first.firstIndex(of: object.kind) ?? first.count }
    for object in objects.sorted(by: { rank($0) < rank($1) }) {
      if object.kind == "large object" {
        try? execute("SELECT pg_catalog.lo_unlink(\(object.identity))")
      } else {
        let kind =
          ["foreign-data wrapper": "FOREIGN DATA WRAPPER", "statistics object": "STATISTICS", "composite type": "TYPE"][object.kind] ?? object.kind
        try? execute("DROP \(kind) IF EXISTS \(object.identity) CASCADE")
      }
    }
  }

  /// Sets sequences to their last values.
  package func setSequences(_ values: [QualifiedName: Int64]) throws {
    for (name, value) in values.sorted(by: { ($0.key.schema, $0.key.name) < ($1.key.schema, $1.key.name) }) {
      _ = try rows(
        """
        SELECT pg_catalog.setval(c.oid, $3::int8) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'S'
        """, [name.schema, name.name, "\(value)"])
    }
  }

  package func largeObjects() throws -> Set<UInt32> {
    Set(try rows("SELECT oid FROM pg_catalog.pg_largeobject_metadata").compactMap { UInt32($0[0] ?? "") })
  }

  /// Whether sessions of a database came to wait for each other since it was made. Words of errors are in the server's language.
  package func hadDeadlock(in name: String) throws -> Bool {
    // Sessions report their statistics when they end, which may be a moment after their programs do.
    for attempt in 0..<20 {
      if attempt > 0 { Thread.sleep(forTimeInterval: 0.1) }
      let count = try value("SELECT deadlocks FROM pg_catalog.pg_stat_database WHERE datname = \(Self.literal(name))")
      if let count, count != "0" { return true }
    }
    return false
  }

  /// - Parameter limit: how long it may take. It waits for every session of the server to take note, and one may stand still.
  package func dropDatabase(_ name: String, within limit: Duration? = nil) throws {
    if let limit { try execute("SET statement_timeout = \(Int(limit.inSeconds * 1000))") }
    let result = Result { try execute("DROP DATABASE IF EXISTS \(Self.identifier(name)) WITH (FORCE)") }
    // As sessions of ours have it.
    if limit != nil { try? execute("SET statement_timeout = 0") }
    try result.get()
  }

  /// The number of rows of one table, without its children. Nil if there is no such table.
  /// - Parameter condition: a WHERE clause that follows the table's name.
  package func rowCount(schema: String, table: String, condition: String = "") throws -> Int64? {
    do {
      // A condition may have an order.
      return try value("SELECT count(*) FROM (SELECT FROM ONLY \(Self.identifier(schema)).\(Self.identifier(table)) \(condition)) t").flatMap {
        Int64($0)
      }
    } catch PostgresError.statementFailed(_, state: SQLState.undefinedTable) {
      return nil
    }
  }

  package enum TableState: Sendable { case missing, filled, empty }

  /// Whether a table is there, and has rows of its own.
  /// - Parameter condition: of the rows that count, as it follows the table's name.
  package func state(schema: String, name: String, condition: String = "") throws -> TableState {
    guard
      try value(
        """
        SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')
        """, [schema, name]) != nil
    else { return .missing }
    return try value("SELECT EXISTS (SELECT FROM ONLY \(Self.identifier(schema)).\(Self.identifier(name)) \(condition))") == "t" ? .filled : .empty
  }

  /// Keeps others from writing into a table until the transaction ends.
  package func lockForFilling(schema: String, name: String) throws {
    try execute("LOCK TABLE ONLY \(Self.identifier(schema)).\(Self.identifier(name)) IN SHARE ROW EXCLUSIVE MODE")
  }

  /// The condition that `pg_class c` in `pg_namespace n` is one of these.
  private static func isOne(of tables: [QualifiedName]) -> String {
    let names = tables.map { "ROW(\(literal($0.schema))::name, \(literal($0.name))::name)" }
    return "ROW(n.nspname, c.relname) IN (\(names.joined(separator: ", ")))"
  }

  /// Has ordinary triggers and foreign keys left alone until the transaction ends. Superusers may, and whom they let (from version 15 on,
  /// or by a provider's own rules).
  /// - Returns: whether it is so.
  package func becomeReplica() throws -> Bool {
    try execute("SAVEPOINT replica")
    do { try execute("SET LOCAL session_replication_role = replica") } catch PostgresError.statementFailed(_, state: SQLState.insufficientPrivilege) {
      try execute("ROLLBACK TO SAVEPOINT replica")
      return false
    }
    return true
  }

  /// Triggers that run for rows that come into these tables, foreign keys' aside.
  package func triggersOfInserts(into tables: [QualifiedName], isReplica: Bool) throws -> [(name: String, table: String)] {
    guard !tables.isEmpty else { return [] }
    // Bit 2 of tgtype is INSERT (pg_trigger.h).
    return try rows(
      """
      SELECT t.tgname, t.tgrelid::pg_catalog.regclass::text FROM pg_catalog.pg_trigger t
      WHERE NOT t.tgisinternal AND t.tgtype & 4 <> 0 AND t.tgenabled IN (\(isReplica ? "'A', 'R'" : "'A', 'O'"))
        AND t.tgrelid IN (SELECT relid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
          LATERAL (SELECT c.oid UNION SELECT a.relid FROM pg_catalog.pg_partition_ancestors(c.oid) a) up (relid) WHERE \(Self.isOne(of: tables)))
      ORDER BY 2, 1
      """
    ).map { ($0[0] ?? "", $0[1] ?? "") }
  }

  /// Which of these tables have foreign keys to which others of them.
  package func references(among tables: [QualifiedName]) throws -> [(from: QualifiedName, to: QualifiedName)] {
    guard !tables.isEmpty else { return [] }
    return try rows(
      """
      SELECT n.nspname, c.relname, tn.nspname, t.relname FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class t ON t.oid = k.confrelid
        JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
      WHERE k.contype = 'f' AND k.conrelid <> k.confrelid AND \(Self.isOne(of: tables))
      """
    ).map { (QualifiedName(schema: $0[0] ?? "", name: $0[1] ?? ""), QualifiedName(schema: $0[2] ?? "", name: $0[3] ?? "")) }
      .filter { tables.contains($0.1) }
  }

  /// Publications of all tables, if this database has subscribers.
  package func subscribedPublicationsOfAllTables() throws -> [String] {
    try rows(
      """
      SELECT pubname FROM pg_catalog.pg_publication WHERE puballtables AND pubinsert AND EXISTS (SELECT FROM pg_catalog.pg_replication_slots
        WHERE slot_type = 'logical' AND database = pg_catalog.current_database()) ORDER BY 1
      """
    ).compactMap { $0[0] }
  }

  /// Foreign keys of or to these tables whose rows point to nothing, in words.
  package func danglingReferences(of tables: [QualifiedName]) throws -> [String] {
    guard !tables.isEmpty else { return [] }
    let keys = try rows(
      """
      SELECT k.conname, k.conrelid::pg_catalog.regclass::text, k.confrelid::pg_catalog.regclass::text,
        (SELECT pg_catalog.string_agg(pg_catalog.format('f.%I = p.%I', a.attname, b.attname), ' AND ')
          FROM unnest(k.conkey, k.confkey) u(x, y) JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.x
            JOIN pg_catalog.pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.y),
        (SELECT pg_catalog.string_agg(pg_catalog.format('f.%I IS NOT NULL', a.attname), ' AND ')
          FROM pg_catalog.unnest(k.conkey) x JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x)
      FROM pg_catalog.pg_constraint k
      WHERE k.contype = 'f' AND k.convalidated AND EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid IN (k.conrelid, k.confrelid) AND \(Self.isOne(of: tables)))
      """)
    return try keys.compactMap { key in
      guard let name = key[0], let from = key[1], let to = key[2], let joined = key[3], let given = key[4] else { return nil }
      let lost = try value("SELECT count(*) FROM \(from) f WHERE \(given) AND NOT EXISTS (SELECT FROM \(to) p WHERE \(joined))") ?? "0"
      return lost == "0" ? nil : "\(lost) rows of \(from) would point to rows of \(to) that are not there (\(name)): restore both"
    }
  }

  /// Sequences that belong to columns of these tables.
  package func ownedSequences(of tables: [QualifiedName]) throws -> Set<QualifiedName> {
    guard !tables.isEmpty else { return [] }
    return Set(
      try rows(
        """
        SELECT sn.nspname, s.relname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
          JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace JOIN pg_catalog.pg_class c ON c.oid = d.refobjid
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
          AND d.deptype IN ('a', 'i') AND \(Self.isOne(of: tables))
        """
      ).map { QualifiedName(schema: $0[0] ?? "", name: $0[1] ?? "") })
  }

  /// Advances a sequence to a value, if it exists and has a lower one.
  package func advanceSequence(schema: String, name: String, to value: Int64) throws {
    let sequence = "\(Self.identifier(schema)).\(Self.identifier(name))"
    _ = try rows(
      """
      SELECT pg_catalog.setval(s.seqrelid, $2::int8) FROM pg_catalog.pg_sequence s
      WHERE s.seqrelid = pg_catalog.to_regclass($1) AND (pg_catalog.pg_sequence_last_value(s.seqrelid) IS NULL
        OR (s.seqincrement > 0) = (pg_catalog.pg_sequence_last_value(s.seqrelid) < $2::int8))
      """, [sequence, "\(value)"])
  }

  /// Whether a session waits for a lock that we hold. (`pg_stat_activity` would show one state throughout a transaction.)
  package func someoneWaitsForUs() throws -> Bool {
    try value(
      """
      SELECT EXISTS (SELECT FROM pg_catalog.pg_locks
        WHERE NOT granted AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(pid)))
      """) == "t"
  }

  package func commit() throws { try execute("COMMIT") }

  /// Removes dead rows of the load, marks pages as all visible, and gathers statistics.
  package func vacuumAnalyze(_ tables: [QualifiedName]) throws {
    let list = tables.map { "\(Self.identifier($0.schema)).\(Self.identifier($0.name))" }.joined(separator: ", ")
    try execute("VACUUM (ANALYZE) \(list)")
  }

  /// Materialized views and partitioned tables: no dump has rows of them, yet they have statistics.
  package func derivedRelations() throws -> [QualifiedName] {
    try rows(
      """
      SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE (c.relkind = 'm' AND c.relispopulated OR c.relkind = 'p' AND NOT c.relispartition)
        AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' ORDER BY 1, 2
      """
    ).map { QualifiedName(schema: $0[0] ?? "", name: $0[1] ?? "") }
  }

  /// The settings among these names that only a superuser may set.
  package func settingsOfSuperusers(among names: [String]) throws -> Set<String> {
    guard !names.isEmpty, try !isSuperuser() else { return [] }
    let list = names.map { Self.literal($0.lowercased()) }.joined(separator: ", ")
    // For an application's own settings, such as app.tenant, the server doesn't know who may set them (guc.c,
    // validate_option_array_item).
    return Set(
      try rows(
        """
        SELECT n FROM pg_catalog.unnest(ARRAY[\(list)]) n LEFT JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) = n
        WHERE s.context = 'superuser' OR s.name IS NULL AND pg_catalog.strpos(n, '.') > 0
        """
      ).compactMap { $0[0] })
  }

  package func hasICU() throws -> Bool { try value("SELECT EXISTS (SELECT FROM pg_catalog.pg_collation WHERE collprovider = 'i')") == "t" }

  /// The databases whose names begin with a prefix, and their comments.
  package func databases(namedWith prefix: String) throws -> [(name: String, comment: String?)] {
    try rows(
      """
      SELECT datname, pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database
      WHERE pg_catalog.starts_with(datname, $1) ORDER BY 1
      """, [prefix]
    ).map { ($0[0] ?? "", $0[1]) }
  }

  /// Runs statements as one: all of them or none. Each goes in a message of its own, which can hold no second one.
  package func executeTogether(_ statements: [String]) throws {
    guard !statements.isEmpty else { return }
    do {
      try execute("BEGIN")
      for statement in statements { _ = try rows(statement) }
      try commit()
    } catch {
      try? execute("ROLLBACK")
      throw error
    }
  }
}
