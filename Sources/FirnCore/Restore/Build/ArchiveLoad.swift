internal import Foundation
internal import Platform
internal import Postgres
internal import Repository
internal import SystemPackage

/// Restores a snapshot into a new, empty database. pg_restore creates the schema, indexes and constraints, from an archive that
/// has no rows; sessions of Firn load the rows.
struct ArchiveLoad {
  struct Outcome {
    /// The selection, without objects that could not be restored into this database.
    var selection: RestoreSelection
    var warnings: [String] = []
    /// Differences whose cause is outside the snapshot. They are in `warnings` as well.
    var reservations: [String] = []
    /// Materialized views that could not be filled.
    var unfilledViews: [String] = []
  }

  /// For connections to the new database.
  let settings: ConnectionSettings
  let archive: ArchiveDirectory
  let selection: RestoreSelection
  let reader: SnapshotReader
  let tools: ServerTools
  let work: WorkFolder
  let jobs: Int
  let sessionSettings: [(name: String, value: String)]
  /// Whether rows may be left out because an extension created no table for them.
  let allowsMissing: Bool
  let progress: WorkProgress
  /// Applies the database's own settings.
  let applySettings: () throws -> Void

  private var manifest: Manifest { selection.manifest }
  private var folder: FilePath { work.path.appending("archive") }

  /// - Throws: `PostgresError.toolFailed`, `.rowsRefused`, `FirnError.restoredCopyDiffers`, and what reading the snapshot throws.
  func run() throws -> Outcome {
    progress.begin("preparing")
    let connection = try Connection(settings, applicationName: "firn-restore")
    guard try connection.userObjects().allSatisfy({ $0.kind == "extension" }) else { throw FirnError.databaseExists(name: settings.database ?? "") }
    let tool = try makeTool(as: connection)
    progress.note("session settings: \(tool.settings.map { "\($0.name)=\($0.value)" }.joined(separator: " "))")
    let messages = ToolMessages(tool: "pg_restore")
    let failure = FirstFailure()
    var outcome = Outcome(selection: selection)

    progress.begin("creating the schema")
    try run(tool, phases(selection).schema, failure, messages)
    outcome.reservations += try leaveOutMissing(&outcome.selection, connection) + differentExtensions(connection)
    let phases = phases(outcome.selection)

    progress.begin("restoring rows", expected: outcome.selection.manifest.bytes)
    let built = try loadRows(outcome.selection, phases, tool, failure, messages, isSuperuser: connection.isSuperuser())

    progress.begin("building indexes and constraints")
    let steps = phases.postDataSteps
    var alone = tool
    alone.jobs = 1
    for (tool, entries) in [(tool, steps.first), (alone, steps.attachments), (tool, steps.last)] {
      try run(tool, entries.filter { !built.contains($0.dumpID) }, failure, messages)
    }
    try connection.setSequences(sequencesToSet(outcome.selection))
    progress.begin("gathering statistics and counting rows")
    let count = RestoreCount(settings: settings, manifest: outcome.selection.manifest, jobs: jobs, searchPath: selection.searchPath)
    outcome.warnings += try count.run()
    try run(tool, phases.access, failure, messages)
    if !phases.views.isEmpty {
      progress.begin("refreshing materialized views")
      try applySettings()
      let failures = try refresh(phases.views)
      outcome.unfilledViews = failures.map(\.view)
      outcome.reservations += failures.map { "materialized view \($0.view) was left empty: \($0.message); fix the cause, then REFRESH it" }
    }
    outcome.warnings += try count.analyzeDerivedRelations()
    try run(tool, phases.eventTriggers, failure, messages)
    outcome.warnings += messages.warnings.map { "pg_restore warns: \($0)" }
    outcome.warnings += archive.entries.filter { $0.kind == "SUBSCRIPTION" }.map {
      "subscription \($0.tag) was not restored, because its slot belongs to the live database"
    }
    outcome.warnings += outcome.reservations
    return outcome
  }

