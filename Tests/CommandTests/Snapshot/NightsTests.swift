import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// Two months of nightly timers in a minute: every fault is reported, each time, by every channel.
@Suite struct `Sixty nights` {
  /// The trouble of a night.
  private enum Trouble: Int, CaseIterable {
    case serverGone, storeGone, dumpFails, rowsLeftOut, killed
  }

  private let days = 60

  private func run(_ place: Workplace, night: Int, hours: Int = 0, _ name: String, _ arguments: [String]) throws -> CommandResult {
    try place.run(clock: faked(night, hours), name, arguments)
  }

  /// The clock of a night, so many hours after its snapshot; the last night is this one.
  private func faked(_ night: Int, _ hours: Int) -> [String] { ["-f", "\(night < days ? "" : "+")\((night - days) * 86400 + hours * 3600)s"] }

  @Test func `with a failure every fifth: status, metrics and pings tell the truth, and the store stays within the policy`() throws {
    let server = try TestServer.system.get()
    let listener = try NoticeListener()
    var place = try Workplace(on: server)
    // The time that passes is real: only what day it is, is not.
    place.environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    for name in [".config", ".config/firn"] { try Folder.make(place.folder.path(name)) }
    let metrics = place.folder.path("firn.prom")
    _ = try place.folder.write(
      """
      ping: http://127.0.0.1:\(listener.port)/night
      metrics: \(metrics)
      policy: \(place.folder.path("policy.yaml"))
      """, to: ".config/firn/firn.yaml")
    _ = try place.folder.write("keep: {daily: 7, weekly: 4, monthly: 3}\n", to: "policy.yaml")
    try place.sql("CREATE TABLE events (id int, body text); CREATE TABLE other AS SELECT 1 id")
    let broken = try place.tools(with: "echo 'pg_dump: error: the disk is on fire' >&2; exit 1", inPlaceOf: "pg_dump")

    var lastSuccess: String?
    for night in 1...days {
      try place.sql("INSERT INTO events SELECT g, md5(g::text || \(night)) FROM generate_series(1, 200) g; DELETE FROM events WHERE random() < 0.02")
      let trouble = night % 5 == 0 ? Trouble(rawValue: night / 5 % Trouble.allCases.count) : nil
      var tonight = place
      var arguments = ["--kind", "nightly"]
      switch trouble {
      case .serverGone: tonight.environment["DATABASE_URL"] = "postgresql://postgres@127.0.0.1:1/\(place.database)"
      case .storeGone: try Folder.rename(place.store, to: place.folder.path("elsewhere"))
      case .dumpFails: arguments += ["--pg-bin", broken.string]
      case .rowsLeftOut:
        try place.sql(
          "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing; CREATE FOREIGN TABLE elsewhere (a int) SERVER nowhere"
        )
      case .killed, nil: break
      }
      let status: Int32
      if trouble == .killed {
        func start() throws -> ChildProcess {
          let child = try ChildProcess(
            "/usr/bin/faketime", arguments: faked(night, 0) + [FirnProgram.path("firn-snapshot").string] + arguments,
            environment: tonight.environment
          ) { _ in }
          _ = listener.waits { $0.contains("/night/start") || child.exitCode() != nil }
          return child
        }
        var child = try start()
        // faketime names a semaphore by its process id; a killed faketime leaves its own behind.
        while child.exitCode() == 1 { child = try start() }
        // Before anything can be committed: it has reported its start.
        #expect(listener.waits { $0.contains("/night/start") })
        child.signalGroup(SIGKILL)
        status = child.wait()
      } else {
        let result = try run(tonight, night: night, "firn-snapshot", arguments)
        if trouble == .rowsLeftOut { try place.sql("DROP FOREIGN DATA WRAPPER nothing CASCADE") }
        status = result.status
        if status == 0 { lastSuccess = result.output }
        let expected: Int32 =
          switch trouble {
          case .serverGone, .dumpFails: 8
          case .storeGone: 10
          case .rowsLeftOut: 3
          case .killed, nil: 0
          }
        #expect(status == expected, "night \(night): \(result)")
      }
      if trouble == .storeGone { try Folder.rename(place.folder.path("elsewhere"), to: place.store) }

      // Pings: of a night that was cut off there is no end, which is what such a service watches for.
      let end = trouble == .killed ? [] : [status == 0 ? "/night" : "/night/fail"]
      #expect(try listener.heard().map(\.path) == ["/night/start"] + end, "night \(night)")

      // Weekly, of a night that went well: the proof of an incomplete snapshot goes with it.
      if night % 7 == 1 && trouble == nil || night % 7 == 2 && (night - 1) % 5 == 0 {
        #expect(try run(place, night: night, hours: 1, "firn-verify", [place.database, "latest"]).status == 0)
      }
      let pruned = try run(place, night: night, hours: 2, "firn-prune", ["--apply", "--json"])
      #expect(pruned.status == 0, "night \(night): \(pruned)")

      // The reports of the next morning, 27 hours after the night before.
      let state = try run(place, night: night, hours: 3, "firn", ["status", "--json"])
      let database = try #require((try state.json()["databases"] as? [[String: Any]])?.first)
      let problems = database["problems"] as? [String] ?? []
      let isWell = trouble == nil
      #expect((state.status == 0) == isWell && problems.isEmpty == isWell, "night \(night): \(problems)")
      if trouble != nil, trouble != .rowsLeftOut {
        #expect(problems.contains { $0.hasPrefix("the newest snapshot was taken ") }, "night \(night): \(problems)")
      }
      let told = try Folder.contents(of: metrics)
      let lines = String(decoding: told, as: UTF8.self).split(separator: "\n")
      func value(_ name: String, _ label: String) -> Double? {
        lines.first { $0.hasPrefix("\(name){") && $0.contains(label) }.flatMap { $0.split(separator: " ").last }.flatMap { Double(String($0)) }
      }
      if trouble != .killed { #expect(value("firn_last_run_exit_code", "job=\"snapshot\"") == Double(status), "night \(night)") }
      let newest = try #require(lastSuccess.flatMap { Self.seconds(of: $0) })
      #expect(value("firn_last_success_timestamp_seconds", place.database) == newest, "night \(night)")

      // The policy keeps 7 + 4 + 3 at most, and what has a guard of its own.
      let kept = try place.listedSnapshots()
      #expect(kept.count <= 7 + 4 + 3 + 2, "night \(night): \(kept.count)")
      _ = try listener.heard()
    }
    let again = try run(place, night: days, hours: 4, "firn-prune", ["--json"])
    #expect((try again.json()["remove"] as? [Any])?.isEmpty == true, "\(again)")
    let read = try place.verify("--read")
    #expect(read.status == 0, "\(read)")
    let restored = try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--prove")
    #expect(restored.status == 0, "\(restored)")
    #expect(try place.leftovers().isEmpty)
  }

  /// When a snapshot began, by its id: seconds since 1970.
  private static func seconds(of id: String) -> Double? {
    let style = DateFormatter()
    style.locale = Locale(identifier: "en_US_POSIX")
    style.timeZone = .gmt
    style.dateFormat = "yyyyMMdd'T'HHmmss'Z'"
    return style.date(from: String(id.prefix(16)))?.timeIntervalSince1970
  }
}
