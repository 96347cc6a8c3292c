internal import Postgres
internal import Repository

/// Makes a database with the properties of another, and gives it the rest of them when it is filled.
struct DatabaseStatements {
  let server: Connection
  let properties: DatabaseProperties

  /// The statement that makes the database, from `template0`.
  func createStatement(name: String) -> String {
    var clauses = [
      "TEMPLATE template0", "OWNER \(Connection.identifier(properties.owner))", "ENCODING \(Connection.literal(properties.encoding))",
      "LC_COLLATE \(Connection.literal(properties.collate))", "LC_CTYPE \(Connection.literal(properties.ctype))",
    ]
    if server.serverMajor >= 15 {
      switch properties.localeProvider {
      case "i":
        clauses.append("LOCALE_PROVIDER icu")
        if let locale = properties.locale { clauses.append("ICU_LOCALE \(Connection.literal(locale))") }
        if server.serverMajor >= 16, let rules = properties.icuRules { clauses.append("ICU_RULES \(Connection.literal(rules))") }
      case "b":
        clauses.append("LOCALE_PROVIDER builtin")
        if let locale = properties.locale { clauses.append("BUILTIN_LOCALE \(Connection.literal(locale))") }
      default: clauses.append("LOCALE_PROVIDER libc")
      }
    }
    if properties.tablespace != "pg_default" { clauses.append("TABLESPACE \(Connection.identifier(properties.tablespace))") }
    return "CREATE DATABASE \(Connection.identifier(name)) \(clauses.joined(separator: " "))"
  }

  /// The statements for what an archive doesn't apply: settings, comment, privileges, limit.
  func finishingStatements(name: String) -> [String] {
    let database = Connection.identifier(name)
    // Also without a comment of its own: a database under construction has the marker as its comment.
    var statements = settingStatements(name: name) + [Connection.commentStatement(name, properties.comment)] + grantStatements(name: name)
    if properties.connectionLimit >= 0 { statements.append("ALTER DATABASE \(database) CONNECTION LIMIT \(properties.connectionLimit)") }
    return statements
  }

  /// The settings of the database, and of roles in it.
  func settingStatements(name: String) -> [String] {
    let database = Connection.identifier(name)
    return properties.settings.map { setting in
      let subject = setting.role.map { "ALTER ROLE \(Connection.identifier($0)) IN DATABASE \(database)" } ?? "ALTER DATABASE \(database)"
      return "\(subject) SET \(Connection.assignment(setting.name, setting.value))"
    }
  }

  /// The privileges on databases (PostgreSQL's documentation, "Privileges"). Other words in a store never reach a statement.
  private static let privileges: Set = ["CREATE", "CONNECT", "TEMPORARY"]

  private func grantStatements(name: String) -> [String] {
    guard let grants = properties.grants?.filter({ Self.privileges.contains($0.privilege) }) else { return [] }
    let database = Connection.identifier(name)
    func quoted(_ grantee: String?) -> String { grantee.map(Connection.identifier) ?? "PUBLIC" }
    // All grantees, so that the order is the same when privileges are granted again.
    var grantees: [String?] = [nil, properties.owner]
    for grant in grants where !grantees.contains(grant.grantee) { grantees.append(grant.grantee) }
    return grantees.map { "REVOKE ALL ON DATABASE \(database) FROM \(quoted($0))" }
      + grants.map { grant in
        "GRANT \(grant.privilege) ON DATABASE \(database) TO \(quoted(grant.grantee))\(grant.grantable ? " WITH GRANT OPTION" : "")"
      }
  }

  /// For a database that is still empty: keeps roles out that may not connect to the original. The owner keeps the default privileges
  /// until the database is filled.
  func earlyGrantStatements(name: String) -> [String] {
    guard let grants = properties.grants, !grants.contains(where: { $0.privilege == "CONNECT" && $0.grantee == nil }) else { return [] }
    return ["REVOKE CONNECT ON DATABASE \(Connection.identifier(name)) FROM PUBLIC"]
  }
}
