/// Which snapshots of one database are to be kept: what any of the rules keeps.
package struct RetentionPolicy: Sendable, Equatable {
  /// The newest so many complete snapshots.
  package var keepLast: Int
  /// The newest complete snapshot of each of so many days that have one, in UTC; likewise below.
  package var keepDaily: Int
  /// Weeks begin on Monday (ISO 8601).
  package var keepWeekly: Int
  package var keepMonthly: Int
  package var keepYearly: Int

  package init(keepLast: Int = 0, keepDaily: Int = 0, keepWeekly: Int = 0, keepMonthly: Int = 0, keepYearly: Int = 0) {
    self.keepLast = keepLast
    self.keepDaily = keepDaily
    self.keepWeekly = keepWeekly
    self.keepMonthly = keepMonthly
    self.keepYearly = keepYearly
  }

  /// Whether any rule keeps anything.
  package var keepsAnything: Bool { [keepLast, keepDaily, keepWeekly, keepMonthly, keepYearly].contains { $0 > 0 } }
}

/// What the policy needs to know of a snapshot.
package struct RetainedSnapshot<ID: Hashable & Comparable & Sendable>: Sendable {
  package let id: ID
  /// Seconds since 1970-01-01T00:00:00Z.
  package let startedAt: Int64
  package let standing: Standing
  /// Whether it was read whole and found intact when it was looked at last.
  package let isVerified: Bool

  /// Only what is sound counts towards what is kept.
  package enum Standing: Sendable {
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

  package init(id: ID, startedAt: Int64, standing: Standing = .sound, isVerified: Bool = false) {
    self.id = id
    self.startedAt = startedAt
    self.standing = standing
    self.isVerified = isVerified && standing != .damaged
  }
}

/// For each snapshot whether it is kept, and why.
package struct RetentionPlan<ID: Hashable & Comparable & Sendable>: Sendable {
  package struct Decision: Sendable {
    package let id: ID
    /// Why it is kept; empty where it is removed.
    package let keepReasons: [String]
    /// Why it is removed; empty where it is kept.
    package let removeReason: String
    package var isKept: Bool { !keepReasons.isEmpty }
  }

  /// Newest first.
  package let decisions: [Decision]

  package var kept: [Decision] { decisions.filter(\.isKept) }
  package var removed: [Decision] { decisions.filter { !$0.isKept } }
}

extension RetentionPolicy {
  /// Decides on the snapshots of one database; their order doesn't matter.
  ///
  /// Incomplete or damaged snapshots, and those made before a restore, don't count towards what is kept, and stay while fewer
  /// than the last so many complete ones are newer. The newest snapshot, the newest complete one and the newest verified one are
  /// always kept.
  package func plan<ID>(for snapshots: [RetainedSnapshot<ID>]) -> RetentionPlan<ID> {
    let sorted = snapshots.sorted { ($0.startedAt, $0.id) > ($1.startedAt, $1.id) }
    let newestSound = sorted.first { $0.standing == .sound }?.id
    let newestVerified = sorted.first { $0.isVerified }?.id
    var rules = self.rules
    var complete = 0
    let decisions = sorted.enumerated().map { index, snapshot in
      var reasons: [String] = []
      let isSound = snapshot.standing == .sound
      if isSound {
        for number in rules.indices {
          if let reason = rules[number].keep(snapshot.startedAt) { reasons.append(reason) }
        }
        complete += 1
      } else if complete < max(1, keepLast) {
        reasons.append("\(snapshot.standing.words), newer than the last \(max(1, keepLast)) complete ones")
      }
      if index == 0 { reasons.append("the newest") }
      if snapshot.id == newestSound { reasons.append("the newest complete one") }
      if snapshot.id == newestVerified { reasons.append("the newest verified one") }
      let removeReason = isSound ? "no rule keeps it" : "\(snapshot.standing.words), and \(complete) complete ones are newer"
      return RetentionPlan<ID>.Decision(id: snapshot.id, keepReasons: reasons, removeReason: reasons.isEmpty ? removeReason : "")
    }
    return RetentionPlan(decisions: decisions)
  }

  private var rules: [Rule] {
    [
      Rule(name: "last", count: keepLast, period: nil),
      Rule(name: "daily", count: keepDaily) { $0.day },
      Rule(name: "weekly", count: keepWeekly) { $0.week },
      Rule(name: "monthly", count: keepMonthly) { $0.month },
      Rule(name: "yearly", count: keepYearly) { $0.year },
    ]
  }
}

/// Keeps the first it is shown of each period, until it has kept as many as it may.
private struct Rule {
  let name: String
  let count: Int
  /// The period a date falls in, as users read it; nil where each snapshot is one.
  let period: ((CalendarDate) -> String)?
  var kept = 0
  var last: String?

  /// - Returns: why the snapshot is kept, or nil.
  mutating func keep(_ seconds: Int64) -> String? {
    guard kept < count else { return nil }
    guard let period else {
      kept += 1
      return "\(name) \(kept) of \(count)"
    }
    let current = period(CalendarDate(secondsSince1970: seconds))
    guard current != last else { return nil }
    last = current
    kept += 1
    return "\(name) \(current)"
  }
}
