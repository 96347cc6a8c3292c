import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository

/// `--all`: every database of a source that is missing on a server. Databases that exist are replaced only after a confirmation.
struct ServerRestore {
  let command: FirnRestore
  let context: CommandContext
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
    let replaces: Bool
  }

  private struct Results: Sendable {
    var restored: [(job: Job, result: RestoreResult)] = []
    var failures: [Failure] = []
    var remembered: [PastRun.Failure] = []
  }

  /// Bytes from which on a database has all sessions to itself.
  private static let large: Int64 = 64 << 20

  func run() throws -> ExitStatus {
    let start = ContinuousClock.now
    let (name, context) = try source()
    let settings = try context.connectionSettings(command.server.connection)
    let chosen = try choose(name, context)
    let roles = try ServerRoles(repository: repository, settings: settings)
    let existing = try roles.databaseNames()
    let present = chosen.places.filter { existing.contains($0.database) }
    let phrase = "replace \(Quantity.count(present.count, "database")) of \(name)"
    let replaces = !present.isEmpty && command.confirmation.confirm != nil
    let jobs = try chosen.places.filter { replaces || !existing.contains($0.database) }.map { place in
      Job(place: place, bytes: try repository.readableManifest(of: place)?.bytes, replaces: existing.contains(place.database))
    }.sorted { ($0.bytes ?? 0, $1.place.database) > ($1.bytes ?? 0, $0.place.database) }
    try explain(jobs, roles, existing: present.map(\.database), replaces, phrase, name, settings)
    for database in chosen.without { context.warn("\(database): no such snapshot") }
    if command.dryRun {
      context.tell("nothing was changed (--dry-run)")
      return .done
    }
    if replaces { try Confirmation.require(phrase, given: command.confirmation.confirm) }

    let results = Monitor(Results())
    if let newest = jobs.map(\.place).max(by: { $0.id < $1.id }) { try roles.make(of: newest) }
    let large = jobs.filter { ($0.bytes ?? .max) >= Self.large }
    for job in large { try restore(job, sessions: nil, context, results) }
    let small = jobs.filter { ($0.bytes ?? .max) < Self.large }
    let sessions = min(context.jobs(command.server), small.count)
    try forEachInParallel(small.reversed(), thread: "database", threads: max(1, sessions)) {
      try restore($0, sessions: sessions > 1 ? 1 : nil, context, results)
    }
    let found = results.current
    try report(found, leftAlone: replaces ? [] : present.map(\.database), without: chosen.without, ContinuousClock.now - start)
    if !found.failures.isEmpty { return found.restored.isEmpty ? ExitStatus(rawValue: found.failures[0].exitCode) ?? .failed : .doneWithWarnings }
    let areSound = found.restored.allSatisfy(\.result.warnings.isEmpty) && chosen.without.isEmpty
    return areSound ? .done : .doneWithWarnings
  }

  /// The name of the source, and the context for its server.
  private func source() throws -> (name: String, context: CommandContext) {
    let catalog = repository.catalog
    let options = command.server.connection
    if let name = options.servers.first {
      // It may be a source of which the configuration knows nothing, restored onto the server that is connected to.
      if let server = try? context.servers([name]) { return (name, context.choosing(server[0])) }
      return (name, context.withoutServerNames)
    }
    if let name = context.configuration.source { return (name, context) }
    let sources = try catalog.sources(of: catalog.snapshots())
    guard let only = sources.first, sources.count == 1 else {
      throw UsageError(
        "--all needs a source", hint: "name one with --server: \(sources.map { $0.record?.name ?? $0.source }.joined(separator: ", "))")
    }
    return (only.record?.name ?? only.source, context)
  }

  /// The snapshot of each database.
  private func choose(_ name: String, _ context: CommandContext) throws -> (places: [SnapshotPath], without: [String]) {
    let catalog = repository.catalog
    let selector = try SnapshotSelector(command.selector ?? "latest")
    var places: [SnapshotPath] = []
    var without: [String] = []
    let all = try context.places(of: nil, from: name, in: catalog) ?? []
    for (_, own) in Dictionary(grouping: all, by: \.database.keyComponent).sorted(by: { $0.key < $1.key }) {
      let regular = own.filter { !catalog.isSafetySnapshot($0) }
      guard !regular.isEmpty else { continue }
      do { places.append(try selector.choose(from: regular, in: catalog)) } catch RepositoryError.noSuchSnapshot {
        without.append(regular[0].database)
      }
    }
    guard !places.isEmpty else { throw RepositoryError.noSuchSnapshot(selector: selector.description, database: "source \(name)") }
    return (places, without)
  }

  private func explain(
    _ jobs: [Job], _ roles: ServerRoles, existing: [String], _ replaces: Bool, _ phrase: String, _ name: String, _ settings: ConnectionSettings
  ) throws {
    let size = jobs.compactMap(\.bytes).reduce(0, +)
    let missing = jobs.filter { !$0.replaces }
    var lines = ["restoring \(Quantity.count(missing.count, "missing database")) of \(name), \(Quantity.size(size))\(missing.isEmpty ? "" : ":")"]
    lines += missing.map { "  \($0.place.database) of \($0.place.id)" }
    if let newest = jobs.map(\.place).max(by: { $0.id < $1.id }) {
      lines += try roles.missing(of: newest).map { role in
        "role \(role.name) is created, as it is missing\(role.powers.isEmpty ? "" : ", as it was: \(role.powers.joined(separator: ", "))")"
      }
    }
    if replaces {
      lines.append("these databases exist and are replaced; the previous ones are kept under other names:")
      lines += jobs.filter(\.replaces).map { "  \($0.place.database) by \($0.place.id)" }
    } else if !existing.isEmpty {
      lines.append("these databases exist and are left as they are: \(existing.sorted().joined(separator: ", "))")
      lines.append("to replace them too: --confirm '\(phrase)'")
    }
    context.explain(lines)
  }

  /// - Parameter sessions: nil for as many as there are jobs.
  private func restore(_ job: Job, sessions: Int?, _ context: CommandContext, _ results: Monitor<Results>) throws {
    try Interruption.check()
    do {
      var request = try command.request(context, job.place)
      request.target = job.replaces ? .replacing(job.place.database) : .new(job.place.database)
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
      let report = FailureReport(error)
      results.update {
        $0.failures.append(
          Failure(
            database: job.place.database, snapshot: job.place.id.description, error: report.message, hint: report.hint,
            exitCode: report.status.rawValue))
        $0.remembered.append(.init(database: job.place.database, error: report.messageWithoutRows, hint: report.hint))
      }
      context.warn("\(job.place.database): not restored: \(report.message)")
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
