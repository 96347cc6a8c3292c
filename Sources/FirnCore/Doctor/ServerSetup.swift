internal import Platform
package import Postgres

/// The roles that backups and restores of a server need, with the least rights for its databases: what is missing of them.
package struct ServerSetup {
  package struct Step: Sendable {
    /// The purpose, for users.
    package let purpose: String
    /// The database to run them in; nil if any will do.
    package let database: String?
    package let statements: [String]

    fileprivate init?(purpose: String, database: String? = nil, statements: [String]) {
      if statements.isEmpty { return nil }
      (self.purpose, self.database, self.statements) = (purpose, database, statements)
    }
  }

  package let steps: [Step]
  /// Why the restoring role must be a superuser on this server; empty if it need not.
  package let reasonsForSuperuser: [String]

  /// - Parameters:
  ///   - server: connected as a superuser.
  ///   - usesFileTimes: whether snapshots of a database find changed tables by the times of files.
  ///   - connect: connects to a database.
  /// - Throws: `FirnError.refused` if the role that is connected is no superuser.
  package init(
    on server: Connection, backupRole: String, restoreRole: String, usesFileTimes: (String) -> Bool = { _ in false },
    connect: (String) throws -> Connection
  ) throws {
    guard try server.isSuperuser() else {
      throw FirnError.refused(reasons: ["\(server.user) is not a superuser of \(server.target), and only a superuser can give these rights"])
    }
    var reasons: [String] = []
    var owners: Set<String> = []
    // Each server has its own database postgres, which is not replaced as a rule.
    let names = try ServerDatabases(on: server, excluding: []).names.filter { $0 != "postgres" }
    if names.isEmpty { reasons.append("the server has no databases yet, so it is unknown what their restores need") }
    var grants: [Step] = []
    for name in names {
      let database = try connect(name)
      if usesFileTimes(name), let step = try Self.fileTimes(database, backupRole) { grants.append(step) }
      let needs = try database.needsOfRestores()
      reasons += needs.privileged.map { "\(name): \($0)" }
      owners.formUnion(needs.owners)
    }
    reasonsForSuperuser = reasons
    steps =
      try [
        Self.backup(server, backupRole, usesFileTimes: names.contains(where: usesFileTimes)),
        Self.restore(server, restoreRole, for: backupRole, isSuperuser: !reasons.isEmpty, owners: owners),
      ].compactMap(\.self) + grants
  }

  /// A right that is given in each database. Before PostgreSQL 15 only superusers can use it, as a checkpoint is needed too.
  private static func fileTimes(_ database: Connection, _ role: String) throws -> Step? {
    guard try database.serverMajor >= 15 && !database.maySeeFileTimes(role: role) else { return nil }
    return Step(
      purpose: "incremental: file-times of \(database.database)", database: database.database,
      statements: ["GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO \(Connection.identifier(role))"])
  }

  private static func backup(_ server: Connection, _ role: String, usesFileTimes: Bool) throws -> Step? {
    let name = Connection.identifier(role)
    let rights = try server.rights(ofRole: role)
    var statements: [String] = []
    if rights == nil {
      statements.append("CREATE ROLE \(name) LOGIN")
    } else if rights?.canLogIn == false {
      statements.append("ALTER ROLE \(name) LOGIN")
    }
    if rights?.isSuperuser != true {
      if server.serverMajor < 14 {
        statements.append("ALTER ROLE \(name) SUPERUSER")
      } else if try rights == nil || !server.isMember(role, of: "pg_read_all_data") {
        statements.append("GRANT pg_read_all_data TO \(name)")
      }
      // Incremental snapshots make a checkpoint, and see when WAL summaries were written.
      let others = server.serverMajor >= 17 ? ["pg_checkpoint", "pg_monitor"] : usesFileTimes && server.serverMajor >= 15 ? ["pg_checkpoint"] : []
      for other in others where try rights == nil || !server.isMember(role, of: other) {
        statements.append("GRANT \(other) TO \(name)")
      }
      if server.serverMajor >= 14, rights?.bypassesRowSecurity != true { statements.append("ALTER ROLE \(name) BYPASSRLS") }
    }
    let words =
      server.serverMajor < 14
      ? "snapshots; before PostgreSQL 14 only a superuser can read everything" : "snapshots: may read everything"
    return Step(purpose: "role \(role) for \(words)", statements: statements)
  }

  private static func restore(_ server: Connection, _ role: String, for member: String, isSuperuser: Bool, owners: Set<String>) throws -> Step? {
    let name = Connection.identifier(role)
    let rights = try server.rights(ofRole: role)
    var statements: [String] = []
    if rights == nil { statements.append("CREATE ROLE \(name) NOLOGIN") }
    if isSuperuser {
      if rights?.isSuperuser != true { statements.append("ALTER ROLE \(name) SUPERUSER") }
    } else if rights?.isSuperuser != true {
      if rights?.createsDatabases != true { statements.append("ALTER ROLE \(name) CREATEDB") }
      // A replaced database's sessions are ended.
      if try rights == nil || !server.isMember(role, of: "pg_signal_backend") { statements.append("GRANT pg_signal_backend TO \(name)") }
      for owner in owners.sorted() where try owner != role && owner != member && (rights == nil || !server.isMember(role, of: owner)) {
        statements.append("GRANT \(Connection.identifier(owner)) TO \(name)")
      }
    }
    if try server.rights(ofRole: member) == nil || rights == nil || !server.isMember(member, of: role) {
      // Its rights should count only in sessions that take the role. Before PostgreSQL 16 this holds for attributes alone, such as SUPERUSER.
      statements.append("GRANT \(name) TO \(Connection.identifier(member))\(server.serverMajor >= 16 ? " WITH INHERIT FALSE" : "")")
    }
    let words =
      isSuperuser || server.serverMajor >= 16
      ? "used by firn-restore alone, through role \(member)"
      : "before PostgreSQL 16, \(member) has the rights of the owners in every session, as a member of a member"
    return Step(purpose: "role \(role) for restores: \(words)", statements: statements)
  }

  /// Runs the statements for the whole server in one transaction, then those for each database.
  package func apply(on server: Connection, connect: (String) throws -> Connection) throws {
    try server.executeTogether(steps.filter { $0.database == nil }.flatMap(\.statements))
    for step in steps { if let database = step.database { try connect(database).executeTogether(step.statements) } }
  }
}
