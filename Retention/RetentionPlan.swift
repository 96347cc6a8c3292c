/// For each snapshot whether it is kept, and why.
package struct RetentionPlan<ID: Hashable & Comparable & Sendable>: Sendable {
  package struct Decision: Sendable {
    package let id: ID
    /// The reasons why it is kept; empty if it is removed.
    package let keepReasons: [String]
    /// The reason why it is removed; empty if it is kept.
    package let removeReason: String
    /// The strongest guard that keeps it whatever the rules say; nil if rules alone decide.
    package let guardian: RetentionGuard?
    package var isKept: Bool { !keepReasons.isEmpty }
  }

  /// Newest first.
  package let decisions: [Decision]

  package var kept: [Decision] { decisions.filter(\.isKept) }
  package var removed: [Decision] { decisions.filter { !$0.isKept } }
}

/// A guard keeps a snapshot whatever the rules say.
package enum RetentionGuard: Sendable, Comparable {
  /// The policy's minimum count or age.
  case policy
  /// The newest, the newest complete or the newest verified snapshot.
  case newest
  /// An operator's hold.
  case hold
}

/// Evidence against the clock that a plan uses.
package enum ClockDoubt: Sendable, Equatable {
  /// The newest snapshot began so many seconds after now.
  case newestIsAhead(Int64)
  /// The newest snapshot is so many seconds old, far longer than the time between snapshots.
  case newestIsOld(Int64)
  /// The newest snapshot began so many seconds after the one before it, far longer than the time between snapshots.
  case newestIsFar(Int64)

  /// The distance by which the clock seems to have jumped ahead, in seconds; nil if it does not.
  package var jump: Int64? {
    switch self {
    case .newestIsAhead: nil
    case .newestIsOld(let seconds), .newestIsFar(let seconds): seconds
    }
  }
}

extension RetentionPolicy {
  /// Decides on the snapshots of one database; their order doesn't matter.
  ///
  /// Incomplete or damaged snapshots don't count towards what is kept, and stay while fewer than the last so many complete ones are
  /// newer. Where no complete one is newer for two weeks, as for a role that is not shown everything, the rules choose among incomplete
  /// ones by themselves. Those made before a restore count for nothing, unless the policy has rules for their kind. Always kept are the
  /// newest snapshot, the newest complete one, the newest verified one, those under hold, those younger than the minimum age, those made
  /// before a restore for two weeks, and the newest complete ones up to the minimum count.
  ///
  /// - Parameters:
  ///   - now: seconds since 1970.
  ///   - size: stored bytes of a set of the snapshots together, for the policy's goal.
  package func plan<ID>(
    for snapshots: [RetainedSnapshot<ID>], now: Int64, calendar: RetentionCalendar = .utc, size: (Set<ID>) throws -> Int64
  ) rethrows -> RetentionPlan<ID> {
    let sorted = snapshots.sorted { ($0.startedAt, $0.id) > ($1.startedAt, $1.id) }
    let guarded = guards(sorted, now: now)
    var ruled = reasons(sorted, now: now, calendar: calendar)
    let tooMuch = try beyondGoal(sorted, guarded: Set(guarded.keys), ruled: ruled, size: size)
    for id in tooMuch { ruled[id] = nil }
    var complete = 0
    let decisions = sorted.map { snapshot in
      let guards = guarded[snapshot.id] ?? []
      let reasons = (ruled[snapshot.id] ?? []) + guards.map(\.reason)
      let removeReason =
        if tooMuch.contains(snapshot.id) {
          "the store is to stay smaller"
        } else if snapshot.standing == .sound {
          "no rule keeps it"
        } else {
          "\(snapshot.standing.words), and \(complete) complete ones are newer"
        }
      if snapshot.standing == .sound { complete += 1 }
      return RetentionPlan<ID>.Decision(
        id: snapshot.id, keepReasons: reasons, removeReason: reasons.isEmpty ? removeReason : "", guardian: guards.map(\.guardian).max())
    }
    return RetentionPlan(decisions: decisions)
  }

  /// Decides on the snapshots of one database where the policy has no goal for their size.
  package func plan<ID>(for snapshots: [RetainedSnapshot<ID>], now: Int64, calendar: RetentionCalendar = .utc) -> RetentionPlan<ID> {
    plan(for: snapshots, now: now, calendar: calendar) { _ in 0 }
  }

