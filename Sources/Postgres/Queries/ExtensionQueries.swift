/// Rows of a table that an extension has a dump keep.
package struct ConfigurationTable: Sendable {
  package let name: QualifiedName
  package let ofExtension: String
  /// As it follows `SELECT … FROM table`, such as `WHERE NOT builtin`; empty for all rows (`pg_extension.extcondition`).
  package let condition: String
}

extension Connection {
  /// Tables of extensions whose rows are dumped (`pg_extension_config_dump`).
  package func configurationTables() throws -> [ConfigurationTable] {
    try rows(
      """
      SELECT n.nspname, c.relname, e.extname, t.condition FROM pg_catalog.pg_extension e
        CROSS JOIN LATERAL unnest(e.extconfig, e.extcondition) t (relation, condition)
        JOIN pg_catalog.pg_class c ON c.oid = t.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') ORDER BY 1, 2
      """
    ).map {
      ConfigurationTable(name: QualifiedName(schema: $0[0] ?? "", name: $0[1] ?? ""), ofExtension: $0[2] ?? "", condition: $0[3] ?? "")
    }
  }

  /// Sequences of extensions, with the extension.
  package func sequencesOfExtensions() throws -> [QualifiedName: String] {
    Dictionary(
      try rows(
        """
        SELECT n.nspname, c.relname, e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
          JOIN pg_catalog.pg_class c ON c.oid = d.objid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
          AND d.deptype = 'e' AND c.relkind = 'S'
        """
      ).map { (QualifiedName(schema: $0[0] ?? "", name: $0[1] ?? ""), $0[2] ?? "") }, uniquingKeysWith: { first, _ in first })
  }

  /// Rows of a configuration table that are in no dump and were written after the extension was created or updated.
  /// - Returns: nil where this role may not read the table.
  package func changedRowsOutsideDump(of table: ConfigurationTable) throws -> Int64? {
    guard !table.condition.isEmpty else { return 0 }
    let name = "\(Self.identifier(table.name.schema)).\(Self.identifier(table.name.name))"
    guard try value("SELECT pg_catalog.has_table_privilege($1, 'SELECT')", [name]) == "t" else { return nil }
    return try value(
      """
      SELECT (SELECT count(*) FROM ONLY \(name) t WHERE pg_catalog.age(t.xmin) < e.age)
        - (SELECT count(*) FROM (SELECT xmin AS version FROM ONLY \(name) \(table.condition)) t WHERE pg_catalog.age(t.version) < e.age)
      FROM (SELECT pg_catalog.age(xmin) FROM pg_catalog.pg_extension WHERE extname = $1) e (age)
      """, [table.ofExtension]
    ).flatMap { Int64($0) }
  }

  /// The relations among these that do not exist in this database.
  package func missingRelations(among names: [QualifiedName]) throws -> Set<QualifiedName> {
    guard !names.isEmpty else { return [] }
    let list = names.map { "(\(Self.literal($0.schema)), \(Self.literal($0.name)))" }.joined(separator: ", ")
    return Set(
      try rows(
        """
        SELECT w.schema, w.name FROM (VALUES \(list)) w (schema, name) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = w.schema AND c.relname = w.name)
        """
      ).map { QualifiedName(schema: $0[0] ?? "", name: $0[1] ?? "") })
  }

  /// Whether the object is there whose privileges an entry grants. Kinds that no extension has count as there.
  package func hasObject(ofPrivileges entry: ArchiveDirectory.Entry) throws -> Bool {
    guard let blank = entry.tag.firstIndex(of: " ") else { return true }
    let (kind, name) = (entry.tag[..<blank], String(entry.tag[entry.tag.index(after: blank)...]))
    let schema = Self.identifier(entry.schema)
    let question: (sql: String, argument: String)? =
      switch kind {
      case "SCHEMA": ("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", name)
      case "TABLE", "SEQUENCE": ("SELECT pg_catalog.to_regclass($1)::text", "\(schema).\(Self.identifier(name))")
      case "TYPE", "DOMAIN": ("SELECT pg_catalog.to_regtype($1)::text", "\(schema).\(Self.identifier(name))")
      // Arguments may have names and modes, which no type of PostgreSQL's takes.
      case "FUNCTION", "PROCEDURE", "AGGREGATE":
        (
          "SELECT 1 FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname) = pg_catalog.quote_ident(\(Self.literal(entry.schema))) || '.' || $1 LIMIT 1",
          Self.name(ofSignature: name)
        )
      default: nil
      }
    guard let question else { return true }
    do { return try value(question.sql, [question.argument]) != nil } catch PostgresError.statementFailed { return false }
  }

