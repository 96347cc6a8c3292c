internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// Looks for every obstacle to a restore, before anything is created.
struct RestorePreflight {
  /// Steps to take first, and notes for the operator.
  struct Findings {
    var roleStatements: [String] = []
    var madeRoles: [String] = []
    var notes: [String] = []
    /// Things that will not be as they were.
    var warnings: [String] = []
  }

  let server: Connection
  let repository: Repository
  let request: RestoreRequest
  let selection: RestoreSelection
  let properties: RestoredProperties
  let role: RestoringRole

  private var manifest: Manifest { selection.manifest }
  private var newName: String { request.target.name }

  /// - Throws: `FirnError.refused` with every reason at once.
  func check() throws -> Findings {
    var findings = Findings()
    let drill = try repository.catalog.lastDrill(of: repository.catalog.checkKeys(of: manifest.place))
    var reasons =
      try standbyReasons() + nameReasons(&findings) + versionReasons() + extensionReasons(&findings) + placeReasons() + roleReasons(&findings)
      + policyReasons() + diskReasons(&findings) + verificationReasons(drill)
    let leftOut = properties.leftOut + selection.leftOut
    if let tables = manifest.excludedTables {
      findings.notes.append("the snapshot has no rows of \(tables.joined(separator: ", ")): they were excluded when it was made")
    }
    findings.notes += selection.notes + properties.kept + viewsThatMayStayEmpty(drill)
    findings.warnings += leftOut.map { "left out: \($0)" }
    findings.warnings += try (manifest.refutations ?? []) + repository.doubts(about: manifest).map(\.words)
    if !manifest.complete { findings.warnings += manifest.incompleteReasons.map { "the snapshot is incomplete: \($0)" } }
    if request.target.isExisting, !request.allowsIncomplete {
      if let reason = manifest.incompleteReasons.first {
        reasons.append("the snapshot is incomplete (\(reason)): it replaces a database only with --allow-incomplete")
      }
      if !leftOut.isEmpty {
        reasons.append(
          "\(leftOut.count) thing\(leftOut.count == 1 ? "" : "s") would be left out, which replaces a database only with --allow-incomplete:"
            + leftOut.map { "\n      \($0)" }.joined())
      }
    }
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
    return findings
  }

  /// Views that the last drill could not fill: a restore fills them in the same way.
  private func viewsThatMayStayEmpty(_ drill: CheckRecord?) -> [String] {
    (drill?.unfilledViews ?? []).map {
      "the last drill could not fill materialized view \($0): it will stay empty until you REFRESH it"
    }
  }

  private func standbyReasons() throws -> [String] {
    try server.isInRecovery() ? ["the server is a standby, which is read-only: restore on its primary"] : []
  }

  private func nameReasons(_ findings: inout Findings) throws -> [String] {
    if newName.isEmpty || newName.contains("\0") { return ["a database needs a name"] }
    if newName.utf8.count > 63 {
      return ["the name \(newName) has \(newName.utf8.count) bytes: PostgreSQL cuts names at 63, and two could become one"]
    }
    if ["template0", "template1", "postgres"].contains(newName) { return ["\(newName) belongs to the server itself"] }
    let exists = try server.databaseExists(newName)
    switch request.target {
    case .new: return exists ? ["database \(newName) exists: a restore never goes into an existing one"] : []
    case .empty: return exists ? try emptinessReasons(&findings) : ["there is no database \(newName): --into takes one that exists and is empty"]
    case .replacing, .inPlace:
      guard exists else { return ["there is no database \(newName) to replace"] }
      return try SwapPreflight(server: server, database: newName).reasons()
    }
  }

  private func emptinessReasons(_ findings: inout Findings) throws -> [String] {
    guard try UnfinishedDatabase.objectsOfEmpty(newName, on: server) != nil else {
      return ["database \(newName) is not empty: rows are never added to what is there"]
    }
    let facts = try server.databaseFacts(of: newName)
    let (wanted, found) = (manifest.properties, DatabaseProperties(facts))
    if [wanted.localeProvider, wanted.collate, wanted.ctype, wanted.locale] != [found.localeProvider, found.collate, found.ctype, found.locale] {
      findings.notes.append("database \(newName) sorts by \(found.locale ?? found.collate), the original by \(wanted.locale ?? wanted.collate)")
    }
    var reasons: [String] = []
    if facts.encoding != manifest.properties.encoding {
      reasons.append(
        "database \(newName) is in \(facts.encoding), the snapshot's was in \(manifest.properties.encoding): create it with that ENCODING")
    }
    if !role.canGive(to: facts.owner) { reasons.append("database \(newName) belongs to \(facts.owner): role \(role.name) is not a member of that") }
    return reasons
  }

  /// A database is not given up for a snapshot that is known to be useless, nor without consent for one that no drill has restored.
  private func verificationReasons(_ drill: CheckRecord?) throws -> [String] {
    guard case .inPlace = request.target else { return [] }
    let catalog = repository.catalog
    if !request.scope.onlyIntact, let verdict = try catalog.verdict(of: manifest.place), !verdict.ok {
      return ["\(manifest.id) was FOUND DAMAGED (firn-verify): use another snapshot, or restore without --in-place"]
    }
    if let failure = drill?.failedDrill {
      return [
        "the last drill of \(manifest.id) could not restore it (\(failure)): nothing is given up for it; see firn-verify --drill, or restore without --in-place"
      ]
    }
    // Records of earlier versions don't say which bytes they are of.
    let isOfThese = try drill?.checksums.map { try $0 == catalog.checksums(of: manifest.place).digest.description } ?? true
    guard drill?.level != .drill || drill?.ok != true || !isOfThese, !request.allowsUntested else { return [] }
    return [
      "no drill has restored \(manifest.id) yet. If its restore fails after the database is dropped, there is no database: run firn-verify \(manifest.database.shellWord) \(manifest.id) --drill first, or add --untested to take that risk"
    ]
  }

