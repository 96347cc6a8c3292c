import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// `firn-snapshot`.
package enum SnapshotProgram {
  package static func start() { Program.start(FirnSnapshot.self) }
}

/// Makes a snapshot of a database.
struct FirnSnapshot: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "firn-snapshot", abstract: "Take a snapshot of a PostgreSQL database.",
    discussion: "Prints the snapshot's id. A snapshot is listed only once its last byte is durable.")

  @Argument(help: "Database name (default: from the URL).", completion: Completions.databases) var database: String?
  @Flag(help: "Take a snapshot of every database of the server, or of the servers in firn.yaml.") var all = false
  @Option(
    name: .customLong("exclude-database"),
    help: ArgumentHelp("With --all: leave out databases that match this pattern (* and ?). May be repeated.", valueName: "pattern"))
  var excludedDatabases: [String] = []
  @Option(
    help:
      "Purpose, for lists and retention: nightly, hourly, pre-migration (reads every table), or a word of your own. Snapshots that restores take have the kind pre-restore."
  )
  var kind = "manual"
  @Option(name: .customLong("tag"), help: ArgumentHelp("A label to find the snapshot by. May be repeated.", valueName: "key=value")) var tags:
    [String] = []
  @Option(
    help: ArgumentHelp("Exclude the rows of tables that match this pattern (pg_dump's --exclude-table-data). May be repeated.", valueName: "pattern"))
  var excludeTableData: [String] = []
  @Flag(help: "Read every table, also those that have not changed since the last snapshot.") var full = false
  @Option(
    help: ArgumentHelp(
      "How long to wait for a table that another session has locked, such as 30s; 0s: not at all. Default: lock-wait in firn.yaml, then 30s.",
      valueName: "duration")) var lockWait: String?
  @Option(help: ArgumentHelp("Name of the server in the store. Default: its host and cluster.", valueName: "name")) var source: String?
  @Flag(help: "Accept that another server took the latest snapshots under this source, and continue with this server.") var takeSourceBack = false
  @Option(help: ArgumentHelp("Disk space for pg_dump's temporary output. Default: spool-cap in firn.yaml, then 512MiB.", valueName: "size"))
  var spoolCap: String?
  @Option(help: ArgumentHelp("Copy the snapshot to this store, in addition to the stores in firn.yaml. May be repeated.", valueName: "store"))
  var copyTo: [String] = []
  @Flag(help: "Check everything, show which databases would be backed up, and store nothing.") var dryRun = false
  @OptionGroup var rate: RateOption
  @OptionGroup var server: ServerOptions
  @OptionGroup var common: CommonOptions

  var job: RunReport.Job? { dryRun ? nil : .snapshot }
  var stateAfterInterruption: String? { all ? "snapshots that are listed above are complete" : "no snapshot was made" }
  func subject(_ context: CommandContext) -> String? { all ? nil : database ?? context.databaseOfURL(server.connection) }

  func validate() throws {
    if all && database != nil { throw ValidationError("--all takes no database: leave some out with --exclude-database") }
    if !excludedDatabases.isEmpty && !all { throw ValidationError("--exclude-database belongs to --all") }
  }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let context = all ? context : try context.choosing(server.connection)
    if database == nil, !all, try context.meansMaintenanceDatabase(server.connection) {
      throw UsageError("no database given", hint: "name one: firn-snapshot DATABASE; or take all of the server: firn-snapshot --all")
    }
    if database == nil, !all, context.databaseOfURL(server.connection) == "postgres" {
      context.tell("this takes postgres, the database of the connection; firn-snapshot --all takes every database of the server")
    }
    let repository = try context.repositoryToFill(in: rate.limited(context.store()))
    let copies = try SnapshotCopies(standing: context.configuration.copies, others: copyTo, of: repository.store, rate, context)
    if all { return try ServerSnapshots(command: self, context: context, repository: repository, copies: copies).run() }
    if dryRun { return try show([plan(of: database, in: repository, context)], context) }
    let taken = try take(of: database, in: repository, copies, context)
    try context.result(taken.report)
    return taken.isSound ? .done : .doneWithWarnings
  }

  func plan(of database: String?, in repository: Repository, _ context: CommandContext) throws -> SnapshotPlan {
    try SnapshotPlan(of: request(database, context), in: repository)
  }

  /// Prints what would be done.
  func show(_ plans: [SnapshotPlan], _ context: CommandContext) throws -> ExitStatus {
    if common.json { try context.output(json: ["plans": plans.map(PlanReport.init)]) }
    for plan in plans {
      for warning in plan.warnings { context.warn("\(plan.database): \(warning)") }
      for obstacle in plan.obstacles { context.warn("\(plan.database): a snapshot would fail: \(obstacle)") }
    }
    if !common.json {
      let rows = plans.map { plan in
        [
          Table.Cell(plan.database), .init(plan.source), .init(Quantity.size(plan.size)), .init("\(plan.tables)"),
          .init(plan.parent.map { "changes since \($0)" } ?? "everything"), .init(plan.excluded.isEmpty ? "" : FailureReport.some(plan.excluded)),
          plan.obstacles.isEmpty ? .init("ok", .good) : .init("would fail", .bad),
        ]
      }
      context.output(Table(header: ["DATABASE", "SOURCE", "ON DISK", "TABLES", "STORES", "WITHOUT ROWS OF", "STATE"], rows: rows))
    }
    context.tell("nothing was stored (--dry-run)")
    return plans.allSatisfy(\.obstacles.isEmpty) ? .done : .refused
  }

  /// The JSON of a plan. Its keys are fixed.
  private struct PlanReport: Encodable {
    let database: String
    let source: String
    let size: Int64
    let tables: Int
    let excluded: [String]
    let parent: Nullable<String>
    let obstacles: [String]
    let warnings: [String]

    init(_ plan: SnapshotPlan) {
      (database, source, size, tables) = (plan.database, plan.source, plan.size, plan.tables)
      (excluded, obstacles, warnings) = (plan.excluded, plan.obstacles, plan.warnings)
      parent = Nullable(plan.parent?.description)
    }
  }

  /// Takes a snapshot of one database, copies it, and prints it.
  /// - Parameters:
  ///   - database: nil for the database of the URL.
  ///   - isBesideOthers: whether snapshots of other databases are taken at the same time: then no progress is shown.
  ///   - adjust: changes the request.
  /// - Returns: whether it is complete, without warnings, and copied.
  func take(
    of database: String?, in repository: Repository, _ copies: SnapshotCopies, _ context: CommandContext, isBesideOthers: Bool = false,
    _ adjust: (inout SnapshotRequest) -> Void = { _ in }
  ) throws -> (report: SnapshotReport, isSound: Bool) {
    var request = try request(database, context)
    adjust(&request)
    let decided = request
    func run(_ progress: WorkProgress) throws -> SnapshotResult {
      try SnapshotOperation(repository: repository, request: decided, progress: progress).run()
    }
    guard isBesideOthers else { return try finish(context.withProgress(run), in: repository, copies, context) }
    let result = try run(context.verboseProgress("\(database ?? ""): "))
    return try Self.turn.update { _ in try finish(result, in: repository, copies, context) }
  }

  /// Snapshots that are taken side by side are copied and printed one after another.
  private static let turn = Monitor(())

  private func finish(_ result: SnapshotResult, in repository: Repository, _ copies: SnapshotCopies, _ context: CommandContext) throws -> (
    report: SnapshotReport, isSound: Bool
  ) {
    let manifest = result.manifest
    let copied = try copies.make(of: [manifest.place], catchingUp: true, in: repository, context)
    note(result, context)
    if !common.json {
      context.output(manifest.id.description)
      for warning in manifest.warnings + result.warnings { context.warn(warning) }
      for note in result.notes { context.tell("note: \(note)") }
      for reason in manifest.incompleteReasons { context.warn("incomplete: \(reason)") }
      let seconds = result.elapsed.inSeconds
      context.tell(
        "snapshot of \(manifest.database): \(Quantity.tables(manifest.tables.count)), \(Quantity.rows(manifest.rows)), "
          + "\(Quantity.size(manifest.bytes)) in \(Quantity.span(seconds)) (\(Quantity.size(Int64(Double(manifest.bytes) / max(0.001, seconds))))/s), "
          + "\(Quantity.size(manifest.storedBytes)) stored" + (manifest.complete ? "" : ", INCOMPLETE")
          + (manifest.excludedTables.map { ", without the rows of \(FailureReport.some($0))" } ?? ""))
      if let taken = manifest.takenOver {
        context.tell(
          "\(Quantity.tables(taken.tables, inPart: taken.inPart)) of \(Quantity.size(taken.bytes)) unchanged and not read; the oldest was read "
            + Quantity.age(of: taken.oldestReading.startDate, now: Date()))
      }
    }
    copied.tell(context)
    let isSound = manifest.complete && manifest.anomalies == nil && manifest.refutations == nil && result.warnings.isEmpty && copied.areAllMade
    return (SnapshotReport(result, copied), isSound)
  }

  private func note(_ result: SnapshotResult, _ context: CommandContext) {
    let manifest = result.manifest
    context.record.note { report in
      (report.database, report.source, report.snapshot) = (manifest.database, manifest.source, manifest.id.description)
      report.warnings +=
        result.warnings + manifest.incompleteReasons.map { "incomplete: \($0)" } + (manifest.refutations ?? []) + (manifest.anomalies ?? [])
    }
    context.record.add(MetricsFile.samples(of: manifest, in: context.shownStore))
  }

  private func request(_ database: String?, _ context: CommandContext) throws -> SnapshotRequest {
    let file = context.configuration
    var request = context.snapshotRequest(try context.connectionSettings(server.connection, database: database), server)
    if let source { request.source = source }
    request.takesSourceBack = takeSourceBack
    request.readsAll = full
    let name = try database ?? context.database(server.connection)
    let own = file.override(for: name)
    if server.jobs == nil, let jobs = own.jobs { request.jobs = jobs }
    request.incremental = file.incremental(for: name)
    request.fullEvery = file.fullEvery
    // Every table is read a while before that is a problem.
    request.rereadPeriod = file.limits.unreadAge.inSeconds * 7 / 8
    guard !kind.isEmpty, kind.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { throw UsageError("--kind takes one word") }
    request.kind = kind
    for tag in tags {
      let parts = tag.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, !parts[0].isEmpty else { throw UsageError("--tag takes KEY=VALUE, not \(tag)") }
      request.tags[String(parts[0])] = String(parts[1])
    }
    // A table that a migration dropped must not cost a night, nor one that another database of the server has.
    request.requiresMatches = !excludeTableData.isEmpty && !all
    request.excludedTableData = excludeTableData.isEmpty ? own.excludedTableData ?? file.excludedTableData : excludeTableData
    if let lockWait {
      guard let duration = Quantity.duration(lockWait) else { throw UsageError("--lock-wait takes a duration such as 30s, not \(lockWait)") }
      request.lockWait = duration
    }
    if let spoolCap {
      guard let size = Quantity.bytes(spoolCap), size >= 1 << 20 else { throw UsageError("--spool-cap takes a size such as 512MiB, not \(spoolCap)") }
      request.spoolCap = size
    }
    if let anomaly = file.anomaly { request.anomaly = anomaly }
    return request
  }
}

