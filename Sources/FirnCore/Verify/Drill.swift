internal import Foundation
internal import Platform
package import Postgres
package import Repository
package import SystemPackage

/// The settings of a drill.
package struct DrillRequest: Sendable {
  /// A statement with an expected value, defined by the operator.
  package struct Assertion: Sendable, Equatable {
    package let name: String
    package let sql: String
    /// The value as text.
    package let expected: String

    package init(name: String, sql: String, expected: String) {
      self.name = name
      self.sql = sql
      self.expected = expected
    }
  }

  /// A server to restore into, under a temporary name; nil for a throw-away server.
  package var server: ConnectionSettings?
  package var jobs = 2
  package var assertions: [Assertion] = []
  package var toolFolders: [FilePath] = []
  package var workRoot = WorkFolder.defaultRoot
  /// Whether the throw-away server may run unconfined if the kernel can't confine it.
  package var allowsUnconfined = false
  /// The `search_path` for the restore; nil for the snapshot's own.
  package var searchPath: String?
  /// Whether values are compressed with the server's default, so that measurements match the original.
  package var compressesAsUsual = false

  package init() {}
}

package struct DrillOutcome: Sendable {
  package let place: SnapshotPath
  package var restoreSeconds = 0.0
  package var tablesCompared = 0
  package var schemaCompared = false
  /// Differences that are damage.
  package var differences: [String] = []
  /// Assertions that the restored database does not meet, although it may be sound.
  package var unmetAssertions: [String] = []
  package var problems: [String] { differences + unmetAssertions }
  /// Tables and large objects that could not be restored here. Their stored bytes were read.
  package var notRestored: [String] = []
  /// Whether these are only the jobs of pg_cron, which no throw-away server may run.
  package var lacksOnlyJobs = false
  /// All that is different, or was not compared, for a reason outside the snapshot.
  package var incomparable: [String] { reservations + notRestored.map { "not restored: \($0)" } }
  /// The error of pg_restore or the server, if the snapshot could not be restored.
  package var failure: String?
  /// The error that prevented the drill.
  package var obstacle: (any Error)?
  /// Differences, or things that could not be compared, for a reason outside the snapshot. The snapshot itself is
  /// not in doubt.
  package var reservations: [String] = []
  /// Materialized views that could not be filled: part of `reservations`.
  package var unfilledViews: [String] = []
  package var notes: [String] = []
  package var assertionsMet = 0
  /// The pg_restore that was used.
  package var tool: String?
  /// Why the result could not be recorded; nil if it was.
  package var unrecorded: (any Error)?
}

