import Foundation
import Repository
import TestSupport
import Testing

@Suite struct `A history of runs` {
  private func run(_ second: Double, _ outcome: PastRun.Outcome = .success, id: UUID = UUID(), job: String = "snapshot") -> PastRun {
    PastRun(
      id: id, job: job, startedAt: Date(timeIntervalSince1970: 1_800_000_000 + second), host: "h", user: "u", store: "/s", firn: "1", outcome: outcome
    )
  }

  @Test func `lists the newest first, to the millisecond`() throws {
    let history = RunHistory(in: MemoryStore())
    for second in [0.2, 0.1, 5, 0.15] { try history.write(run(second)) }
    let starts = try history.entries().map { $0.startedAt.timeIntervalSince1970 - 1_800_000_000 }
    #expect(starts.map { ($0 * 1000).rounded() } == [5000, 200, 150, 100])
  }

  @Test func `remembers a run that was running as it ended`() throws {
    let history = RunHistory(in: MemoryStore())
    let id = UUID()
    try history.write(run(1, .running, id: id))
    #expect(try history.entries().map(\.outcome) == [.running])
    var ended = run(1, .failure, id: id)
    (ended.error, ended.failures) = ("it failed", [.init(source: nil, database: "a/b", error: "x", hint: nil)])
    try history.write(ended)
    let entries = try history.entries()
    #expect(entries.map(\.outcome) == [.failure] && entries[0].job == "snapshot")
    #expect(history.run(entries[0])?.error == "it failed" && history.run(entries[0])?.failures?.first?.database == "a/b")
    #expect(ended.withoutWords.error == nil && ended.withoutWords.failures?.first?.error == "")
  }

  @Test func `keeps only the newest, and ignores other files`() throws {
    let store = MemoryStore()
    let history = RunHistory(in: store, limit: 10)
    for key in ["runs/x", "runs/20260101T000000000Z-a-b-c.json", "runs/20260101T000000000Z-snapshot-success-c"] {
      try store.write([], to: key, durability: .deferred)
    }
    for second in 0..<13 { try history.write(run(Double(second))) }
    let entries = try history.entries()
    #expect(entries.count == 10 && entries.last?.startedAt == Date(timeIntervalSince1970: 1_800_000_003))
    try store.write(Array("{".utf8), to: "runs/20300101T000000000Z-snapshot-success-c.json", durability: .deferred)
    let first = try #require(history.entries().first)
    #expect(history.run(first) == nil)
  }
}