  /// Tests whether the schema, a sample of each table's rows, and their indexes can be created on this server:
  /// functions in columns, checks and indexes run only if there are rows.
  /// - Throws: `PostgresError.toolFailed`, `.rowsRefused`.
  func trySchema() throws {
    let connection = try Connection(settings, applicationName: "firn-restore")
    var tool = try makeTool(as: connection)
    tool.applicationName = "firn pg_restore trial"
    let messages = ToolMessages(tool: "pg_restore")
    let failure = FirstFailure()
    try run(tool, phases(selection).schema, failure, messages)
    var tried = selection
    _ = try leaveOutMissing(&tried, connection)
    let session = try session(tool).open()
    for load in tried.loads {
      try Interruption.check()
      do { try load.sendSample(over: session, from: reader) } catch let error as PostgresError where error.mayDependOnOrder && !error.isOfMissingName
      {
        // The rows of a sample may refer to rows that are in no sample.
        try session.rollback()
      }
    }
    let indexes = phases(tried).indexes(ArchiveTables(archive), unfinished: [])
    try run(tool, indexes.filter { $0.kind == "INDEX" }, failure, messages)
  }

  private func phases(_ selection: RestoreSelection) -> ArchivePhases {
    ArchivePhases(archive.entries.filter { !selection.excluded.contains($0.dumpID) })
  }

  private func makeTool(as connection: Connection) throws -> RestoreTool {
    try Folder.make(folder)
    try Folder.write(selection.contents, to: folder.appending(ArchiveFile.contents))
    // The server compresses values again, as with pg_restore. Columns with a compression method of their own keep
    // it.
    let isSet = manifest.properties.settings.contains { $0.name == RestoreSettings.compression }
    var tool = RestoreTool(
      tools: tools, access: try ToolAccess(as: connection, folder: work.path), database: settings.database ?? "", jobs: jobs,
      settings: RestoreSettings.usual(jobs: max(2, jobs), sharedBuffers: try connection.sharedBuffers(), serverMajor: connection.serverMajor)
        + (try !isSet && connection.mayCompressFaster() ? [(RestoreSettings.compression, "lz4")] : []) + sessionSettings)
    tool.flags = selection.flags
    return tool
  }

  private func session(_ tool: RestoreTool) -> LoadingSession {
    LoadingSession(settings: settings, archive: archive, searchPath: selection.searchPath, serverSettings: tool.settings)
  }

  /// Excludes rows, sequence values and privileges of objects that do not exist here, because an extension created
  /// other objects or was left out.
  /// - Returns: warnings.
  private func leaveOutMissing(_ selection: inout RestoreSelection, _ connection: Connection) throws -> [String] {
    let members = selection.membersOfExtensions(in: archive)
    let relations = members.filter { $0.kind != "ACL" }
    let missing = try connection.missingRelations(among: relations.map(\.qualifiedName))
    let entries =
      try relations.filter { missing.contains($0.qualifiedName) }
      + members.filter { try $0.kind == "ACL" && !connection.hasObject(ofPrivileges: $0) }
    // This role may not grant privileges on objects of an extension that another role owns. pg_restore would not
    // restore them either.
    let foreign = try members.filter { try $0.kind == "ACL" && connection.hasObject(ofPrivileges: $0) && !connection.mayGrant($0) }
    selection.exclude(foreign, sequences: [])
    let ungranted = foreign.map { "left out: privileges on \($0.name), because another role owns it" }
    let undumped = sequencesToSet(selection)
    let missingSequences = try connection.missingRelations(among: Array(undumped.keys))
    selection.exclude(entries, sequences: missingSequences)
    let reason = "no extension of this server created it"
    let leftOut =
      entries.map { entry in
        let what = ["TABLE DATA": "rows of", "SEQUENCE SET": "the value of"][entry.kind] ?? "privileges on"
        return "left out: \(what) \(entry.name): \(reason)"
      } + missingSequences.map { "left out: the value of \($0.schema).\($0.name): \(reason)" }.sorted()
    guard leftOut.isEmpty || allowsMissing else {
      throw FirnError.refused(reasons: leftOut.map { "\($0); add --allow-incomplete to replace the database without it" })
    }
    return leftOut + ungranted
  }

  /// Extensions that have another version here than in the original database: the server installs its default
  /// version.
  private func differentExtensions(_ connection: Connection) throws -> [String] {
    let versions = Dictionary(try connection.extensions().map { ($0.name, $0.version) }, uniquingKeysWith: { first, _ in first })
    return manifest.extensions.compactMap { wanted in
      guard let version = versions[wanted.name], version != wanted.version else { return nil }
      return "extension \(wanted.name) has version \(version), it had \(wanted.version)"
    }.sorted()
  }

