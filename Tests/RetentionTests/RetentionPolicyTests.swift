import Foundation
import Retention
import TestSupport
import Testing

@Suite struct `A retention policy` {
  private static let start: Int64 = 1_767_232_800  // 2026-01-01T02:00:00Z, a Thursday.

  /// A night's snapshot; its id is its number.
  private func night(
    _ number: Int, complete: Bool = true, verified: Bool = false, kind: String = "nightly", tags: [String: String] = [:],
    hold: RetentionHold? = nil
  ) -> RetainedSnapshot<Int> {
    RetainedSnapshot(
      id: number, startedAt: Self.start + Int64(number) * 86400, standing: complete ? .sound : .incomplete, isVerified: verified, kind: kind,
      tags: tags, hold: hold)
  }

  private func kept(
    _ policy: RetentionPolicy, _ snapshots: [RetainedSnapshot<Int>], now: Int64? = nil, calendar: RetentionCalendar = .utc
  ) -> [Int] {
    let newest = snapshots.map(\.startedAt).max() ?? 0
    return policy.plan(for: snapshots, now: now ?? newest + 3600, calendar: calendar).kept.map(\.id).sorted()
  }

  @Test func `keeps the last so many, and says why`() {
    let plan = RetentionPolicy(.init(last: 2)).plan(for: (0..<4).map { night($0) }, now: Self.start + 4 * 86400)
    #expect(plan.decisions.map(\.id) == [3, 2, 1, 0])
    #expect(plan.decisions.map(\.keepReasons) == [["last 1 of 2", "the newest", "the newest complete one"], ["last 2 of 2"], [], []])
    #expect(plan.removed.map(\.removeReason) == ["no rule keeps it", "no rule keeps it"])
  }

  @Test func `removes what is named, unless it always stays`() {
    let now = Self.start + 4 * 86400
    func removed(_ named: Set<Int>, _ snapshots: [RetainedSnapshot<Int>], _ policy: RetentionPolicy = RetentionPolicy(.init(last: 100))) -> [Int] {
      policy.plan(removing: named, of: snapshots, now: now).removed.map(\.id)
    }
    let nights = [
      night(0, verified: true), night(1, hold: RetentionHold(until: nil, reason: "an audit")), night(2), night(3), night(4, complete: false),
    ]
    #expect(removed([0, 1, 2, 3, 4], nights) == [2])
    #expect(removed([], nights) == [])
    #expect(removed([2, 0], nights.filter { $0.id < 3 }, RetentionPolicy(.init(last: 1), minimumCount: 3)) == [])
    #expect(removed([2], nights, RetentionPolicy(.init(last: 1), minimumAge: 3 * 86400)) == [])
    // Snapshots from the future are never the newest and no age keeps them; but without others they are all there
    // is.
    let future = [night(400, verified: true), night(401)]
    #expect(removed([400, 401], nights + future, RetentionPolicy(.init(last: 1), minimumCount: 2, minimumAge: 3 * 86400)) == [401, 400])
    #expect(removed([400, 401], future) == [])
    #expect(removed([400, 401], [night(4, complete: false)] + future) == [])
    #expect(removed([400, 401], [night(2)] + future) == [401])
  }

  @Test func `keeps the newest of an hour, a day, a week from Monday on, a month, a quarter, a year`() {
    let nights = (0..<60).map { night($0) }
    #expect(kept(RetentionPolicy(.init(daily: 3)), nights) == [57, 58, 59])
    // Night 59 is Sunday, 1 March; night 52 the Sunday before.
    #expect(kept(RetentionPolicy(.init(weekly: 3)), nights) == [45, 52, 59])
    #expect(kept(RetentionPolicy(.init(monthly: 3)), nights) == [30, 58, 59])
    #expect(kept(RetentionPolicy(.init(quarterly: 3)), (0..<200).map { night($0) }) == [89, 180, 199])
    #expect(kept(RetentionPolicy(.init(yearly: 2)), nights + [night(-1), night(-2)]) == [-1, 59])
    let twice = nights + [RetainedSnapshot(id: 1000, startedAt: Self.start + 59 * 86400 + 3600)]
    #expect(kept(RetentionPolicy(.init(daily: 2)), twice) == [58, 1000])
    #expect(kept(RetentionPolicy(.init(hourly: 2)), twice) == [59, 1000])
    #expect(kept(RetentionPolicy(.init(within: 3 * 86400)), nights) == [57, 58, 59])
  }