  /// Bytes that are written before anything is dropped: a trial database, and its log.
  private static let leastForTrial: Int64 = 64 << 20

  /// For a server on this machine: whether both databases have room. A restored database needs about the size of its dump, plus its
  /// indexes, or less if values are compressed. The existing database shows how much that is.
  private func diskReasons(_ findings: inout Findings) throws -> [String] {
    guard let disk = try ServerDisk(of: server) else { return [] }
    if case .inPlace = request.target, disk.free < Self.leastForTrial {
      return [
        "\(disk.folder) has \(megabytes(disk.free)) free, and before anything is dropped \(megabytes(Self.leastForTrial)) are written, for a trial and the log: a full disk would stop the whole server; make room first"
      ]
    }
    guard properties.properties.tablespace == "pg_default" else { return [] }
    var free = disk.free
    let bytes = manifest.tables.reduce(0) { $0 + $1.bytes }
    var least = ServerDisk.least(forDumped: bytes)
    var most = bytes
    switch request.target {
    case .new, .empty: break
    case .replacing(let name):
      if let size = try server.diskSize(of: name) { (least, most) = (min(size, bytes), max(size, bytes)) }
    case .inPlace(let name): free += try server.diskSize(of: name) ?? 0
    }
    func text(_ bytes: Int64) -> String { megabytes(bytes) }
    if free < least {
      return [
        "the new database needs about \(text(least)) at least, and \(disk.folder) has \(text(free)) free: make room\(request.target.isExisting ? ", or see --in-place" : "")"
      ]
    }
    if free < most { findings.notes.append("the new database may need \(text(most)), and \(disk.folder) has \(text(free)) free") }
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
    for wanted in manifest.extensions where wanted.name != ScheduledJobs.extensionName || role.loadsScheduledJobs {
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

  /// A policy is never left out: without a restrictive one more rows would be visible than before.
  private func policyReasons() -> [String] {
    // A superuser creates missing roles.
    guard !role.isSuperuser else { return [] }
    return selection.policies.compactMap { policy in
      let missing = role.missingRoles(ofPolicy: policy)
      return missing.isEmpty ? nil : "policy \(policy.name) is for role \(missing.joined(separator: ", ")), which does not exist: create it first"
    }
  }

  /// Tablespaces and locales.
  private func placeReasons() throws -> [String] {
    let spaces = try server.tablespaceNames()
    let wanted = [properties.properties.tablespace] + manifest.tablespaces.map(request.scope.tablespace)
    var reasons = Set(wanted).subtracting(spaces).sorted().map { "there is no tablespace \($0): make it, or say --tablespace \($0)=NAME" }
    let known = [manifest.properties.tablespace] + manifest.tablespaces
    reasons += Set(request.scope.tablespaces.keys).subtracting(known).sorted().map { name in
      "nothing of the snapshot is in a tablespace \(name): it has \(Set(known).sorted().joined(separator: ", "))"
    }
    switch properties.properties.localeProvider {
    case "b" where server.serverMajor < 17: reasons.append("the builtin locale provider needs PostgreSQL 17")
    case "i" where try !server.hasICU(): reasons.append("the database's collation is of ICU, which this server is built without")
    default: break
    }
    return reasons
  }

  private func roleReasons(_ findings: inout Findings) throws -> [String] {
    var reasons: [String] = []
    let properties = properties.properties
    let intoEmpty = if case .empty = request.target { true } else { false }
    if try !intoEmpty && !server.mayCreateDatabases() {
      reasons.append("role \(role.name) may not create databases: an empty one that it owns can be filled with --into NAME")
    }
    if role.existing.contains(properties.owner), !role.canGive(to: properties.owner) {
      reasons.append(
        "role \(role.name) is no member of \(properties.owner), who owns the database, and may not create one for that role: \(RestoringRole.advice)")
    }
    let reserved = try server.settingsOfSuperusers(among: properties.settings.map(\.name))
    if !reserved.isEmpty {
      reasons.append("the database has settings that only a superuser may make: \(reserved.sorted().joined(separator: ", "))")
    }
    let others = Set(properties.settings.compactMap(\.role)).subtracting([role.name])
    if !role.isSuperuser, !others.isEmpty {
      reasons.append("settings of roles \(others.sorted().joined(separator: ", ")) in the database can only be made by a superuser")
    }
    if case .role(let name) = request.scope.owner, !role.existing.contains(name) { reasons.append("role \(name) does not exist") }
    // Other roles cannot create these: they were left out already.
    guard role.isSuperuser else { return reasons }
    let scope = request.scope
    let ofObjects = scope.owner == .recorded || scope.restoresPrivileges ? manifest.roles : []
    var missing = Set(ofObjects + properties.roles).subtracting(role.existing)
    if case .role(let name) = scope.owner { missing.remove(name) }
    guard !missing.isEmpty else { return reasons }
    let script = try GlobalsScript(of: manifest, in: repository)
    let made = script.roles(toMake: missing, existing: role.existing)
    let unknown = missing.subtracting(made.map(\.name))
    reasons += unknown.sorted().map { "role \($0) does not exist, and the snapshot's globals do not contain it" }
    findings.madeRoles = made.map(\.name)
    findings.roleStatements = made.flatMap(\.statements)
    findings.notes += made.map { role in
      "role \(role.name) is created, as it is missing" + (role.powers.isEmpty ? "" : ", as it was: \(role.powers.joined(separator: ", "))")
    }
    return reasons
  }
}
