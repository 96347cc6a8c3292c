internal import Platform
package import Repository
package import Retention

/// Removes the snapshots that a policy doesn't keep, and what only they needed. Planned first, carried out when asked.
package struct PruneOperation {
  package struct Plan: Sendable {
    package let place: SnapshotPlace
    package let decision: RetentionPlan<SnapshotID>.Decision
  }

  package struct Outcome: Sendable {
    package let plans: [Plan]
    package let freedBytes: Int64
    package let applied: Bool
  }

  private let repository: Repository
  private let policy: RetentionPolicy

  package init(repository: Repository, policy: RetentionPolicy) {
    self.repository = repository
    self.policy = policy
  }

  /// - Parameters:
  ///   - places: the snapshots to decide on. Others are left alone.
  ///   - show: sees the plan and what it frees before anything is removed.
  package func run(on places: [SnapshotPlace], apply: Bool, show: ([Plan], Int64) throws -> Void) throws -> Outcome {
    let store = repository.store
    let lock = try RepositoryLock(apply ? .exclusive : .shared, on: store, purpose: "firn-prune", patience: .seconds(apply ? 10 : 0))
    defer { lock.release() }
    let collector = GarbageCollector(store: store)
    // What was there when the user named it may be gone by now.
    let present = Set(try repository.catalog.snapshots())
    let plans = try plan(for: places.filter(present.contains))
    let removed = plans.filter { !$0.decision.isKept }.map(\.place)
    let freed = removed.isEmpty ? 0 : try collector.freedBytes(removing: removed)
    try show(plans, freed)
    guard apply else { return Outcome(plans: plans, freedBytes: freed, applied: false) }
    try Interruption.check()
    try collector.remove(removed)
    _ = try collector.collect()
    return Outcome(plans: plans, freedBytes: freed, applied: true)
  }

  private func plan(for places: [SnapshotPlace]) throws -> [Plan] {
    var databases: [String: [SnapshotPlace]] = [:]
    for place in places { databases["\(place.source.keyComponent)/\(place.database.keyComponent)", default: []].append(place) }
    return try databases.sorted { $0.key < $1.key }.flatMap { _, places in
      let snapshots = try places.map { place in
        let read = try repository.catalog.lastCheck(of: place, atLeast: .read)
        return RetainedSnapshot(
          id: place.id, startedAt: place.id.startedAt, standing: try standing(of: place, lastRead: read), isVerified: read?.ok == true)
      }
      let byID = Dictionary(places.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
      return policy.plan(for: snapshots).decisions.compactMap { decision in byID[decision.id].map { Plan(place: $0, decision: decision) } }
    }
  }

  /// What can't be read counts for nothing, nor does what was found damaged, however cursory the look.
  private func standing(of place: SnapshotPlace, lastRead: CheckRecord?) throws -> RetainedSnapshot<SnapshotID>.Standing {
    let manifest: Manifest
    do { manifest = try repository.catalog.manifest(of: place) } catch is RepositoryError { return .damaged }
    if try lastRead?.ok == false || repository.catalog.lastCheck(of: place)?.ok == false { return .damaged }
    if manifest.kind == Manifest.safetyKind { return .safety }
    return manifest.complete ? .sound : .incomplete
  }
}
