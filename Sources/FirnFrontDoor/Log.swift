import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// Lists the runs of commands.
struct Log: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "log", abstract: "List past runs, including failed ones.",
    discussion: """
      Every snapshot, verification, drill, prune, copy, restore and migration is recorded: in the store, and on the machine that ran it. \
      The output of a timer's run is in the journal of its machine.
      """)
  @Argument(help: "List only runs on this database.", completion: Completions.databases) var database: String?
  @Flag(help: "List only runs that failed, completely or partly.") var failed = false
  @Option(help: ArgumentHelp("List only runs of this kind: snapshot, verify, drill, prune, copy, restore or migrate.", valueName: "job")) var job:
    String?
  @Option(help: ArgumentHelp("List only runs that began at this time or later: 2h, yesterday, 2026-11-28, 22:50.", valueName: "time"))
  var since: String?
  @Option(help: ArgumentHelp("List at most the newest N.", valueName: "n")) var last = 20
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if last < 1 { throw ValidationError("--last takes a number from 1 on") }
    if let since, SnapshotSelector.time(since) == nil {
      throw ValidationError("--since takes a time such as 2h, yesterday, 22:50 or 2026-11-28, not \(since)")
    }
    if let job, RunReport.Job(rawValue: job) == nil {
      throw ValidationError("--job takes one of \(RunReport.Job.allCases.map(\.rawValue).joined(separator: ", ")), not \(job)")
    }
  }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let store = try context.store()
    var obstacle: (any Error)?
    // The history of this machine matters most when the store can't be reached.
    do { _ = try Repository(opening: store) } catch { obstacle = error }
    let runs = try runs(RunHistories(store: obstacle == nil ? store : nil, location: store.location))
    if common.json { try context.output(json: ["runs": runs.map(Entry.init)]) } else { show(runs, context) }
    if let obstacle {
      context.warn("only runs of this machine and user are listed: \(FailureReport(obstacle).message)")
      return .doneWithWarnings
    }
    return .done
  }

  private func runs(_ histories: RunHistories) throws -> [RunHistories.Known] {
    let start = since.flatMap { SnapshotSelector.time($0) } ?? .distantPast
    var runs: [RunHistories.Known] = []
    try histories.forEach { entry in
      (job == nil || entry.job == job) && entry.startedAt >= start && !(failed && (entry.outcome == .success || entry.outcome == .cancelled))
    } _: { known in
      let run = known.run
      let databases = [run.database].compactMap(\.self) + (run.succeeded ?? []) + (run.failures ?? []).map(\.database)
      if (!failed || known.isFailure) && (database.map(databases.contains) ?? true) { runs.append(known) }
      return runs.count < last
    }
    return runs
  }

  private func show(_ runs: [RunHistories.Known], _ context: CommandContext) {
    guard !runs.isEmpty else { return context.tell(failed ? "no failed runs" : "no runs") }
    let rows = runs.map { known in
      let run = known.run
      let what = run.database ?? run.succeeded.map { Quantity.count($0.count + (run.failures ?? []).count, "database") } ?? ""
      return [
        Table.Cell(Quantity.time(run.startedAt)), .init(run.job), .init(what), .init(run.seconds.map(Quantity.span) ?? ""), result(known),
      ]
    }
    let details = runs.map { known in
      let run = known.run
      let parts = (run.failures ?? []).map { "\($0.database): \($0.error)" }
      let hint = run.hint.map { ["hint: \($0)"] } ?? []
      let texts = known.isFailure ? (run.error.map { [$0] } ?? []) + parts + hint : run.warnings
      return texts.map { $0.split { $0.isNewline }.map { $0.trimmingCharacters(in: .whitespaces) }.joined(separator: " ") }
    }
    context.output(Table(header: ["TIME", "JOB", "DATABASE", "TOOK", "RESULT"], rows: rows, details: details))
    context.tell("\(Quantity.count(runs.count, "run")); for the output of a timer's run: journalctl -u 'firn-*' on its machine")
  }

  private func result(_ known: RunHistories.Known) -> Table.Cell {
    let run = known.run
    switch run.outcome {
    case .running: return known.wasKilled ? .init("KILLED", .bad) : .init("running")
    case .success: return .init("done", .good)
    case .warning: return .init(known.isFailure ? "FAILED IN PART" : "done, with warnings", known.isFailure ? .bad : .warning)
    case .failure: return .init("FAILED (\(run.exitCode ?? 1))", .bad)
    case .cancelled: return .init(run.exitCode == ExitStatus.notConfirmed.rawValue ? "not confirmed" : "mistyped (\(run.exitCode ?? 0))")
    }
  }

  /// The JSON of a run. Its keys are fixed.
  private struct Entry: Encodable {
    let job: String
    let startedAt: Date
    let seconds: Double?
    let outcome: String
    let exitCode: Int32?
    let host: String
    let user: String
    let source: String?
    let database: String?
    let snapshot: String?
    let error: String?
    let hint: String?
    let warnings: [String]
    let succeeded: [String]?
    let failures: [PastRun.Failure]?

    init(_ known: RunHistories.Known) {
      let run = known.run
      (job, startedAt, seconds, exitCode) = (run.job, run.startedAt, run.seconds, run.exitCode)
      outcome = known.wasKilled ? "killed" : run.outcome.rawValue
      (host, user, source, database, snapshot) = (run.host, run.user, run.source, run.database, run.snapshot)
      (error, hint, warnings, succeeded, failures) = (run.error, run.hint, run.warnings, run.succeeded, run.failures)
    }
  }
}
