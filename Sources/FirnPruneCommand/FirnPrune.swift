import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository
import Retention

/// `firn-prune`.
package enum PruneProgram {
  package static func start() { Program.start(FirnPrune.self) }
}

/// Removes snapshots that a policy doesn't keep.
struct FirnPrune: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "firn-prune", abstract: "Remove old snapshots, and the objects that only they needed.",
    discussion: """
      Prints a plan. Nothing is removed without --apply. A confirmation is required if more than half of a database's snapshots would be \
      removed. Always kept, whatever the policy: the newest snapshot, the newest complete one, the newest verified one, \
      those on hold (firn hold), and for two weeks those of kind pre-restore, unless the policy has rules for that kind. Incomplete and damaged snapshots do not count for the rules.
      """)

  @Argument(help: "Database name, or SOURCE/DATABASE. Default: all databases of the store.", completion: Completions.databases) var database: String?
  @OptionGroup var source: SourceOption
  @OptionGroup var options: PolicyOptions
  @Flag(help: "Remove the snapshots that the plan lists as removed.") var apply = false
  @OptionGroup var confirmation: ConfirmationOption
  @Option(
    help: ArgumentHelp(
      "With --apply: remove only this snapshot of the database, after a confirmation. Rules are ignored; minimum-count, minimum-age, holds and the newest snapshots are not. May be repeated.",
      valueName: "id"))
  var remove: [String] = []
  @Option(help: ArgumentHelp("Show why this snapshot is kept or removed.", valueName: "id")) var explain: String?
  @Option(help: ArgumentHelp("Show which snapshots the policy would keep over this time, such as 400d.", valueName: "duration")) var simulate: String?
  @Option(help: ArgumentHelp("With --simulate: the time between two snapshots.", valueName: "duration")) var every = "1d"
  @Flag(help: "Remove no snapshots, only objects that no snapshot needs and files of interrupted runs.") var gcOnly = false
  @Option(
    name: [.customLong("max-deletes"), .customLong("max-rate")],
    help: ArgumentHelp("Delete at most this many objects per second. Default: no limit.", valueName: "n"))
  var maxDeletes: Int?
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if let maxDeletes, maxDeletes < 1 { throw ValidationError("--max-deletes takes a number from 1 on") }
    if explain != nil || simulate != nil, apply || gcOnly { throw ValidationError("--explain and --simulate only show something") }
    if !remove.isEmpty {
      if remove.contains("") { throw ValidationError("--remove wants the id of a snapshot") }
      if database == nil { throw ValidationError("--remove wants the database of the snapshot") }
      if options.isGiven { throw ValidationError("--remove and --keep-… exclude each other: it removes what is named, and no other") }
      if explain != nil || simulate != nil || gcOnly { throw ValidationError("--remove goes with none of --explain, --simulate and --gc-only") }
    }
    if explain != nil && simulate != nil { throw ValidationError("--explain and --simulate exclude each other") }
    if gcOnly && (database != nil || source.name != nil || options.isGiven || options.policy != nil) {
      throw ValidationError("--gc-only removes no snapshot: it goes with no database and no policy")
    }
    for text in [simulate, every].compactMap(\.self) {
      guard let duration = Quantity.duration(text), duration >= .seconds(60) else {
        throw ValidationError("\(text) is no duration such as 400d, of a minute at least")
      }
    }
    if let simulate, let length = Quantity.duration(simulate), let step = Quantity.duration(every), length / step > 20_000 {
      throw ValidationError("--simulate takes a time in which no more than 20000 snapshots are made")
    }
  }

  var job: RunReport.Job? { apply ? .prune : nil }
  func subject(_ context: CommandContext) -> String? { database }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    if gcOnly { return try collect(repository, context) }
    let (policy, name, calendar) = try options.resolve(context, isRuling: remove.isEmpty)
    let places = try self.places(in: repository.catalog, context)
    let named = try remove.isEmpty ? nil : Set(remove.map { try SnapshotSelector.prefix($0).choose(from: places ?? [], in: repository.catalog).id })
    var planned: [SnapshotPath] = []
    var left: Waiting?
    let outcome: PruneOperation.Outcome
    do {
      outcome = try context.withProgress { progress in
        let operation = PruneOperation(
          repository: repository, policy: policy, named: named, calendar: calendar, progress: progress, deletions: DeletionPace(perSecond: maxDeletes)
        )
        return try operation.run(on: places, apply: apply) { plan in
          let approved = try approve(plan, name, named ?? [], context)
          planned = approved.plan.removed
          left = approved.left
          return approved.plan
        }
      }
    } catch let interruption as Interruption {
      throw CutOff(interruption: interruption, state: state(afterRemoving: planned, from: repository.catalog))
    }
    if explain != nil || simulate != nil { return .done }
    try context.result(PruneReport(outcome, waiting: left?.databases ?? []))
    if !common.json {
      if let collected = outcome.collected {
        let count = outcome.plan.removed.count
        context.tell("removed \(count) snapshot\(count == 1 ? "" : "s"), freed \(Quantity.size(outcome.plan.freedBytes))")
        tellYoung(collected, context)
      } else {
        context.tell("nothing was removed: this was the plan. Add --apply to carry it out")
      }
    }
    if let left { throw left.error }
    if outcome.collected?.isInDoubt ?? false { warnOfMissing(context) }
    return outcome.collected.map { $0.locked > 0 || $0.isInDoubt } ?? false ? .doneWithWarnings : .done
  }

  private func warnOfMissing(_ context: CommandContext) {
    context.warn(
      "snapshots of this store are missing, and may need its objects: no object was deleted; put the folder snapshots/ back. "
        + "If they are gone for good, delete the file \(Catalog.missingSnapshotsMark) from the store once it has a new snapshot")
  }

  /// The snapshots of a database, and the safety snapshots of that name without regular snapshots; or those of a source. Nil for all.
  private func places(in catalog: Catalog, _ context: CommandContext) throws -> [SnapshotPath]? {
    guard let own = try context.places(of: database, from: source.name, in: catalog) else { return nil }
    guard let database, source.name == nil else { return own }
    return try own + catalog.snapshotsOfRestoresAlone(named: database).filter { !own.contains($0) }
  }

  private func state(afterRemoving planned: [SnapshotPath], from catalog: Catalog) -> String? {
    guard apply, !planned.isEmpty else { return "nothing was removed" }
    guard let left = try? Interruption.putOff({ try Set(catalog.snapshots()) }) else { return nil }
    let gone = planned.count { !left.contains($0) }
    return gone == 0
      ? "nothing was removed"
      : "\(gone) of \(planned.count) snapshots were removed as planned; what only they needed goes with the next run"
  }

  /// Databases of which nothing goes until words are typed.
  private struct Waiting {
    let databases: [PrunePlan.Database]
    let error: FirnError
  }

  /// Shows the plan, and asks for a confirmation if one is required. Without a terminal, databases that need no
  /// confirmation are pruned although others have to wait.
  /// - Returns: the approved part of the plan, and the error to report for the rest.
  private func approve(_ plan: PrunePlan, _ name: String, _ named: Set<SnapshotID>, _ context: CommandContext) throws -> (
    plan: PrunePlan, left: Waiting?
  ) {
    if let explain { try PlanReport(plan, name).explain(explain, context) }
    if let simulate { try show(simulation: simulate, plan, name, context) }
    guard explain == nil, simulate == nil else { return (plan, nil) }
    if !common.json { try PlanReport(plan, name).show(context) }
    if let entry = plan.entries.first(where: { named.contains($0.place.id) && $0.decision.isKept }) {
      throw FirnError.mustStay(
        database: entry.place.database, id: "\(entry.place.id)", reasons: entry.decision.keepReasons,
        guardian: entry.decision.guardian ?? .policy)
    }
    let doubts = plan.doubtful.map { PlanReport.words(for: $0, in: plan) }
    guard apply, let phrase = plan.phrase else {
      for doubt in doubts { context.warn(doubt) }
      return (plan, nil)
    }
    if confirmation.confirm == nil, !Terminal.isAttended, let (part, left) = try plan.withoutWords() {
      if common.json || common.quiet { context.explain("\(part.removed.count) of \(plan.entries.count) snapshots go") }
      return (part, Waiting(databases: left, error: .prunedInPart(left: left.map(plan.name), reasons: doubts, phrase: phrase, of: database)))
    }
    if !doubts.isEmpty, confirmation.confirm != phrase { throw FirnError.clockInDoubt(reason: doubts.joined(separator: "; "), phrase: phrase) }
    if common.json || common.quiet { context.explain("\(plan.removed.count) of \(plan.entries.count) snapshots would go") }
    try Confirmation.require(phrase, given: confirmation.confirm)
    return (plan, nil)
  }

  private func show(simulation length: String, _ plan: PrunePlan, _ name: String, _ context: CommandContext) throws {
    guard let length = Quantity.duration(length), let every = Quantity.duration(every) else { return }
    let forecasts = try plan.databases.map {
      try RetentionForecast($0, plan, over: length.components.seconds, every: every.components.seconds, added: medianGrowth(of: $0, context))
    }
    if common.json { return try context.output(json: ["forecasts": forecasts]) }
    for forecast in forecasts { forecast.show(name, context) }
  }

  /// The median growth of the store by one snapshot, in bytes.
  private func medianGrowth(of database: PrunePlan.Database, _ context: CommandContext) throws -> Int64 {
    let catalog = try context.repository().catalog
    // The first one is stored whole.
    let added = database.entries.sorted { $0.place.id < $1.place.id }.dropFirst().compactMap { entry in
      (try? catalog.summary(of: entry.place))?.storedBytes
    }.sorted()
    return added.isEmpty ? 0 : added[added.count / 2]
  }

  private func collect(_ repository: Repository, _ context: CommandContext) throws -> ExitStatus {
    let outcome = try context.withProgress { progress in
      try PruneOperation(repository: repository, policy: RetentionPolicy(), progress: progress, deletions: DeletionPace(perSecond: maxDeletes))
        .collect(apply: apply)
    }
    try context.result(CollectionReport(freedBytes: outcome.bytes, objects: outcome.objects, applied: apply))
    if outcome.isInDoubt {
      warnOfMissing(context)
      return .doneWithWarnings
    }
    if !common.json {
      let what = "\(outcome.objects) object\(outcome.objects == 1 ? "" : "s") that no snapshot names"
      let size = Quantity.size(outcome.bytes)
      context.tell(apply ? "deleted \(what), freed \(size)" : "\(what), \(size) to free. Nothing was deleted: add --apply for that")
      tellYoung(outcome, context)
    }
    return outcome.locked > 0 ? .doneWithWarnings : .done
  }

  private func tellYoung(_ outcome: GarbageCollector.Outcome, _ context: CommandContext) {
    if outcome.locked > 0 {
      context.warn("the store keeps \(Quantity.count(outcome.locked, "file")) by a lock of its own: a prune after its end deletes them")
    }
    guard outcome.young > 0 else { return }
    context.tell("\(outcome.young) more that no snapshot names are younger than an hour: they go later")
  }
}

private struct CollectionReport: Encodable {
  let freedBytes: Int64
  let objects: Int
  let applied: Bool
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

  /// - Parameter waiting: databases of which nothing went.
  init(_ outcome: PruneOperation.Outcome, waiting: [PrunePlan.Database]) {
    let entries = outcome.plan.entries
    keep =
      entries.filter(\.decision.isKept).map { Kept(id: $0.place.id.description, reasons: $0.decision.keepReasons) }
      + waiting.flatMap(\.entries).map {
        Kept(
          id: $0.place.id.description,
          reasons: $0.decision.isKept ? $0.decision.keepReasons : ["waits for a confirmation: \($0.decision.removeReason)"])
      }
    remove = entries.filter { !$0.decision.isKept }.map { Removed(id: $0.place.id.description, reason: $0.decision.removeReason) }
    freedBytes = outcome.plan.freedBytes
    applied = outcome.applied
  }
}