  @Test func `names leap days and years' ends rightly`() {
    let policy = RetentionPolicy(.init(daily: 100))
    let dates: [(Int64, String)] = [
      (1_709_164_800, "2024-02-29"), (1_709_251_199, "2024-02-29"), (1_709_251_200, "2024-03-01"), (1_735_689_599, "2024-12-31"),
      (951_782_400, "2000-02-29"), (0, "1970-01-01"), (-1, "1969-12-31"), (4_107_542_400, "2100-03-01"),
    ]
    for (seconds, name) in dates {
      let reasons = policy.plan(for: [RetainedSnapshot(id: 1, startedAt: seconds)], now: seconds).decisions[0].keepReasons
      #expect(reasons.contains("daily \(name)"), "\(reasons)")
    }
  }

  @Test func `has its days begin where its time zone says, also when clocks are changed`() throws {
    let zone = try #require(TimeZone(identifier: "Europe/Berlin"))
    let berlin = RetentionCalendar(name: "Europe/Berlin") { Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double($0)))) }
    func at(_ text: String) throws -> RetainedSnapshot<String> {
      RetainedSnapshot(id: text, startedAt: Int64(try #require(try? Date(text, strategy: .iso8601)).timeIntervalSince1970))
    }
    func kept(_ rules: RetentionRules, _ times: [String], _ calendar: RetentionCalendar) throws -> [String] {
      RetentionPolicy(rules).plan(for: try times.map(at), now: .max / 2, calendar: calendar).kept.map(\.id)
    }
    // Half past eleven in the evening in UTC is tomorrow in Berlin.
    let evening = ["2026-06-30T21:30:00Z", "2026-06-30T22:30:00Z"]
    #expect(try kept(.init(daily: 2), evening, berlin) == evening.reversed())
    #expect(try kept(.init(monthly: 2), evening, berlin) == evening.reversed())
    #expect(try kept(.init(daily: 2), evening, .utc) == [evening[1]])
    // The hour from two to three comes twice on 25 October 2026, and not at all on 29 March.
    let autumn = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"]
    #expect(try kept(.init(hourly: 3), autumn, berlin) == autumn.reversed())
    #expect(try kept(.init(daily: 3), autumn, berlin) == [autumn[2]])
    let spring = ["2026-03-28T23:30:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z"]
    #expect(try kept(.init(hourly: 9), spring, berlin) == spring.reversed())
    #expect(try kept(.init(daily: 9), spring, berlin) == [spring[4], spring[3]])
    // 1 January 2027 is a Friday: its week begins in 2026.
    #expect(try kept(.init(weekly: 9), ["2026-12-28T12:00:00Z", "2027-01-01T12:00:00Z"], berlin) == ["2027-01-01T12:00:00Z"])
  }

  @Test func `counts no incomplete snapshot, and never removes the newest complete one`() {
    let nights = [night(0), night(1), night(2, complete: false), night(3, complete: false)]
    #expect(kept(RetentionPolicy(.init(last: 1)), nights) == [1, 2, 3])
    #expect(kept(RetentionPolicy(.init(daily: 2)), nights) == [0, 1, 2, 3])
    #expect(kept(RetentionPolicy(.init(last: 1)), [night(0, complete: false), night(1), night(2)]) == [2])
    #expect(kept(RetentionPolicy(.init(last: 1)), [night(0, complete: false), night(1, complete: false)]) == [0, 1])
    // Where none is complete for weeks, as for a role that is not shown everything, the rules choose among the others.
    let lacking = (0..<60).map { night($0, complete: false) }
    #expect(kept(RetentionPolicy(.init(last: 1, monthly: 3)), lacking) == [30] + Array(46...59))
    #expect(kept(RetentionPolicy(.init(last: 1, monthly: 3)), [night(-1)] + lacking) == [-1, 30] + Array(46...59))
    // One that keeps nothing keeps what is guarded.
    #expect(!RetentionPolicy().keepsAnything && kept(RetentionPolicy(), [night(0), night(1, verified: true), night(2)]) == [1, 2])
  }

  @Test func `counts kinds and tags by themselves`() {
    let mixed = (0..<10).map { night($0, kind: $0 % 2 == 0 ? "nightly" : "pre-migration", tags: $0 % 5 == 0 ? ["release": "v\($0)"] : [:]) }
    #expect(kept(RetentionPolicy(.init(last: 2), kinds: ["pre-migration": .init(last: 1)]), mixed) == [6, 8, 9])
    #expect(kept(RetentionPolicy(.init(last: 1), tags: ["release": .init(last: 2)]), mixed) == [0, 5, 9])
    #expect(kept(RetentionPolicy(.init(last: 1), tags: ["release=v0": .init(last: 2)]), mixed) == [0, 9])
    #expect(kept(RetentionPolicy(.init(last: 1), tags: ["release": .init(minimumAge: 8 * 86400)]), mixed) == [5, 9])
    // "Keep ten, at least thirty days."
    let policy = RetentionPolicy(.init(last: 1), kinds: ["pre-migration": .init(last: 1, minimumAge: 5 * 86400)])
    #expect(kept(policy, mixed, now: Self.start + 10 * 86400) == [7, 8, 9])
    // Safety snapshots count if there are rules for them.
    let safety = (0..<4).map { RetainedSnapshot(id: $0, startedAt: Self.start + Int64($0) * 86400, standing: .safety, kind: "pre-restore") }
    #expect(kept(RetentionPolicy(.init(last: 1), kinds: ["pre-restore": .init(last: 2)]), safety + [night(9)]) == [2, 3, 9])
    #expect(kept(RetentionPolicy(.init(last: 1)), safety + [night(9)], now: .max / 2) == [9])
    // Also without regular snapshots of the database.
    #expect(kept(RetentionPolicy(.init(last: 1)), safety, now: .max / 2) == [3])
    // Where there are none it stays for two weeks: it may be all there is of a database.
    let late = Self.start + RetentionPolicy.safetyAge + 2 * 86400
    #expect(kept(RetentionPolicy(.init(last: 1)), safety + [night(9)], now: late) == [3, 9])
    #expect(kept(RetentionPolicy(.init(last: 1)), safety + [night(9)], now: late - 1) == [2, 3, 9])
  }

  @Test func `keeps what is held, young, or among the fewest there may be`() {
    let nights = (0..<10).map { number in
      night(
        number,
        hold: number == 1 ? .init(until: Self.start + 20 * 86400, reason: "case 7") : number == 0 ? .init(until: nil, reason: "for ever") : nil)
    }
    #expect(kept(RetentionPolicy(.init(last: 1)), nights) == [0, 1, 9])
    #expect(kept(RetentionPolicy(.init(last: 1)), nights, now: Self.start + 20 * 86400) == [0, 9])
    #expect(kept(RetentionPolicy(.init(last: 1), minimumCount: 3), nights) == [0, 1, 7, 8, 9])
    #expect(kept(RetentionPolicy(.init(last: 1), minimumAge: 4 * 86400), nights, now: Self.start + 10 * 86400) == [0, 1, 7, 8, 9])
    let plan = RetentionPolicy(.init(last: 1)).plan(for: nights, now: Self.start + 10 * 86400)
    #expect(plan.decisions[8].keepReasons == ["on hold: case 7"])
  }

  @Test func `lets the oldest go that only rules keep, no more than a goal wants`() {
    let nights = (0..<10).map { night($0, hold: $0 == 2 ? .init(until: nil, reason: "x") : nil) }
    func kept(_ goal: Int64, atLeast count: Int = 1) -> [Int] {
      RetentionPolicy(.init(last: 10), minimumCount: count, sizeGoal: goal).plan(for: nights, now: Self.start + 10 * 86400) { Int64($0.count) * 10 }
        .kept.map(\.id).sorted()
    }
    #expect(kept(100) == Array(0..<10))
    #expect(kept(99) == Array(1..<10))
    #expect(kept(45) == [2, 7, 8, 9])
    // It is a goal: the guards come first.
    #expect(kept(1) == [2, 9] && kept(1, atLeast: 3) == [2, 7, 8, 9])
  }

  @Test func `doubts a clock that runs behind the newest snapshot, or far ahead of it`() {
    let nights = (0..<10).map { night($0) }
    let newest = Self.start + 9 * 86400
    #expect(RetentionPolicy.doubt(at: newest + 3600, for: nights) == nil)
    #expect(RetentionPolicy.doubt(at: newest - 3600, for: nights) == .newestIsAhead(3600))
    #expect(RetentionPolicy.doubt(at: newest + 34 * 86400, for: nights) == nil)
    #expect(RetentionPolicy.doubt(at: newest + 36 * 86400, for: nights) == .newestIsOld(36 * 86400))
    // A monthly snapshot may be late.
    let months = (0..<10).map { night($0 * 30) }
    #expect(RetentionPolicy.doubt(at: Self.start + 270 * 86400 + 200 * 86400, for: months) == nil)
    #expect(RetentionPolicy.doubt(at: 0, for: [RetainedSnapshot<Int>]()) == nil)
    // Of three, the one gap is the jump.
    let jumped = [night(0), night(1), night(400)]
    #expect(RetentionPolicy.doubt(at: Self.start + 400 * 86400, for: jumped) == .newestIsFar(399 * 86400))
    // Nights that go on show that it was none.
    let days = { (now: Int64, snapshots: [RetainedSnapshot<Int>]) in RetentionPolicy.unnoticedJump(at: now, for: snapshots).map { $0 / 86400 } }
    #expect(days(newest + 86400, nights) == 4 && days(newest + 5 * 86400, nights) == nil)
    #expect(days(Self.start + 300 * 86400, months) == 91 && days(Self.start + 401 * 86400, jumped) == nil)
    #expect(days(Self.start + 401 * 86400, nights + [night(400)]) == nil)
  }

  @Test func `keeps more if told so, removes nothing twice, depends on no order, and never takes what is guarded`() throws {
    let zones = try ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"].map { name in
      let zone = try #require(TimeZone(identifier: name))
      return RetentionCalendar(name: name) { Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double($0)))) }
    }
    for seed in 0..<100_000 {
      var random = SeededRandom(seed: UInt64(seed))
      func count(_ limit: Int) -> Int { Int.random(in: 0...limit, using: &random) }
      // Some around a year's end or a change of clocks.
      let begin = [Self.start, 1_774_742_400, 1_792_886_400, 1_798_675_200].randomElement(using: &random)!
      let span: Int64 = [40_000_000, 1_000_000, 200_000].randomElement(using: &random)!
      let snapshots = (0..<count(14)).map { number in
        RetainedSnapshot(
          id: number, startedAt: begin + Int64.random(in: 0..<span, using: &random),
          standing: [.sound, .sound, .sound, .incomplete, .damaged, .safety].randomElement(using: &random)!, isVerified: .random(using: &random),
          kind: ["nightly", "nightly", "pre-migration", "pre-restore"].randomElement(using: &random)!,
          tags: count(3) == 0 ? ["release": "v1"] : [:],
          hold: count(9) == 0 ? .init(until: count(2) == 0 ? nil : begin + Int64.random(in: 0..<2 * span, using: &random), reason: "h") : nil)
      }
      func rules() -> RetentionRules {
        RetentionRules(
          last: count(2), hourly: count(2), daily: count(2), weekly: count(2), monthly: count(2), quarterly: count(1), yearly: count(1),
          within: Int64(count(1)) * 100_000, minimumAge: Int64(count(1)) * 100_000)
      }
      let policy = RetentionPolicy(
        rules(), kinds: count(1) == 0 ? ["pre-migration": rules()] : [:], tags: count(1) == 0 ? ["release": rules()] : [:],
        minimumCount: 1 + count(2), minimumAge: Int64(count(1)) * 50_000)
      let calendar = zones[count(zones.count - 1)]
      let now = begin + span
      let first = Set(kept(policy, snapshots, now: now, calendar: calendar))
      var holds = Set(kept(policy, snapshots.shuffled(using: &random), now: now, calendar: calendar)) == first
      holds = holds && Set(kept(policy, snapshots.filter { first.contains($0.id) }, now: now, calendar: calendar)) == first
      var more = policy
      switch count(8) {
      case 7: more.tags = more.tags.mapValues { rules in with(rules) { $0.minimumAge += 50_000 } }
      case 0: more.rules.last += 1
      case 1: more.rules.daily += 1
      case 2: more.rules.weekly += 1
      case 3: more.rules.within += 50_000
      case 4: more.minimumCount += 1
      case 5: more.minimumAge += 50_000
      case 6: more.kinds = more.kinds.mapValues { rules in with(rules) { $0.monthly += 1 } }
      default: more.rules.hourly += 1
      }
      holds = holds && Set(kept(more, snapshots, now: now, calendar: calendar)).isSuperset(of: first)
      func newest(_ isWanted: (RetainedSnapshot<Int>) -> Bool) -> [Int] {
        snapshots.filter(isWanted).sorted { ($0.startedAt, $0.id) > ($1.startedAt, $1.id) }.map(\.id)
      }
      var guarded = newest { _ in true }.prefix(1) + newest { $0.standing == .sound }.prefix(policy.minimumCount)
      guarded += (newest { $0.isVerified && $0.standing == .sound } + newest(\.isVerified)).prefix(1)
      guarded += newest { $0.hold.map { $0.until.map { now < $0 } ?? true } ?? false } + newest { now - $0.startedAt < policy.minimumAge }
      guarded += newest { now - $0.startedAt < (policy.kinds[$0.kind] ?? policy.rules).minimumAge }
      guarded += newest { $0.tags["release"] != nil && now - $0.startedAt < policy.tags["release"]?.minimumAge ?? 0 }
      guarded += newest { $0.standing == .safety && policy.kinds[$0.kind] == nil && now - $0.startedAt < 14 * 86400 }
      holds = holds && first.isSuperset(of: guarded)
      if !holds { return #expect(holds, "seed \(seed)") }
    }
  }

  private func with<Value>(_ value: Value, _ change: (inout Value) -> Void) -> Value {
    var value = value
    change(&value)
    return value
  }
}