  /// - Returns: the indexes that pg_restore built while rows were loaded.
  private func loadRows(
    _ selection: RestoreSelection, _ phases: ArchivePhases, _ tool: RestoreTool, _ failure: FirstFailure, _ messages: ToolMessages,
    isSuperuser: Bool
  ) throws -> Set<Int> {
    guard !selection.loads.isEmpty || !selection.largeObjects.isEmpty else { return [] }
    let loader = RowLoader(
      selection.loads, largeObjects: selection.largeObjects, sessions: jobs, opening: session(tool), isSuperuser: isSuperuser, reader: reader,
      progress: progress,
      failure: failure)
    let tables = ArchiveTables(archive)
    var built: Set<Int> = []
    try loader.run { idle, unfinished in
      // If few rows are left, starting pg_restore early does not pay.
      let state = progress.current
      guard (state.expected ?? 0) - state.done > Self.restWorthIndexing else { return }
      let indexes = phases.indexes(tables, unfinished: unfinished).filter { !built.contains($0.dumpID) }
      guard !indexes.isEmpty else { return }
      var tool = tool
      tool.jobs = idle
      try run(tool, indexes, failure, messages)
      built.formUnion(indexes.map(\.dumpID))
    }
    return built
  }

  /// Bytes of rows that must still be left to start building indexes.
  private static let restWorthIndexing: Int64 = 32 << 20

  /// Values of extensions' sequences, which no archive has.
  private func sequencesToSet(_ selection: RestoreSelection) -> [QualifiedName: Int64] {
    let inArchive = Set(archive.entries.filter { $0.kind == "SEQUENCE SET" }.map(\.qualifiedName))
    return Dictionary(
      selection.manifest.sequences.compactMap { sequence in
        guard sequence.ofExtension != nil, !inArchive.contains(sequence.qualifiedName), let value = sequence.lastValue else { return nil }
        return (sequence.qualifiedName, value)
      }, uniquingKeysWith: { first, _ in first })
  }

  /// Refreshes materialized views with the database's own settings, because their functions may depend on its
  /// `search_path`. Views that depend on no other unrefreshed view are refreshed in parallel. A view that fails
  /// does not fail the restore: all rows are loaded, so it can be refreshed later.
  /// - Returns: views that could not be filled, with the reason.
  private func refresh(_ views: [ArchiveDirectory.Entry]) throws -> [(view: String, message: String)] {
    let failed = Monitor<[(view: String, message: String)]>([])
    var waiting = views
    while !waiting.isEmpty {
      let ids = Set(waiting.map(\.dumpID))
      var ready = waiting.filter { ids.isDisjoint(with: $0.dependencies) }
      if ready.isEmpty { ready = waiting }
      let done = Set(ready.map(\.dumpID))
      waiting.removeAll { done.contains($0.dumpID) }
      try forEachOverSessions(ready.reversed(), sessions: jobs) { [settings] in
        let session = try Connection(settings, applicationName: "firn-restore")
        try session.execute("RESET search_path; RESET datestyle; RESET extra_float_digits")
        return session
      } _: { view, session in
        do { try session.execute(view.definition) } catch PostgresError.statementFailed(let message, _) {
          failed.update { $0.append((view.name, message)) }
        }
      }
    }
    return failed.current.sorted { $0.view < $1.view }
  }

  /// Runs pg_restore for these entries to its end.
  private func run(_ tool: RestoreTool, _ entries: [ArchiveDirectory.Entry], _ failure: FirstFailure, _ messages: ToolMessages) throws {
    try failure.check()
    guard !entries.isEmpty else { return }
    let list = work.path.appending("restore.list")
    try Folder.write(entries.restoreList, to: list)
    let code = try tool.start(of: folder, list: list, messages: messages).wait {
      if let signal = Interruption.signal { failure.record(Interruption(signal: signal)) }
      try failure.check()
    }
    // A signal to all processes of a service ends the child first.
    try Interruption.check()
    try failure.check()
    if code != 0 { throw PostgresError.toolFailed(tool: "pg_restore", exitCode: code, messages: messages.errors) }
  }
}
