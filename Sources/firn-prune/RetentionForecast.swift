import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository
import Retention

/// What a policy will hold over a time to come, if snapshots go on as often, all complete and verified, with today's churn.
struct RetentionForecast: Encodable {
  struct Step: Encodable {
    let at: Date
    let snapshots: Int
    let bytes: Int64
  }

  let database: String
  let steps: [Step]
  /// How old the snapshots are that are there at the end, in seconds, newest first.
  let agesAtEnd: [Int64]

  /// - Parameters:
  ///   - length: seconds.
  ///   - every: seconds between snapshots.
  ///   - added: bytes of what is new in each.
  /// - Throws: `Interruption`.
  init(_ database: PrunePlan.Database, _ plan: PrunePlan, over length: Int64, every: Int64, added: Int64) throws {
    self.database = database.database
    let start = Int64(plan.now.timeIntervalSince1970)
    var held = database.entries.map { entry in
      RetainedSnapshot(
        id: entry.snapshot.startedAt, startedAt: entry.snapshot.startedAt, standing: entry.snapshot.standing,
        isVerified: entry.snapshot.isVerified, kind: entry.snapshot.kind, tags: entry.snapshot.tags, hold: entry.snapshot.hold)
    }
    var steps: [Step] = []
    let shown = max(1, length / every / 12)
    for number in 1...max(1, length / every) {
      try Interruption.check()
      let now = start + number * every
      held.append(RetainedSnapshot(id: now, startedAt: now, isVerified: true))
      let decided = plan.policy.plan(for: held, now: now, calendar: plan.calendar) { database.newestBytes + Int64($0.count - 1) * added }
      let kept = Set(decided.kept.map(\.id))
      held.removeAll { !kept.contains($0.id) }
      if number % shown == 0 || number == length / every {
        steps.append(
          Step(
            at: Date(timeIntervalSince1970: Double(now)), snapshots: held.count,
            bytes: database.newestBytes + Int64(max(0, held.count - 1)) * added))
      }
    }
    self.steps = steps
    let end = start + max(1, length / every) * every
    agesAtEnd = held.map { end - $0.startedAt }.sorted()
  }

  func show(_ policy: String, _ context: CommandContext) {
    context.output("\(database), \(policy): with a snapshot as often as said, and as much new in each as now")
    context.output(
      header: ["AT", "SNAPSHOTS", "STORE, ABOUT"],
      rows: steps.map { [String(Quantity.time($0.at, zone: .gmt).prefix(10)), "\($0.snapshots)", Quantity.size($0.bytes)] })
    context.output("then it goes back to: \(agesAtEnd.map { Quantity.span(Double($0)) }.joined(separator: ", "))")
  }
}