/// The JSON of a snapshot. Its keys are fixed.
struct SnapshotReport: Encodable {
  struct Table: Encodable {
    let name: String
    let rows: Int64
    let bytes: Int64
    /// The snapshot that last read all of its rows.
    let readIn: String
  }
  let id: String
  let source: String
  let database: String
  let kind: String
  let complete: Bool
  let warnings: [String]
  let tables: [Table]
  let bytes: Int64
  let storedBytes: Int64
  let newObjects: Int
  /// Words for the operator that are no warnings.
  let notes: [String]
  let tablesTakenOver: Int
  /// Very large tables of which a part was taken over; they are not among `tablesTakenOver`.
  let tablesTakenOverInPart: Int
  let bytesTakenOver: Int64
  let bytesRead: Int64
  let oldestReading: String
  let seconds: Double
  let peakMemoryBytes: Int64
  let copies: [SnapshotCopies.Report]

  init(_ result: SnapshotResult, _ copied: SnapshotCopies.Made) {
    let manifest = result.manifest
    id = manifest.id.description
    source = manifest.source
    database = manifest.database
    kind = manifest.kind
    complete = manifest.complete
    warnings = manifest.warnings + result.warnings + manifest.incompleteReasons
    tables = manifest.tables.map {
      Table(name: $0.displayName, rows: $0.rows, bytes: $0.bytes, readIn: ($0.readIn ?? manifest.id).description)
    }
    bytes = manifest.bytes
    storedBytes = manifest.storedBytes
    newObjects = manifest.newObjects
    notes = result.notes
    tablesTakenOver = manifest.takenOver?.tables ?? 0
    tablesTakenOverInPart = manifest.takenOver?.inPart ?? 0
    bytesTakenOver = manifest.takenOver?.bytes ?? 0
    bytesRead = manifest.bytes - bytesTakenOver
    oldestReading = (manifest.takenOver?.oldestReading ?? manifest.id).description
    seconds = result.elapsed.inSeconds
    peakMemoryBytes = Host.peakMemory
    copies = copied.reports
  }
}
