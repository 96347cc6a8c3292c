internal import Compression
internal import Postgres
internal import Repository

/// Looks for everything that would make a restore fail, before anything is made.
struct RestorePreflight {
  /// What has to be done first, and what the operator should know.
  struct Findings {
    var roleStatements: [String] = []
    var madeRoles: [String] = []
    var notes: [String] = []
    /// What won't be as it was.
    var warnings: [String] = []
  }

  let server: Connection
  let manifest: Manifest
  let repository: Repository
  let newName: String

  /// - Throws: `FirnError.refused` with every reason at once.
  func check() throws -> Findings {
    var findings = Findings()
    let reasons = try nameReasons() + versionReasons() + extensionReasons(&findings) + placeReasons() + roleReasons(&findings)
    if !manifest.complete {
      findings.warnings += manifest.incompleteReasons.map { "the snapshot is incomplete: \($0)" }
    }
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
    return findings
  }

  private func nameReasons() throws -> [String] {
    if newName.isEmpty || newName.contains("\0") { return ["a database needs a name"] }
    if newName.utf8.count > 63 {
      return ["the name \(newName) has \(newName.utf8.count) bytes: PostgreSQL cuts names at 63, and two could become one"]
    }
    if ["template0", "template1", "postgres"].contains(newName) { return ["\(newName) belongs to the server itself"] }
    return try server.databaseExists(newName) ? ["database \(newName) exists: a restore never goes into an existing one"] : []
  }

  private func versionReasons() throws -> [String] {
    let major = manifest.versions.serverMajor
    return server.serverMajor >= major
      ? []
      : [
        "the snapshot is of PostgreSQL \(manifest.versions.server), this server is \(try server.versionText()): restore into \(major) or newer"
      ]
  }

  private func extensionReasons(_ findings: inout Findings) throws -> [String] {
    let available = try server.availableExtensions()
    var reasons: [String] = []
    for wanted in manifest.extensions {
      guard let versions = available[wanted.name] else {
        reasons.append("extension \(wanted.name) is not installed on this server")
        continue
      }
      if !versions.contains(wanted.version) {
        findings.notes.append(
          "extension \(wanted.name) was of version \(wanted.version), this server has \(versions.sorted().joined(separator: ", "))")
      }
    }
    return reasons
  }

  /// Tablespaces and locales.
  private func placeReasons() throws -> [String] {
    let spaces = try server.tablespaceNames()
    let wanted = [manifest.properties.tablespace] + manifest.tablespaces
    var reasons = Set(wanted).subtracting(spaces).sorted().map { "there is no tablespace \($0)" }
    switch manifest.properties.localeProvider {
    case "b" where server.serverMajor < 17: reasons.append("the builtin locale provider needs PostgreSQL 17")
    case "i" where try !server.hasICU(): reasons.append("the database's collation is of ICU, which this server is built without")
    default: break
    }
    return reasons
  }

  private func roleReasons(_ findings: inout Findings) throws -> [String] {
    var reasons: [String] = []
    if try !server.mayCreateDatabases() { reasons.append("role \(server.user) may not create databases") }
    let existing = try server.roleNames()
    let properties = manifest.properties
    if existing.contains(properties.owner), try !server.mayActAs(properties.owner) {
      reasons.append("role \(server.user) is no member of \(properties.owner), who owns the database: it can make none for it")
    }
    let named = manifest.roles + [properties.owner] + (properties.grants ?? []).compactMap(\.grantee) + properties.settings.compactMap(\.role)
    let missing = Set(named).subtracting(existing)
    guard !missing.isEmpty else { return reasons }
    let stored = try repository.store.read(manifest.place.globals, limit: 1 << 28)
    let script = GlobalsScript(String(decoding: try ZstdDecompressor().decompressAll(stored, limit: 1 << 28), as: UTF8.self))
    let made = script.roles(toMake: missing, existing: existing)
    let unknown = missing.subtracting(made.map(\.name))
    reasons += unknown.sorted().map { "role \($0) does not exist, and the snapshot's globals don't tell how to make it" }
    if try !made.isEmpty && !server.isSuperuser() {
      reasons.append("roles \(made.map(\.name).joined(separator: ", ")) do not exist, and \(server.user) is not a superuser who could make them")
    }
    findings.madeRoles = made.map(\.name)
    findings.roleStatements = made.flatMap(\.statements)
    findings.notes += made.map { "made role \($0.name)\($0.isSuperuser ? ", a SUPERUSER as it was" : "")" }
    return reasons
  }
}
