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
    let preflight = RestorePreflight(server: server, manifest: manifest, repository: repository, newName: request.newName)
    let findings = try preflight.check()
    let reader = try SnapshotReader(store: repository.store, manifest: manifest)
    let files = try reader.files()
    for table in manifest.tables where files[table.file] == nil {
      throw RepositoryError.malformed(key: request.place.chunkTable, reason: "\(table.displayName) is missing")
    }
    let work: WorkFolder
    do { work = try WorkFolder(in: request.workRoot) } catch {
      throw FirnError.noFolder(path: request.workRoot.string, reason: "\(error)")
    }
    defer { work.remove() }

    for statement in findings.roleStatements { try server.execute(statement) }
    let builder = DatabaseBuilder(server: server, properties: manifest.properties)
    try server.execute(builder.createStatement(name: request.newName))
    do {
      let filling = DatabaseFilling(
        server: server, settings: server.settings.with(database: request.newName), manifest: manifest, reader: reader, files: files,
        tools: tools, work: work, jobs: request.jobs, sessionSettings: request.sessionSettings, progress: progress)
      var warnings = findings.warnings
      warnings += try filling.run()
      for statement in builder.finishingStatements(name: request.newName) { try server.execute(statement) }
      if request.proves {
        progress.begin("proving", expected: manifest.bytes)
        let proof = RestoreProof(
          manifest: manifest, reader: reader, files: files, tools: tools, settings: server.settings.with(database: request.newName), work: work,
          jobs: request.jobs, progress: progress)
        warnings += try proof.run()
      }
      return RestoreResult(
        manifest: manifest, database: request.newName, tables: manifest.tables.count, rows: manifest.rows,
        elapsed: ContinuousClock.now - clock, warnings: warnings, proven: request.proves)
    } catch {
      try discard(request.newName, after: error)
      throw error
    }
  }

  /// The maintenance database of the server that was named.
  private func connectToServer() throws -> Connection {
    do {
      return try Connection(request.settings.with(database: "postgres"), applicationName: "firn-restore")
    } catch PostgresError.noSuchDatabase {
      return try Connection(request.settings.with(database: "template1"), applicationName: "firn-restore")
    }
  }

  /// Drops the new database. An interruption must not keep it from being dropped.
  private func discard(_ name: String, after error: any Error) throws {
    Interruption.clear()
    progress.begin("dropping the unfinished database")
    do {
      // The connection of before may be what failed.
      try connectToServer().dropDatabase(name)
    } catch let failure {
      throw FirnError.leftBehind(database: name, reason: "\(failure)", cause: "\(error)")
    }
  }
}
