internal import Foundation
internal import Platform
internal import Postgres
internal import Repository
internal import SystemPackage

/// Fills a new, empty database from a snapshot, and has what came to be in it counted.
struct DatabaseFilling {
  /// Of the new database.
  let settings: ConnectionSettings
  let selection: RestoreSelection
  let reader: SnapshotReader
  let tools: ServerTools
  let work: WorkFolder
  let jobs: Int
  let sessionSettings: [(name: String, value: String)]
  let progress: WorkProgress

  private var manifest: Manifest { selection.manifest }

  /// - Returns: warnings.
  /// - Throws: `PostgresError.toolFailed`, `FirnError.restoredCopyDiffers`, and what reading the snapshot throws.
  func run() throws -> [String] {
    let connection = try Connection(settings, applicationName: "firn-restore")
    guard try connection.isEmptyDatabase() else { throw FirnError.databaseExists(name: settings.database ?? "") }
    let failure = FirstFailure()
    progress.begin("preparing")
    let feeder = try ArchiveFeeder(
      folder: work.path.appending("archive"), reader: reader, files: selection.files, progress: progress, failure: failure)
    try Folder.write(selection.contents, to: feeder.folder.appending("toc.dat"))
    let access = try ToolAccess(as: connection, folder: work.path)
    var tool = RestoreTool(
      tools: tools, access: access, database: settings.database ?? "", jobs: jobs,
      settings: RestoreSettings.usual(jobs: max(2, jobs), sharedBuffers: try connection.sharedBuffers()) + sessionSettings)
    tool.flags = selection.flags
    progress.tell("session settings: \(tool.settings.map { "\($0.name)=\($0.value)" }.joined(separator: " "))")
    let messages = ToolMessages(tool: "pg_restore")
    let contents = try ArchiveContents(of: feeder.folder, tools: tools)
    // Event triggers would run for what is still to be done, and may forbid it: they come last.
    let excluded = selection.excluded
    let hasEventTriggers = contents.entries.contains { $0.isEventTrigger && !excluded.contains($0.dumpID) }
    let lists = (all: work.path.appending("most.list"), last: work.path.appending("last.list"))
    let needsList = hasEventTriggers || !excluded.isEmpty
    if needsList { try contents.writeList(to: lists.all) { !$0.isEventTrigger && !excluded.contains($0.dumpID) } }
    if hasEventTriggers { try contents.writeList(to: lists.last) { $0.isEventTrigger && !excluded.contains($0.dumpID) } }
    try load(tool, feeder, connection, failure, messages, list: needsList ? lists.all : nil)
    if hasEventTriggers {
      try finish(tool.start(of: feeder.folder, list: lists.last, messages: messages), failure, messages)
    }
    progress.begin("gathering statistics and counting rows")
    let unanalysed = try RestoreCount(settings: settings, manifest: manifest, jobs: jobs).run()
    let subscriptions = contents.entries.filter(\.isSubscription).map { "not restored, as its slot belongs to the live database: \($0.text)" }
    return messages.warnings.map { "pg_restore warns: \($0)" } + subscriptions + unanalysed
  }

  /// Waits for the end of a run of pg_restore.
  private func finish(_ child: ChildProcess, _ failure: FirstFailure, _ messages: ToolMessages) throws {
    while child.exitCode() == nil {
      if let signal = Interruption.signal { failure.record(Interruption(signal: signal)) }
      if failure.error != nil { child.terminate() }
      Thread.sleep(forTimeInterval: 0.01)
    }
    let code = child.wait()
    try failure.check()
    if code != 0 { throw PostgresError.toolFailed(tool: "pg_restore", exitCode: code, messages: messages.errors) }
  }

  /// Schema, rows, indexes, constraints, in one run: only so does pg_restore empty each table in the transaction that fills it,
  /// and only then do rows come to lie in the order in which they were dumped. (Else free space in earlier pages is used.)
  private func load(
    _ tool: RestoreTool, _ feeder: ArchiveFeeder, _ connection: Connection, _ failure: FirstFailure, _ messages: ToolMessages, list: FilePath?
  ) throws {
    progress.begin("restoring rows", expected: manifest.bytes)
    // pg_restore looks at the files' sizes, makes the schema, and then opens files. While it waits to make its first relation
    // it has looked and not opened: then holes become FIFOs. Who may not make it wait lets it see FIFOs, and no sizes.
    let isHeld = try !feeder.largeFiles.isEmpty && !manifest.tables.isEmpty && connection.isSuperuser()
    if isHeld { try connection.holdCreation() } else { try feeder.exchange() }
    let child = try tool.start(of: feeder.folder, list: list, messages: messages)
    do {
      if isHeld {
        while child.exitCode() == nil, !(try connection.someoneWaitsForUs()) {
          try Interruption.check()
          Thread.sleep(forTimeInterval: 0.01)
        }
        try feeder.exchange()
        try connection.commit()
      }
    } catch {
      failure.record(error)
    }
    defer { _ = feeder.finish() }
    try finish(child, failure, messages)
    guard feeder.finish() else {
      try failure.check()
      throw FirnError.unsoundArchive(reason: "pg_restore did not read every table")
    }
  }
}

/// Settings for the sessions that restore: no time limits, no waiting for the log at each commit, memory for index builds,
/// which run side by side rather than each in parallel.
enum RestoreSettings {
  /// - Parameter sharedBuffers: bytes. Sessions that build indexes may together use as much: who set it knows the machine.
  static func usual(jobs: Int, sharedBuffers: Int64) -> [(name: String, value: String)] {
    let memory = min(2048, max(256, (sharedBuffers / Int64(jobs)) >> 20))
    return [
      ("default_transaction_read_only", "off"), ("statement_timeout", "0"), ("lock_timeout", "0"),
      ("idle_in_transaction_session_timeout", "0"), ("synchronous_commit", "off"), ("maintenance_work_mem", "\(memory)MB"),
      ("max_parallel_maintenance_workers", "0"),
    ]
  }
}
