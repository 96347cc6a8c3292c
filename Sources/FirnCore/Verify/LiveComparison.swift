internal import Digests
internal import Platform
package import Postgres
package import Repository
package import SystemPackage

/// Compares a snapshot's tables with those of a live database, by the bytes that pg_dump writes of them.
package struct LiveComparison {
  package struct Table: Sendable, Equatable {
    package enum State: String, Sendable { case same, differs, missing, new }

    package let name: String
    package let state: State
    package let rowsThen: Int64?
    package let rowsNow: Int64?
  }

  private let repository: Repository
  private let settings: ConnectionSettings
  private let jobs: Int
  private let toolFolders: [FilePath]
  private let workRoot: FilePath
  private let progress: WorkProgress

  /// - Parameter settings: of the live database.
  package init(
    repository: Repository, settings: ConnectionSettings, jobs: Int, toolFolders: [FilePath], workRoot: FilePath, progress: WorkProgress
  ) {
    self.repository = repository
    self.settings = settings
    self.jobs = jobs
    self.toolFolders = toolFolders
    self.workRoot = workRoot
    self.progress = progress
  }

  /// - Returns: every table of either, those of the snapshot first, by name.
  /// - Throws: what connecting and pg_dump throw, and `RepositoryError`.
  package func run(_ place: SnapshotPath) throws -> [Table] {
    progress.begin("connecting")
    let manifest = try repository.catalog.manifest(of: place)
    let connection = try Connection(settings, applicationName: "firn-verify")
    try connection.refusePooler()
    let tools = try ServerTools.find("pg_dump", major: connection.serverMajor, configured: toolFolders)
    let work = try WorkFolder.forRun(in: workRoot)
    defer { work.remove() }
    let transaction = try ExportTransaction.begin(on: connection, lockWait: .seconds(30), progress: progress)
    defer { try? transaction.end() }
    let dump = try DumpTool(
      tools: tools, access: ToolAccess(as: connection, folder: work.path), database: connection.database,
      encoding: connection.serverEncoding(), jobs: jobs,
      snapshot: transaction.snapshot, lockWait: .seconds(30), excludedTableData: [])
    progress.begin("comparing", expected: manifest.bytes)
    let folder = work.path.appending("dump")
    let seen = try DumpReader(spool: folder, progress: progress).run(dump, divisions: manifest.tables.map(\.rangeLengths))
    var live: [QualifiedName: [[Int64]: StreamedFile]] = [:]
    for entry in try ArchiveDirectory(ofArchive: folder).entries where entry.kind == "TABLE DATA" {
      if let table = transaction.tables[entry.oid] { live[QualifiedName(schema: table.schema, name: table.name)] = seen[entry.file] }
    }
    let then = manifest.tables.map { table -> Table in
      guard let now = live.removeValue(forKey: QualifiedName(schema: table.schema, name: table.name))?[table.rangeLengths] else {
        return Table(name: table.displayName, state: .missing, rowsThen: table.rows, rowsNow: nil)
      }
      return Table(
        name: table.displayName, state: now.digest.description == table.sha256 ? .same : .differs, rowsThen: table.rows, rowsNow: now.rows)
    }
    let new = live.map { Table(name: "\($0.schema).\($0.name)", state: .new, rowsThen: nil, rowsNow: $1[[]]?.rows) }
    return then.sorted { $0.name < $1.name } + new.sorted { $0.name < $1.name }
  }
}