  /// Whether this role may grant privileges on the object of an entry: it must belong to its owner. Other kinds count as allowed.
  package func mayGrant(_ entry: ArchiveDirectory.Entry) throws -> Bool {
    guard let blank = entry.tag.firstIndex(of: " ") else { return true }
    let (kind, name) = (entry.tag[..<blank], String(entry.tag[entry.tag.index(after: blank)...]))
    let place = "\(Self.identifier(entry.schema)).\(Self.identifier(name))"
    let question: (sql: String, argument: String)? =
      switch kind {
      case "SCHEMA": ("SELECT pg_catalog.pg_has_role(nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = $1", name)
      case "TABLE", "SEQUENCE":
        ("SELECT pg_catalog.pg_has_role(relowner, 'USAGE') FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1)", place)
      case "TYPE", "DOMAIN":
        ("SELECT pg_catalog.pg_has_role(typowner, 'USAGE') FROM pg_catalog.pg_type WHERE oid = pg_catalog.to_regtype($1)", place)
      case "FUNCTION", "PROCEDURE", "AGGREGATE":
        (
          "SELECT bool_and(pg_catalog.pg_has_role(p.proowner, 'USAGE')) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = \(Self.literal(entry.schema)) AND pg_catalog.quote_ident(p.proname) = $1",
          Self.name(ofSignature: name)
        )
      default: nil
      }
    guard let question else { return true }
    do { return try value(question.sql, [question.argument]) != "f" } catch PostgresError.statementFailed { return true }
  }

  /// The name in a function's signature, with its quotes.
  private static func name(ofSignature text: String) -> String {
    var isQuoted = false
    return String(
      text.prefix { character in
        if character == "\"" { isQuoted.toggle() }
        return isQuoted || character != "("
      })
  }

  /// The database that pg_cron runs its jobs from; nil where the server has not loaded it.
  package func cronDatabase() throws -> String? { try value("SELECT pg_catalog.current_setting('cron.database_name', true)") }

  /// Tries in this database, and takes back at once, which of some extensions this role can create.
  /// - Parameter extensions: each with its schema, in an order in which they can be created.
  /// - Returns: why the others can't be created.
  package func obstacles(toExtensions extensions: [(name: String, schema: String)]) throws -> [String: String] {
    var obstacles: [String: String] = [:]
    try execute("BEGIN")
    defer { try? rollback() }
    for (name, schema) in extensions {
      try execute("SAVEPOINT trial")
      do {
        if schema != "pg_catalog" { try execute("CREATE SCHEMA IF NOT EXISTS \(Self.identifier(schema))") }
        try execute("CREATE EXTENSION IF NOT EXISTS \(Self.identifier(name)) WITH SCHEMA \(Self.identifier(schema))")
      } catch PostgresError.statementFailed(let message, _) {
        try execute("ROLLBACK TO SAVEPOINT trial")
        obstacles[name] = message
      }
    }
    return obstacles
  }

  /// Whether the server has a library that it could load when it starts.
  package func hasLibrary(_ name: String) throws -> Bool {
    // A row with a NULL in it, as the time of creation is on Linux, is not NOT NULL.
    try value(
      """
      SELECT 1 FROM pg_catalog.pg_config WHERE name = 'PKGLIBDIR'
        AND (pg_catalog.pg_stat_file(setting || '/' || $1 || '.so', true)).size IS NOT NULL
      """, [name]) != nil
  }

  /// Has names without a schema found there for the rest of the session.
  package func useSearchPath(_ list: String) throws { _ = try rows("SELECT pg_catalog.set_config('search_path', $1, false)", [list]) }

  /// The libraries that the server preloads; nil if this role may not see them.
  package func preloadedLibraries() throws -> [String]? {
    // A role that may not see it finds no row, where SHOW would fail, and with it the transaction.
    try value("SELECT setting FROM pg_catalog.pg_settings WHERE name = 'shared_preload_libraries'")?.split(separator: ",")
      .map { $0.trimmingPrefix { $0 == " " }.description.replacing("\"", with: "") }.filter { !$0.isEmpty }
  }
}