  /// Decides when snapshots are named to be removed whatever the rules say; all others stay. Guarded snapshots stay
  /// even if they are named; but if there are others, one that began after `now` does not count as the newest.
  package func plan<ID>(removing named: Set<ID>, of snapshots: [RetainedSnapshot<ID>], now: Int64) -> RetentionPlan<ID> {
    let sorted = snapshots.sorted { ($0.startedAt, $0.id) > ($1.startedAt, $1.id) }
    // The newest first: so these are.
    let ahead = sorted.prefix { $0.startedAt > now + Self.clockTolerance }
    let guarded = guards(Array(sorted[ahead.endIndex...] + ahead), ageless: Set(ahead.map(\.id)), now: now)
    let decisions = sorted.map { snapshot in
      let guards = named.contains(snapshot.id) ? guarded[snapshot.id] ?? [] : []
      let reasons = named.contains(snapshot.id) ? guards.map(\.reason) : ["not named"]
      return RetentionPlan<ID>.Decision(
        id: snapshot.id, keepReasons: reasons, removeReason: reasons.isEmpty ? "named" : "", guardian: guards.map(\.guardian).max())
    }
    return RetentionPlan(decisions: decisions)
  }

  /// Seconds by which clocks of two machines may differ.
  private static var clockTolerance: Int64 { 600 }

  /// Whether `now` can be right, by what the snapshots themselves say.
  package static func doubt<ID>(at now: Int64, for snapshots: [RetainedSnapshot<ID>]) -> ClockDoubt? {
    let starts = snapshots.map(\.startedAt).sorted()
    guard let newest = starts.last else { return nil }
    if newest > now + clockTolerance { return .newestIsAhead(newest - now) }
    let age = now - newest
    let longest = longestUsualGap(starts)
    if age > longest { return .newestIsOld(age) }
    guard starts.count > 2, let before = starts.dropLast().last, newest - before > longest else { return nil }
    return .newestIsFar(newest - before)
  }

  /// The distance that the clock may have jumped ahead without these snapshots showing it, in seconds: three times
  /// the usual gap between them, plus a day. Nil if they can't show it: there are too few, or the last gaps are
  /// longer than that.
  package static func unnoticedJump<ID>(at now: Int64, for snapshots: [RetainedSnapshot<ID>]) -> Int64? {
    let starts = snapshots.map(\.startedAt).sorted()
    guard starts.count >= 4 else { return nil }
    let least = 3 * usualGap(starts) + 86400
    let newest = starts[starts.count - 1]
    return abs(now - newest) <= least && newest - starts[starts.count - 2] <= least ? least : nil
  }

  /// The usual gap between snapshots, in seconds. Of two gaps the shorter one.
  private static func usualGap(_ starts: [Int64]) -> Int64 {
    let gaps = zip(starts.dropFirst(), starts).map { $0 - $1 }.sorted()
    return gaps.isEmpty ? 0 : gaps[(gaps.count - 1) / 2]
  }

  /// Ten times that, and no less than a month.
  private static func longestUsualGap(_ starts: [Int64]) -> Int64 { max(35 * 86400, 10 * usualGap(starts)) }

  /// The snapshots that stay whatever the rules say.
  /// - Parameters:
  /// - sorted: newest first, except those that count only if there are no others.
  /// - ageless: those whose age is unknown.
  private func guards<ID>(_ sorted: [RetainedSnapshot<ID>], ageless: Set<ID> = [], now: Int64) -> [ID: [(guardian: RetentionGuard, reason: String)]] {
    var guarded: [ID: [(guardian: RetentionGuard, reason: String)]] = [:]
    func add(_ id: ID?, _ guardian: RetentionGuard, _ reason: String) {
      if let id { guarded[id, default: []].append((guardian, reason)) }
    }
    add(sorted.first?.id, .newest, "the newest")
    add(sorted.first { $0.standing == .sound }?.id, .newest, "the newest complete one")
    add((sorted.first { $0.isVerified && $0.standing == .sound } ?? sorted.first { $0.isVerified })?.id, .newest, "the newest verified one")
    if minimumCount > 1 {
      for snapshot in sorted.filter({ $0.standing == .sound }).prefix(minimumCount) { add(snapshot.id, .policy, "one of at least \(minimumCount)") }
    }
    for snapshot in sorted {
      if let hold = snapshot.hold, hold.until.map({ now < $0 }) ?? true { add(snapshot.id, .hold, "on hold: \(hold.reason)") }
      if ageless.contains(snapshot.id) { continue }
      let ofTags = tags.filter { snapshot.tags.carry($0.key) }.map(\.value.minimumAge).max() ?? 0
      let least = max(minimumAge, rules(for: snapshot).minimumAge, ofTags)
      if least > 0, now - snapshot.startedAt < least { add(snapshot.id, .policy, "younger than \(Self.words(least))") }
      // It may be all there is of a database that was dropped.
      if snapshot.standing == .safety, kinds[snapshot.kind] == nil, now - snapshot.startedAt < Self.safetyAge {
        add(snapshot.id, .policy, "made before a restore, and younger than \(Self.words(Self.safetyAge))")
      }
    }
    return guarded
  }

