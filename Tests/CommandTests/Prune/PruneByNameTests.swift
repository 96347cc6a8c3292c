import Foundation
import SystemPackage
import TestSupport
import Testing

@Suite struct `firn-prune by names and clocks` {
  @Test func `refuses by a clock that can't be right`() throws {
    let place = try Workplace.after(nights: 3)
    let ids = try place.listedSnapshots()
    for (date, words) in [("2020-01-01 00:00:00", "after now"), ("2099-01-01 00:00:00", "old: the clock jumped ahead")] {
      let result = try place.run(clock: [date], "firn-prune", ["--keep-last", "2", "--apply"])
      #expect(result.status == 6 && result.errors.contains(words) && result.errors.contains("nothing was removed"), "\(result)")
      // Words for the clock are no words for what goes.
      let half = try place.run(clock: [date], "firn-prune", ["--keep-last", "1", "--apply", "--confirm", "the clock is right"])
      #expect(half.status == 6 && half.errors.contains("the clock is right, remove 2 snapshots of"), "\(half)")
    }
    #expect(try place.listedSnapshots() == ids)
  }

  @Test func `prunes nothing by a clock that others show to have jumped, where a database can't tell`() throws {
    let place = try Workplace.after(nights: 4)
    var young = place
    let name = "\(place.database)_young"
    try place.server.sql("CREATE DATABASE \(name)")
    young.environment["DATABASE_URL"] = place.server.url(name)
    _ = try young.takeSnapshot()
    for work in [place, young] {
      let made = try work.run(clock: ["-f", "+414d"], "firn-snapshot", [])
      #expect(made.status == 0, "\(made)")
    }
    let before = try place.listedSnapshots()
    let result = try place.run(clock: ["-f", "+414d"], "firn-prune", ["--keep-within", "30d", "--apply"])
    #expect(result.status == 6, "\(result)")
    #expect(try place.listedSnapshots() == before)
  }

  @Test func `removes a snapshot that a wrong clock dated in the future`() throws {
    let place = try Workplace.after(nights: 2)
    let ids = try place.listedSnapshots()
    let made = try place.run(clock: ["-f", "+400d"], "firn-snapshot", [])
    let wrong = try #require(Set(place.listedSnapshots()).subtracting(ids).first, "\(made)")
    // It stands in the way of all others, and for the newest.
    #expect(try place.prune("--keep-last", "1", "--apply").status == 6)
    let (name, words) = (place.database, "the clock is right, remove 1 snapshot of \(place.database)")
    let half = try place.prune(name, "--remove", wrong, "--apply", "--confirm", "remove 1 snapshot of \(name)")
    #expect(half.status == 6 && half.errors.contains(words), "\(half)")
    let done = try place.prune(name, "--remove", wrong, "--apply", "--confirm", words)
    #expect(try done.status == 0 && place.listedSnapshots() == ids, "\(done)")
    #expect(try place.prune(name, "--keep-last", "1", "--apply").status == 0)
    #expect(try place.listedSnapshots() == Array(ids.suffix(1)))
  }

  @Test func `removes what is named, and no other, by a confirmation`() throws {
    let place = try Workplace.after(nights: 4)
    let (ids, name) = (try place.listedSnapshots(), place.database)
    func refused(_ status: Int32, _ words: String, _ arguments: String...) throws {
      let result = try place.run("firn-prune", arguments + ["--apply", "--confirm", "remove 1 snapshot of \(name)"])
      #expect(result.status == status && result.errors.contains(words), "\(result)")
      #expect(try place.listedSnapshots() == ids)
    }
    try refused(6, "stays (the newest; the newest complete one)", name, "--remove", ids[3])
    #expect(try place.verify(name, ids[1], "--read").status == 0 && place.firn("hold", name, ids[2], "--why", "an audit").status == 0)
    try refused(6, "stays (the newest verified one)", name, "--remove", ids[1])
    try refused(6, "stays (on hold: an audit)", name, "--remove", ids[0], "--remove", ids[2])
    try refused(10, "has no snapshot latest", name, "--remove", "latest")
    try refused(64, "an argument is empty", name, "--remove", "")
    try refused(64, "wants the database", "--remove", ids[0])
    try refused(64, "exclude each other", name, "--remove", ids[0], "--keep-last", "1")
    let plan = try place.prune(name, "--remove", ids[0])
    #expect(plan.status == 0 && plan.output.contains("REMOVE  \(ids[0])") && plan.output.contains("3 to keep, 1 to remove"), "\(plan)")
    // One of four, which rules would let go without words.
    let policy = try place.folder.write("keep: {last: 100}\n", to: "policy.yaml")
    let unconfirmed = try place.prune(name, "--remove", ids[0], "--policy", "\(policy)", "--apply")
    #expect(try unconfirmed.status == 5 && place.listedSnapshots() == ids, "\(unconfirmed)")
    let done = try place.prune(name, "--remove", ids[0], "--apply", "--confirm", "remove 1 snapshot of \(name)")
    #expect(try done.status == 0 && place.listedSnapshots() == Array(ids.dropFirst()), "\(done)")
    #expect(try place.verify(name, "all", "--read").status == 0)
    // The policy's minimum age applies; its rules do not.
    let young = try place.prune(name, "--remove", ids[1], "--policy", "nightly")
    #expect(young.status == 6 && young.errors.contains("--policy takes a file with lower ones"), "\(young)")
  }
}

extension Workplace {
  /// A place with a snapshot of each of some nights.
  static func after(nights: Int) throws -> Workplace {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) || md5((g * 3)::text) x FROM generate_series(1, 20000) g")
    for night in 0..<nights {
      if night > 0 { try place.sql("UPDATE t SET x = md5(x || \(night)) WHERE id % 50 = \(night)") }
      _ = try place.takeSnapshot()
      // Ids differ by their second, then by chance.
      Thread.sleep(forTimeInterval: 1.01)
    }
    return place
  }
}
