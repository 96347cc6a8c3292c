/// Which snapshots of one database are to be kept.
package struct RetentionPolicy: Sendable, Equatable {
  /// The newest so many complete snapshots.
  package var keepLast: Int

  /// - Parameter keepLast: at least 1.
  package init(keepLast: Int) { self.keepLast = keepLast }
}

/// What the policy needs to know of a snapshot.
package struct RetainedSnapshot<ID: Hashable & Comparable & Sendable>: Sendable {
  package let id: ID
  /// Whether nothing was left out of it.
  package let isComplete: Bool

  package init(id: ID, isComplete: Bool) {
    self.id = id
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
  /// Incomplete snapshots don't count towards what is kept, and stay while they are newer than the oldest that counts.
  /// The newest snapshot and the newest complete one are always kept.
  package func plan<ID>(for snapshots: [RetainedSnapshot<ID>]) -> RetentionPlan<ID> {
    let sorted = snapshots.sorted { $0.id > $1.id }
    let limit = max(1, keepLast)
    let newestComplete = sorted.first { $0.isComplete }?.id
    var counted = 0
    var decisions: [RetentionPlan<ID>.Decision] = []
    for (index, snapshot) in sorted.enumerated() {
      var reasons: [String] = []
      if snapshot.isComplete {
        counted += 1
        if counted <= limit { reasons.append("last \(counted) of \(limit)") }
      } else if counted < limit {
        reasons.append("incomplete, newer than the last \(limit) complete ones")
      }
      if index == 0 { reasons.append("the newest") }
      if snapshot.id == newestComplete { reasons.append("the newest complete one") }
      let removeReason = reasons.isEmpty ? "older than the last \(limit) complete ones" : ""
      decisions.append(.init(id: snapshot.id, keepReasons: reasons, removeReason: removeReason))
    }
    return RetentionPlan(decisions: decisions)
  }
}
