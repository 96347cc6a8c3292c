internal import Foundation
internal import Platform
package import Postgres
package import Repository
internal import SystemPackage

/// Restores a snapshot: builds a new database beside whatever is there, proves it, and gives it its name, or the name of the
/// one it replaces. Whatever fails before that, the new database is gone again and nothing else was touched.
package struct RestoreOperation {
  private let repository: Repository
  private let request: RestoreRequest
  private let progress: WorkProgress

  package init(repository: Repository, request: RestoreRequest, progress: WorkProgress) {
    self.repository = repository
    self.request = request
    self.progress = progress
  }

  /// Looks at everything a restore depends on, and touches nothing.
  /// - Throws: `FirnError.refused` with every reason at once.
  package func plan() throws -> RestorePlan {
    progress.begin("looking before leaping")
    let manifest = try repository.catalog.manifest(of: request.place)
    let server = try ServerConnection.open(request.settings, except: replaced)
    let findings = try preflight(server, manifest).check()
    let impact = try replaced.map { try ReplacementImpact.gather(replacing: $0, by: manifest, on: server, at: request.now()) }
    return RestorePlan(manifest: manifest, target: request.target, impact: impact, notes: findings.notes, warnings: findings.warnings)
  }

  /// Drops what restores that were killed have left on the server.
  /// - Returns: what was found, in words.
  package static func tidyUp(_ settings: ConnectionSettings) throws -> [String] {
    try UnfinishedDatabase.clear(on: ServerConnection.open(settings))
  }

  package func run() throws -> RestoreResult {
    let clock = ContinuousClock.now
    progress.begin("looking before leaping")
    let manifest = try repository.catalog.manifest(of: request.place)
    let server = try ServerConnection.open(request.settings, except: replaced)
    // A pg_restore of the server's major version, and no older than the pg_dump: the latter is in the preflight.
    let tools = try ServerTools.find("pg_restore", major: server.serverMajor, configured: request.toolFolders)
    let lock = try StoreMaintenance(store: repository.store).sharedLock(purpose: "firn-restore of \(manifest.database)")
    defer { lock.release() }
    let work: WorkFolder
    do { work = try WorkFolder(in: request.workRoot) } catch {
      throw FirnError.noFolder(path: request.workRoot.string, reason: "\(error)")
    }
    defer { work.remove() }
    var findings = try preflight(server, manifest).check()
    findings.notes += try UnfinishedDatabase.clear(on: server)
    let reader = try SnapshotReader(store: repository.store, manifest: manifest)
    let files = try reader.files()
    for table in manifest.tables where files[table.file] == nil {
      throw RepositoryError.malformed(key: request.place.chunkTable, reason: "\(table.displayName) is missing")
    }
    let safety = try takeSafetySnapshot(manifest, server)

    let properties = try propertiesOfNew(manifest, server)
    let database = UnfinishedDatabase(for: request.target.name, builder: DatabaseBuilder(server: server, properties: properties))
    var result: RestoreResult
    var madeRoles: [String] = []
    do {
      try server.executeTogether(findings.roleStatements)
      madeRoles = findings.madeRoles
      try database.make(on: server, snapshot: manifest.id)
      let settings = server.settings.with(database: database.name)
      var warnings = findings.warnings
      warnings += try DatabaseFilling(
        settings: settings, manifest: manifest, reader: reader, files: files, tools: tools, work: work, jobs: request.jobs,
        sessionSettings: request.sessionSettings, progress: progress
      ).run()
      if request.proves {
        progress.begin("proving", expected: manifest.bytes)
        warnings += try RestoreProof(
          manifest: manifest, reader: reader, files: files, tools: tools, settings: settings, work: work, jobs: request.jobs, progress: progress
        ).run()
      }
      result = RestoreResult(
        manifest: manifest, database: request.target.name, safetySnapshot: safety?.id, leftOutOfSafety: safety?.incompleteReasons ?? [],
        tables: manifest.tables.count, rows: manifest.rows,
        elapsed: .zero, notes: findings.notes, warnings: warnings, proven: request.proves,
        schemaCompared: request.proves && RestoreProof.comparesSchema(of: manifest, tools))
      if replaced == nil {
        try database.finish(on: server)
      } else {
        try exchange(database, server, &result)
      }
    } catch {
      try discard(database, madeRoles, after: error)
      throw error
    }
    result.elapsed = ContinuousClock.now - clock
    return result
  }

  private var replaced: String? {
    if case .replacing(let name) = request.target { name } else { nil }
  }

  private func preflight(_ server: Connection, _ manifest: Manifest) -> RestorePreflight {
    RestorePreflight(server: server, manifest: manifest, repository: repository, request: request)
  }

  /// A new database is as the snapshot's was. One that replaces another takes over what belongs to its name: owner, settings, privileges,
  /// limit, comment.
  private func propertiesOfNew(_ manifest: Manifest, _ server: Connection) throws -> DatabaseProperties {
    var properties = manifest.properties
    guard let replaced else { return properties }
    let live = DatabaseProperties(try server.databaseFacts(of: replaced))
    properties.owner = live.owner
    properties.settings = live.settings
    properties.grants = live.grants
    properties.connectionLimit = live.connectionLimit
    properties.comment = live.comment
    return properties
  }

  private func takeSafetySnapshot(_ manifest: Manifest, _ server: Connection) throws -> Manifest? {
    guard replaced != nil, var safety = request.safetySnapshot else { return nil }
    progress.begin("taking a snapshot of the database as it is")
    // Of the same cluster: beside the snapshot that is restored. Of another: it must not pass for one of that.
    if safety.source == nil, let identifier = manifest.systemIdentifier, try server.systemIdentifier() == identifier {
      safety.source = manifest.source
    }
    do {
      return try SnapshotOperation(repository: repository, request: safety, progress: progress).run().manifest
    } catch let error where !(error is Interruption) {
      throw SafetySnapshotFailed(cause: error)
    }
  }

  /// Gives the new database the name of the live one.
  private func exchange(_ database: UnfinishedDatabase, _ server: Connection, _ result: inout RestoreResult) throws {
    let live = request.target.name
    // Looked at anew: what was granted or set while the new one was built belongs to the name, too.
    let facts = try server.databaseFacts(of: live)
    let finishing = try DatabaseBuilder(server: server, properties: propertiesOfNew(result.manifest, server)).finishingStatements(name: live)
    let taken = Set(try server.databaseEntries().map(\.name))
    let time = request.now()
    let told = request.keptName.flatMap { taken.contains($0) ? nil : $0 }
    let swap = DatabaseSwap(
      settings: server.settings, live: live, replacement: database.name, keptName: told ?? KeptDatabase.name(for: live, at: time, taken: taken),
      record: .init(database: live, keptAt: time, snapshot: result.manifest.id.description, comment: facts.comment),
      finishing: ["ALTER DATABASE \(Connection.identifier(live)) OWNER TO \(Connection.identifier(facts.owner))"] + finishing)
    let around = SwapWithMaintenance(swap: swap, maintenance: request.maintenance, undoesOnFailure: request.undoesOnFailure, progress: progress)
    let outcome = try around.run(now: request.now)
    result.keptAs = swap.keptName
    result.downtime = outcome.downtime
    result.warnings += outcome.warnings
  }

  /// Drops the new database and the roles made for it. An interruption must not keep them from being dropped.
  private func discard(_ database: UnfinishedDatabase, _ roles: [String], after cause: any Error) throws {
    // Its name leads to it by now: it is no rest of anything.
    if cause is any AfterExchange { return }
    Interruption.clear()
    progress.begin("dropping the unfinished database")
    do {
      // The connection of before may be what failed.
      let server = try ServerConnection.open(request.settings, except: replaced)
      try server.dropDatabase(database.name)
      try server.executeTogether(roles.map { "DROP ROLE IF EXISTS \(Connection.identifier($0))" })
    } catch {
      throw LeftBehind(database: database.name, roles: roles, reason: error, cause: cause)
    }
  }
}

/// The snapshot of the database that was to be replaced could not be made.
package struct SafetySnapshotFailed: Error {
  package let cause: any Error
}
