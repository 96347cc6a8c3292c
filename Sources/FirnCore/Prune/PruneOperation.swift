internal import Digests
package import Foundation
internal import Platform
package import Repository
package import Retention

/// Removes snapshots that a policy does not keep, and objects that only they needed. It plans first, and carries out on request.
package struct PruneOperation: Sendable {
  package struct Outcome: Sendable {
    package let plan: PrunePlan
    package let collected: GarbageCollector.Outcome?
    package var applied: Bool { collected != nil }
  }

  private let repository: Repository
  private let policy: RetentionPolicy
  private let named: Set<SnapshotID>?
  private let calendar: RetentionCalendar
  private let now: Date
  private let progress: WorkProgress
  private let deletions: DeletionPace
  private let owner: LockOwner
  private let threads: Int

  /// - Parameter named: snapshots to remove by name, and no others. Only rules of the policy that protect snapshots apply.
  package init(
    repository: Repository, policy: RetentionPolicy, named: Set<SnapshotID>? = nil, calendar: RetentionCalendar = .utc, now: Date = Date(),
    progress: WorkProgress,
    deletions: DeletionPace = .unlimited, owner: LockOwner = .current, threads: Int = processorCount
  ) {
    self.threads = threads
    self.owner = owner
    self.repository = repository
    self.policy = policy
    self.named = named
    self.calendar = calendar
    self.now = now
    self.progress = progress
    self.deletions = deletions
  }

  /// Plans, has the plan approved, and carries out the approved part.
  /// - Parameters:
  ///   - places: the snapshots to decide on; nil for all.
  ///   - apply: whether to carry it out, with the exclusive lock.
  ///   - approve: returns the plan, or a part of it. Throws to stop.
  /// - Throws: `FirnError.planChanged` if another run changed the snapshots, `.onHold`.
  package func run(on places: [SnapshotPath]?, apply: Bool, approve: (PrunePlan) throws -> PrunePlan) throws -> Outcome {
    let shown = try withLock(.shared) { _ in try plan(for: places) }
    // No lock is held during a question.
    let approved = try approve(shown)
    guard apply else { return Outcome(plan: approved, collected: nil) }
    return try withLock(.exclusive) { try carryOut(approved, places, $0) }
  }

  private func withLock<Result>(_ mode: RepositoryLock.Mode, _ body: (RepositoryLock) throws -> Result) throws -> Result {
    let lock = try RepositoryLock(mode, on: repository.store, purpose: "firn-prune", patience: .seconds(mode == .exclusive ? 30 : 10), owner: owner)
    defer { lock.release() }
    return try body(lock)
  }

  private func carryOut(_ approved: PrunePlan, _ places: [SnapshotPath]?, _ lock: RepositoryLock) throws -> Outcome {
    // Plan for all of them: checks of one database affect others that share objects.
    let plan = try plan(for: places).part(of: approved.databases)
    guard Set(plan.removed).isSubset(of: approved.removed) else { throw FirnError.planChanged }
    // A hold that no listing shows, such as a folder of that name.
    for place in plan.removed {
      guard let hold = try repository.catalog.hold(of: place), hold.holds(at: now) else { continue }
      throw FirnError.onHold(database: place.database, id: place.id.description, reason: hold.reason)
    }
    try Interruption.check()
    let collector = collector(lock)
    try collector.check()
    progress.begin("removing snapshots")
    let released = try collector.remove(plan.removed)
    return Outcome(plan: plan, collected: try collect(collector, released: released))
  }

  /// Deletes objects that no snapshot names.
  /// - Parameter apply: whether to delete, or only to count.
  package func collect(apply: Bool) throws -> GarbageCollector.Outcome {
    try withLock(apply ? .exclusive : .shared) { lock in
      let collector = collector(lock)
      return apply ? try collect(collector, released: ObjectTable()) : try collector.garbage(grace: Self.grace)
    }
  }

  private func collector(_ lock: RepositoryLock) -> GarbageCollector {
    GarbageCollector(store: repository.store, holding: lock, now: now, pace: deletions)
  }

  /// Seconds that unnamed objects stay.
  private static let grace: TimeInterval = 3600

  private func collect(_ collector: GarbageCollector, released: ObjectTable) throws -> GarbageCollector.Outcome {
    try collector.collect(grace: Self.grace, released: released) {
      progress.begin("deleting objects", expected: $0)
    } each: {
      progress.advance(by: $0)
    }
  }

  private func plan(for places: [SnapshotPath]?) throws -> PrunePlan {
    // Snapshots that the user named may be gone by now.
    let present = try repository.catalog.listing()
    let wanted = places.map(Set.init)
    let chosen = present.filter { wanted?.contains($0.place) ?? true }
    let states = try states(of: chosen, beside: present)
    // The size of the kept snapshots depends on all of them.
    let sharingOfAll = policy.sizeGoal == nil || named != nil ? nil : try sharing(present, questioned: Set(chosen.map(\.place)))
    let databases = try decide(on: chosen.map(\.place), states) { kept in try sharingOfAll?.bytes(of: kept) ?? 0 }
    let removed = Set(databases.flatMap(\.removed))
    let newest = databases.compactMap { $0.entries.map(\.place).max { $0.id < $1.id } }
    let sharing = try sharingOfAll ?? sharing(present, questioned: removed.union(newest))
    if let (_, error) = sharing.unreadable.first(where: { !removed.contains($0.key) }) { throw error }
    return try PrunePlan(databases: databases, policy: policy, isNamed: named != nil, calendar: calendar, now: now, sharing: sharing) {
      [self] place in
      try self.sharing(present, questioned: [place])
    }
  }

  private func sharing(_ present: [ListedSnapshot], questioned: Set<SnapshotPath>) throws -> ObjectSharing {
    try ObjectSharing(of: repository.store, present, questioned: questioned, threads: threads)
  }

  private func decide(
    on places: [SnapshotPath], _ states: [SnapshotPath: RetainedSnapshot<SnapshotID>], size: ([SnapshotPath]) throws -> Int64
  ) throws -> [PrunePlan.Database] {
    let groups = Dictionary(grouping: places) { "\($0.source.keyComponent)/\($0.database.keyComponent)" }
    let moment = Int64(now.timeIntervalSince1970)
    return try groups.sorted { $0.key < $1.key }.map { _, places in
      let snapshots = places.compactMap { states[$0] }
      let byID = Dictionary(zip(places.map(\.id), zip(places, snapshots)), uniquingKeysWith: { first, _ in first })
      let decided =
        if let named {
          policy.plan(removing: named, of: snapshots, now: moment)
        } else {
          try policy.plan(for: snapshots, now: moment, calendar: calendar) { kept in try size(places.filter { kept.contains($0.id) }) }
        }
      let entries = decided.decisions.compactMap { decision -> PrunePlan.Entry? in
        guard let (place, snapshot) = byID[decision.id] else { return nil }
        return PrunePlan.Entry(place: place, decision: decision, snapshot: snapshot)
      }
      return PrunePlan.Database(
        source: places[0].source, database: places[0].database, entries: entries,
        doubt: RetentionPolicy.doubt(at: moment, for: snapshots), unnoticedJump: RetentionPolicy.unnoticedJump(at: moment, for: snapshots))
    }
  }

  /// The state of each snapshot.
  /// - Parameter present: all snapshots, because damage affects those that share objects.
  private func states(of listed: [ListedSnapshot], beside present: [ListedSnapshot]) throws -> [SnapshotPath: RetainedSnapshot<SnapshotID>] {
    let found = Monitor<(states: [SnapshotPath: RetainedSnapshot<SnapshotID>], verdicts: [SnapshotPath: CheckRecord])>(([:], [:]))
    let wanted = Set(listed.map(\.place))
    try forEachInParallel(present, thread: "snapshots", threads: threads) { [self] listed in
      let verdict = try repository.catalog.verdict(of: listed.checks, now: now)
      let state = wanted.contains(listed.place) ? try state(of: listed, verdict) : nil
      found.update {
        $0.states[listed.place] = state
        $0.verdicts[listed.place] = verdict
      }
    }
    var (states, verdicts) = found.current
    let candidates = states.filter { $0.value.standing != .damaged }.map(\.key)
    for place in try repository.catalog.sharingDamage(candidates, verdicts: verdicts) {
      states[place]?.standing = .damaged
      states[place]?.isVerified = false
    }
    return states
  }

  private func state(of listed: ListedSnapshot, _ verdict: CheckRecord?) throws -> RetainedSnapshot<SnapshotID> {
    let catalog = repository.catalog
    let place = listed.place
    let hold = try (listed.isOnHold ? catalog.hold(of: place) : nil).map { hold in
      RetentionHold(until: hold.until.map { Int64($0.timeIntervalSince1970) }, reason: hold.reason)
    }
    guard let manifest = try catalog.summary(of: listed) else {
      return RetainedSnapshot(id: place.id, startedAt: place.id.startedAt, standing: .damaged, hold: hold)
    }
    // Unreadable and damaged snapshots count for nothing, however brief the check was.
    let standing: SnapshotStanding =
      verdict?.ok == false ? .damaged : manifest.kind == Manifest.safetyKind ? .safety : manifest.complete ? .sound : .incomplete
    return RetainedSnapshot(
      id: place.id, startedAt: place.id.startedAt, standing: standing, isVerified: verdict?.ok == true,
      kind: manifest.kind, tags: manifest.tags, hold: hold)
  }
}
