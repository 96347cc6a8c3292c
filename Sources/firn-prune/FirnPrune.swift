import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository
import Retention

@main struct Main {
  static func main() { Program.start(FirnPrune.self) }
}

/// Removes snapshots that a policy doesn't keep.
struct FirnPrune: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "firn-prune", abstract: "Remove old snapshots, and the objects that only they needed.",
    discussion: """
      Prints what it would do. Only --apply removes anything, and where more than half of a database's snapshots would go it asks for \
      typed words. Whatever a policy says, these stay: the newest snapshot, the newest complete one, the newest verified one, and \
      those on hold (firn hold). Incomplete and damaged snapshots don't count towards what is kept.
      """)

  @Argument(help: "The database, or SOURCE/DATABASE; else all of the store, each by itself.") var database: String?
  @OptionGroup var options: PolicyOptions
  @Flag(help: "Remove what the plan says.") var apply = false
  @Option(help: ArgumentHelp("The words that are asked for, where nobody is at a terminal.", valueName: "phrase")) var confirm: String?
  @Option(help: ArgumentHelp("Tell of one snapshot why it stays or goes.", valueName: "id")) var explain: String?
  @Option(help: ArgumentHelp("Show what the policy will hold over so long a time, such as 400d.", valueName: "duration")) var simulate: String?
  @Option(help: ArgumentHelp("How often a snapshot is made in that time.", valueName: "duration")) var every = "1d"
  @Flag(help: "Remove no snapshot, only what no snapshot names.") var gcOnly = false
  @Option(help: ArgumentHelp("Delete no more than so many objects a second.", valueName: "n")) var maxRate: Int?
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if let maxRate, maxRate < 1 { throw ValidationError("--max-rate takes a number from 1 on") }
    if explain != nil || simulate != nil, apply || gcOnly { throw ValidationError("--explain and --simulate only show something") }
    for text in [simulate, every].compactMap(\.self) {
      guard let duration = Quantity.duration(text), duration >= .seconds(60) else {
        throw ValidationError("\(text) is no duration such as 400d, of a minute at least")
      }
    }
  }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    if gcOnly { return try collect(repository, context) }
    let (policy, name, calendar) = try options.resolve(context)
    let places = try database.map { try repository.catalog.database(named: $0) } ?? repository.catalog.snapshots()
    let outcome = try context.withProgress { progress in
      let operation = PruneOperation(
        repository: repository, policy: policy, calendar: calendar, progress: progress, deletions: DeletionPace(perSecond: maxRate))
      return try operation.run(on: places, apply: apply) { plan in try approve(plan, name, context) }
    }
    if explain != nil || simulate != nil { return .done }
    if common.json {
      try context.output(json: PruneReport(outcome))
    } else if let collected = outcome.collected {
      let count = outcome.plan.removed.count
      context.tell("removed \(count) snapshot\(count == 1 ? "" : "s"), freed \(Quantity.size(outcome.plan.freedBytes))")
      tellYoung(collected, context)
    } else {
      context.tell("nothing was removed: this was the plan. Add --apply to carry it out")
    }
    return .done
  }

  /// Shows the plan, and asks where it should not be carried out by mistake.
  private func approve(_ plan: PrunePlan, _ name: String, _ context: CommandContext) throws {
    if let explain { return try PlanReport(plan, name).explain(explain, context) }
    if let simulate { return try show(simulation: simulate, plan, name, context) }
    if !common.json { PlanReport(plan, name).show(context) }
    for database in plan.inDoubt {
      let doubt = PlanReport.words(for: database)
      guard apply else {
        context.warn(doubt)
        continue
      }
      guard confirm == PrunePlan.clockPhrase else {
        throw FirnError.clockInDoubt(reason: doubt, phrase: PrunePlan.clockPhrase)
      }
    }
    guard apply, let phrase = plan.phrase, confirm != PrunePlan.clockPhrase || plan.inDoubt.isEmpty else { return }
    if common.json || common.quiet { context.explain("\(plan.removed.count) of \(plan.entries.count) snapshots would go") }
    try Confirmation.require(phrase, given: confirm)
  }

  private func show(simulation length: String, _ plan: PrunePlan, _ name: String, _ context: CommandContext) throws {
    guard let length = Quantity.duration(length), let every = Quantity.duration(every) else { return }
    for database in plan.databases {
      let forecast = RetentionForecast(
        database, plan, over: length.components.seconds, every: every.components.seconds, bytes: try StoredBytes(of: database, context))
      if common.json { try context.output(json: forecast) } else { forecast.show(name, context) }
    }
  }

  private func collect(_ repository: Repository, _ context: CommandContext) throws -> ExitStatus {
    let outcome = try context.withProgress { progress in
      try PruneOperation(repository: repository, policy: RetentionPolicy(), progress: progress, deletions: DeletionPace(perSecond: maxRate)).collect()
    }
    if common.json {
      try context.output(json: ["freedBytes": outcome.bytes, "objects": Int64(outcome.objects)])
    } else {
      context.tell(
        "deleted \(outcome.objects) object\(outcome.objects == 1 ? "" : "s") that no snapshot names, freed \(Quantity.size(outcome.bytes))")
      tellYoung(outcome, context)
    }
    return .done
  }

  private func tellYoung(_ outcome: GarbageCollector.Outcome, _ context: CommandContext) {
    guard outcome.young > 0 else { return }
    context.tell("\(outcome.young) more that no snapshot names are younger than an hour: they go later")
  }
}

/// The JSON of pruning. Its keys are fixed.
private struct PruneReport: Encodable {
  struct Kept: Encodable {
    let id: String
    let reasons: [String]
  }
  struct Removed: Encodable {
    let id: String
    let reason: String
  }
  let keep: [Kept]
  let remove: [Removed]
  let freedBytes: Int64
  let applied: Bool

  init(_ outcome: PruneOperation.Outcome) {
    let entries = outcome.plan.entries
    keep = entries.filter(\.decision.isKept).map { Kept(id: $0.place.id.description, reasons: $0.decision.keepReasons) }
    remove = entries.filter { !$0.decision.isKept }.map { Removed(id: $0.place.id.description, reason: $0.decision.removeReason) }
    freedBytes = outcome.plan.freedBytes
    applied = outcome.applied
  }
}