/// Restores a snapshot into a temporary database, compares everything with the dump, and drops it.
package struct Drill {
  private let repository: Repository
  private let request: DrillRequest
  private let progress: WorkProgress

  package init(repository: Repository, request: DrillRequest, progress: WorkProgress) {
    self.repository = repository
    self.request = request
    self.progress = progress
  }

  /// - Throws: `FirnError.refused` if there is no room, `PostgresError.noTool`, `SnapshotDamaged`, and errors of the server.
  package func run(on place: SnapshotPath) throws -> DrillOutcome {
    progress.begin("preparing a drill of \(place.id)")
    let source = try RestoreSource(repository, place)
    let work = try WorkFolder.forRun(in: request.workRoot)
    defer { work.remove() }
    return try source.namingDamage {
      guard let settings = request.server else { return try runOnOwnServer(source, work, compare) }
      let server = try ServerConnection.open(settings)
      let tools = try ServerTools.find("pg_restore", major: server.serverMajor, configured: request.toolFolders)
      return try run(source, on: server, tools, work, makesRoles: false, compare)
    }
  }

  /// Examines the restored database before it is dropped.
  typealias Inspection = (DatabaseBuild, UnfinishedDatabase, RestoreSelection, DatabaseProperties, inout DrillOutcome) throws -> Void

  /// Restores on a throw-away server.
  /// - Parameter connected: called with the application name of each session of that server.
  func runOnOwnServer(
    _ source: RestoreSource, _ work: WorkFolder, connected: (@Sendable (String) -> Void)? = nil, _ inspect: Inspection
  ) throws -> DrillOutcome {
    try checkRoom(for: source.manifest, in: work.path)
    let tools = try ServerTools.find("initdb", major: source.manifest.versions.serverMajor, configured: request.toolFolders)
    guard Confinement.isSupported || request.allowsUnconfined else {
      throw FirnError.refused(reasons: [
        "this kernel can't confine a server: Landlock (Linux 5.13 or later) is missing or disabled. A restore runs code of the database as superuser: drill on another machine, or add --unconfined if you trust every role that can create objects in \(source.manifest.database)"
      ])
    }
    progress.begin("creating a server of version \(tools.major)")
    let locks = max(256, source.directory.entries.count / 20)
    // The server's user must be able to reach the folder.
    let account = ThrowAwayServer.Account.needed
    let reachable = account.map { $0.canReach(request.workRoot) } ?? true
    let home = reachable ? work : try WorkFolder(in: "/var/tmp")
    defer { home.remove() }
    let sockets = try WorkFolder(in: "/tmp", prefix: "firn-s-")
    defer { sockets.remove() }
    let own = try ThrowAwayServer(
      tools: tools, folder: home.path, sockets: sockets.path, account: account, locks: locks, isConfined: Confinement.isSupported,
      connected: connected)
    defer { own.stop() }
    try preload(source, own)
    return try run(source, on: try ServerConnection.open(own.settings), tools, work, makesRoles: true, inspect)
  }

  /// Preloads the libraries that the snapshot's extensions need. pg_cron is never loaded, because it would run jobs.
  private func preload(_ source: RestoreSource, _ own: ThrowAwayServer) throws {
    let server = try ServerConnection.open(own.settings)
    let available = try server.availableExtensions()
    let wanted = ExtensionTrial.inOrder(source.manifest.extensions.filter { available[$0.name] != nil }, source)
    let obstacles = try server.obstacles(toExtensions: wanted)
    guard !obstacles.isEmpty else { return }
    // Snapshots of earlier versions don't record libraries. Most libraries have the name of their extension.
    let libraries = try (source.manifest.preloadedLibraries ?? obstacles.keys.sorted())
      .filter { try $0 != ScheduledJobs.extensionName && !$0.contains("/") && server.hasLibrary($0) }
    guard !libraries.isEmpty else { return }
    progress.note("starting the server again with shared_preload_libraries = \(libraries.joined(separator: ", "))")
    _ = try own.restart(preloading: libraries)
  }

  /// A restored database needs about the size of its dump, plus its indexes.
  private func checkRoom(for manifest: Manifest, in folder: FilePath) throws {
    let needed = manifest.bytes + manifest.bytes / 4 + (100 << 20)
    guard let free = try? Folder.freeSpace(at: folder), free < needed else { return }
    throw FirnError.refused(reasons: [
      "a drill needs about \(needed / 1_000_000) MB, and \(folder) has \(free / 1_000_000) MB free: name a larger folder with --spool, or a server with --server"
    ])
  }

  private func run(
    _ source: RestoreSource, on server: Connection, _ tools: ServerTools, _ work: WorkFolder, makesRoles: Bool, _ inspect: Inspection
  ) throws -> DrillOutcome {
    var outcome = DrillOutcome(place: source.manifest.place)
    outcome.tool = try tools.versionLine(of: "pg_restore")
    outcome.notes += try RestoreLeftover.clear(on: server).map(\.text)
    if makesRoles { outcome.notes += try makeRoles(of: source.manifest, on: server) }
    let available = Set(try server.availableExtensions().keys)
    let wanted = ExtensionTrial.inOrder(source.manifest.extensions.filter { available.contains($0.name) }, source)
    let role = try RestoringRole(
      of: server, keepsToExisting: true, availableExtensions: available, obstaclesToExtensions: server.obstacles(toExtensions: wanted))
    var scope = RestoreScope()
    scope.searchPath = request.searchPath
    // Tablespaces that do not exist here are mapped to the default one.
    for name in [source.manifest.properties.tablespace] + source.manifest.tablespaces where try !server.tablespaceNames().contains(name) {
      scope.tablespaces[name] = "pg_default"
      outcome.notes.append("tablespace \(name) does not exist on this server: its tables were restored into pg_default")
    }
    let selection = try RestoreSelection(source, scope: scope, role: role)
    let restored = try RestoredProperties(of: source.manifest, replacing: nil, scope: scope, role: role, on: server)
    outcome.reservations += (restored.leftOut + selection.leftOut).map { "not compared: \($0)" }

    let builder = DatabaseStatements(server: server, properties: restored.properties)
    let database = UnfinishedDatabase(for: "drill of \(source.manifest.database)", builder: builder)
    var restoredSelection = selection
    let build = DatabaseBuild(
      server: server, source: source, selection: selection, tools: tools, work: work, jobs: request.jobs,
      sessionSettings: request.compressesAsUsual && server.serverMajor >= 14 ? [(RestoreSettings.compression, "pglz")] : [], progress: progress)
    do {
      let start = ContinuousClock.now
      try build.make(database)
      let filled = try build.fill(database)
      outcome.notes += filled.warnings.filter { !filled.reservations.contains($0) }
      outcome.reservations += filled.reservations
      outcome.unfilledViews = filled.unfilledViews
      try server.executeTogether(builder.finishingStatements(name: database.name))
      outcome.restoreSeconds = (ContinuousClock.now - start).inSeconds
      restoredSelection = filled.selection
      try inspect(build, database, filled.selection, restored.properties, &outcome)
    } catch {
      try? drop(database, server)
      throw Self.failure(error, server) ?? error
    }
    try drop(database, server)
    try readRest(source, restoredSelection, &outcome)
    return outcome
  }

  /// pg_restore could not restore the snapshot on a working server.
  struct Failure: Error {
    let cause: PostgresError

    var message: String {
      if case .toolFailed(_, _, let messages) = cause { return messages.prefix(12).joined(separator: "\n") }
      return cause.lines.joined(separator: "\n")
    }
  }

  private static func failure(_ error: any Error, _ server: Connection) -> Failure? {
    guard let error = error as? PostgresError, (try? server.isSuperuser()) != nil else { return nil }
    switch error {
    case .toolFailed("pg_restore", exitCode: 1, let messages) where !PostgresError.tellsOfFullDisk(messages): return Failure(cause: error)
    case _ where error.isOfRows: return Failure(cause: error)
    default: return nil
    }
  }

  /// Reads the stored bytes of everything that was left out of the restore, for example because an extension is not installed.
  private func readRest(_ source: RestoreSource, _ selection: RestoreSelection, _ outcome: inout DrillOutcome) throws {
    let loaded = Set(selection.loads.map(\.file.name))
    let rest = source.files.filter {
      selection.files[$0.key] == nil
        || $0.key.hasSuffix(".dat") && !$0.value.isLargeObject && $0.key != ArchiveFile.contents && !loaded.contains($0.key)
    }
    guard !rest.isEmpty else { return }
    progress.begin("reading what was not restored", expected: rest.values.reduce(0) { $0 + $1.bytes })
    for file in rest.values { try source.reader.read(file) { progress.advance(by: $0.count) } }
    let tables = source.manifest.tables.filter { rest[$0.file] != nil }
    outcome.notRestored += tables.map(\.displayName)
    outcome.lacksOnlyJobs = tables.count == outcome.notRestored.count && tables.allSatisfy { $0.ofExtension == ScheduledJobs.extensionName }
    if rest.keys.contains(where: { ArchiveFile.concernsLargeObjects($0) }) { outcome.notRestored.append("large objects") }
  }

  private func drop(_ database: UnfinishedDatabase, _ server: Connection) throws {
    try Interruption.putOff { try server.dropDatabase(database.name) }
  }

  /// Creates all roles of the globals: rows and functions may name roles that own nothing.
  private func makeRoles(of manifest: Manifest, on server: Connection) throws -> [String] {
    let script = try GlobalsScript(of: manifest, in: repository)
    let existing = try server.roleNames()
    let missing = Set(manifest.roles + manifest.properties.roles).subtracting(existing)
    let made = script.roles(toMake: missing.union(script.roleNames).subtracting(existing), existing: existing)
    try server.executeTogether(made.flatMap(\.statements))
    return missing.subtracting(made.map(\.name)).sorted().map { "role \($0) is not in the snapshot's globals" }
  }

  private func compare(
    _ build: DatabaseBuild, _ database: UnfinishedDatabase, _ selection: RestoreSelection, _ properties: DatabaseProperties,
    _ outcome: inout DrillOutcome
  ) throws {
    do {
      let findings = try build.proof(of: database, selection).run()
      outcome.notes += findings.notes
      outcome.reservations += findings.reservations
      outcome.notRestored += findings.notCompared
      outcome.schemaCompared = findings.schemaCompared
    } catch FirnError.restoredCopyDiffers(let differences) {
      outcome.differences += differences
      outcome.schemaCompared = true
    }
    outcome.tablesCompared = selection.manifest.tables.count - outcome.notRestored.count
    let settings = build.server.settings.with(database: database.name)
    outcome.differences += try RestoreCount(settings: settings, manifest: selection.manifest, jobs: 1, searchPath: selection.searchPath)
      .sequenceDifferences()
    var found = DatabaseProperties(try build.server.databaseFacts(of: database.name))
    var wanted = properties
    // Collation versions depend on this machine's libraries, not on the snapshot.
    for keyPath in [\DatabaseProperties.collationVersion, \.actualCollationVersion] {
      (found[keyPath: keyPath], wanted[keyPath: keyPath]) = (nil, nil)
    }
    outcome.differences += wanted.differences(from: found)
    try check(database, selection, build, &outcome)
    try assert(Connection(settings, applicationName: "firn-verify"), &outcome)
  }

  /// Checks every table and index with amcheck, if it is installed.
  private func check(_ database: UnfinishedDatabase, _ selection: RestoreSelection, _ build: DatabaseBuild, _ outcome: inout DrillOutcome) throws {
    guard try build.server.availableExtensions()["amcheck"] != nil, try build.server.isSuperuser() else {
      outcome.notes.append("amcheck did not check tables and indexes: it is not installed, or \(build.server.user) is no superuser")
      return
    }
    progress.begin("checking tables and indexes")
    let settings = build.server.settings.with(database: database.name)
    let connection = try Connection(settings, applicationName: "firn-verify")
    let schema: String
    do { schema = try connection.installAmcheck() } catch PostgresError.statementFailed(let message, _) {
      outcome.notes.append("amcheck did not check tables and indexes: \(message)")
      return
    }
    let found = Monitor<(damage: [String], unchecked: [String])>(([], []))
    try forEachOverSessions(connection.checkableRelations(), sessions: request.jobs) {
      let connection = try Connection(settings, applicationName: "firn-verify")
      if let path = selection.searchPath { try connection.useSearchPath("\(path), pg_catalog") }
      return connection
    } _: { relation, connection in
      do {
        let damage = try connection.damage(in: relation, amcheck: schema).map { "amcheck: \(relation.name): \($0)" }
        found.update { $0.damage += damage }
      } catch PostgresError.statementFailed(let message, _) {
        found.update { $0.unchecked.append("amcheck could not check \(relation.name): \(message)") }
      }
    }
    outcome.differences += found.current.damage.sorted()
    outcome.notes += found.current.unchecked.sorted()
  }

  private func assert(_ connection: Connection, _ outcome: inout DrillOutcome) throws {
    // Assertions use the search path of the application.
    try connection.execute("RESET search_path")
    for assertion in request.assertions {
      progress.begin("checking the assertion \(assertion.name)")
      do {
        let found = try connection.answer(to: assertion.sql) ?? "null"
        let truth = ["true": "t", "false": "f"][assertion.expected]
        if found == assertion.expected || found == truth {
          outcome.assertionsMet += 1
        } else {
          outcome.unmetAssertions.append("assertion \(assertion.name): \(found) instead of \(assertion.expected)")
        }
      } catch PostgresError.statementFailed(let message, _) {
        outcome.unmetAssertions.append("assertion \(assertion.name) failed: \(message)")
      }
    }
  }
}

