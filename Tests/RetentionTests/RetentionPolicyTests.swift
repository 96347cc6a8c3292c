import Retention
import TestSupport
import Testing

@Suite struct `A retention policy` {
  private static let start: Int64 = 1_767_232_800  // 2026-01-01T02:00:00Z, a Thursday.

  /// A night's snapshot; its id is its number.
  private func night(_ number: Int, complete: Bool = true) -> RetainedSnapshot<Int> {
    RetainedSnapshot(id: number, startedAt: Self.start + Int64(number) * 86400, standing: complete ? .sound : .incomplete)
  }

  private func kept(_ policy: RetentionPolicy, _ snapshots: [RetainedSnapshot<Int>]) -> [Int] {
    policy.plan(for: snapshots).kept.map(\.id).sorted()
  }

  @Test func `keeps the last so many, and says why`() {
    let plan = RetentionPolicy(keepLast: 2).plan(for: (0..<4).map { night($0) })
    #expect(plan.decisions.map(\.id) == [3, 2, 1, 0])
    #expect(plan.decisions.map(\.keepReasons) == [["last 1 of 2", "the newest", "the newest complete one"], ["last 2 of 2"], [], []])
    #expect(plan.removed.map(\.removeReason) == ["no rule keeps it", "no rule keeps it"])
  }

  @Test func `keeps the newest of a day, a week from Monday on, a month, a year`() {
    let nights = (0..<60).map { night($0) }
    #expect(kept(RetentionPolicy(keepDaily: 3), nights) == [57, 58, 59])
    // Night 59 is Sunday, 1 March; night 52 the Sunday before.
    #expect(kept(RetentionPolicy(keepWeekly: 3), nights) == [45, 52, 59])
    #expect(kept(RetentionPolicy(keepMonthly: 3), nights) == [30, 58, 59])
    #expect(kept(RetentionPolicy(keepYearly: 2), nights + [night(-1), night(-2)]) == [-1, 59])
    let twice = nights + [RetainedSnapshot(id: 1000, startedAt: Self.start + 59 * 86400 + 3600)]
    #expect(kept(RetentionPolicy(keepDaily: 2), twice) == [58, 1000])
  }

  @Test func `names leap days and years' ends rightly`() {
    let policy = RetentionPolicy(keepDaily: 100)
    let dates: [(Int64, String)] = [
      (1_709_164_800, "2024-02-29"), (1_709_251_199, "2024-02-29"), (1_709_251_200, "2024-03-01"), (1_735_689_599, "2024-12-31"),
      (951_782_400, "2000-02-29"), (0, "1970-01-01"), (-1, "1969-12-31"), (4_107_542_400, "2100-03-01"),
    ]
    for (seconds, name) in dates {
      let reasons = policy.plan(for: [RetainedSnapshot(id: 1, startedAt: seconds)]).decisions[0].keepReasons
      #expect(reasons.contains("daily \(name)"), "\(reasons)")
    }
  }

  @Test func `counts no incomplete snapshot, and never removes the newest complete one`() {
    let nights = [night(0), night(1), night(2, complete: false), night(3, complete: false)]
    #expect(kept(RetentionPolicy(keepLast: 1), nights) == [1, 2, 3])
    #expect(kept(RetentionPolicy(keepDaily: 2), nights) == [0, 1, 2, 3])
    #expect(kept(RetentionPolicy(keepLast: 1), [night(0, complete: false), night(1), night(2)]) == [2])
    #expect(kept(RetentionPolicy(keepLast: 1), [night(0, complete: false), night(1, complete: false)]) == [0, 1])
  }

  @Test func `keeps more where it is told more, removes nothing twice, and looks at no order`() {
    for seed in 0..<2000 {
      var random = SeededRandom(seed: UInt64(seed))
      let snapshots = (0..<Int.random(in: 0...25, using: &random)).map { number in
        RetainedSnapshot(
          id: number, startedAt: Self.start + Int64.random(in: 0..<40_000_000, using: &random),
          standing: [.sound, .sound, .sound, .incomplete, .damaged, .safety].randomElement(using: &random)!, isVerified: .random(using: &random))
      }
      func count() -> Int { Int.random(in: 0...3, using: &random) }
      let policy = RetentionPolicy(keepLast: count(), keepDaily: count(), keepWeekly: count(), keepMonthly: count(), keepYearly: count())
      let first = kept(policy, snapshots)
      #expect(kept(policy, snapshots.shuffled(using: &random)) == first)
      #expect(kept(policy, snapshots.filter { first.contains($0.id) }) == first)
      var more = policy
      more.keepWeekly += 1
      more.keepLast += 1
      #expect(Set(kept(more, snapshots)).isSuperset(of: first))
      if !snapshots.isEmpty { #expect(!first.isEmpty) }
      func newest(_ isWanted: (RetainedSnapshot<Int>) -> Bool) -> Int? {
        snapshots.filter(isWanted).max { ($0.startedAt, $0.id) < ($1.startedAt, $1.id) }?.id
      }
      for guarded in [newest { _ in true }, newest { $0.standing == .sound }, newest(\.isVerified)] {
        #expect(guarded.map(first.contains) ?? true)
      }
    }
  }
}
