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
    for text in [
      "size-goal: 0", "size-goal: 500", "keep: {within: 6m}", "keep: {last: -1}", "keep: {dayly: 7}", "keep: 7", "minimum-count: 0",
      "keep: {within: 0.5}",
      "kinds: nightly",
    ] {
      #expect(throws: ConfigurationError.self, "\(text)") { try PolicyFile(parsing: text, name: "policy.yaml") }
    }
  }

  @Test func `that is a pipe does not block`() throws {
    let folder = try TemporaryFolder()
    try folder.makeFIFO("policy.yaml")
    #expect(throws: ConfigurationError.self) { try PolicyFile(named: folder.path("policy.yaml").string) }
  }
}
