import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository

/// `--all`: every database of a source that is missing on a server. Databases that exist are replaced only after a confirmation.
struct ServerRestore {
  let command: FirnRestore
  /// The context for the server to restore onto.
  let context: CommandContext
  /// The source that was named.
  let source: String?
  let repository: Repository

  /// The JSON of the run. Its keys are fixed.
  private struct Report: Encodable {
    let restored: [RestoreReport]
    let failures: [Failure]
    /// Databases that exist and were left as they are.
    let leftAlone: [String]
    /// Databases without such a snapshot.
    let withoutSnapshot: [String]
  }

  private struct Failure: Encodable {
    let database: String
    let snapshot: String
    let error: String
    let hint: String?
    let exitCode: Int32
  }

  /// A snapshot to restore.
  private struct Job: Sendable {
    let place: SnapshotPath
    /// Bytes of the rows; nil if no identity opens it.
    let bytes: Int64?
    /// The OID of the database that it replaces.
    let replaced: UInt32?
  }

  private struct Results: Sendable {
    var restored: [(job: Job, result: RestoreResult)] = []
    var failures: [Failure] = []
    var remembered: [PastRun.Failure] = []

    mutating func add(_ error: any Error, place: SnapshotPath) {
      let report = FailureReport(error)
      failures.append(
        Failure(
          database: place.database, snapshot: place.id.description, error: report.message, hint: report.hint, exitCode: report.status.rawValue))
      remembered.append(.init(source: place.source, database: place.database, error: report.messageWithoutRows, hint: report.hint))
    }
  }

  /// Bytes from which on a database has all sessions to itself.
  private static let large: Int64 = 64 << 20

  func run() throws -> ExitStatus {
    let start = ContinuousClock.now
    let name = try sourceName()
    try context.requireRestoreRole(command.server.connection)
    let settings = try context.connectionSettings(command.server.connection)
    for line in try context.withProgress({ StoppedApplication.startAgain($0) { settings } }) { context.warn(line) }
    let roles = try ServerRoles(repository: repository, settings: settings)
    let existing = try roles.databases()
    let results = Monitor(Results())
    let chosen = try choose(name, results)
    // Each server has its own.
    let places = chosen.places.filter { $0.database != "postgres" || existing["postgres"] == nil }
    let present = places.map(\.database).filter { existing[$0] != nil }
    let phrase = "replace \(Quantity.count(present.count, "database")) of \(name)"
    let replaces = !present.isEmpty && command.confirmation.confirm != nil
    let jobs = places.filter { replaces || existing[$0.database] == nil }.map { place in
      Job(place: place, bytes: (try? repository.readableManifest(of: place))?.bytes, replaced: existing[place.database])
    }.sorted { ($0.bytes ?? 0, $1.place.database) > ($1.bytes ?? 0, $0.place.database) }
    // The newest whose globals can be read.
    let sourceOfRoles = jobs.map(\.place).sorted { $0.id > $1.id }.first { (try? roles.missing(of: $0)) != nil }
    try explain(jobs, sourceOfRoles, roles, existing: present, replaces, phrase, name)
    for database in chosen.without { context.warn("\(database): no snapshot matches \(command.selector ?? "latest")") }
    if command.dryRun { return try showPlans(jobs, results) }
    if replaces {
      try Confirmation.require(phrase, given: command.confirmation.confirm)
      // Safety snapshots must not become readable to anyone who changed the store's recipients.
      try context.permitFilling(repository)
    }
    if let sourceOfRoles {
      for failure in roles.make(of: sourceOfRoles) { context.warn("role \(failure.role) was not created: \(FailureReport(failure.error).message)") }
    }
    try forEachDatabase(jobs, jobs: context.jobs(command.server), isLarge: { ($0.bytes ?? .max) >= Self.large }) { job, sessions in
      try restore(job, sessions: sessions, results)
    }
    let found = results.current
    try report(found, leftAlone: replaces ? [] : present, without: chosen.without, ContinuousClock.now - start)
    return status(found, chosen.without)
  }

