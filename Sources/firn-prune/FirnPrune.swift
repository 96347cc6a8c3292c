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
    discussion: "Prints what it would do. Only --apply removes anything. The newest complete snapshot is never removed.")

  @Argument(help: "The database, or SOURCE/DATABASE; else all of the store, each by itself.") var database: String?
  @Option(help: ArgumentHelp("Keep the newest so many complete snapshots.", valueName: "n")) var keepLast = 0
  @Option(help: ArgumentHelp("Keep the newest of each of so many days (UTC).", valueName: "n")) var keepDaily = 0
  @Option(help: ArgumentHelp("Keep the newest of each of so many weeks, from Monday on.", valueName: "n")) var keepWeekly = 0
  @Option(help: ArgumentHelp("Keep the newest of each of so many months.", valueName: "n")) var keepMonthly = 0
  @Option(help: ArgumentHelp("Keep the newest of each of so many years.", valueName: "n")) var keepYearly = 0
  @Flag(help: "Remove what the plan says.") var apply = false
  @OptionGroup var common: CommonOptions

  private var policy: RetentionPolicy {
    RetentionPolicy(keepLast: keepLast, keepDaily: keepDaily, keepWeekly: keepWeekly, keepMonthly: keepMonthly, keepYearly: keepYearly)
  }

  func validate() throws {
    for (name, count) in [("last", keepLast), ("daily", keepDaily), ("weekly", keepWeekly), ("monthly", keepMonthly), ("yearly", keepYearly)] {
      if count < 0 { throw ValidationError("--keep-\(name) takes a number from 0 on") }
    }
    if !policy.keepsAnything { throw ValidationError("say what to keep, such as --keep-last 7 or --keep-daily 7 --keep-weekly 4") }
  }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    let places = try database.map { try repository.catalog.database(named: $0) } ?? repository.catalog.snapshots()
    let operation = PruneOperation(repository: repository, policy: policy)
    let outcome = try operation.run(on: places, apply: apply) { plans, freed in
      if !common.json { show(plans, freed, context) }
    }
    if common.json {
      try context.output(json: PruneReport(outcome))
    } else if outcome.applied {
      let count = outcome.plans.count { !$0.decision.isKept }
      context.tell("removed \(count) snapshot\(count == 1 ? "" : "s"), freed \(Quantity.size(outcome.freedBytes))")
    } else {
      context.tell("nothing was removed: this was the plan. Add --apply to carry it out")
    }
    return .done
  }

  private func show(_ plans: [PruneOperation.Plan], _ freed: Int64, _ context: CommandContext) {
    for plan in plans {
      let verb = plan.decision.isKept ? "keep  " : "remove"
      let why = plan.decision.isKept ? plan.decision.keepReasons.joined(separator: "; ") : plan.decision.removeReason
      context.output("\(verb)  \(plan.place.database)  \(plan.place.id)  \(why)")
    }
    let removed = plans.count { !$0.decision.isKept }
    context.output("\(plans.count - removed) to keep, \(removed) to remove, \(Quantity.size(freed)) to free")
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
    keep = outcome.plans.filter(\.decision.isKept).map { Kept(id: $0.place.id.description, reasons: $0.decision.keepReasons) }
    remove = outcome.plans.filter { !$0.decision.isKept }.map { Removed(id: $0.place.id.description, reason: $0.decision.removeReason) }
    freedBytes = outcome.freedBytes
    applied = outcome.applied
  }
}
