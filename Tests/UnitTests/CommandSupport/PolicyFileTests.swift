import CommandSupport
import Platform
import Retention
import SystemPackage
import TestSupport
import Testing

@Suite struct `A policy` {
  @Test func `that is shipped can be read, and keeps something`() throws {
    for shipped in ShippedPolicy.allCases {
      let file = try PolicyFile(named: shipped.rawValue)
      #expect(file.policy.keepsAnything, "\(shipped.rawValue)")
    }
  }

  @Test func `for hourly snapshots keeps nightly ones too, though an hourly one is newer`() throws {
    let start: Int64 = 1_767_232_800  // 2026-01-01T02:00:00Z
    let hourly = (0..<240).map { RetainedSnapshot(id: "h\($0)", startedAt: start + $0 * 3600 + 60, standing: .sound, kind: "hourly") }
    let nightly = (0..<10).map { RetainedSnapshot(id: "n\($0)", startedAt: start + $0 * 86400, standing: .sound, kind: "nightly") }
    let plan = try PolicyFile(named: "hourly").policy.plan(for: hourly + nightly, now: start + 240 * 3600)
    let kept = Set(plan.kept.map(\.id))
    #expect(kept.isSuperset(of: nightly.map(\.id)) && kept.isSuperset(of: hourly.suffix(48).map(\.id)) && kept.count < 75, "\(kept)")
  }

  @Test func `is read as it is written`() throws {
    let text = """
      keep: {last: 3, daily: 7, within: 36h}
      kinds:
        pre-migration: {last: 10, minimum-age: 30d}
      tags:
        release: {yearly: 2}
      minimum-count: 2
      minimum-age: 1h
      size-goal: 5GiB
      time-zone: Europe/Berlin
      """
    let file = try PolicyFile(parsing: text, name: "policy.yaml")
    let expected = RetentionPolicy(
      .init(last: 3, daily: 7, within: 36 * 3600), kinds: ["pre-migration": .init(last: 10, minimumAge: 30 * 86400)],
      tags: ["release": .init(yearly: 2)], minimumCount: 2, minimumAge: 3600, sizeGoal: 5 << 30)
    #expect(file.policy == expected)
    #expect(file.timeZone == "Europe/Berlin")
  }

  @Test func `that says what can't be meant is refused`() throws {
    let cases: [(text: String, message: String, hint: String?)] = [
      ("size-goal: 0", "size-goal is not a size with its unit, such as 500GiB", nil),
      ("size-goal: 500", "size-goal is not a size with its unit, such as 500GiB", nil),
      ("keep: {within: 6m}", "within is not a duration such as 30s, 15min, 26h or 8d", nil),
      ("keep: {within: 0.5}", "within is not a duration such as 30s, 15min, 26h or 8d", nil),
      ("keep: {last: -1}", "last is not a number from 0 to 1000000", nil),
      ("keep: {dayly: 7}", "there is no key dayly", "did you mean daily?"),
      (
        "keep: 7", "keep is not a list of keys and values",
        "its keys are last, hourly, daily, weekly, monthly, quarterly, yearly, within, minimum-age"
      ),
      ("minimum-count: 0", "minimum-count is not a number from 1 to 1000000", nil),
      ("kinds: nightly", "kinds is not a list of keys and values", nil),
    ]
    for (text, message, hint) in cases {
      #expect(throws: ConfigurationError(message: "policy.yaml line 1: \(message)", hint: hint)) {
        try PolicyFile(parsing: text, name: "policy.yaml")
      }
    }
  }

  @Test func `that is a pipe does not block`() throws {
    let folder = try TemporaryFolder()
    try folder.makeFIFO("policy.yaml")
    let path = folder.path("policy.yaml").string
    #expect(throws: ConfigurationError(message: "\(path) is no file", hint: nil)) { try PolicyFile(named: path) }
  }
}
