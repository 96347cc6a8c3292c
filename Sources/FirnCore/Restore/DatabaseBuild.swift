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

  /// Makes it, empty.
  func make(_ database: UnfinishedDatabase) throws { try database.make(on: server, snapshot: source.manifest.id) }

  /// - Returns: warnings.
  func fill(_ database: UnfinishedDatabase) throws -> [String] {
    try DatabaseFilling(
      settings: settings(database), selection: selection, reader: source.reader, tools: tools, work: work, jobs: jobs,
      sessionSettings: sessionSettings, progress: progress
    ).run()
  }

  func proof(of database: UnfinishedDatabase) -> RestoreProof {
    RestoreProof(
      source: source, selection: selection, tools: tools, settings: settings(database), work: work, jobs: jobs, progress: progress)
  }
}