extension DatabaseProperties {
  /// Settings that are lists (GUC_LIST_INPUT in guc_tables.c) and can be set for a database.
  private static let lists: Set = [
    "search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries", "datestyle", "createrole_self_grant",
    "restrict_nonsystem_relation_kind",
  ]

  /// Describes the differences.
  fileprivate func differences(from other: DatabaseProperties) -> [String] {
    var result: [String] = []
    func compare<Value: Equatable>(_ what: String, _ mine: Value, _ theirs: Value) {
      if mine != theirs { result.append("the database's \(what) differs: \(theirs) instead of \(mine)") }
    }
    compare("owner", owner, other.owner)
    compare("encoding", encoding, other.encoding)
    compare("collation", [localeProvider, collate, ctype, locale ?? ""], [other.localeProvider, other.collate, other.ctype, other.locale ?? ""])
    compare("connection limit", connectionLimit, other.connectionLimit)
    compare("comment", comment ?? "", other.comment ?? "")
    func texts(_ grants: [Grant]?) -> [String] {
      (grants ?? []).map { "\($0.privilege) to \($0.grantee ?? "PUBLIC")\($0.grantable ? " with grant option" : "")" }.sorted()
    }
    compare("privileges", texts(grants), texts(other.grants))
    // pg_dump writes lists in another form than SET … FROM CURRENT leaves them.
    func normal(_ setting: Setting) -> String {
      guard Self.lists.contains(setting.name.lowercased()) else { return setting.value }
      return setting.value.split(separator: ",").map { $0.trimmingPrefix { $0 == " " }.replacing("\"", with: "") }.joined(separator: ", ")
    }
    func texts(_ settings: [Setting]) -> [String] {
      settings.map { "\($0.role.map { "\($0): " } ?? "")\($0.name)=\(normal($0))" }.sorted()
    }
    compare("settings", texts(settings), texts(other.settings))
    return result
  }
}
