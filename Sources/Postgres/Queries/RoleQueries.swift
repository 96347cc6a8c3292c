/// The attributes of a role.
package struct RoleRights: Sendable {
  package let isSuperuser: Bool
  package let createsDatabases: Bool
  package let createsRoles: Bool
  package let canLogIn: Bool
  package let bypassesRowSecurity: Bool
}

extension Connection {
  /// Nil if there is no such role.
  package func rights(ofRole role: String) throws -> RoleRights? {
    try rows(
      "SELECT rolsuper, rolcreatedb, rolcreaterole, rolcanlogin, rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = \(Self.literal(role))"
    ).first.map { row in
      let values = row.map { $0 == "t" }
      return RoleRights(
        isSuperuser: values[0], createsDatabases: values[1], createsRoles: values[2], canLogIn: values[3], bypassesRowSecurity: values[4])
    }
  }

  /// The role whose rights count in this session.
  package func currentRole() throws -> String { try value("SELECT current_user") ?? user }

  /// Whether a role is a member of another, directly or not. Both must exist.
  package func isMember(_ role: String, of other: String) throws -> Bool {
    try value("SELECT pg_catalog.pg_has_role(\(Self.literal(role)), \(Self.literal(other)), 'MEMBER')") == "t"
  }

  /// The owners of this database's objects, and the objects that only a superuser can create: a restore needs rights for both.
  package func needsOfRestores() throws -> (owners: Set<String>, privileged: [String]) {
    // Extensions create their members.
    func own(_ catalog: String) -> String {
      "NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.\(catalog)'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')"
    }
    let owners = Set(
      try rows(
        """
        SELECT DISTINCT pg_catalog.pg_get_userbyid(o) FROM (
          SELECT datdba o FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
          UNION SELECT relowner FROM pg_catalog.pg_class c WHERE oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND \(own("pg_class"))
          UNION SELECT proowner FROM pg_catalog.pg_proc c WHERE oid >= 16384 AND \(own("pg_proc"))
          UNION SELECT nspowner FROM pg_catalog.pg_namespace c WHERE oid >= 16384 AND nspname !~ '^pg_' AND \(own("pg_namespace"))
          UNION SELECT typowner FROM pg_catalog.pg_type c WHERE oid >= 16384 AND typtype IN ('d', 'e', 'r') AND \(own("pg_type"))) s
        """
      ).compactMap { $0[0] })
    let trusted = "COALESCE(NOT v.superuser OR v.trusted, false)"
    var privileged = try rows(
      """
      SELECT e.extname FROM pg_catalog.pg_extension e
      LEFT JOIN pg_catalog.pg_available_extension_versions v ON v.name = e.extname AND v.version = e.extversion
      WHERE e.extname <> 'plpgsql' AND NOT \(trusted) ORDER BY 1
      """
    ).compactMap { $0[0].map { "extension \($0)" } }
    privileged += try rows("SELECT evtname FROM pg_catalog.pg_event_trigger ORDER BY 1").compactMap { $0[0].map { "event trigger \($0)" } }
    privileged += try rows("SELECT pubname FROM pg_catalog.pg_publication WHERE puballtables ORDER BY 1").compactMap {
      $0[0].map { "publication \($0) of all tables" }
    }
    privileged += try rows(
      "SELECT DISTINCT l.lanname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang "
        + "WHERE p.oid >= 16384 AND NOT l.lanpltrusted AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass "
        + "AND d.objid = p.oid AND d.deptype = 'e') ORDER BY 1"
    ).compactMap { $0[0].map { "functions in the language \($0)" } }
    let supers = Set(try rows("SELECT rolname FROM pg_catalog.pg_roles WHERE rolsuper").compactMap { $0[0] })
    privileged += owners.intersection(supers).sorted().map { "objects of the superuser \($0)" }
    return (owners.subtracting(supers), privileged)
  }
}
