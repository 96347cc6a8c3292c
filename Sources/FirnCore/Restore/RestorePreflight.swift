internal import Compression
internal import Platform
internal import Postgres
internal import Repository
internal import SystemPackage

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
  let request: RestoreRequest

  private var newName: String { request.target.name }

  /// - Throws: `FirnError.refused` with every reason at once.
  func check() throws -> Findings {
    var findings = Findings()
    var reasons =
      try nameReasons() + versionReasons() + extensionReasons(&findings) + placeReasons() + roleReasons(&findings) + diskReasons(&findings)
    if !manifest.complete {
      findings.warnings += manifest.incompleteReasons.map { "the snapshot is incomplete: \($0)" }
      if case .replacing = request.target, !request.allowsIncomplete {
        reasons.append(
          "the snapshot is incomplete (\(manifest.incompleteReasons.first ?? "see firn show")): it replaces a database only with --allow-incomplete")
      }
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
    let exists = try server.databaseExists(newName)
    switch request.target {
    case .new: return exists ? ["database \(newName) exists: a restore never goes into an existing one"] : []
    case .replacing:
      guard exists else { return ["there is no database \(newName) to replace"] }
      return try SwapPreflight(server: server, database: newName).reasons()
    }
  }

  /// On a server of this machine: whether both databases have room. A restored database takes about what its dump has, and its
  /// indexes, or less where rows are compressed; one that is there already shows how much that is.
  private func diskReasons(_ findings: inout Findings) throws -> [String] {
    guard server.isLocal, !server.settings.allowsForwardedPort, manifest.properties.tablespace == "pg_default",
      let folder = try server.dataFolder(), let free = try? Folder.freeSpace(at: FilePath(folder))
    else { return [] }
    var least: Int64 = 0
    var most = manifest.bytes
    if case .replacing(let name) = request.target, let size = try server.diskSize(of: name) {
      least = min(size, manifest.bytes)
      most = max(size, manifest.bytes)
    }
    func megabytes(_ bytes: Int64) -> String { "\(bytes / 1_000_000) MB" }
    if free < least { return ["the new database needs about \(megabytes(least)) beside the old one, and \(folder) has \(megabytes(free)) free"] }
    if free < most { findings.notes.append("the new database may need \(megabytes(most)), and \(folder) has \(megabytes(free)) free") }
    return []
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
    // What replaces a database has its owner, privileges and settings, whatever the snapshot's had.
    var properties = manifest.properties
    if case .replacing(let name) = request.target, let live = try? server.databaseFacts(of: name) { properties = DatabaseProperties(live) }
    if existing.contains(properties.owner), try !server.mayActAs(properties.owner) {
      reasons.append("role \(server.user) is no member of \(properties.owner), who owns the database: it can make none for it")
    }
    let reserved = try server.settingsOfSuperusers(among: properties.settings.map(\.name))
    if !reserved.isEmpty {
      reasons.append("the database has settings that only a superuser may make: \(reserved.sorted().joined(separator: ", "))")
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
    findings.notes += made.map { "role \($0.name) is made, as it is missing\($0.isSuperuser ? ", a SUPERUSER as it was" : "")" }
    return reasons
  }
}
