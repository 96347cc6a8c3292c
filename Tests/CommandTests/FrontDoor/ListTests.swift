import Foundation
import TestSupport
import Testing

@Suite struct `firn list` {
  @Test func `shows what its filters choose, with labels, holds and a total`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT generate_series(1, 10) id")
    let nightly = try place.takeSnapshot("--kind", "nightly", "--tag", "release=1")
    let labelled = try place.takeSnapshot("--tag", "release=2", "--tag", "by=ops")
    let newest = try place.takeSnapshot()
    func ids(_ arguments: String...) throws -> [String] {
      let snapshots = try place.run("firn", ["list", "--json"] + arguments).json()["snapshots"] as? [[String: Any]] ?? []
      return snapshots.compactMap { $0["id"] as? String }
    }
    #expect(try ids() == [nightly, labelled, newest])
    #expect(try ids("--kind", "nightly") == [nightly])
    #expect(try ids("--tag", "release") == [nightly, labelled])
    #expect(try ids("--tag", "release=2") == [labelled])
    #expect(try ids("--tag", "release", "--tag", "by=ops") == [labelled])
    #expect(try ids("--tag", "release=3").isEmpty)
    #expect(try ids("--last", "2") == [labelled, newest])
    #expect(try ids("--kind", "manual", "--last", "1") == [newest])
    #expect(try ids("--since", "1h", place.database).count == 3)
    #expect(try ids("--since", "2099-01-01").isEmpty)
    #expect(try place.firn("list", "--since", "2099-01-01").errors.contains("no such snapshots"))
    let wrong = try place.firn("list", "--since", "tomorrow")
    #expect(wrong.status == 64 && wrong.errors.contains("--since takes a time"), "\(wrong)")
    let vague = try place.restore(place.database, "yesterday")
    #expect(vague.status == 10 && vague.errors.contains("before:yesterday"), "\(vague)")

    #expect(try place.firn("hold", place.database, labelled, "--why", "case 7", "--until", "2099-01-31").status == 0)
    for arguments in [["list"], ["list", place.database]] {
      let shown = try place.run("firn", arguments)
      let held = shown.output.split(separator: "\n").filter { $0.contains("held") }
      #expect(held.count == 1 && held[0].contains(labelled), "\(shown)")
      #expect(shown.errors.contains("3 snapshots, "), "\(shown)")
    }
    let entry = (try place.firn("list", "--tag", "by", "--json").json()["snapshots"] as? [[String: Any]])?.first
    #expect(entry?["onHold"] as? Bool == true && entry?["tags"] as? [String: String] == ["release": "2", "by": "ops"], "\(entry ?? [:])")
  }
}
