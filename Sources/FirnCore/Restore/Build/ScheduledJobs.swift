internal import Postgres
internal import Repository

/// pg_cron and its jobs. The server allows the extension only in the database that `cron.database_name` names, and a database has that
/// name only at the end of its restore: so they are restored last.
struct ScheduledJobs {
  static let extensionName = "pg_cron"
  private static let schema = "cron"

  /// The dump ids of all entries that belong to it.
  let entries: Set<Int>
  private let archive: ArchiveDirectory
  private let reader: SnapshotReader
  private let loads: [TableLoad]
  /// Sequence values, privileges and comments.
  private let statements: [String]
  private let database: Manifest.Extension

  /// Nil if the snapshot has no pg_cron, or its rows can't be read.
  init?(_ source: RestoreSource, damaged: Set<String>) {
    archive = source.directory
    reader = source.reader
    guard let creation = archive.entries.first(where: { $0.kind == "EXTENSION" && $0.tag == Self.extensionName }),
      let database = source.manifest.extensions.first(where: { $0.name == Self.extensionName })
    else { return nil }
    self.database = database
    let created = Set(archive.entries.filter { ["TABLE", "SEQUENCE"].contains($0.kind) }.map(\.qualifiedName))
    let members = archive.entries.filter { entry in
      let isMember = entry.schema == Self.schema && !created.contains(entry.qualifiedName)
      return switch entry.kind {
      case "TABLE DATA", "SEQUENCE SET": isMember
      case "ACL": isMember || entry.schema.isEmpty && entry.tag == "SCHEMA \(Self.schema)"
      default: entry.dependencies.contains(creation.dumpID) && ["COMMENT", "SECURITY LABEL"].contains(entry.kind)
      }
    }
    entries = Set(members.map(\.dumpID) + [creation.dumpID])
    let tables = Dictionary(source.manifest.tables.map { ($0.file, $0) }, uniquingKeysWith: { first, _ in first })
    guard damaged.isDisjoint(with: members.map(\.file)) else { return nil }
    loads = members.compactMap { entry in
      guard let table = tables[entry.file], let file = source.files[entry.file], let statement = entry.copyStatement else { return nil }
      return TableLoad(table: table, file: file, statement: statement, tableID: nil, isNew: false)
    }
    statements = members.filter { $0.kind != "TABLE DATA" }.map(\.definition)
  }

  /// Creates the extension and loads its jobs, in one transaction. They run from then on.
  /// - Parameter settings: of the restored database, under its own name.
  /// - Throws: what the server throws; then nothing was created.
  func restore(_ settings: ConnectionSettings, progress: WorkProgress) throws {
    progress.begin("restoring the jobs of pg_cron")
    let session = try Connection(settings, applicationName: "firn-restore")
    let schema = Connection.identifier(database.schema)
    // Event triggers of the database have no say in this.
    try session.execute(
      "BEGIN; SET LOCAL session_replication_role = replica; CREATE EXTENSION IF NOT EXISTS \(Self.extensionName) WITH SCHEMA \(schema); SET LOCAL session_replication_role = origin"
    )
    for load in loads {
      let rows = try session.inSession(of: archive) {
        try load.send(over: session, freezes: false, from: reader, progress: progress, check: {})
      }
      guard rows == load.table.rows else {
        throw FirnError.restoredCopyDiffers(differences: ["\(load.table.displayName): \(rows) rows instead of \(load.table.rows)"])
      }
    }
    for statement in statements { try session.execute(statement) }
    try session.commit()
  }
}
