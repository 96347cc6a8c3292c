/// Properties of a database in the catalogs, as text.
package struct DatabaseFacts: Sendable {
  package struct Grant: Sendable {
    /// Nil for PUBLIC.
    package let grantee: String?
    package let privilege: String
    package let grantable: Bool
  }

  package struct Setting: Sendable {
    package let role: String?
    package let name: String
    package let value: String
  }

  package let owner: String
  package let encoding: String
  package let localeProvider: String
  package let collate: String
  package let ctype: String
  package let locale: String?
  package let icuRules: String?
  package let collationVersion: String?
  package let actualCollationVersion: String?
  package let tablespace: String
  package let connectionLimit: Int
  package let comment: String?
  /// Nil where the privileges are the default ones.
  package let grants: [Grant]?
  package let settings: [Setting]
}

package struct ExtensionFacts: Sendable {
  package let name: String
  package let version: String
  package let schema: String
}

extension Connection {
  /// - Parameter name: the database; nil for the one we are connected to.
  /// - Throws: `PostgresError.noSuchDatabase`.
  package func databaseFacts(of name: String? = nil) throws -> DatabaseFacts {
    let name = name ?? database
    // pg_database grew: providers in 15, ICU rules in 16, one column for all providers' locales in 17.
    let provider = serverVersion >= 150000 ? "d.datlocprovider" : "'c'"
    let locale = serverVersion >= 170000 ? "d.datlocale" : serverVersion >= 150000 ? "d.daticulocale" : "NULL"
    let rules = serverVersion >= 160000 ? "d.daticurules" : "NULL"
    let recorded = serverVersion >= 150000 ? "d.datcollversion" : "NULL"
    let actual = serverVersion >= 150000 ? "pg_catalog.pg_database_collation_actual_version(d.oid)" : "NULL"
    let row =
      try rows(
        """
        SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding), \(provider), d.datcollate, d.datctype,
          \(locale), \(rules), \(recorded), \(actual), t.spcname, d.datconnlimit,
          pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NULL
        FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
        WHERE d.datname = $1
        """, [name]
      ).first ?? []
    guard row.count == 13 else { throw PostgresError.noSuchDatabase(name: name) }
    return DatabaseFacts(
      owner: row[0] ?? "", encoding: row[1] ?? "", localeProvider: row[2] ?? "c", collate: row[3] ?? "", ctype: row[4] ?? "",
      locale: row[5], icuRules: row[6], collationVersion: row[7], actualCollationVersion: row[8], tablespace: row[9] ?? "pg_default",
      connectionLimit: Int(row[10] ?? "") ?? -1, comment: row[11], grants: row[12] == "t" ? nil : try databaseGrants(of: name),
      settings: try databaseSettings(of: name))
  }

  private func databaseGrants(of name: String) throws -> [DatabaseFacts.Grant] {
    try rows(
      """
      SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END, a.privilege_type, a.is_grantable
      FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a WHERE d.datname = $1
      ORDER BY a.grantee, a.privilege_type
      """, [name]
    ).map { .init(grantee: $0[0], privilege: $0[1] ?? "", grantable: $0[2] == "t") }
  }

  private func databaseSettings(of name: String) throws -> [DatabaseFacts.Setting] {
    try rows(
      """
      SELECT CASE WHEN s.setrole = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(s.setrole) END, pg_catalog.split_part(c, '=', 1),
        pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1)
      FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
      WHERE s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = $1)
      ORDER BY 1 NULLS FIRST, 2
      """, [name]
    ).map { .init(role: $0[0], name: $0[1] ?? "", value: $0[2] ?? "") }
  }

  /// Settings that hold for all roles in all databases (`ALTER ROLE ALL SET`).
  package func settingsOfAllRoles() throws -> [(name: String, value: String)] {
    try rows(
      """
      SELECT pg_catalog.split_part(c, '=', 1), pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1)
      FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c WHERE s.setdatabase = 0 AND s.setrole = 0 ORDER BY 1
      """
    ).map { ($0[0] ?? "", $0[1] ?? "") }
  }

  package func extensions() throws -> [ExtensionFacts] {
    try rows(
      """
      SELECT e.extname, e.extversion, n.nspname FROM pg_catalog.pg_extension e
      JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1
      """
    ).map { ExtensionFacts(name: $0[0] ?? "", version: $0[1] ?? "", schema: $0[2] ?? "") }
  }

  /// Every sequence with its last value; nil if it was never used.
  package func sequenceValues() throws -> [QualifiedName: Int64?] {
    var values: [QualifiedName: Int64?] = [:]
    for row in try rows("SELECT schemaname, sequencename, last_value FROM pg_catalog.pg_sequences") {
      values[QualifiedName(schema: row[0] ?? "", name: row[1] ?? "")] = .some(row[2].flatMap { Int64($0) })
    }
    return values
  }

  /// Tablespaces of tables, indexes and materialized views, except the database's own.
  package func tablespacesInUse() throws -> [String] {
    try rows(
      """
      SELECT DISTINCT t.spcname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace
      WHERE c.oid >= 16384 ORDER BY 1
      """
    ).compactMap { $0[0] }
  }

  /// Roles that own objects in this database or appear in their privileges. `pg_shdepend` has no entries for the
  /// first superuser (10).
  package func rolesInUse() throws -> [String] {
    try rows(
      """
      SELECT DISTINCT r.rolname FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid
      WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
        AND (s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
          OR s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
            AND s.objid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
      UNION SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
      UNION SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10 AND (
        EXISTS (SELECT FROM pg_catalog.pg_class WHERE relowner = 10 AND oid >= 16384)
        OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspowner = 10 AND oid >= 16384)
        OR EXISTS (SELECT FROM pg_catalog.pg_proc WHERE proowner = 10 AND oid >= 16384)
        OR EXISTS (SELECT FROM pg_catalog.pg_type WHERE typowner = 10 AND oid >= 16384)
        OR EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE lomowner = 10))
      ORDER BY 1
      """
    ).compactMap { $0[0] }
  }
}
