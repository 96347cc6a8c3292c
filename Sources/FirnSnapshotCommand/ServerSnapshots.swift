import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// `--all`: a snapshot of every database of one or several servers. Each commits by itself, and a failure of one does not stop the others.
struct ServerSnapshots {
  let command: FirnSnapshot
  let context: CommandContext
  let repository: Repository
  let copies: SnapshotCopies

  private struct Failed: Encodable {
    /// Nil for the server that is connected to.
    let server: String?
    /// `*` for all of the server's.
    let database: String
    let error: String
    let hint: String?
    let exitCode: Int32
  }

  private struct LeftOut: Encodable {
    let database: String
    let reason: String
  }

  /// The JSON of the run. Its keys are fixed.
  private struct Report: Encodable {
    let snapshots: [SnapshotReport]
    let failures: [Failed]
    let leftOut: [LeftOut]
  }

  /// The results so far. Databases may be backed up side by side.
  private struct Results: Sendable {
    var reports: [SnapshotReport] = []
    var failures: [Failed] = []
    var remembered: [PastRun.Failure] = []
    var leftOut: [LeftOut] = []
    var areAllSound = true

    mutating func add(_ error: any Error, server: String?, database: String) {
      let report = FailureReport(error)
      failures.append(
        Failed(server: server, database: database, error: report.message, hint: report.hint, exitCode: report.status.rawValue))
      remembered.append(.init(source: server, database: database, error: report.messageWithoutRows, hint: report.hint))
    }
  }

  /// A server, or the one that options and environment name.
  private struct Target {
    let server: ServerConfiguration?
    let context: CommandContext
    /// The name of its source, if that is known before it is connected to.
    let source: String?

    /// For messages about a database.
    func name(of database: String) -> String { server.map { "\($0.name)/\(database)" } ?? database }
  }

  /// Bytes of a database from which on it has all sessions to itself.
  private static let large: Int64 = 256 << 20

  func run() throws -> ExitStatus {
    let start = ContinuousClock.now
    let targets = try targets()
    if command.dryRun { return try showPlans(targets) }
    let results = Monitor(Results())
    // Recorded even if the run fails, so that the log shows it as a run over several databases.
    defer {
      let found = results.current
      context.record.note {
        ($0.database, $0.source, $0.snapshot) = (nil, nil, nil)
        ($0.succeeded, $0.failures) = (found.reports.map(\.database), found.remembered)
      }
    }
    let servers = targets.compactMap(\.source)
    context.record.note { ($0.succeeded, $0.failures, $0.servers) = ([], [], servers) }
    for target in targets {
      do { try backUp(target, results) } catch let interruption as Interruption { throw interruption } catch {
        // The failure of the only server is the failure of the command.
        guard targets.count > 1 else { throw error }
        results.update { $0.add(error, server: target.source, database: "*") }
        target.context.warn("\(target.name(of: "*")): no snapshot: \(FailureReport(error).message)")
      }
    }
    let found = results.current
    try context.result(Report(snapshots: found.reports, failures: found.failures, leftOut: found.leftOut))
    show(found, ContinuousClock.now - start)
    return ExitStatus.ofRun(failures: found.failures.map(\.exitCode), hasSuccesses: !found.reports.isEmpty)
      ?? (found.areAllSound ? .done : .doneWithWarnings)
  }

  private func targets() throws -> [Target] {
    if command.server.connection.servers.isEmpty, context.givesServer(command.server.connection) || context.configuration.servers.isEmpty {
      return [Target(server: nil, context: context, source: command.source)]
    }
    let targets = try context.servers(command.server.connection.servers).map {
      Target(server: $0, context: context.choosing($0), source: command.source ?? $0.name)
    }
    if targets.count > 1, command.source != nil || command.takeSourceBack {
      throw UsageError("--source and --take-source-back are for one server", hint: "name it with --server")
    }
    return targets
  }

  private func showPlans(_ targets: [Target]) throws -> ExitStatus {
    var plans: [SnapshotPlan] = []
    var areAllSound = true
    for target in targets {
      do {
        let databases = try databases(of: target)
        for pattern in databases.unmatched { context.warn("\(target.name(of: pattern)): no database matches this pattern") }
        areAllSound = areAllSound && databases.unmatched.isEmpty
        for name in databases.names {
          plans.append(try command.plan(of: name, in: repository, target.context))
        }
      } catch let error where targets.count > 1 && !(error is Interruption) {
        context.warn("\(target.name(of: "*")): a snapshot would fail: \(FailureReport(error).message)")
        areAllSound = false
      }
    }
    let status = try command.show(plans, context)
    return areAllSound ? status : .refused
  }

