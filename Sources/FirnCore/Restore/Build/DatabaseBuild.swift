internal import Platform
internal import Postgres
internal import Repository

/// Makes a new database of a snapshot: empty, then filled, counted, and, when it is wanted, proven.
struct DatabaseBuild {
  let server: Connection
  let source: RestoreSource
  let selection: RestoreSelection
  let tools: ServerTools
  let work: WorkFolder
  var jobs: Int
  let sessionSettings: [(name: String, value: String)]
  let progress: WorkProgress

  /// Whether rows may be left out because an extension created no table for them.
  var allowsMissing = true

  /// For sessions in the new database: as the role that connects, even if the database is to set another, and without its event triggers.
  private func settings(_ database: UnfinishedDatabase) throws -> ConnectionSettings {
    let setsRole = source.manifest.properties.settings.contains { $0.name == "role" }
    var options = setsRole ? ["-c role=none"] : []
    if try server.serverMajor >= 17 && server.isSuperuser() { options.append("-c event_triggers=off") }
    guard !options.isEmpty else { return server.settings.with(database: database.name) }
    let given = server.settings.parameters["options"].map { [$0] } ?? []
    return server.settings.with(database: database.name).with("options", (given + options).joined(separator: " "))
  }
  /// Where another is dropped before this one is filled.
  var inPlace: UnfinishedDatabase.InPlace?

  /// Makes it, empty.
  func make(_ database: UnfinishedDatabase) throws { try database.make(on: server, snapshot: source.manifest.id, inPlace: inPlace) }

  /// How often a database is filled before sessions of pg_restore that lock each other out count as a failure.
  private static let attempts = 3

  /// Fills it. If sessions of pg_restore, which work side by side, waited for each other, it is created and filled again.
  func fill(_ database: UnfinishedDatabase) throws -> ArchiveLoad.Outcome {
    for _ in 1..<Self.attempts {
      do {
        return try load(database) { try $0.run() }
      } catch let error as PostgresError {
        guard database.isTemporary, case .toolFailed = error, try server.hadDeadlock(in: database.name) else { throw error }
        progress.note("sessions of pg_restore waited for each other: creating the database again")
        // The marker must exist at all times, so the new database is created before the old one is dropped.
        let former = UnfinishedDatabase.passingName()
        try server.endSessions(in: [database.name])
        try server.execute(Connection.renameStatement(database.name, to: former))
        try make(database)
        try server.dropDatabase(former)
      }
    }
    // Functions that run while indexes and constraints are built, an extension's event trigger for one, may lock each other out every time.
    var alone = self
    alone.jobs = 1
    return try alone.load(database) { try $0.run() }
  }

  private func load<Result>(_ database: UnfinishedDatabase, _ body: (ArchiveLoad) throws -> Result) throws -> Result {
    let folder = try WorkFolder(in: work.path, prefix: "load-")
    defer { folder.remove() }
    return try body(
      ArchiveLoad(
        settings: try settings(database), archive: source.directory, selection: selection, reader: source.reader, tools: tools, work: folder,
        jobs: jobs,
        sessionSettings: sessionSettings, allowsMissing: allowsMissing, progress: progress, applySettings: { try database.applySettings(on: server) })
    )
  }

  /// Creates it, and tries in it whether the snapshot can be restored here.
  /// - Throws: the reason why it can't.
  func trySchema(_ database: UnfinishedDatabase) throws {
    try make(database)
    try load(database) { try $0.trySchema() }
  }

  /// - Parameter selection: what was restored.
  func proof(of database: UnfinishedDatabase, _ selection: RestoreSelection) throws -> RestoreProof {
    RestoreProof(build: self, selection: selection, database: database, settings: try settings(database))
  }
}
