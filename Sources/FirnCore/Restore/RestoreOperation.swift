internal import Foundation
internal import Platform
package import Postgres
package import Repository
internal import SystemPackage

/// Restores a snapshot: builds a new database, verifies it, and gives it its name or swaps it with the database that it replaces. If
/// anything fails before that, the new database is dropped and nothing else was changed.
package struct RestoreOperation {
  private let repository: Repository
  private let request: RestoreRequest
  private let progress: WorkProgress

  package init(repository: Repository, request: RestoreRequest, progress: WorkProgress) {
    self.repository = repository
    self.request = request
    self.progress = progress
  }

  /// Everything a restore needs once its prerequisites were checked.
  private struct Preparation {
    let server: Connection
    let source: RestoreSource
    let selection: RestoreSelection
    let properties: DatabaseProperties
    let role: RestoringRole
    var findings: RestorePreflight.Findings
  }

  /// Checks all prerequisites without changing anything.
  /// - Throws: `FirnError.refused` with every reason at once.
  package func plan() throws -> RestorePlan {
    let prepared = try prepare()
    let impact = try replaced.map { name in
      try ReplacementImpact.gather(replacing: name, by: prepared.selection.manifest, on: prepared.server, at: request.now())
    }
    return RestorePlan(
      manifest: prepared.source.manifest, target: request.target, impact: impact, notes: prepared.findings.notes,
      warnings: prepared.findings.warnings)
  }

  private func prepare() throws -> Preparation {
    progress.begin("checking prerequisites")
    let source = try RestoreSource(repository, request.place, isPartial: request.scope.isPartial || request.scope.onlyIntact)
    let server = try ServerConnection.open(request.settings, except: replaced)
    let role = try RestoringRole(
      of: server, creatableExtensions: ExtensionTrial(server: server, target: request.target).creatable(source), finalName: request.target.name)
    let damaged = request.scope.onlyIntact ? try source.damagedFiles(progress) : []
    let selection = try RestoreSelection(source, scope: request.scope, role: role, damaged: damaged)
    if !request.scope.onlyIntact { try source.requireLists(of: selection.manifest.tables, largeObjects: !request.scope.isPartial) }
    let properties = try properties(source.manifest, role, server)
    let findings = try RestorePreflight(
      server: server, repository: repository, request: request, selection: selection, properties: properties, role: role
    ).check()
    return Preparation(
      server: server, source: source, selection: selection, properties: properties.properties, role: role, findings: findings)
  }

  /// Drops leftovers of killed restores, except markers of lost databases.
  package static func tidyUp(_ settings: ConnectionSettings) throws -> [RestoreLeftover] {
    try RestoreLeftover.clear(on: ServerConnection.open(settings))
  }

  /// - Parameters:
  ///   - told: called with notes about what will be done, once prerequisites were checked.
  ///   - saved: called with the snapshot of the replaced database, which stays even if the restore fails.
  ///   - found: called with leftovers of other restores, and what was done with them.
  package func run(
    told: ([String]) -> Void = { _ in }, saved: (SnapshotID) -> Void = { _ in }, found: ([RestoreLeftover]) -> Void = { _ in }
  ) throws -> RestoreResult {
    let clock = ContinuousClock.now
    let lock = try StoreHousekeeping(store: repository.store).sharedLock(purpose: "firn-restore of \(request.place.database)", onlyReads: true)
    defer { lock.release() }
    // First, because leftovers take room.
    found(try RestoreLeftover.clear(on: ServerConnection.open(request.settings, except: replaced)).filter { !isMended($0) })
    let prepared = try prepare()
    let (server, source) = (prepared.server, prepared.source)
    try requireSameDatabase(on: server)
    told(prepared.findings.notes)
    // pg_restore of the server's major version. The preflight has checked that it is not older than the pg_dump
    // that was used.
    let tools = try ServerTools.find("pg_restore", major: server.serverMajor, configured: request.toolFolders)
    let work = try WorkFolder.forRun(in: request.workRoot)
    defer { work.remove() }
    return try source.namingDamage {
      var result: RestoreResult
      if case .inPlace(let name) = request.target {
        try requireIntact(source)
        try trySchema(prepared, tools, work)
        let safety = { try self.takeProvenSafetySnapshot(source.manifest, server) }
        result = try DestructiveRestore(name: name, server: server, maintenance: request.maintenance, progress: progress).run(
          requireSameDatabase: { try self.requireSameDatabase(on: server) }, takeSafetySnapshot: safety
        ) { safety, drop in try build(prepared, tools, work, safety, beforeFilling: drop) }
      } else {
        let safety = try takeSafetySnapshot(source.manifest, server)
        if let safety { saved(safety.id) }
        result = try build(prepared, tools, work, safety)
      }
      if isWhole {
        // The restore is complete, even if this fails.
        do { try RestoreLeftover.clear(for: request.target.name, restoredFrom: request.place.id, on: server) } catch {
          result.notes.append("the database with the marker of the loss could not be dropped; firn-restore --recover lists it")
        }
      }
      result.elapsed = ContinuousClock.now - clock
      result.objectsRead = source.reader.objectsRead
      result.objectsOfSnapshot = source.reader.table.objects.count
      return result
    }
  }

  /// Whether a whole snapshot is restored.
  private var isWhole: Bool { !request.scope.isPartial && !request.scope.excludesTables && !request.scope.onlyIntact && request.scripts.isEmpty }

  /// Whether this restore makes a marker obsolete: it restores the lost database from a snapshot that the marker
  /// names.
  private func isMended(_ rest: RestoreLeftover) -> Bool {
    guard let loss = rest.loss, loss.target.isSame(as: request.target.name) else { return false }
    return isWhole && loss.ways.contains(request.place.id.description)
  }

  /// Builds, verifies and names the new database.
  /// - Parameter beforeFilling: called with the temporary name of the database while it is empty.
  private func build(
    _ prepared: Preparation, _ tools: ServerTools, _ work: WorkFolder, _ safety: Manifest?, beforeFilling: (String) throws -> Void = { _ in }
  ) throws -> RestoreResult {
    let (server, source, selection) = (prepared.server, prepared.source, prepared.selection)
    let database = try unfinishedDatabase(prepared)
    var madeRoles: [String] = []
    var old: UInt32?
    do {
      try server.executeTogether(prepared.findings.roleStatements)
      madeRoles = prepared.findings.madeRoles
      var build = DatabaseBuild(
        server: server, source: source, selection: selection, tools: tools, work: work, jobs: request.jobs,
        sessionSettings: request.sessionSettings, progress: progress)
      build.allowsMissing = allowsMissing
      if case .inPlace(let name) = request.target {
        build.inPlace = .init(safetySnapshot: safety?.id.description, oid: try server.databaseOID(name), store: repository.store.location)
      }
      var warnings = prepared.findings.warnings
      try build.make(database)
      old = build.inPlace?.oid
      // A server completes a CREATE DATABASE even if the restore that sent it was killed, so the first cleanup may
      // have run before that database existed.
      _ = try? RestoreLeftover.clear(on: server)
      try beforeFilling(database.name)
      let filled = try build.fill(database)
      warnings += filled.warnings
      var (proven, schemaCompared) = (false, false)
      if request.proves {
        let findings = try build.proof(of: database, filled.selection).run()
        schemaCompared = findings.schemaCompared
        proven = findings.notCompared.isEmpty
        warnings += findings.warnings
      }
      try ScriptRun(scripts: request.scripts, tools: tools).run(
        in: database.name, server.settings.with(database: database.name), work, progress)
      var result = RestoreResult(
        manifest: source.manifest, database: request.target.name, safetySnapshot: safety?.id, leftOutOfSafety: safety?.incompleteReasons ?? [],
        tables: filled.selection.manifest.tables.count, rows: filled.selection.manifest.rows, elapsed: .zero, notes: prepared.findings.notes,
        warnings: warnings, proven: proven, schemaCompared: schemaCompared)
      try requireUsable(database, on: server, &result)
      switch request.target {
      case .new, .empty: try database.finish(on: server)
      case .replacing: try swap(database, prepared, &result)
      case .inPlace:
        do {
          try database.markWhole(on: server, snapshot: source.manifest.id, inPlace: build.inPlace)
          try database.finish(on: server)
        } catch { throw NotNamed(built: database.name, cause: error) }
      }
      if let jobs = selection.scheduledJobs {
        // The database is complete and has its name, so this does not fail the restore.
        do { try jobs.restore(server.settings.with(database: request.target.name), progress: progress) } catch {
          result.warnings.append("the jobs of pg_cron were not restored: \((error as? PostgresError)?.briefly ?? "\(error)")")
        }
      }
      return result
    } catch {
      // Once the old database is dropped, the partial new one stays: the next run reads from its marker what was
      // lost.
      if old.map(isThere) ?? true { try discard(database, source, madeRoles, after: error) }
      throw error
    }
  }

  /// Applies the database's settings, and checks that a session can start with them: one may name a library that is missing here.
  /// - Throws: `FirnError.refused`. If the old database is dropped already, a warning is added instead.
  private func requireUsable(_ database: UnfinishedDatabase, on server: Connection, _ result: inout RestoreResult) throws {
    try database.applySettings(on: server)
    do { _ = try Connection(server.settings.with(database: database.name), applicationName: "firn-restore") } catch let error as PostgresError {
      let reason = "no session can begin with the settings of database \(database.finalName) on this server: \(error.briefly)"
      guard case .inPlace = request.target else { throw FirnError.refused(reasons: [reason]) }
      result.warnings.append("\(reason); remove the setting with ALTER DATABASE … RESET")
    }
  }

  /// Whether the old database certainly still exists.
  private func isThere(_ oid: UInt32) -> Bool {
    Interruption.putOff {
      let name = request.target.name
      return (try? ServerConnection.open(request.settings, except: name).hasUsableDatabase(name, among: [oid])) ?? false
    }
  }

  /// Whether rows may be left out that the preflight could not foresee.
  private var allowsMissing: Bool { !request.target.isExisting || request.allowsIncomplete }

  private func unfinishedDatabase(_ prepared: Preparation) throws -> UnfinishedDatabase {
    let builder = DatabaseStatements(server: prepared.server, properties: prepared.properties)
    if case .empty(let name) = request.target { return try UnfinishedDatabase(existing: name, builder: builder) }
    return UnfinishedDatabase(for: request.target.name, builder: builder)
  }

  /// Tries the schema and some rows of each table on this server, while the old database exists and the application runs.
  private func trySchema(_ prepared: Preparation, _ tools: ServerTools, _ work: WorkFolder) throws {
    progress.begin("trying the schema")
    let database = try unfinishedDatabase(prepared)
    var build = DatabaseBuild(
      server: prepared.server, source: prepared.source, selection: prepared.selection, tools: tools, work: work, jobs: request.jobs,
      sessionSettings: request.sessionSettings, progress: progress)
    build.allowsMissing = allowsMissing
    var madeRoles: [String] = []
    do {
      try prepared.server.executeTogether(prepared.findings.roleStatements)
      madeRoles = prepared.findings.madeRoles
      try build.trySchema(database)
    } catch {
      let failure: any Error = error is Interruption ? error : TrialFailed(database: request.target.name, cause: error)
      try discard(database, prepared.source, madeRoles, after: failure)
      throw failure
    }
    do { try takeAway(database, prepared.source, madeRoles) } catch {
      throw LeftBehind(
        database: database.name, roles: madeRoles, reason: error, cause: TrialFailed(database: request.target.name, cause: error))
    }
  }

  /// Checks that the name still belongs to the database that was confirmed. Another database of that name is not
  /// changed.
  private func requireSameDatabase(on server: Connection) throws {
    guard let replaced, let confirmed = request.replacedOID else { return }
    guard try server.databaseEntries().contains(where: { $0.name.isSame(as: replaced) && $0.oid == confirmed }) else {
      throw FirnError.replacedMeanwhile(replaced)
    }
  }

  /// Reads the whole snapshot before the old database is dropped.
  private func requireIntact(_ source: RestoreSource) throws {
    guard !request.scope.onlyIntact else { return }
    let damaged = try source.damagedFiles(progress)
    guard damaged.isEmpty else {
      let tables = source.manifest.tables.filter { damaged.contains($0.file) }.map(\.displayName)
      throw SnapshotDamaged(
        tables: tables, cause: RepositoryError.malformed(key: source.manifest.place.prefix, reason: "its bytes differ from the dumped bytes"))
    }
  }

  /// Takes the last snapshot of the old database, and reads it back.
  private func takeProvenSafetySnapshot(_ manifest: Manifest, _ server: Connection) throws -> Manifest? {
    guard let safety = try takeSafetySnapshot(manifest, server) else { return nil }
    if !safety.complete && !request.allowsIncomplete {
      throw FirnError.refused(
        reasons: safety.incompleteReasons.map {
          "the safety snapshot \(safety.id) of the current database is incomplete: \($0); add --allow-incomplete to accept it"
        })
    }
    progress.begin("reading that snapshot back", expected: safety.bytes)
    let source = try RestoreSource(repository, safety.place, isPartial: true)
    let damaged = try source.damagedFiles(progress)
    guard damaged.isEmpty else {
      throw FirnError.refused(reasons: [
        "the safety snapshot \(safety.id) of the current database shares damaged objects with earlier snapshots: run firn-verify --read \(safety.database) all, then run this again"
      ])
    }
    return safety
  }

  /// The database that has the name now.
  private var replaced: String? { request.target.isExisting ? request.target.name : nil }

  private func properties(_ manifest: Manifest, _ role: RestoringRole, _ server: Connection) throws -> RestoredProperties {
    // If it is missing, the preflight reports that.
    let live = try replaced.flatMap { name in try server.databaseExists(name) ? DatabaseProperties(server.databaseFacts(of: name)) : nil }
    return try RestoredProperties(of: manifest, replacing: live, scope: request.scope, role: role, on: server)
  }

  private func takeSafetySnapshot(_ manifest: Manifest, _ server: Connection) throws -> Manifest? {
    guard replaced != nil, var safety = request.safetySnapshot else { return nil }
    progress.begin("taking a snapshot of the current database")
    // A database of the same cluster is stored beside the restored snapshot. One of another cluster needs its own source.
    if safety.source == nil, let identifier = manifest.systemIdentifier, try server.systemIdentifier() == identifier {
      safety.source = manifest.source
    }
    do {
      return try SnapshotOperation(repository: repository, request: safety, progress: progress).run().manifest
    } catch let error where !(error is Interruption) {
      throw SafetySnapshotFailed(cause: error, keepsOldDatabase: request.target == .replacing(request.target.name))
    }
  }

  /// Swaps the new database with the live one.
  private func swap(_ database: UnfinishedDatabase, _ prepared: Preparation, _ result: inout RestoreResult) throws {
    let server = prepared.server
    let live = request.target.name
    // Read again: grants and settings that were changed during the restore must be kept too.
    let facts = try server.databaseFacts(of: live)
    let properties = try properties(result.manifest, prepared.role, server).properties
    let entries = try server.databaseEntries()
    let taken = Set(entries.map(\.name))
    let time = request.now()
    let told = request.keptName.flatMap { taken.contains($0) ? nil : $0 }
    let keptName = told ?? KeptDatabase.name(for: live, at: time, taken: taken)
    guard let old = entries.first(where: { $0.name.isSame(as: live) })?.oid, request.replacedOID.map({ $0 == old }) ?? true else {
      throw FirnError.replacedMeanwhile(live)
    }
    guard let new = entries.first(where: { $0.name == database.name })?.oid else { throw PostgresError.noSuchDatabase(name: database.name) }
    let swap = DatabaseSwap(
      settings: server.settings, live: live, replaced: .init(name: live, oid: old), replacement: .init(name: database.name, oid: new),
      keptName: keptName,
      record: .init(
        database: live, name: keptName, keptAt: time, snapshot: result.manifest.id.description, comment: KeptDatabase.original(facts.comment)),
      finishing: ["ALTER DATABASE \(Connection.identifier(live)) OWNER TO \(Connection.identifier(facts.owner))"]
        + DatabaseStatements(server: server, properties: properties).finishingStatements(name: live))
    let around = SwapWithApplicationStopped(
      swap: swap, maintenance: request.maintenance, undoesOnFailure: request.undoesOnFailure, progress: progress)
    let outcome = try around.run(now: request.now)
    result.keptAs = swap.keptName
    result.downtime = outcome.downtime
    result.warnings += outcome.warnings
  }

  /// Drops the new database and the roles created for it, also after an interruption.
  private func takeAway(_ database: UnfinishedDatabase, _ source: RestoreSource, _ roles: [String]) throws {
    progress.begin("dropping the unfinished database")
    try Interruption.putOff {
      // The previous connection may be what failed.
      let server = try ServerConnection.open(request.settings, except: replaced)
      try database.discard(on: server, entries: source.directory.entries)
      try server.executeTogether(roles.map { "DROP ROLE IF EXISTS \(Connection.identifier($0))" })
    }
  }

  /// - Throws: `LeftBehind`.
  private func discard(_ database: UnfinishedDatabase, _ source: RestoreSource, _ roles: [String], after cause: any Error) throws {
    // The database has its final name, or only needs to be renamed, so it is kept.
    if cause is any AfterSwap || cause is NotNamed { return }
    do { try takeAway(database, source, roles) } catch {
      throw LeftBehind(database: database.name, roles: roles, reason: error, cause: cause)
    }
  }
}

/// The snapshot of the database to be replaced failed.
package struct SafetySnapshotFailed: Error {
  package let cause: any Error
  /// Whether the previous database would have been kept.
  package let keepsOldDatabase: Bool

  package init(cause: any Error, keepsOldDatabase: Bool) {
    self.cause = cause
    self.keepsOldDatabase = keepsOldDatabase
  }
}
