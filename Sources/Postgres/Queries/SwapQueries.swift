internal import Foundation

/// What stands in the way of exchanging a database for another, as the catalogues tell it.
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

/// A database of the server, as a list of them tells of it.
package struct DatabaseEntry: Sendable {
  package let name: String
  package let comment: String?
  /// Bytes on disk.
  package let size: Int64
}

/// About exchanging one database for another. All but `liveRows` are asked in another database than these.
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
      SELECT r.rolsuper OR (r.rolcreatedb AND pg_catalog.pg_has_role(d.datdba, 'MEMBER')) FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
      WHERE r.rolname = current_user AND d.datname = $1
      """, [name]) == "t"
  }

  package func connectedApplications(of name: String) throws -> [ConnectedApplication] {
    try rows(
      """
      SELECT coalesce(nullif(application_name, ''), 'no name'), coalesce(usename, '?'), count(*) FROM pg_catalog.pg_stat_activity
      WHERE datname = $1 AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid() GROUP BY 1, 2 ORDER BY 3 DESC, 1
      """, [name]
    ).map { ConnectedApplication(name: $0[0] ?? "", user: $0[1] ?? "", sessions: Int($0[2] ?? "") ?? 0) }
  }

  /// Bytes on disk of a whole database; nil where this role may not know.
  package func diskSize(of name: String) throws -> Int64? {
    do { return try value("SELECT pg_catalog.pg_database_size($1)", [name]).flatMap { Int64($0) } } catch PostgresError.statementFailed {
      return nil
    }
  }

  /// Rows of the database we are connected to by the server's own count of tuples, which is near the truth and costs nothing.
  package func estimatedRows() throws -> [QualifiedName: Int64] {
    var counts: [QualifiedName: Int64] = [:]
    for row in try rows("SELECT schemaname, relname, n_live_tup FROM pg_catalog.pg_stat_user_tables") {
      counts[QualifiedName(schema: row[0] ?? "", name: row[1] ?? "")] = Int64(row[2] ?? "") ?? 0
    }
    return counts
  }

  /// Every database but templates, with its comment.
  package func databaseEntries() throws -> [DatabaseEntry] {
    try rows(
      """
      SELECT datname, pg_catalog.shobj_description(oid, 'pg_database'),
        CASE WHEN pg_catalog.has_database_privilege(oid, 'CONNECT') THEN pg_catalog.pg_database_size(oid) ELSE 0 END
      FROM pg_catalog.pg_database WHERE NOT datistemplate ORDER BY 1
      """
    ).map { DatabaseEntry(name: $0[0] ?? "", comment: $0[1], size: Int64($0[2] ?? "") ?? 0) }
  }

  /// Where the server's data lies, for a server of this machine; nil where this role may not know.
  package func dataFolder() throws -> String? {
    do { return try value("SHOW data_directory") } catch PostgresError.statementFailed { return nil }
  }

  /// Ends the sessions of others in databases. Those of superusers stay where this role is none.
  package func endSessions(in databases: [String]) throws {
    for database in databases {
      _ = try rows(
        """
        SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a WHERE a.datname = $1
          AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type <> 'walsender'
          AND (NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = a.usename)
            OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))
        """, [database])
    }
  }

  package static func renameStatement(_ name: String, to newName: String) -> String {
    "ALTER DATABASE \(identifier(name)) RENAME TO \(identifier(newName))"
  }

  package static func commentStatement(_ name: String, _ comment: String?) -> String {
    "COMMENT ON DATABASE \(identifier(name)) IS \(comment.map(literal) ?? "NULL")"
  }
}
