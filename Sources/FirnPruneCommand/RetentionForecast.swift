import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository
import Retention

/// A forecast of what a policy will hold, if snapshots continue at the same rate, all complete and verified, with
/// today's churn.
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
    let count = max(1, length / every)
    let shown = max(1, count / 12)
    let newest = try plan.newestBytes(of: database)
    func size(_ snapshots: Int) -> Int64 { newest + Int64(max(0, snapshots - 1)) * added }
    var held = database.entries.map(\.snapshot)
    var steps: [Step] = []
    var random = SystemRandomNumberGenerator()
    for number in 1...count {
      try Interruption.check()
      let now = start + number * every
      let date = Date(timeIntervalSince1970: Double(now))
      held.append(RetainedSnapshot(id: SnapshotID(startedAt: date, random: &random), startedAt: now, isVerified: true))
      let kept = Set(plan.policy.plan(for: held, now: now, calendar: plan.calendar) { size($0.count) }.kept.map(\.id))
      held.removeAll { !kept.contains($0.id) }
      if number % shown == 0 || number == count { steps.append(Step(at: date, snapshots: held.count, bytes: size(held.count))) }
    }
    self.steps = steps
    let end = start + count * every
    agesAtEnd = held.map { end - $0.startedAt }.sorted()
  }

  func show(_ policy: String, _ context: CommandContext) {
    context.output("\(database), \(policy): with snapshots at this rate, and as much new in each as now")
    let rows = steps.map {
      [Table.Cell(String(Quantity.time($0.at, zone: .gmt).prefix(10))), .init("\($0.snapshots)"), .init(Quantity.size($0.bytes))]
    }
    context.output(Table(header: ["AT", "SNAPSHOTS", "STORE, ABOUT"], rows: rows))
    context.output("ages of the snapshots at the end: \(agesAtEnd.map { Quantity.span(Double($0)) }.joined(separator: ", "))")
  }
}
