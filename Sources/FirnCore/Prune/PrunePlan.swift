package import Foundation
internal import Platform
package import Repository
package import Retention

/// What pruning would do to the snapshots of some databases.
package struct PrunePlan: Sendable {
  package struct Entry: Sendable {
    package let place: SnapshotPlace
    package let decision: RetentionPlan<SnapshotID>.Decision
    package let snapshot: RetainedSnapshot<SnapshotID>
  }

  package struct Database: Sendable {
    package let source: String
    package let database: String
    /// Newest first.
    package let entries: [Entry]
    package let doubt: ClockDoubt?
    package var removed: [SnapshotPlace] { entries.filter { !$0.decision.isKept }.map(\.place) }
    /// How far the clock may have jumped without its snapshots showing it, in seconds; nil where they are too few to tell.
    let unnoticedJump: Int64?
    fileprivate var isInDoubt: Bool { doubt != nil && !removed.isEmpty }

    func isSame(as other: Database) -> Bool { source.isSame(as: other.source) && database.isSame(as: other.database) }
    /// Whether so much goes that a typed word is asked for.
    package var isDrastic: Bool {
      func isSound(_ entry: Entry) -> Bool { entry.snapshot.standing == .sound }
      let sound = entries.filter(isSound)
      return removed.count * 2 > entries.count || sound.count { !$0.decision.isKept } * 2 > sound.count
    }
  }

  package private(set) var databases: [Database]
  package let policy: RetentionPolicy
  package let calendar: RetentionCalendar
  package let now: Date
  /// What goes with all that is removed, as sharing has it.
  package private(set) var freedBytes: Int64
  private let sharing: ObjectSharing
  private let lookUp: @Sendable (SnapshotPlace) throws -> ObjectSharing

  /// - Parameters:
  ///   - sharing: of what is removed, and of the newest of each database.
  ///   - lookUp: finds out about another snapshot.
  init(
    databases: [Database], policy: RetentionPolicy, calendar: RetentionCalendar, now: Date, sharing: ObjectSharing,
    lookUp: @escaping @Sendable (SnapshotPlace) throws -> ObjectSharing
  ) throws {
    self.databases = databases
    self.policy = policy
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

  /// What the newest snapshot of a database needs, shared or not, in bytes.
  package func newestBytes(of database: Database) throws -> Int64 {
    try sharing.bytes(of: database.entries.map(\.place).max { $0.id < $1.id }.map { [$0] } ?? [])
  }

  package var entries: [Entry] { databases.flatMap(\.entries) }
  package var removed: [SnapshotPlace] { databases.flatMap(\.removed) }

  /// The words to type before this is carried out; nil where none are wanted.
  package var phrase: String? {
    let words = [inDoubt.isEmpty ? nil : "the clock is right", removalWords].compactMap(\.self)
    return words.isEmpty ? nil : words.joined(separator: ", ")
  }

  /// Databases that would lose so much that it has to be said.
  private var drastic: [Database] { databases.filter { policy.keepsAnything ? $0.isDrastic : !$0.removed.isEmpty } }

  private var removalWords: String? {
    let drastic = drastic
    guard !drastic.isEmpty else { return nil }
    let count = drastic.reduce(0) { $0 + $1.removed.count }
    return "remove \(count) snapshot\(count == 1 ? "" : "s") of \(drastic.map(name).joined(separator: ", "))"
  }

  /// What a database is called here: with its source where another has one of its name.
  package func name(of database: Database) -> String {
    databases.count { $0.database.isSame(as: database.database) } > 1 ? "\(database.source)/\(database.database)" : database.database
  }

  /// Databases that would lose snapshots by a clock that can't be trusted.
  package var inDoubt: [Database] { databases.filter(\.isInDoubt) }

  /// What of it wants no words, and what does. Where snapshots are of the future the clock is wrong now, for all that can be told: then
  /// everything wants them. Where some tell of a jump ahead, those want none whose snapshots would show it, too.
  /// - Returns: nil where nothing would go without words.
  package func withoutWords() throws -> (plan: PrunePlan, left: [Database])? {
    let isAhead = databases.contains { if case .newestIsAhead? = $0.doubt { true } else { false } }
    let drastic = Set(drastic.flatMap(\.removed))
    let jump = databases.compactMap(\.doubt?.jump).min()
    func wantsWords(_ database: Database) -> Bool {
      if database.removed.isEmpty { return false }
      if let jump, database.unnoticedJump.map({ $0 >= jump }) ?? true { return true }
      return database.isInDoubt || database.removed.contains(where: drastic.contains)
    }
    let rest = databases.filter { !wantsWords($0) }
    guard !isAhead, rest.contains(where: { !$0.removed.isEmpty }) else { return nil }
    return (try part(of: rest), databases.filter(wantsWords))
  }

  /// What it says of these databases.
  func part(of databases: [Database]) throws -> PrunePlan {
    var plan = self
    plan.databases = self.databases.filter { own in databases.contains { $0.isSame(as: own) } }
    if plan.databases.count < self.databases.count { plan.freedBytes = try sharing.freed(removing: plan.removed) }
    return plan
  }
}