  private func status(_ found: Results, _ without: [String]) -> ExitStatus {
    let areSound = found.restored.allSatisfy(\.result.warnings.isEmpty) && without.isEmpty && !context.hasWarned
    return ExitStatus.ofRun(failures: found.failures.map(\.exitCode), hasSuccesses: !found.restored.isEmpty)
      ?? (areSound ? .done : .doneWithWarnings)
  }

  /// The name of the source: the given one, that of the server, or the only one of the store.
  private func sourceName() throws -> String {
    if let name = source ?? context.configuration.source { return name }
    let sources = try repository.catalog.sources(of: repository.catalog.snapshots())
    guard let only = sources.first, sources.count == 1 else {
      throw UsageError(
        "--all needs a source", hint: "name one with --server: \(sources.map(\.name).joined(separator: ", "))")
    }
    return only.name
  }

  /// The snapshot of each database. One that can't be chosen is a failure of that database alone.
  private func choose(_ name: String, _ results: Monitor<Results>) throws -> (places: [SnapshotPath], without: [String]) {
    let catalog = repository.catalog
    let selector = try SnapshotSelector(command.selector ?? "latest")
    var places: [SnapshotPath] = []
    var without: [String] = []
    let all = try context.places(of: nil, from: name, in: catalog) ?? []
    for (_, own) in Dictionary(grouping: all, by: \.database.keyComponent).sorted(by: { $0.key < $1.key }) {
      let regular = own.filter { !catalog.isSafetySnapshot($0) }
      guard let newest = regular.last else { continue }
      do { places.append(try selector.choose(from: regular, in: catalog)) } catch RepositoryError.noSuchSnapshot {
        without.append(newest.database)
      } catch let error as RepositoryError where error.isOfOneSnapshot {
        results.update { $0.add(error, place: newest) }
        context.warn("\(newest.database): not restored: \(FailureReport(error).message)")
      }
    }
    guard !places.isEmpty || !results.current.failures.isEmpty else {
      throw RepositoryError.noSuchSnapshot(selector: selector.description, database: "source \(name)")
    }
    return (places, without)
  }

  private func explain(
    _ jobs: [Job], _ sourceOfRoles: SnapshotPath?, _ roles: ServerRoles, existing: [String], _ replaces: Bool, _ phrase: String, _ name: String
  ) throws {
    let size = jobs.compactMap(\.bytes).reduce(0, +)
    let missing = jobs.filter { $0.replaced == nil }
    var lines = [
      "onto the server at \(roles.target)",
      "restoring \(Quantity.count(missing.count, "missing database")) of \(name), \(Quantity.size(size))\(missing.isEmpty ? "" : ":")",
    ]
    lines += missing.map { "  \($0.place.database) of \($0.place.id)" }
    if let sourceOfRoles {
      lines += try roles.missing(of: sourceOfRoles).map { role in
        "role \(role.name) is created, as it is missing\(role.powers.isEmpty ? "" : ", as it was: \(role.powers.joined(separator: ", "))")"
      }
    }
    if replaces {
      lines.append("these databases exist and are replaced; the previous ones are kept under other names:")
      lines += jobs.filter { $0.replaced != nil }.map { "  \($0.place.database) by \($0.place.id)" }
    } else if !existing.isEmpty {
      lines.append("these databases exist and are left as they are: \(existing.sorted().joined(separator: ", "))")
      lines.append("to replace them too: --confirm '\(phrase)'")
    }
    context.explain(lines)
  }

