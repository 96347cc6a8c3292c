internal import Foundation

/// Obstacles to swapping a database, from the catalogs.
package struct SwapObstacles: Sendable {
  package var preparedTransactions: [String] = []
  package var replicationSlots: [String] = []
  package var subscriptions: [String] = []
  package var isTemplate = false
}

/// The sessions of one application in a database.
package struct ConnectedApplication: Sendable {
  package let name: String
  package let user: String
  package let sessions: Int
}

/// A database in the server's list.
package struct DatabaseEntry: Sendable {
  /// Stays the same whatever it is called.
  package let oid: UInt32
  package let name: String
  package let owner: String
  package let comment: String?
  /// Bytes on disk.
  package let size: Int64
  /// Whether it accepts connections: not if they were disallowed or dropping it was interrupted.
  package let isUsable: Bool
}

/// Swapping one database with another. Except for `liveRows`, the session is in a third database.
extension Connection {
  package func obstacles(toSwapping name: String) throws -> SwapObstacles {
    func names(_ sql: String) throws -> [String] { try rows(sql, [name]).compactMap { $0[0] } }
    var obstacles = SwapObstacles()
    obstacles.preparedTransactions = try names("SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = $1 ORDER BY 1")
    obstacles.replicationSlots = try names("SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE database = $1 ORDER BY 1")
    obstacles.subscriptions = try names(
      "SELECT subname FROM pg_catalog.pg_subscription WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = $1) ORDER BY 1")
    obstacles.isTemplate = try value("SELECT datistemplate FROM pg_catalog.pg_database WHERE datname = $1", [name]) == "t"
    return obstacles
  }

  /// Whether this role may rename the database and end all sessions in it.
  package func mayReplace(_ name: String) throws -> Bool {
    try value(
      """
      SELECT r.rolsuper OR (r.rolcreatedb AND pg_catalog.pg_has_role(d.datdba, 'USAGE')) FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
      WHERE r.rolname = current_user AND d.datname = $1
      """, [name]) == "t"
  }

  package func connectedApplications(of name: String) throws -> [ConnectedApplication] {
    try rows(
      """
      SELECT coalesce(nullif(application_name, ''), 'no name'), coalesce(usename, '?'), count(*) FROM pg_catalog.pg_stat_activity
      WHERE datname = $1 AND coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_catalog.pg_backend_pid()
      GROUP BY 1, 2 ORDER BY 3 DESC, 1
      """, [name]
    ).map { ConnectedApplication(name: $0[0] ?? "", user: $0[1] ?? "", sessions: Int($0[2] ?? "") ?? 0) }
  }

  /// Users of sessions in the database that this role may not end, with their number.
  package func unendableSessions(in name: String) throws -> [ConnectedApplication] {
    try rows(
      """
      SELECT '', coalesce(usename, '?'), count(*) FROM pg_catalog.pg_stat_activity a
      WHERE datname = $1 AND pid <> pg_catalog.pg_backend_pid() AND usesysid IS NOT NULL AND NOT (\(Self.mayEnd)) GROUP BY 2 ORDER BY 2
      """, [name]
    ).map { ConnectedApplication(name: $0[0] ?? "", user: $0[1] ?? "", sessions: Int($0[2] ?? "") ?? 0) }
  }

  /// Whether the current role may end session `a` (signalfuncs.c, pg_signal_backend).
  private static let mayEnd = """
    (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
      OR NOT coalesce((SELECT rolsuper FROM pg_catalog.pg_roles WHERE oid = a.usesysid), false)
        AND (pg_catalog.pg_has_role(a.usesysid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'))
    """

  /// Bytes on disk of a whole database; nil where this role may not know.
  package func diskSize(of name: String) throws -> Int64? {
    do { return try value("SELECT pg_catalog.pg_database_size($1)", [name]).flatMap { Int64($0) } } catch PostgresError.statementFailed {
      return nil
    }
  }

  /// The dumped tables of the current database with the server's own estimate of their rows, which is close and costs
  /// nothing; nil if there is none.
  package func estimatedRows() throws -> [QualifiedName: Int64?] {
    var counts: [QualifiedName: Int64?] = [:]
    for row in try rows(
      """
      SELECT n.nspname, c.relname, CASE WHEN s.n_live_tup > 0 THEN s.n_live_tup WHEN c.reltuples >= 0 THEN c.reltuples::int8 END
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_stat_user_tables s ON s.relid = c.oid
      WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
      """)
    {
      counts[QualifiedName(schema: row[0] ?? "", name: row[1] ?? "")] = .some(row[2].flatMap { Int64($0) })
    }
    return counts
  }

