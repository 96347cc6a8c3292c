internal import Platform
internal import Postgres

/// The permissions of the restoring role on its server.
struct RestoringRole {
  /// The way to a role that has the rights.
  static let advice = "firn setup --apply creates a role for restores; firn.yaml names it: restore: {role: firn_restore}"

  let name: String
  let isSuperuser: Bool
  /// Roles that exist.
  let existing: Set<String>
  /// Roles it may hand objects to.
  let assumable: Set<String>
  /// Extensions it may make.
  let creatableExtensions: Set<String>
  /// Extensions of the server; nil where those that are missing are the preflight's affair.
  let availableExtensions: Set<String>?
  /// Extensions that can't be created on the server, and why.
  let obstaclesToExtensions: [String: String]
  /// Whether roles that don't exist are done without.
  let keepsToExisting: Bool
  /// Whether the database is the one that pg_cron runs its jobs from, under the name it will have.
  let loadsScheduledJobs: Bool

  /// - Parameters:
  ///   - creatableExtensions: those it may create; nil for what the server's list of extensions says.
  ///   - finalName: of the restored database; nil if it is dropped again.
  init(
    of server: Connection, keepsToExisting: Bool = false, availableExtensions: Set<String>? = nil, creatableExtensions: Set<String>? = nil,
    obstaclesToExtensions: [String: String] = [:], finalName: String? = nil
  ) throws {
    self.obstaclesToExtensions = obstaclesToExtensions
    self.keepsToExisting = keepsToExisting
    self.availableExtensions = availableExtensions
    name = try server.currentRole()
    isSuperuser = try server.isSuperuser()
    existing = try server.roleNames()
    assumable = try server.assumableRoles()
    self.creatableExtensions = try creatableExtensions ?? server.creatableExtensions()
    loadsScheduledJobs = try isSuperuser && finalName != nil && server.cronDatabase() == finalName
  }

  /// One that may do everything, on no server in particular.
  static let any = RestoringRole(name: "", isSuperuser: true, existing: [], assumable: [], creatableExtensions: [])

  private init(name: String, isSuperuser: Bool, existing: Set<String>, assumable: Set<String>, creatableExtensions: Set<String>) {
    self.name = name
    self.isSuperuser = isSuperuser
    self.existing = existing
    self.assumable = assumable
    self.creatableExtensions = creatableExtensions
    availableExtensions = nil
    obstaclesToExtensions = [:]
    keepsToExisting = false
    loadsScheduledJobs = false
  }

  /// Whether it can give objects to a role.
  func canGive(to owner: String) -> Bool {
    isSuperuser ? !keepsToExisting || existing.contains(owner) : assumable.contains(owner)
  }

  /// Kinds of objects that only superusers may make.
  private static let reserved: Set = [
    "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "OPERATOR CLASS", "OPERATOR FAMILY", "TEXT SEARCH TEMPLATE", "TEXT SEARCH PARSER", "ACCESS METHOD",
    "TRANSFORM", "PUBLICATION TABLES IN SCHEMA",
  ]

  /// The reason why the role can't create an object of an archive; nil if it can.
  func obstacle(to entry: ArchiveDirectory.Entry) -> String? {
    if entry.kind == "EXTENSION" {
      if let availableExtensions, !availableExtensions.contains(entry.tag) { return "it is not installed here" }
      if let obstacle = obstaclesToExtensions[entry.tag] { return "this server can't create it: \(obstacle)" }
      // A new database has a temporary name.
      if entry.tag == ScheduledJobs.extensionName, !loadsScheduledJobs {
        return "the server allows it only in the database that cron.database_name names"
      }
    }
    if isSuperuser {
      guard keepsToExisting else { return nil }
      if entry.kind == "POLICY" { return missingRoles(ofPolicy: entry).first.map { "role \($0) does not exist" } }
      return ["ACL", "DEFAULT ACL"].contains(entry.kind) ? obstacle(toPrivileges: entry) : nil
    }
    switch entry.kind {
    case "EXTENSION": return creatableExtensions.contains(entry.tag) ? nil : "only a superuser may make it"
    case "PUBLICATION": return entry.definition.contains("FOR ALL TABLES") ? "only a superuser may publish all tables" : nil
    case "FUNCTION", "PROCEDURE":
      let lines = entry.definition.unicodeScalars.split(separator: "\n").map(String.init)
      return lines.contains { $0.hasPrefix("    LANGUAGE c ") || $0 == "    LANGUAGE c" || $0.hasPrefix("    LANGUAGE internal") }
        ? "only a superuser may make functions in C" : nil
    case "ACL", "DEFAULT ACL": return obstacle(toPrivileges: entry)
    case "POLICY" where keepsToExisting: return missingRoles(ofPolicy: entry).first.map { "role \($0) does not exist" }
    case _ where Self.reserved.contains(entry.kind): return "only a superuser may make it"
    default: return nil
    }
  }

  /// Roles that a policy names and the server lacks.
  func missingRoles(ofPolicy entry: ArchiveDirectory.Entry) -> [String] {
    entry.kind == "POLICY" ? StatementWords.roles(ofPolicy: entry.definition).filter { !existing.contains($0) } : []
  }

  private func obstacle(toPrivileges entry: ArchiveDirectory.Entry) -> String? {
    for statement in GlobalsScript(entry.definition).statements {
      var words = StatementWords(statement)
      var before = ""
      while let word = words.next() {
        switch before {
        case "AUTHORIZATION" where !canGive(to: word): return "\(word) granted it, as whom \(name) may not act"
        case "TO", "FROM":
          if word != "PUBLIC" && !existing.contains(word) { return "role \(word) does not exist" }
        case "ROLE" where entry.kind == "DEFAULT ACL" && !canGive(to: word): return "they are \(word)'s, as whom \(name) may not act"
        default: break
        }
        before = word
      }
    }
    return nil
  }
}
