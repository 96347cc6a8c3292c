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
  /// Whether nothing was left out of it.
  package let isComplete: Bool

  package init(id: ID, startedAt: Int64, isComplete: Bool) {
    self.id = id
    self.startedAt = startedAt
    self.isComplete = isComplete
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
  /// Incomplete snapshots don't count towards what is kept, and stay while fewer than the last so many complete ones are newer.
  /// The newest snapshot and the newest complete one are always kept.
  package func plan<ID>(for snapshots: [RetainedSnapshot<ID>]) -> RetentionPlan<ID> {
    let sorted = snapshots.sorted { ($0.startedAt, $0.id) > ($1.startedAt, $1.id) }
    let newestComplete = sorted.first { $0.isComplete }?.id
    var rules = self.rules
    var complete = 0
    let decisions = sorted.enumerated().map { index, snapshot in
      var reasons: [String] = []
      if snapshot.isComplete {
        for number in rules.indices {
          if let reason = rules[number].keep(snapshot.startedAt) { reasons.append(reason) }
        }
        complete += 1
      } else if complete < max(1, keepLast) {
        reasons.append("incomplete, newer than the last \(max(1, keepLast)) complete ones")
      }
      if index == 0 { reasons.append("the newest") }
      if snapshot.id == newestComplete { reasons.append("the newest complete one") }
      let removeReason = snapshot.isComplete ? "no rule keeps it" : "incomplete, and \(complete) complete ones are newer"
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