  private func databases(of target: Target) throws -> ServerDatabases {
    let connection = command.server.connection
    // The list of databases is the same in each of them.
    let needsDatabase = try target.context.namesNoDatabase(connection)
    let settings = try target.context.connectionSettings(connection, database: needsDatabase ? "postgres" : nil)
    let databases = try ServerDatabases(
      on: ServerConnection.open(settings), matching: target.server?.databases ?? ["*"],
      excluding: (target.server?.exclude ?? []) + command.excludedDatabases, requiring: command.excludedDatabases)
    for (name, reason) in databases.leftOut { context.tell("left out: \(target.name(of: name)): \(reason)") }
    // No failure: a database may be dropped at any time.
    // A pattern to exclude may well match none today.
    let names = (target.server?.exclude ?? []).filter { !$0.contains { "*?".contains($0) } }
    for (key, patterns) in [("exclude", names), ("per-database", (target.server?.overrides ?? []).map(\.pattern))] {
      for pattern in patterns where !databases.all.contains(where: { $0.matches(glob: pattern) }) {
        context.tell("\(key) \(pattern) of server \(target.server?.name ?? ""): no database matches it")
      }
    }
    return databases
  }

  private func backUp(_ target: Target, _ results: Monitor<Results>) throws {
    let databases = try databases(of: target)
    for pattern in databases.unmatched {
      // A dropped database must not prevent the other snapshots.
      results.update {
        $0.add(
          FirnError.refused(reasons: ["no database of the server matches \(pattern)"]), server: target.source,
          database: pattern)
      }
      context.warn("\(target.name(of: pattern)): no database matches this pattern")
    }
    results.update { $0.leftOut += databases.leftOut.map { LeftOut(database: $0.name, reason: $0.reason) } }

    let earlier = results.current.reports.count
    let globals = SharedGlobals()
    try forEachDatabase(databases.entries, jobs: target.context.jobs(command.server), isLarge: { $0.size >= Self.large }) { database, sessions in
      try backUp(database.name, of: target, globals, sessions: sessions, results)
    }
    let sources = Set(results.current.reports.dropFirst(earlier).map(\.source))
    let recent = Date.now - StoreStatus.graceOfGone.inSeconds
    let lost = Set(try repository.catalog.snapshots().filter { sources.contains($0.source) && $0.id.startDate > recent }.map(\.database))
      .subtracting(databases.all)
    for name in lost.sorted() where !databases.excluded.contains(where: { name.matches(glob: $0) }) {
      let reason =
        "the server no longer has it; to get it back: firn restore \(name.shellWord)"
        + (target.server == nil ? "" : "; if it was dropped on purpose, exclude it in firn.yaml")
      target.context.warn("\(target.name(of: name)): no snapshot: \(reason)")
      results.update {
        $0.leftOut.append(LeftOut(database: name, reason: reason))
        $0.areAllSound = false
      }
    }
  }

  /// - Parameter sessions: nil for as many as there are jobs.
  private func backUp(_ name: String, of target: Target, _ globals: SharedGlobals, sessions: Int?, _ results: Monitor<Results>) throws {
    try Interruption.check()
    do {
      let taken = try command.take(of: name, in: repository, copies, target.context, isBesideOthers: sessions != nil) { request in
        request.globals = globals
        if let sessions { request.jobs = sessions }
      }
      results.update {
        $0.reports.append(taken.report)
        $0.areAllSound = $0.areAllSound && taken.isSound
      }
    } catch let interruption as Interruption { throw interruption } catch {
      results.update { $0.add(error, server: target.source, database: name) }
      target.context.warn("\(target.name(of: name)): no snapshot: \(FailureReport(error).message)")
    }
  }

  private func show(_ found: Results, _ elapsed: Duration) {
    let (reports, failures) = (found.reports, found.failures)
    if !command.common.json {
      let stored = reports.reduce(0) { $0 + $1.storedBytes }
      context.tell(
        "\(Quantity.count(reports.count, "snapshot")) of \(Quantity.count(reports.count + failures.count, "database")) in \(Quantity.span(elapsed.inSeconds)), "
          + "\(Quantity.size(stored)) stored")
    }
    guard !failures.isEmpty else { return }
    let names = failures.map { failure in
      let database = failure.database == "*" ? "all databases" : failure.database
      return failure.server.map { failure.database == "*" ? "\(database) of \($0)" : "\($0)/\(database)" } ?? database
    }
    context.fail(
      "no new snapshot of \(FailureReport.some(names))",
      hint: failures.count == 1
        ? failures[0].hint ?? "see the warning above" : "see the warnings above\(reports.isEmpty ? "" : "; the other databases have new snapshots")")
  }
}
