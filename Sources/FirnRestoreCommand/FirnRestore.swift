import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository

/// `firn-restore`.
package enum RestoreProgram {
  package static func start() { Program.start(FirnRestore.self) }
}

/// Restores a snapshot: into a new database, or in the place of one that is kept.
struct FirnRestore: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "firn-restore", abstract: "Restore a snapshot. The replaced database is kept.",
    discussion: """
      The new database is built and checked beside the current one; then they swap names within a second. The previous database is kept, \
      and --undo brings it back. With --as, no existing database is changed, except with --data-only. If anything fails before the swap, \
      the new database is dropped again.
      """)

  @Argument(help: ArgumentHelp("Database name, or SOURCE/DATABASE.", valueName: "database"), completion: Completions.databases) var given: String?
  @Argument(
    help: "An id, the beginning of one, latest, latest:verified, latest:KIND, or before:TIME. Default: latest.", completion: Completions.snapshots)
  var snapshot: String?
  @Flag(
    help:
      "Restore every database of a source that is missing on the server: --all [SNAPSHOT]. Existing databases are left alone. To replace them too, repeat the command with --confirm and the phrase that it prints, even on a terminal."
  ) var all = false
  @Option(
    name: .customLong("as"),
    help: ArgumentHelp(
      "Create a new database of this name instead of replacing one. With --data-only: the existing database to fill.", valueName: "name"))
  var newName: String?
  @Option(help: ArgumentHelp("Restore into this existing, empty database, if your role may not create databases.", valueName: "name"))
  var into: String?
  @Flag(help: "Drop the database first and build the new one in its place, for a disk that can't hold both. No --undo.") var inPlace = false
  @Flag(help: "Bring back the previous database. The current one is kept.") var undo = false
  @Option(help: ArgumentHelp("With --undo: the kept database to bring back.", valueName: "name")) var kept: String?
  @Flag(help: "Drop the kept databases of this name, each after a confirmation. With --confirm NAME: only that one.") var forgetOld = false
  @Flag(help: "Clean up after a killed restore: drop unfinished databases, start a stopped application, and report a lost database.") var recover =
    false
  @Flag(help: "Read the new database back, and compare every table's bytes and the schema with the snapshot.") var prove = false
  @Flag(help: "Check all prerequisites, show what would be done, and stop.") var dryRun = false
  @OptionGroup var confirmation: ConfirmationOption
  @Flag(help: "Take no snapshot of the replaced database.") var noSafetySnapshot = false
  @Flag(help: "Replace the database even if the snapshot is incomplete, or parts of it cannot be restored.") var allowIncomplete = false
  @Flag(help: "With --in-place: allow a snapshot that no drill has tried yet.") var untested = false
  @Flag(help: "Undo the swap if the health check fails.") var undoOnFailure = false
  @Option(name: .customLong("set"), help: ArgumentHelp("Server setting for the restoring sessions. May be repeated.", valueName: "name=value"))
  var settings: [String] = []
  @Option(
    name: .customLong("run"),
    help: ArgumentHelp(
      "With --as: run this file with psql in the new database before it gets its name, for example to mask data. May be repeated.", valueName: "file")
  )
  var scripts: [String] = []
  @OptionGroup var rate: RateOption
  @OptionGroup var parts: PartOptions
  @OptionGroup var server: ServerOptions
  @OptionGroup var common: CommonOptions

  /// The database that is named; empty with --all.
  var database: String { all ? "" : given ?? "" }
  /// The snapshot that is named.
  var selector: String? { all ? given : snapshot }

  func validate() throws {
    if given == nil && !all { throw ValidationError("no database given: name one, or restore all of a server with --all") }
    if all {
      if snapshot != nil { throw ValidationError("--all takes no database, only a snapshot such as before:yesterday") }
      let others = [
        ("--as", newName != nil), ("--into", into != nil), ("--in-place", inPlace), ("--undo", undo), ("--forget-old", forgetOld),
        ("--recover", recover),
        ("--export", parts.export != nil), ("--table", !parts.tables.isEmpty), ("--data-only", parts.dataOnly), ("--schema-only", parts.schemaOnly),
      ].filter(\.1).map(\.0)
      if let first = others.first { throw ValidationError("\(first) is for one database, and not for --all") }
    }
    let modes = [newName != nil, into != nil, inPlace, parts.export != nil, undo, forgetOld, recover].count { $0 }
    if modes > 1 { throw ValidationError("--as, --into, --in-place, --export, --undo, --forget-old and --recover exclude each other") }
    if dryRun && (undo || forgetOld || recover || parts.export != nil || restoresIntoLive) {
      throw ValidationError("--dry-run belongs to restores of a whole database")
    }
    if untested && !inPlace { throw ValidationError("--untested belongs to --in-place") }
    if into != nil && parts.locale != nil { throw ValidationError("--locale is for a new database: the one that --into names has its own") }
    if (undo || forgetOld || recover) && snapshot != nil { throw ValidationError("--undo, --forget-old and --recover take no snapshot") }
    if kept != nil && !undo { throw ValidationError("--kept belongs to --undo") }
    if inPlace && (!parts.tables.isEmpty || parts.dataOnly) { throw ValidationError("--table and --data-only replace no database") }
    if restoresIntoLive {
      let chosen = [
        ("--prove", prove), ("--owner", parts.owner != nil), ("--no-owner", parts.noOwner), ("--no-privileges", parts.noPrivileges),
        ("--tablespace", !parts.tablespaces.isEmpty), ("--set", !settings.isEmpty), ("--only-intact", parts.onlyIntact),
        ("--confirm", confirmation.confirm != nil), ("--locale", parts.locale != nil),
      ].filter(\.1).map(\.0)
      if let first = chosen.first { throw ValidationError("\(first) means nothing where rows go into a database that exists") }
    }
    if !scripts.isEmpty && (parts.dataOnly || parts.schemaOnly || !parts.tables.isEmpty) {
      throw ValidationError("--run goes with none of --table, --data-only and --schema-only")
    }
    if !scripts.isEmpty && newName == nil { throw ValidationError("--run belongs to --as: the new database gets its name after the script has run") }
    if !(parts.excludedTables + parts.excludedTableData).isEmpty, newName == nil && into == nil {
      throw ValidationError("--exclude-table and --exclude-table-data make less than the snapshot: name a new database with --as or --into")
    }
    if schemaOnlyReplaces { throw ValidationError("--schema-only replaces no database: name a new one with --as") }
  }

  private var schemaOnlyReplaces: Bool { parts.schemaOnly && newName == nil && into == nil && parts.export == nil }
  /// Whether rows go into a database that is in use.
  private var restoresIntoLive: Bool { parts.dataOnly || !parts.tables.isEmpty && newName == nil && into == nil && parts.export == nil }

  var job: RunReport.Job? { undo || forgetOld || recover || parts.export != nil ? nil : .restore }
  var stateAfterInterruption: String? {
    if parts.export != nil || recover { return nil }
    if undo { return "\(database) is as it was" }
    if forgetOld { return "what is not named above is kept" }
    return "no database that existed was touched; a snapshot that was made before the restore stays, in firn list"
  }
  func subject(_ context: CommandContext) -> String? { all ? nil : database }

  func execute(_ given: CommandContext) throws -> ExitStatus {
    let (source, context) = try given.restoring(server.connection)
    guard all else { return try executeForOne(context, source) }
    return try ServerRestore(command: self, context: context, source: source, repository: context.repository(in: rate.limited(context.store()))).run()
  }

  private func executeForOne(_ context: CommandContext, _ source: String?) throws -> ExitStatus {
    var context = context
    // First of all: an application may be waiting for it.
    let started = try context.withProgress { StoppedApplication.startAgain($0) { try context.connectionSettings(server.connection) } }
    for line in started { context.warn(line) }
    if recover { return try tidyUp(context, isDone: !started.isEmpty) }
    if undo { return try KeptDatabases(command: self, context: context).undo() }
    if forgetOld { return try KeptDatabases(command: self, context: context).forget() }
    let repository = try context.repository(in: rate.limited(context.store()))
    let places =
      try source.map { try context.places(of: database, preferring: $0, in: repository.catalog) }
      ?? context.places(of: database, in: repository.catalog, on: server.connection)
    let place = try SnapshotSelector(snapshot ?? "latest").choose(from: places, in: repository.catalog)
    if source == nil { context = try context.choosing(serverOf: place, in: repository.catalog, server.connection) }
    if parts.export == nil { try context.requireRestoreRole(server.connection) }
    tellOfTime(place, context)
    _ = try context.warnOfHidden(repository.catalog, beside: places)
    warnOfClocks(place, among: places, context)
    if let export = parts.export { return try PartialRestores(command: self, context: context).export(place, in: repository, to: export) }
    if restoresIntoLive {
      return try PartialRestores(command: self, context: context).restoreTables(of: place, in: repository)
    }
    var request = try request(context, place)
    // The safety snapshot must not become readable to anyone who changed the store's recipients.
    if request.safetySnapshot != nil { try context.permitFilling(repository) }
    if dryRun { return try showPlan(request, place, repository, context) }
    if request.target.isExisting {
      let plan = try context.withProgress { progress in
        try RestoreOperation(repository: repository, request: request, progress: progress).plan()
      }
      ImpactStatement(plan, lastCheck: try repository.catalog.decisiveCheck(of: place), request: request).show(context)
      try Confirmation.require(request.target.phrase, given: confirmation.confirm)
      request.keptName = plan.impact?.keptAs
      request.replacedOID = plan.impact?.oid
    } else {
      context.tell("restoring \(described(place)) into \(into == nil ? "a new database" : "the empty database"), \(request.target.name)")
      // A database that is gone may have been given up for another, and what it held last be in there.
      if request.target.name.isSame(as: place.database), snapshot == nil,
        let newer = places.last(where: { $0.id > place.id && repository.catalog.isSafetySnapshot($0) })
      {
        context.warn("a newer snapshot, \(newer.id), is of the database as it was before a restore: firn-restore '\(place.database)' \(newer.id)")
      }
    }
    let decided = request
    var told: Set<String> = []
    var safety: SnapshotID?
    let result: RestoreResult
    do {
      result = try context.withProgress { progress in
        try RestoreOperation(repository: repository, request: decided, progress: progress).run { notes in
          if !decided.target.isExisting { for note in notes { context.tell("note: \(note)") } }
          told.formUnion(notes)
        } saved: {
          safety = $0
        } found: { rests in
          tell(of: rests, context)
        }
      }
    } catch {
      if let safety { context.tell("a snapshot of \(decided.target.name) as it was before this stays: \(safety)") }
      if case .inPlace(let name) = decided.target, !(error is DatabaseDestroyed) { context.tell("\(name) was not dropped") }
      throw error
    }
    let restarted = try context.withProgress { StoppedApplication.startAgain($0, having: result.database) { decided.settings } }
    for line in restarted { context.warn(line) }
    for note in result.notes where !told.contains(note) { context.tell("note: \(note)") }
    try report(result, place, context)
    return result.warnings.isEmpty ? .done : .doneWithWarnings
  }

  private func described(_ place: SnapshotPath) -> String {
    "\(place.database) of \(place.id) (\(Quantity.age(of: place.id.startDate, now: Date())))"
  }

  /// What `before:TIME` was understood as.
  private func tellOfTime(_ place: SnapshotPath, _ context: CommandContext) {
    guard let selector, selector.hasPrefix("before:"), let time = SnapshotSelector.time(String(selector.dropFirst(7))) else { return }
    context.tell("the newest snapshot before \(Quantity.time(time)) is \(place.id)")
  }

  /// The plan of `--dry-run`: everything that is checked and shown before a restore changes anything.
  private func showPlan(_ request: RestoreRequest, _ place: SnapshotPath, _ repository: Repository, _ context: CommandContext) throws -> ExitStatus {
    let plan = try context.withProgress { progress in try RestoreOperation(repository: repository, request: request, progress: progress).plan() }
    if request.target.isExisting {
      ImpactStatement(plan, lastCheck: try repository.catalog.decisiveCheck(of: place), request: request).show(context)
    } else {
      context.tell(
        "\(described(place)) would be restored into \(into == nil ? "a new database" : "the empty database"), \(request.target.name)")
      for note in plan.notes { context.tell("note: \(note)") }
    }
    for warning in plan.warnings { context.warn(warning) }
    context.tell("nothing was changed (--dry-run)")
    if common.json { try context.output(json: ["snapshot": place.id.description, "target": request.target.name]) }
    return plan.warnings.isEmpty ? .done : .doneWithWarnings
  }

  /// The newer of two snapshots is chosen by clocks that may have been wrong.
  private func warnOfClocks(_ place: SnapshotPath, among places: [SnapshotPath], _ context: CommandContext) {
    let soon = Date(timeIntervalSinceNow: 600)
    guard place.id.startDate > soon else { return }
    let others = places.last { $0.id.startDate <= soon }.map { "; the newest that is not in the future is \($0.id)" } ?? ""
    context.warn("\(place.id) is dated later than now: a clock is or was wrong, and others may be newer\(others)")
  }

  private func tell(of rests: [RestoreLeftover], _ context: CommandContext) {
    for rest in rests { if rest.wantsAttention { context.warn(rest.text) } else { context.tell(rest.text) } }
  }

  private func tidyUp(_ context: CommandContext, isDone: Bool) throws -> ExitStatus {
    let settings = try context.connectionSettings(server.connection)
    let found = try RestoreOperation.tidyUp(settings)
    if common.json { try context.output(json: ["found": found.map(\.text)]) }
    tell(of: found, context)
    if StoppedApplication.isAnyWaiting || found.contains(where: \.wantsAttention) { return .doneWithWarnings }
    if found.isEmpty && !isDone { context.tell("no leftover of a restore was found") }
    return .done
  }

  /// - Parameter target: nil for what the options and the server say.
  func request(_ context: CommandContext, _ place: SnapshotPath, target: RestoreRequest.Target? = nil) throws -> RestoreRequest {
    let settings = try context.connectionSettings(server.connection)
    var request = RestoreRequest(settings: settings, place: place, target: try target ?? self.target(settings, place))
    request.scope = try parts.scope()
    request.jobs = context.jobs(server)
    request.proves = prove
    request.allowsIncomplete = allowIncomplete
    request.allowsUntested = untested
    request.maintenance = context.configuration.maintenance
    request.undoesOnFailure = undoOnFailure
    request.sessionSettings = try self.settings.map { setting in
      let parts = setting.split(separator: "=", maxSplits: 1)
      guard parts.count == 2 else { throw UsageError("--set takes NAME=VALUE, not \(setting)") }
      if parts[0].lowercased() == "search_path" {
        throw UsageError("--set does not change the search_path of a restore", hint: "use --search-path '\(parts[1])'")
      }
      return (String(parts[0]), String(parts[1]))
    }
    request.scripts = try context.files(scripts, option: "--run")
    request.toolFolders = context.toolFolders(server.tools)
    request.workRoot = context.spoolRoot(server.spool)
    if request.target.isExisting, !noSafetySnapshot {
      // By the role that takes snapshots: it may read everything.
      let own = try context.taking.connectionSettings(server.connection, database: request.target.name)
      var safety = context.snapshotRequest(own, server)
      safety.kind = Manifest.safetyKind
      request.safetySnapshot = safety
    }
    return request
  }

  /// Without `--as`, the target is the database itself: replaced if it exists, otherwise created.
  private func target(_ settings: ConnectionSettings, _ place: SnapshotPath) throws -> RestoreRequest.Target {
    if let newName { return .new(newName) }
    if let into { return .empty(into) }
    let server = try ServerConnection.open(settings, except: place.database)
    guard try server.databaseExists(place.database) else { return .new(place.database) }
    return inPlace ? .inPlace(place.database) : .replacing(place.database)
  }

  private func report(_ result: RestoreResult, _ place: SnapshotPath, _ context: CommandContext) throws {
    try context.result(RestoreReport(result))
    if common.json { return }
    for warning in result.warnings { context.warn(warning) }
    context.output(result.database)
    context.tell(
      "restored \(place.id) as \(result.database): \(Quantity.tables(result.tables)), \(Quantity.rows(result.rows)), each table counted"
        + (result.proven ? ", every byte\(result.schemaCompared ? " and the schema" : "") compared" : "")
        + ", in \(Quantity.span(result.elapsed.inSeconds))")
    if let safety = result.safetySnapshot {
      context.tell("the previous database is in snapshot \(safety)\(result.leftOutOfSafety.isEmpty ? "" : ", which is INCOMPLETE")")
    }
    for reason in result.leftOutOfSafety { context.tell("  not in that snapshot: \(reason)") }
    guard let kept = result.keptAs else { return }
    context.tell("downtime \(Quantity.span(result.downtime.inSeconds)); the previous database is kept as \(kept)")
    context.tell(
      "to undo: firn-restore \(result.database.shellWord)\(context.serverOption) --undo; to drop it: firn-restore \(result.database.shellWord)\(context.serverOption) --forget-old"
    )
  }
}
