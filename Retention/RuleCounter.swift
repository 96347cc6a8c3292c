/// Rules that are shown snapshots, newest first, and say why they keep each.
struct RuleCounter {
  private var buckets: [Bucket]
  private let within: Int64
  private let name: String
  private let now: Int64
  private var newest: Int64?

  /// - Parameter name: what the reasons begin with.
  init(_ rules: RetentionRules, name: String, now: Int64) {
    self.name = name
    self.now = now
    within = rules.within
    buckets = [
      Bucket(name: "last", count: rules.last, period: nil),
      Bucket(name: "hourly", count: rules.hourly) { $0.hour },
      Bucket(name: "daily", count: rules.daily) { $0.day },
      Bucket(name: "weekly", count: rules.weekly) { $0.week },
      Bucket(name: "monthly", count: rules.monthly) { $0.month },
      Bucket(name: "quarterly", count: rules.quarterly) { $0.quarter },
      Bucket(name: "yearly", count: rules.yearly) { $0.year },
    ]
  }

  mutating func reasons(_ moment: Int64, _ calendar: RetentionCalendar) -> [String] {
    var reasons: [String] = []
    let date = calendar.date(of: moment)
    for index in buckets.indices {
      if let reason = buckets[index].keep(date) { reasons.append(name + reason) }
    }
    // One of the future must not move the time out of reach of all others.
    if newest == nil, moment <= now { newest = moment }
    if within > 0, newest.map({ $0 - moment < within }) ?? true { reasons.append(name + "within") }
    return reasons
  }
}

/// The rules of each kind, and those of all that have none of their own.
struct KindCounters {
  var general: RuleCounter
  var byKind: [String: RuleCounter]

  mutating func reasons(_ kind: String, _ moment: Int64, _ calendar: RetentionCalendar) -> [String] {
    byKind[kind]?.reasons(moment, calendar) ?? general.reasons(moment, calendar)
  }
}

/// Keeps the first it is shown of each period, until it has kept as many as it may.
private struct Bucket {
  let name: String
  let count: Int
  /// The period a date falls in, as users read it; nil where each snapshot is one.
  let period: ((CalendarDate) -> String)?
  var kept = 0
  var last: String?

  init(name: String, count: Int, period: ((CalendarDate) -> String)?) {
    self.name = name
    self.count = count
    self.period = period
  }

  /// - Returns: why it is kept, or nil.
  mutating func keep(_ date: CalendarDate) -> String? {
    guard kept < count else { return nil }
    guard let period else {
      kept += 1
      return "\(name) \(kept) of \(count)"
    }
    let current = period(date)
    guard current != last else { return nil }
    last = current
    kept += 1
    return "\(name) \(current)"
  }
}