  /// `--dry-run`: the preflight of each database.
  private func showPlans(_ jobs: [Job], _ results: Monitor<Results>) throws -> ExitStatus {
    var plans: [String: String] = [:]
    for job in jobs {
      plans[job.place.database] = job.place.id.description
      do {
        let request = try request(job)
        let plan = try context.withProgress { try RestoreOperation(repository: repository, request: request, progress: $0).plan() }
        for warning in plan.warnings { context.warn("\(job.place.database): \(warning)") }
      } catch let interruption as Interruption { throw interruption } catch {
        results.update { $0.add(error, place: job.place) }
        context.warn("\(job.place.database): would fail: \(FailureReport(error).message)")
      }
    }
    if command.common.json {
      struct Plans: Encodable {
        let snapshots: [String: String]
        let failures: [Failure]
      }
      try context.output(json: Plans(snapshots: plans, failures: results.current.failures))
    }
    context.tell("nothing was changed (--dry-run)")
    return results.current.failures.isEmpty ? context.hasWarned ? .doneWithWarnings : .done : .refused
  }

  private func request(_ job: Job) throws -> RestoreRequest {
    var request = try command.request(context, job.place, target: job.replaced == nil ? .new(job.place.database) : .replacing(job.place.database))
    request.replacedOID = job.replaced
    return request
  }

  /// - Parameter sessions: nil for as many as there are jobs.
  private func restore(_ job: Job, sessions: Int?, _ results: Monitor<Results>) throws {
    try Interruption.check()
    do {
      var request = try request(job)
      if let sessions { request.jobs = sessions }
      let decided = request
      func run(_ progress: WorkProgress) throws -> RestoreResult {
        try RestoreOperation(repository: repository, request: decided, progress: progress).run()
      }
      let result = try sessions == nil ? context.withProgress(run) : run(WorkProgress())
      results.update { $0.restored.append((job, result)) }
      context.tell("\(job.place.database): restored from \(job.place.id) in \(Quantity.span(result.elapsed.inSeconds))")
      for warning in result.warnings { context.warn("\(job.place.database): \(warning)") }
    } catch let interruption as Interruption { throw interruption } catch {
      results.update { $0.add(error, place: job.place) }
      context.warn("\(job.place.database): not restored: \(FailureReport(error).message)")
    }
  }

  private func report(_ found: Results, leftAlone: [String], without: [String], _ elapsed: Duration) throws {
    context.record.note {
      ($0.database, $0.succeeded, $0.failures) = (nil, found.restored.map(\.result.database), found.remembered)
    }
    try context.result(
      Report(restored: found.restored.map { RestoreReport($0.result) }, failures: found.failures, leftAlone: leftAlone, withoutSnapshot: without))
    if !command.common.json {
      var rows = found.restored.map { job, result in
        let bytes = result.manifest.bytes
        let rate = Quantity.size(Int64(Double(bytes) / max(0.001, result.elapsed.inSeconds))) + "/s"
        return [
          Table.Cell(result.database), .init(result.manifest.id.description), .init(Quantity.size(bytes)),
          .init(Quantity.span(result.elapsed.inSeconds)),
          .init(rate), result.proven ? .init("restored, proven", .good) : .init("restored", .good),
        ]
      }
      rows += found.failures.map { [.init($0.database), .init($0.snapshot), "", "", "", .init("NOT RESTORED", .bad)] }
      rows += leftAlone.sorted().map { [.init($0), "", "", "", "", "left as it is"] }
      rows += without.map { [.init($0), "", "", "", "", .init("no such snapshot", .warning)] }
      if !rows.isEmpty { context.output(Table(header: ["DATABASE", "SNAPSHOT", "SIZE", "TOOK", "RATE", "RESULT"], rows: rows)) }
      let total = found.restored.reduce(0) { $0 + $1.result.manifest.bytes }
      context.tell(
        "\(Quantity.count(found.restored.count, "database")) restored, \(Quantity.size(total)) in \(Quantity.span(elapsed.inSeconds))")
    }
    guard !found.failures.isEmpty else { return }
    context.fail(
      "not restored: \(FailureReport.some(found.failures.map(\.database)))",
      hint: found.failures.count == 1 ? found.failures[0].hint ?? "see above" : "see the warnings above")
  }
}