  /// Seconds for which a snapshot that was made before a restore stays, unless the policy has rules for its kind.
  package static var safetyAge: Int64 { 14 * 86400 }

  private func rules<ID>(for snapshot: RetainedSnapshot<ID>) -> RetentionRules { kinds[snapshot.kind] ?? rules }

  /// Whether a snapshot counts for rules: one made before a restore does only where its kind has rules of its own.
  private func counts<ID>(_ snapshot: RetainedSnapshot<ID>) -> Bool {
    snapshot.standing == .sound || snapshot.standing == .safety && kinds[snapshot.kind] != nil
  }

  /// The snapshots that the rules keep, with the reasons.
  private func reasons<ID>(_ sorted: [RetainedSnapshot<ID>], now: Int64, calendar: RetentionCalendar) -> [ID: [String]] {
    var reasons: [ID: [String]] = [:]
    func counters(_ prefix: String) -> KindCounters {
      KindCounters(
        general: RuleCounter(rules, name: prefix, now: now),
        byKind: kinds.reduce(into: [:]) { $0[$1.key] = RuleCounter($1.value, name: "\(prefix)\($1.key) ", now: now) })
    }
    let lacking = "incomplete, and none complete is newer"
    var ofAll = counters("")
    var ofIncomplete = counters("\(lacking): ")
    var byTag = tags.sorted { $0.key < $1.key }.map { (tag: $0.key, counter: RuleCounter($0.value, name: "\($0.key) ", now: now)) }
    var complete = 0
    for snapshot in sorted {
      var found: [String] = []
      if counts(snapshot) {
        found += ofAll.reasons(snapshot.kind, snapshot.startedAt, calendar)
        for index in byTag.indices where snapshot.tags.carry(byTag[index].tag) {
          found += byTag[index].counter.reasons(snapshot.startedAt, calendar)
        }
      } else if snapshot.standing == .incomplete, complete == 0, rules(for: snapshot).keepsAnything {
        found += ofIncomplete.reasons(snapshot.kind, snapshot.startedAt, calendar)
        // Soon a complete one may tell which of them is of use.
        if now - snapshot.startedAt < Self.safetyAge { found.append(lacking) }
      } else if snapshot.standing != .safety, complete < max(1, rules.last) {
        found.append("\(snapshot.standing.words), newer than the last \(max(1, rules.last)) complete ones")
      }
      if snapshot.standing == .sound { complete += 1 }
      if !found.isEmpty { reasons[snapshot.id] = found }
    }
    return reasons
  }

  /// Those that only rules keep and that have to go for the goal: the oldest, no more than are needed.
  private func beyondGoal<ID>(
    _ sorted: [RetainedSnapshot<ID>], guarded: Set<ID>, ruled: [ID: [String]], size: (Set<ID>) throws -> Int64
  ) rethrows -> Set<ID> {
    guard let sizeGoal else { return [] }
    let kept = Set(ruled.keys).union(guarded)
    let oldestFirst = sorted.reversed().map(\.id).filter { ruled[$0] != nil && !guarded.contains($0) }
    // The fewest to go, by halving: less is kept, less is stored.
    var few = 0
    var many = oldestFirst.count
    while few < many {
      let middle = (few + many) / 2
      if try size(kept.subtracting(oldestFirst.prefix(middle))) <= sizeGoal { many = middle } else { few = middle + 1 }
    }
    return Set(oldestFirst.prefix(few))
  }

  private static func words(_ seconds: Int64) -> String {
    seconds % 86400 == 0 ? "\(seconds / 86400) d" : seconds % 3600 == 0 ? "\(seconds / 3600) h" : "\(seconds) s"
  }
}

extension [String: String] {
  /// Whether a snapshot with these tags carries `tag`: `KEY`, for any value, or `KEY=VALUE`.
  package func carry(_ tag: String) -> Bool { self[tag] != nil || contains { "\($0.key)=\($0.value)" == tag } }
}
