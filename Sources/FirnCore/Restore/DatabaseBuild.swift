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
  let jobs: Int
  let sessionSettings: [(name: String, value: String)]
  let progress: WorkProgress

  private func settings(_ database: UnfinishedDatabase) -> ConnectionSettings { server.settings.with(database: database.name) }
  /// Where another is dropped before this one is filled.
  var inPlace: UnfinishedDatabase.InPlace?

  /// Makes it, empty.
  func make(_ database: UnfinishedDatabase) throws { try database.make(on: server, snapshot: source.manifest.id, inPlace: inPlace) }

  /// How often a database is filled before sessions of pg_restore that lock each other out count as a failure.
  private static let attempts = 3

  /// Fills it. Where sessions of pg_restore, which work side by side, came to wait for each other, it is made and filled once more.
  /// - Returns: warnings.
  func fill(_ database: UnfinishedDatabase) throws -> [String] {
    for _ in 1..<Self.attempts {
      do {
        return try fillOnce(database)
      } catch let error as PostgresError {
        guard case .toolFailed = error, try server.hadDeadlock(in: database.name) else { throw error }
        progress.tell("sessions of pg_restore waited for each other: the database is made once more")
        // What it tells by its mark is told at any moment.
        let former = UnfinishedDatabase.passingName()
        try server.endSessions(in: [database.name])
        try server.execute("ALTER DATABASE \(Connection.identifier(database.name)) RENAME TO \(Connection.identifier(former))")
        try make(database)
        try server.dropDatabase(former)
      }
    }
    return try fillOnce(database)
  }

  private func fillOnce(_ database: UnfinishedDatabase) throws -> [String] { try filling(database) { try $0.run() } }

  private func filling<Result>(_ database: UnfinishedDatabase, _ body: (DatabaseFilling) throws -> Result) throws -> Result {
    let folder = try WorkFolder(in: work.path, prefix: "filling-")
    defer { folder.remove() }
    return try body(
      DatabaseFilling(
        settings: settings(database), selection: selection, reader: source.reader, tools: tools, work: folder, jobs: jobs,
        sessionSettings: sessionSettings, progress: progress, applySettings: { try database.applySettings(on: server) }))
  }

  /// Makes it, and in it everything but rows, indexes and constraints.
  /// - Throws: what would keep it from being made.
  func rehearse(_ database: UnfinishedDatabase) throws {
    try make(database)
    try filling(database) { try $0.makeSchema() }
  }

  func proof(of database: UnfinishedDatabase) -> RestoreProof {
    RestoreProof(
      source: source, selection: selection, tools: tools, settings: settings(database), work: work, jobs: jobs, progress: progress)
  }
}
