package import Foundation
internal import Platform
package import Repository
package import Retention

/// The plan of a pruning run for some databases. `RetentionPolicy` in the folder Retention decides which snapshots are kept.
package struct PrunePlan: Sendable {
  package struct Entry: Sendable {
    package let place: SnapshotPath
    package let decision: RetentionPlan<SnapshotID>.Decision
    package let snapshot: RetainedSnapshot<SnapshotID>
  }

  package struct Database: Sendable {
    package let source: String
    package let database: String
    /// Newest first.
    package let entries: [Entry]
    package let doubt: ClockDoubt?
    package var removed: [SnapshotPath] { entries.filter { !$0.decision.isKept }.map(\.place) }
    /// The distance that the clock may have jumped ahead without its snapshots showing it, in seconds; nil if they
    /// can't show it.
    let unnoticedJump: Int64?

    func isSame(as other: Database) -> Bool { source.isSame(as: other.source) && database.isSame(as: other.database) }
    /// Whether so much is removed that a confirmation is required.
    package var isDrastic: Bool {
      func isSound(_ entry: Entry) -> Bool { entry.snapshot.standing == .sound }
      let sound = entries.filter(isSound)
      return removed.count * 2 > entries.count || sound.count { !$0.decision.isKept } * 2 > sound.count
    }
  }

  package private(set) var databases: [Database]
  package let policy: RetentionPolicy
  /// Whether what goes was named, and not chosen by rules.
  private let isNamed: Bool
  package let calendar: RetentionCalendar
  package let now: Date
  /// The bytes that are freed with all removed snapshots, considering shared objects.
  package private(set) var freedBytes: Int64
  private let sharing: ObjectSharing
  private let lookUp: @Sendable (SnapshotPath) throws -> ObjectSharing

  /// - Parameters:
  ///   - isNamed: whether what goes was named, and not chosen by rules.
  ///   - sharing: of what is removed, and of the newest of each database.
  ///   - lookUp: finds out about another snapshot.
  init(
    databases: [Database], policy: RetentionPolicy, isNamed: Bool, calendar: RetentionCalendar, now: Date, sharing: ObjectSharing,
    lookUp: @escaping @Sendable (SnapshotPath) throws -> ObjectSharing
  ) throws {
    self.databases = databases
    self.policy = policy
    self.isNamed = isNamed
    self.calendar = calendar
    self.now = now
    self.sharing = sharing
    self.lookUp = lookUp
    freedBytes = try sharing.freed(removing: databases.flatMap(\.removed))
  }

  /// Bytes that go if only this snapshot goes.
  package func ownBytes(of entry: Entry) throws -> Int64 {
    try (entry.decision.isKept ? lookUp(entry.place) : sharing).freed(removing: [entry.place])
  }

  /// The size of everything the newest snapshot of a database needs, shared or not, in bytes.
  package func newestBytes(of database: Database) throws -> Int64 {
    try sharing.bytes(of: database.entries.map(\.place).max { $0.id < $1.id }.map { [$0] } ?? [])
  }

  package var entries: [Entry] { databases.flatMap(\.entries) }
  package var removed: [SnapshotPath] { databases.flatMap(\.removed) }

  /// The confirmation phrase for this plan; nil if none is required.
  package var phrase: String? {
    let words = [waitingForTheClock.isEmpty ? nil : "the clock is right", removalWords].compactMap(\.self)
    return words.isEmpty ? nil : words.joined(separator: ", ")
  }

  /// Databases that would lose so much that it has to be said.
  private var drastic: [Database] { databases.filter { policy.keepsAnything && !isNamed ? $0.isDrastic : !$0.removed.isEmpty } }

  private var removalWords: String? {
    let drastic = drastic
    guard !drastic.isEmpty else { return nil }
    let count = drastic.reduce(0) { $0 + $1.removed.count }
    return "remove \(count) snapshot\(count == 1 ? "" : "s") of \(drastic.map(name).joined(separator: ", "))"
  }

  /// The display name of a database, with its source if another source has a database of the same name.
  package func name(of database: Database) -> String {
    DatabaseNames(databases.map { ($0.source, $0.database) }).name(source: database.source, database: database.database)
  }

  /// Whether the clock itself is doubtful: some databases have snapshots from the future; or snapshots indicate a
  /// jump ahead, and no database with continuing backups contradicts it.
  private var isClockDoubted: Bool {
    if databases.contains(where: { if case .newestIsAhead? = $0.doubt { true } else { false } }) { return true }
    guard let jump = databases.compactMap(\.doubt?.jump).min() else { return false }
    return !databases.contains { $0.doubt == nil && $0.unnoticedJump.map { $0 < jump } ?? false }
  }

  /// Databases that would lose snapshots by a clock that can't be trusted.
  private var waitingForTheClock: [Database] {
    let isDoubted = isClockDoubted
    return databases.filter { !$0.removed.isEmpty && (isDoubted || $0.doubt != nil) }
  }

  /// Databases that tell against the clock, where something would be lost by that.
  package var doubtful: [Database] {
    if !isClockDoubted { return databases.filter { $0.doubt != nil && !$0.removed.isEmpty } }
    return removed.isEmpty ? [] : databases.filter { $0.doubt != nil }
  }

  /// The part of the plan that needs no confirmation, and the databases that do.
  /// - Returns: nil if nothing can be removed without confirmation.
  package func withoutWords() throws -> (plan: PrunePlan, left: [Database])? {
    let waiting = Set((drastic + waitingForTheClock).flatMap(\.removed))
    func wantsWords(_ database: Database) -> Bool { database.removed.contains(where: waiting.contains) }
    let rest = databases.filter { !wantsWords($0) }
    guard rest.contains(where: { !$0.removed.isEmpty }) else { return nil }
    return (try part(of: rest), databases.filter(wantsWords))
  }

  /// The part of the plan for these databases.
  func part(of databases: [Database]) throws -> PrunePlan {
    var plan = self
    plan.databases = self.databases.filter { own in databases.contains { $0.isSame(as: own) } }
    if plan.databases.count < self.databases.count { plan.freedBytes = try sharing.freed(removing: plan.removed) }
    return plan
  }
}
