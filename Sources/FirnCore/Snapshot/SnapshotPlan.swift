internal import Foundation
internal import Platform
internal import Postgres
package import Repository

/// The plan of a snapshot, made without storing anything.
package struct SnapshotPlan: Sendable {
  package let database: String
  /// The folder of its source in the store.
  package let source: String
  package let server: String
  /// Bytes on the server's disk.
  package let size: Int64
  package let tables: Int
  /// Tables whose rows would be left out.
  package let excluded: [String]
  /// The snapshot that it would be deduplicated against.
  package let parent: SnapshotID?
  /// Reasons why it would fail.
  package let obstacles: [String]
  /// Things that would be a warning.
  package let warnings: [String]

  /// - Throws: `PostgresError`, `FirnError`, and errors of the store.
  package init(of request: SnapshotRequest, in repository: Repository) throws {
    let connection = try Connection(request.settings, applicationName: "firn-snapshot")
    try connection.refusePooler()
    let tools = try ServerTools.find("pg_dump", major: connection.serverMajor, configured: request.toolFolders)
    let own = try ServerSource(of: connection, named: request.source, in: repository.catalog)
    if !request.takesSourceBack { try own.requireOwn() }
    database = connection.database
    source = own.folder
    server = "PostgreSQL \(try connection.versionText()) at \(connection.target), \(try tools.versionLine(of: "pg_dump"))"
    size = try connection.databaseSize()
    tables = try connection.tables().count
    parent = try repository.catalog.snapshots(source: own.folder, database: connection.database).last?.id
    var (excluded, unmatched): ([String], [String]) = ([], [])
    // Names without a schema are looked up with a search_path that lasts as long as a transaction.
    try connection.execute("BEGIN READ ONLY")
    for pattern in request.excludedTableData {
      let matching = try connection.tables(matching: pattern)
      if matching.isEmpty { unmatched.append("no table matches \(pattern), whose rows were to be excluded") }
      excluded += matching.map(\.name.identifier)
    }
    try connection.execute("COMMIT")
    self.excluded = excluded
    obstacles =
      try connection.dumpBarriers().map { "\(connection.user) may not read all of \($0.example)" } + (request.requiresMatches ? unmatched : [])
    warnings = (own.takeover.map { [$0] } ?? []) + (request.requiresMatches ? [] : unmatched)
  }
}
