internal import Compression
internal import Postgres
internal import Repository

/// Looks for everything that would make a restore fail, before anything is made.
struct RestorePreflight {
  /// What has to be done first, and what the operator should know.
  struct Findings {
    var roleStatements: [String] = []
    var warnings: [String] = []
  }

  let server: Connection
  let manifest: Manifest
  let repository: Repository
  let newName: String

  /// - Throws: `FirnError.refused` with every reason at once.
  func check() throws -> Findings {
    var findings = Findings()
    var reasons: [String] = []
    try reasons += nameReasons()
    if server.serverMajor < manifest.versions.serverMajor {
      reasons.append(
        "the snapshot is of PostgreSQL \(manifest.versions.server), this server is \(try server.versionText()): restore into \(manifest.versions.serverMajor) or newer"
      )
    }
    if !(try server.mayCreateDatabases()) { reasons.append("role \(server.user) may not create databases") }
    try reasons += extensionReasons(&findings)
    let spaces = try server.tablespaceNames()
    if !spaces.contains(manifest.properties.tablespace) { reasons.append("there is no tablespace \(manifest.properties.tablespace)") }
    if manifest.properties.localeProvider == "b" && server.serverMajor < 17 { reasons.append("the builtin locale provider needs PostgreSQL 17") }
    try reasons += roleReasons(&findings)
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

  private func extensionReasons(_ findings: inout Findings) throws -> [String] {
    let available = try server.availableExtensions()
    var reasons: [String] = []
    for wanted in manifest.extensions {
      guard let versions = available[wanted.name] else {
        reasons.append("extension \(wanted.name) is not installed on this server")
        continue
      }
      if !versions.contains(wanted.version) {
        findings.warnings.append(
          "extension \(wanted.name) was of version \(wanted.version), this server has \(versions.sorted().joined(separator: ", "))")
      }
    }
    return reasons
  }

  private func roleReasons(_ findings: inout Findings) throws -> [String] {
    let existing = try server.roleNames()
    let properties = manifest.properties
    let named = manifest.roles + [properties.owner] + (properties.grants ?? []).compactMap(\.grantee) + properties.settings.compactMap(\.role)
    let missing = Set(named).subtracting(existing)
    guard !missing.isEmpty else { return [] }
    let stored = try repository.store.read(manifest.place.globals, limit: 1 << 28)
    let script = GlobalsScript(String(decoding: try ZstdDecompressor().decompressAll(stored, limit: 1 << 28), as: UTF8.self))
    let (statements, made) = script.statements(making: missing, existing: existing)
    let unknown = missing.subtracting(made)
    var reasons = unknown.sorted().map { "role \($0) does not exist, and the snapshot's globals don't tell how to make it" }
    if try !made.isEmpty && !server.isSuperuser() {
      reasons.append("roles \(made.sorted().joined(separator: ", ")) do not exist, and \(server.user) is not a superuser who could make them")
    }
    findings.roleStatements = statements
    if reasons.isEmpty { findings.warnings.append("made missing roles: \(made.sorted().joined(separator: ", "))") }
    return reasons
  }
}
