import Foundation
import Platform
import Retention
import SystemPackage
import TestSupport
import Testing

/// The rules that Firn and restic share keep the same snapshots.
@Suite struct `A policy beside restic's forget` {
  private static let hosts = 10
  private static let histories = Thoroughness.count(20, thorough: 50)

  private struct Repository: Sendable {
    let environment: [String: String]

    func run(_ arguments: [String]) throws -> [UInt8] {
      let result = try ProgramResult.run("/usr/bin/restic", ["--quiet"] + arguments, environment: environment)
      guard result.exitCode == 0 else { throw ResticFailure(words: "restic \(arguments.first ?? ""): \(result.errors)") }
      return result.output
    }
  }

  private struct ResticFailure: Error { let words: String }

  private struct Stored: Sendable {
    let host: Int
    let startedAt: Int64
    let histories: Set<Int>
  }

  @Test func `keeps the same in random histories`() throws {
    let folder = try TemporaryFolder()
    let secret = try folder.write("for a test only\n", to: "secret")
    let repository = Repository(environment: [
      "RESTIC_REPOSITORY": folder.path("repository").string, "RESTIC_PASSWORD_FILE": secret.string, "RESTIC_CACHE_DIR": folder.path("cache").string,
      "HOME": folder.path.string, "PATH": "/usr/bin:/bin", "TZ": "UTC", "TMPDIR": folder.path.string, "GOMAXPROCS": "1",
    ])
    _ = try repository.run(["init"])
    let file = try folder.write("x", to: "file")
    var random = SeededRandom(seed: 11)
    var taken: Set<Int64> = []
    // A year's end, a week's, a leap day, and years between.
    let begins: [Int64] = [1_703_900_000, 1_709_100_000, 1_735_500_000, 1_766_900_000]
    let stored = (0..<120).compactMap { number -> Stored? in
      let span: Int64 = [3 * 86400, 20 * 86400, 400 * 86400].randomElement(using: &random)!
      let startedAt = begins.randomElement(using: &random)! + Int64.random(in: 0..<span, using: &random)
      guard taken.insert(startedAt).inserted else { return nil }
      let histories = Set((0..<Self.histories).filter { _ in Bool.random(using: &random) })
      return Stored(host: number % Self.hosts, startedAt: startedAt, histories: histories)
    }
    try forEachInParallel(stored, thread: "restic") { snapshot in
      let time = Date(timeIntervalSince1970: Double(snapshot.startedAt)).formatted(.iso8601).replacing("T", with: " ")
      let tags = snapshot.histories.map { "h\($0)" }.joined(separator: ",")
      _ = try repository.run(
        ["backup", "--no-cache", "--time", String(time.prefix(19)), "--host", "host\(snapshot.host)", "--tag", "all,\(tags)", file.string])
    }
    var policies: [RetentionRules] = []
    for _ in 0..<Self.histories {
      func count() -> Int { Bool.random(using: &random) ? 0 : Int.random(in: 0...6, using: &random) }
      policies.append(
        RetentionRules(
          last: 1 + count(), hourly: count(), daily: count(), weekly: count(), monthly: count(), yearly: count(),
          within: Int64(count()) * 86400))
    }
    let different = Monitor<[String]>([])
    let compared = Monitor(0)
    try forEachInParallel(Array(policies.enumerated()), thread: "restic") { history, rules in
      let kept = try Self.kept(repository, history, rules)
      for host in 0..<Self.hosts {
        let snapshots = stored.filter { $0.host == host && $0.histories.contains(history) }
          .map { RetainedSnapshot(id: $0.startedAt, startedAt: $0.startedAt) }
        guard !snapshots.isEmpty else { continue }
        let ours = Set(RetentionPolicy(rules).plan(for: snapshots, now: Int64(Date().timeIntervalSince1970)).kept.map(\.id))
        compared.update { $0 += 1 }
        if ours != kept["host\(host)"] ?? [] { different.update { $0.append("\(rules), host \(host): \(ours) and \(kept["host\(host)"] ?? [])") } }
      }
    }
    #expect(different.current.isEmpty, "\(different.current.prefix(3))")
    #expect(compared.current > Self.histories * Self.hosts * 97 / 100)
  }

  /// The snapshots that restic keeps, by host.
  private static func kept(_ repository: Repository, _ history: Int, _ rules: RetentionRules) throws -> [String: Set<Int64>] {
    struct Group: Decodable {
      struct Snapshot: Decodable { let time: String }
      let host: String
      let keep: [Snapshot]?
    }
    var arguments = ["forget", "--no-lock", "--dry-run", "--json", "--group-by", "host", "--tag", "h\(history)"]
    let counts = [
      ("last", rules.last), ("hourly", rules.hourly), ("daily", rules.daily), ("weekly", rules.weekly), ("monthly", rules.monthly),
      ("yearly", rules.yearly),
    ]
    for (name, count) in counts where count > 0 { arguments += ["--keep-\(name)", "\(count)"] }
    if rules.within > 0 { arguments += ["--keep-within", "\(rules.within / 86400)d"] }
    let groups = try JSONDecoder().decode([Group].self, from: Data(try repository.run(arguments)))
    return try groups.reduce(into: [:]) { kept, group in
      kept[group.host] = Set(
        try (group.keep ?? []).map { Int64(try Date("\($0.time.prefix(19))Z", strategy: .iso8601).timeIntervalSince1970) })
    }
  }
}
