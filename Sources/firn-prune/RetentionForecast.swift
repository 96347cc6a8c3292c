import CommandSupport
import FirnCore
import Foundation
import Repository
import Retention

/// What a database's snapshots take in a store.
struct StoredBytes {
  /// What the newest needs by itself.
  let base: Int64
  /// What each adds, as a rule.
  let added: Int64

  init(of database: PrunePlan.Database, _ context: CommandContext) throws {
    let catalog = try context.repository().catalog
    let manifests = database.entries.compactMap { try? catalog.manifest(of: $0.place) }
    let first = manifests.last?.storedBytes ?? 0
    let later = manifests.filter { $0.parent != nil }.map(\.storedBytes).sorted()
    added = later.isEmpty ? 0 : later[later.count / 2]
    base = max(first, manifests.map(\.storedBytes).max() ?? 0)
  }
}

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
  init(_ database: PrunePlan.Database, _ plan: PrunePlan, over length: Int64, every: Int64, bytes: StoredBytes) {
    self.database = database.database
    let start = Int64(plan.now.timeIntervalSince1970)
    var held = database.entries.map {
      RetainedSnapshot(id: $0.place.id.startedAt, startedAt: $0.place.id.startedAt, standing: $0.standing, kind: $0.kind)
    }
    var steps: [Step] = []
    let shown = max(1, length / every / 12)
    for number in 1...max(1, length / every) {
      let now = start + number * every
      held.append(RetainedSnapshot(id: now, startedAt: now, isVerified: true))
      let decided = plan.policy.plan(for: held, now: now, calendar: plan.calendar) { bytes.base + Int64($0.count - 1) * bytes.added }
      let kept = Set(decided.kept.map(\.id))
      held.removeAll { !kept.contains($0.id) }
      if number % shown == 0 || number == length / every {
        steps.append(
          Step(
            at: Date(timeIntervalSince1970: Double(now)), snapshots: held.count,
            bytes: bytes.base + Int64(max(0, held.count - 1)) * bytes.added))
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
