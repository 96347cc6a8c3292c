/// Which snapshots of one database are to be kept.
package struct RetentionPolicy: Sendable, Equatable {
  /// For snapshots whose kind has no rules of its own.
  package var rules: RetentionRules
  /// In place of the general ones, for the snapshots of a kind, which are counted by themselves.
  package var kinds: [String: RetentionRules]
  /// Beside the others, for the snapshots with a tag, written `KEY` or `KEY=VALUE`, which are counted by themselves.
  package var tags: [String: RetentionRules]
  /// So many complete snapshots stay, whatever the rules say.
  package var minimumCount: Int
  /// Younger snapshots always stay; in seconds.
  package var minimumAge: Int64
  /// Stored bytes to stay within, as far as the guards allow: what only rules keep goes, oldest first.
  package var sizeGoal: Int64?

  package init(
    _ rules: RetentionRules = RetentionRules(), kinds: [String: RetentionRules] = [:], tags: [String: RetentionRules] = [:],
    minimumCount: Int = 1, minimumAge: Int64 = 0, sizeGoal: Int64? = nil
  ) {
    self.rules = rules
    self.kinds = kinds
    self.tags = tags
    self.minimumCount = minimumCount
    self.minimumAge = minimumAge
    self.sizeGoal = sizeGoal
  }

  /// Whether any rule keeps anything.
  package var keepsAnything: Bool {
    rules.keepsAnything || kinds.values.contains(where: \.keepsAnything) || tags.values.contains(where: \.keepsAnything)
  }
}

/// A snapshot is kept if any of these rules keeps it. Periods without a snapshot are not counted.
package struct RetentionRules: Sendable, Equatable {
  /// The newest so many.
  package var last: Int
  /// The newest snapshot of each hour, for this many hours that have one. The rules below work in the same way.
  package var hourly: Int
  package var daily: Int
  /// Weeks begin on Monday (ISO 8601).
  package var weekly: Int
  package var monthly: Int
  package var quarterly: Int
  package var yearly: Int
  /// All that began no longer than so many seconds before the newest of them that is not of the future, and those that are.
  package var within: Int64
  /// All that are younger, in seconds.
  package var minimumAge: Int64

  package init(
    last: Int = 0, hourly: Int = 0, daily: Int = 0, weekly: Int = 0, monthly: Int = 0, quarterly: Int = 0, yearly: Int = 0, within: Int64 = 0,
    minimumAge: Int64 = 0
  ) {
    self.last = last
    self.hourly = hourly
    self.daily = daily
    self.weekly = weekly
    self.monthly = monthly
    self.quarterly = quarterly
    self.yearly = yearly
    self.within = within
    self.minimumAge = minimumAge
  }

  package var keepsAnything: Bool {
    [last, hourly, daily, weekly, monthly, quarterly, yearly].contains { $0 > 0 } || within > 0 || minimumAge > 0
  }
}

/// Only what is sound counts towards what is kept.
package enum SnapshotStanding: Sendable {
  case sound
  /// Something was left out of it.
  case incomplete
  /// It was found damaged when it was looked at last.
  case damaged
  /// Of a database that was about to be replaced.
  case safety

  var words: String {
    switch self {
    case .sound: "complete"
    case .incomplete: "incomplete"
    case .damaged: "damaged"
    case .safety: "made before a restore"
    }
  }
}

/// An order to keep it, whatever any policy says.
package struct RetentionHold: Sendable, Equatable {
  /// Seconds since 1970; nil for ever.
  package let until: Int64?
  package let reason: String

  package init(until: Int64?, reason: String) {
    self.until = until
    self.reason = reason
  }
}

/// The facts about a snapshot that a policy needs.
package struct RetainedSnapshot<ID: Hashable & Comparable & Sendable>: Sendable {
  package let id: ID
  /// Seconds since 1970-01-01T00:00:00Z.
  package let startedAt: Int64
  package var standing: SnapshotStanding
  /// Whether it was read whole and found intact when it was looked at last.
  package var isVerified: Bool
  package let kind: String
  package let tags: [String: String]
  package let hold: RetentionHold?

  package init(
    id: ID, startedAt: Int64, standing: SnapshotStanding = .sound, isVerified: Bool = false, kind: String = "nightly", tags: [String: String] = [:],
    hold: RetentionHold? = nil
  ) {
    self.id = id
    self.startedAt = startedAt
    self.standing = standing
    self.isVerified = isVerified && standing != .damaged
    self.kind = kind
    self.tags = tags
    self.hold = hold
  }
}
