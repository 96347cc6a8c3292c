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
    var statements: [QualifiedName: CopyStatement] = [:]
    for entry in try ArchiveDirectory(ofArchive: folder).entries where entry.kind == "TABLE DATA" {
      guard let table = transaction.tables[entry.oid] else { continue }
      let name = QualifiedName(schema: table.schema, name: table.name)
      (live[name], statements[name]) = (seen[entry.file], entry.copyStatement)
    }
    // Nil if the snapshot can't be read: then the bytes decide.
    lazy var source = try? RestoreSource(repository, place, isPartial: true)
    let then = try manifest.tables.map { table -> Table in
      guard let now = live.removeValue(forKey: table.qualifiedName)?[table.rangeLengths] else {
        return Table(name: table.displayName, state: .missing, rowsThen: table.rows, rowsNow: nil)
      }
      let isSame =
        try now.digest.description == table.sha256
        || now.rows == table.rows && isSameInItsOrder(table, as: statements[table.qualifiedName], source, connection)
      return Table(name: table.displayName, state: isSame ? .same : .differs, rowsThen: table.rows, rowsNow: now.rows)
    }
    let new = live.map { Table(name: "\($0.schema).\($0.name)", state: .new, rowsThen: nil, rowsNow: $1[[]]?.rows) }
    return then.sorted { $0.name < $1.name } + new.sorted { $0.name < $1.name }
  }

  /// Whether a table is the same if its columns are read in the snapshot's order: a restore gives those of an inheritance child another one.
  private func isSameInItsOrder(
    _ table: Manifest.Table, as live: CopyStatement?, _ source: RestoreSource?, _ connection: Connection
  ) throws -> Bool {
    func columns(_ statement: CopyStatement) -> [ArraySlice<UInt8>] {
      statement.columns.dropFirst().dropLast().split(separator: UInt8(ascii: ",")).map { $0.drop { $0 == UInt8(ascii: " ") } }
    }
    let entry = source?.directory.entries.first { $0.kind == "TABLE DATA" && $0.file == table.file }
    guard let source, let live, table.loadedThrough == nil, let statement = entry?.copyStatement,
      case let (then, now) = (columns(statement), columns(live)), then != now,
      then.sorted(by: { $0.lexicographicallyPrecedes($1) }) == now.sorted(by: { $0.lexicographicallyPrecedes($1) })
    else { return false }
    var tally = StreamTally(ranges: table.rangeLengths)
    try connection.inSession(of: source.directory) {
      try connection.copyOut(statement.with(target: live.target).dumping(condition: ""), what: table.displayName) { tally.add($0) }
    }
    tally.add(StreamedFile.tableEnd.span)
    return tally.finish(name: table.file).digest.description == table.sha256
  }
}
