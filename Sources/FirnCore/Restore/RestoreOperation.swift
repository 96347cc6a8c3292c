internal import Foundation
internal import Platform
internal import Postgres
package import Repository
internal import SystemPackage

/// Restores a snapshot into a new database. Whatever fails, the new database is gone again and nothing else was touched.
package struct RestoreOperation {
  private let repository: Repository
  private let request: RestoreRequest
  private let progress: WorkProgress

  package init(repository: Repository, request: RestoreRequest, progress: WorkProgress) {
    self.repository = repository
    self.request = request
    self.progress = progress
  }

  package func run() throws -> RestoreResult {
    let clock = ContinuousClock.now
    progress.begin("looking before leaping")
    let manifest = try repository.catalog.manifest(of: request.place)
    let server = try connectToServer()
    try server.refusePooler()
    // A pg_restore of the server's major version, and no older than the pg_dump: the latter is in the preflight.
    let tools = try ServerTools.find("pg_restore", major: server.serverMajor, configured: request.toolFolders)
    let lock = try StoreMaintenance(store: repository.store).sharedLock(purpose: "firn-restore of \(manifest.database)")
    defer { lock.release() }
    let work: WorkFolder
    do { work = try WorkFolder(in: request.workRoot) } catch {
      throw FirnError.noFolder(path: request.workRoot.string, reason: "\(error)")
    }
    defer { work.remove() }
    var findings = try RestorePreflight(server: server, manifest: manifest, repository: repository, newName: request.newName).check()
    findings.notes += try UnfinishedDatabase.clear(on: server)
    let reader = try SnapshotReader(store: repository.store, manifest: manifest)
    let files = try reader.files()
    for table in manifest.tables where files[table.file] == nil {
      throw RepositoryError.malformed(key: request.place.chunkTable, reason: "\(table.displayName) is missing")
    }

    try server.executeTogether(findings.roleStatements)
    let database = UnfinishedDatabase(for: request.newName, builder: DatabaseBuilder(server: server, properties: manifest.properties))
    do {
      try database.make(on: server, snapshot: manifest.id)
      var warnings = findings.warnings
      let settings = server.settings.with(database: database.name)
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
      try database.finish(on: server)
      return RestoreResult(
        manifest: manifest, database: request.newName, tables: manifest.tables.count, rows: manifest.rows,
        elapsed: ContinuousClock.now - clock, notes: findings.notes, warnings: warnings, proven: request.proves,
        schemaCompared: request.proves && RestoreProof.comparesSchema(of: manifest, tools))
    } catch {
      try discard(database, findings.madeRoles, after: error)
      throw error
    }
  }

  /// A database of the server that was named from which others can be made: it need not be called `postgres`.
  private func connectToServer() throws -> Connection {
    var first: (any Error)?
    for name in ["postgres", "template1", request.settings.database].compactMap(\.self) {
      do {
        return try Connection(request.settings.with(database: name), applicationName: "firn-restore")
      } catch let error as PostgresError {
        first = first ?? error
        switch error {
        case .noSuchDatabase, .cannotConnect: continue
        default: throw error
        }
      }
    }
    throw first ?? FirnError.noDatabaseNamed
  }

  /// Drops the new database and the roles made for it. An interruption must not keep them from being dropped.
  private func discard(_ database: UnfinishedDatabase, _ roles: [String], after cause: any Error) throws {
    Interruption.clear()
    progress.begin("dropping the unfinished database")
    do {
      // The connection of before may be what failed.
      let server = try connectToServer()
      try server.dropDatabase(database.name)
      try server.executeTogether(roles.map { "DROP ROLE IF EXISTS \(Connection.identifier($0))" })
    } catch {
      throw LeftBehind(database: database.name, roles: roles, reason: error, cause: cause)
    }
  }
}
