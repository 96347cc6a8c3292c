package import Foundation
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
    /// Whether so much goes that a typed word is asked for.
    package var isDrastic: Bool {
      func isSound(_ entry: Entry) -> Bool { entry.snapshot.standing == .sound }
      let sound = entries.filter(isSound)
      return removed.count * 2 > entries.count || sound.count { !$0.decision.isKept } * 2 > sound.count
    }
  }

  package let databases: [Database]
  package let policy: RetentionPolicy
  package let calendar: RetentionCalendar
  package let now: Date
  /// What goes with all that is removed, as sharing has it.
  package let freedBytes: Int64
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

  private var removalWords: String? {
    let drastic = policy.keepsAnything ? databases.filter(\.isDrastic) : databases.filter { !$0.removed.isEmpty }
    guard !drastic.isEmpty else { return nil }
    let count = drastic.reduce(0) { $0 + $1.removed.count }
    let names = drastic.map { Set(drastic.map(\.database)).count == drastic.count ? $0.database : "\($0.source)/\($0.database)" }
    return "remove \(count) snapshot\(count == 1 ? "" : "s") of \(names.joined(separator: ", "))"
  }

  /// Databases that would lose snapshots by a clock that can't be trusted.
  package var inDoubt: [Database] { databases.filter { $0.doubt != nil && !$0.removed.isEmpty } }
}
