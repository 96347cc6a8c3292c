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
  /// Gives the database the settings it is to have.
  let applySettings: () throws -> Void

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
    var tool = try tool(as: connection)
    progress.tell("session settings: \(tool.settings.map { "\($0.name)=\($0.value)" }.joined(separator: " "))")
    let messages = ToolMessages(tool: "pg_restore")
    let contents = try ArchiveContents(of: feeder.folder, tools: tools)
    let excluded = selection.excluded
    func list(_ name: String, where isWanted: (ArchiveContents.Entry) -> Bool) throws -> FilePath {
      let path = work.path.appending(name)
      try contents.writeList(to: path) { !excluded.contains($0.dumpID) && isWanted($0) }
      return path
    }
    let entries = contents.entries.filter { !excluded.contains($0.dumpID) }
    // Materialized views are queries, whose rows may depend on the database's settings. Event triggers would run for what is still
    // to be done, and may forbid it: they come last.
    let views = entries.filter(\.isMaterializedView)
    let triggers = try entries.contains(where: \.isEventTrigger) ? list("triggers.list", where: \.isEventTrigger) : nil
    let isPartial = !views.isEmpty || triggers != nil || !excluded.isEmpty
    // Also where nothing is left: without a list everything would be restored.
    let most = try isPartial ? list("most.list") { !$0.isMaterializedView && !$0.isEventTrigger } : nil
    try load(tool, feeder, connection, failure, messages, list: most)
    var unfilled: [String] = []
    if !views.isEmpty {
      try applySettings()
      tool.usesOwnSettings = true
      unfilled = try fill(views, of: contents, tool, feeder, failure)
    }
    if let triggers { try finish(tool.start(of: feeder.folder, list: triggers, messages: messages), failure, messages) }
    progress.begin("gathering statistics and counting rows")
    let unanalysed = try RestoreCount(settings: settings, manifest: manifest, jobs: jobs).run()
    let subscriptions = contents.entries.filter(\.isSubscription).map { "not restored, as its slot belongs to the live database: \($0.text)" }
    return messages.warnings.map { "pg_restore warns: \($0)" } + unfilled + subscriptions + unanalysed
  }

  /// Fills materialized views: all in one run, or, where one can't be filled, one after the other. All rows are there by then: for what
  /// can be filled from them later nothing is thrown away.
  /// - Returns: warnings.
  private func fill(
    _ views: [ArchiveContents.Entry], of contents: ArchiveContents, _ tool: RestoreTool, _ feeder: ArchiveFeeder, _ failure: FirstFailure
  ) throws -> [String] {
    func run(_ some: [ArchiveContents.Entry]) throws -> [String] {
      let list = work.path.appending("views.list")
      let wanted = Set(some.map(\.dumpID))
      try contents.writeList(to: list) { wanted.contains($0.dumpID) }
      let messages = ToolMessages(tool: "pg_restore")
      try finish(tool.start(of: feeder.folder, list: list, messages: messages), failure, messages)
      return messages.warnings.map { "pg_restore warns: \($0)" }
    }
    do { return try run(views) } catch PostgresError.toolFailed {
      return try views.flatMap { view in
        do { return try run([view]) } catch PostgresError.toolFailed(_, _, let errors) {
          let name = view.text.dropFirst("MATERIALIZED VIEW DATA ".count)
          return ["left empty, REFRESH it when that is mended: materialized view \(name): \(errors.joined(separator: "; "))"]
        }
      }
    }
  }

  /// Makes the schema alone, without indexes, constraints and triggers.
  /// - Throws: `PostgresError.toolFailed`.
  func makeSchema() throws {
    let folder = work.path.appending("archive")
    try Folder.make(folder)
    try Folder.write(selection.contents, to: folder.appending("toc.dat"))
    let connection = try Connection(settings, applicationName: "firn-restore")
    var tool = try tool(as: connection)
    tool.flags.append("--section=pre-data")
    let list = work.path.appending("schema.list")
    let excluded = selection.excluded
    try ArchiveContents(of: folder, tools: tools).writeList(to: list) { !excluded.contains($0.dumpID) }
    let messages = ToolMessages(tool: "pg_restore")
    try finish(tool.start(of: folder, list: list, messages: messages), FirstFailure(), messages)
  }

  private func tool(as connection: Connection) throws -> RestoreTool {
    // As pg_restore itself does, values are compressed anew; columns that say how are compressed so.
    let isSet = manifest.properties.settings.contains { $0.name == RestoreSettings.compression }
    var tool = RestoreTool(
      tools: tools, access: try ToolAccess(as: connection, folder: work.path), database: settings.database ?? "", jobs: jobs,
      settings: RestoreSettings.usual(jobs: max(2, jobs), sharedBuffers: try connection.sharedBuffers(), serverMajor: connection.serverMajor)
        + (try !isSet && connection.mayCompressFaster() ? [(RestoreSettings.compression, "lz4")] : []) + sessionSettings)
    tool.flags = selection.flags
    return tool
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
/// which run side by side rather than each in parallel, and the faster compression.
enum RestoreSettings {
  static let compression = "default_toast_compression"

  /// - Parameter sharedBuffers: bytes. Sessions that build indexes may together use as much: who set it knows the machine.
  static func usual(jobs: Int, sharedBuffers: Int64, serverMajor: Int) -> [(name: String, value: String)] {
    let memory = min(2048, max(256, (sharedBuffers / Int64(jobs)) >> 20))
    // A session of pg_restore that has nothing to do waits for the others.
    let newer = [(14, "idle_session_timeout"), (17, "transaction_timeout")].filter { serverMajor >= $0.0 }.map { ($0.1, "0") }
    return newer + [
      ("default_transaction_read_only", "off"), ("statement_timeout", "0"), ("lock_timeout", "0"),
      ("idle_in_transaction_session_timeout", "0"), ("synchronous_commit", "off"), ("maintenance_work_mem", "\(memory)MB"),
      ("max_parallel_maintenance_workers", "0"),
    ]
  }
}