  /// Every database but templates, with its comment.
  package func databaseEntries() throws -> [DatabaseEntry] {
    try rows(
      """
      SELECT datname, pg_catalog.shobj_description(oid, 'pg_database'),
        CASE WHEN pg_catalog.has_database_privilege(oid, 'CONNECT') THEN pg_catalog.pg_database_size(oid) ELSE 0 END,
        pg_catalog.pg_get_userbyid(datdba), datallowconn AND datconnlimit <> -2, oid
      FROM pg_catalog.pg_database WHERE NOT datistemplate ORDER BY 1
      """
    ).map { row in
      DatabaseEntry(
        oid: UInt32(row[5] ?? "") ?? 0, name: row[0] ?? "", owner: row[3] ?? "", comment: row[1], size: Int64(row[2] ?? "") ?? 0,
        isUsable: row[4] == "t")
    }
  }

  /// Where the server's data lies, for a server of this machine; nil where this role may not know.
  package func dataFolder() throws -> String? {
    do { return try value("SHOW data_directory") } catch PostgresError.statementFailed { return nil }
  }

  /// The sessions outside of these databases that block a session's lock, in words.
  package func sessions(blocking backend: Int32, exceptOf databases: [String]) throws -> [String] {
    try rows(
      """
      SELECT a.pid, coalesce(a.usename, '?'), coalesce(nullif(a.application_name, ''), 'no name') FROM pg_catalog.pg_stat_activity a
      WHERE a.pid = ANY (pg_catalog.pg_blocking_pids($1)) AND a.datname IS NOT NULL
        AND NOT (\(databases.enumerated().map { "a.datname = $\($0.offset + 2)" }.joined(separator: " OR ")))
      """, ["\(backend)"] + databases
    ).map { "session \($0[0] ?? "?") of \($0[1] ?? "?") (\($0[2] ?? "?"))" }
  }

  /// Ends other sessions in databases, as far as this role may.
  /// - Parameter renaming: a session that renames these databases. If given, sessions are ended only while they block
  ///   it: all sessions of a database that it has locked, before that only those whose locks it waits for.
  package func endSessions(in databases: [String], for renaming: Int32? = nil) throws {
    for database in databases {
      _ = try rows(
        """
        SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a WHERE a.datname = $1
          AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type IS DISTINCT FROM 'walsender' AND a.usesysid IS NOT NULL
          AND (\(Self.mayEnd))
          AND ($2::int IS NULL OR a.pid = ANY (pg_catalog.pg_blocking_pids($2)) OR \(Self.isLocked("a.datid", by: "$2")))
        """, [database, renaming.map { "\($0)" }])
    }
  }

  /// Whether a session has locked a database as renaming it does.
  package func hasLocked(_ database: UInt32, by session: Int32) throws -> Bool {
    try value("SELECT \(Self.isLocked("$1::oid", by: "$2::int"))", ["\(database)", "\(session)"]) == "t"
  }

  private static func isLocked(_ database: String, by session: String) -> String {
    """
    EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = \(session) AND l.granted AND l.mode = 'AccessExclusiveLock'
      AND l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND l.objid = \(database))
    """
  }

  /// The process id of the server's process, also behind a pooler that invents one.
  package func processID() throws -> Int32 { try value("SELECT pg_catalog.pg_backend_pid()").flatMap { Int32($0) } ?? 0 }

  /// A statement that changes nothing in a database and waits for pending changes to it; nil if the name leads to
  /// no such database.
  package func claimStatement(_ name: String, oid: UInt32) throws -> String? {
    try value("SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = $1 AND oid = $2 AND datconnlimit >= -1", [name, "\(oid)"]).map {
      "ALTER DATABASE \(Self.identifier(name)) CONNECTION LIMIT \($0)"
    }
  }

  package static func renameStatement(_ name: String, to newName: String) -> String {
    "ALTER DATABASE \(identifier(name)) RENAME TO \(identifier(newName))"
  }

  package static func commentStatement(_ name: String, _ comment: String?) -> String {
    "COMMENT ON DATABASE \(identifier(name)) IS \(comment.map(literal) ?? "NULL")"
  }
}
