import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

@Suite struct `firn-prune` {
  @Test func `prints its plan and removes nothing, without --apply`() throws {
    let place = try Workplace.after(nights: 3)
    let ids = try place.listedSnapshots()
    let before = try filesByPath(under: place.store.appending("objects")).count
    let plan = try place.prune("--keep-last", "1")
    #expect(plan.status == 0)
    #expect(plan.output.contains("\(place.database): 1 to keep, 2 to remove (keep last 1, days of UTC)"), "\(plan)")
    #expect(plan.output.contains("REMOVE  \(ids[0])") && plan.output.contains("keep    \(ids[2])"), "\(plan)")
    #expect(plan.errors.contains("--apply"))
    #expect(try place.listedSnapshots() == ids)
    #expect(try filesByPath(under: place.store.appending("objects")).count == before)

    // More than half would go: that has to be said in words.
    let words = "remove 2 snapshots of \(place.database)"
    for wrong in [[], ["--confirm", "remove 2 snapshots"], ["--confirm", "yes"]] {
      let refused = try place.run("firn-prune", ["--keep-last", "1", "--apply"] + wrong)
      #expect(refused.status == 5 && (refused.errors.contains(words) || refused.errors.contains("\"")), "\(refused)")
    }
    #expect(try place.listedSnapshots() == ids)
    let report = try place.prune("--keep-last", "1", "--apply", "--json", "--confirm", words).json()
    #expect((report["keep"] as? [[String: Any]])?.compactMap { $0["id"] as? String } == [ids[2]])
    #expect(Set((report["remove"] as? [[String: Any]])?.compactMap { $0["id"] as? String } ?? []) == Set(ids.prefix(2)))
    #expect(report["applied"] as? Bool == true)
    #expect(report["freedBytes"] as? Int ?? 0 > 0)
    #expect(try place.listedSnapshots() == [ids[2]])
    #expect(try place.verify(place.database, "all", "--read").status == 0)
    #expect(try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--prove").status == 0)
    // Nothing lies in the store but what the snapshot names.
    let sums = try Folder.contents(of: place.store.appending("snapshots/\(source(place))/\(place.database)/\(ids[2])/SHA256SUMS"))
    let named = String(decoding: sums, as: UTF8.self).split(separator: "\n").map { String($0.dropFirst(66)) }.filter { $0.hasPrefix("objects/") }
    let stored = try filesByPath(under: place.store).filter { $0.key.hasPrefix("objects/") && $0.value.kind == .file }.keys
    #expect(Set(stored) == Set(named))
  }

  private func source(_ place: Workplace) throws -> String {
    try #require((place.firn("list", "--json").json()["snapshots"] as? [[String: Any]])?.first?["source"] as? String)
  }

  @Test func `reports what was removed before an interruption`() throws {
    let place = try Workplace(on: TestServer.system.get())
    for night in 1...6 {
      try place.sql("DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT g, md5((g * \(night))::text) x FROM generate_series(1, 20000) g")
      _ = try place.takeSnapshot()
    }
    let errors = Monitor("")
    let run = try place.start(
      "firn-prune", [place.database, "--keep-last", "1", "--apply", "--confirm", "remove 5 snapshots of \(place.database)", "--max-deletes", "1"]
    ) { line in errors.update { $0 += line + "\n" } }
    while try place.listedSnapshots().count > 1, run.exitCode() == nil { Thread.sleep(forTimeInterval: 0.02) }
    ProcessTable.send(SIGINT, to: run.id)
    #expect(run.wait() == 128 + SIGINT)
    #expect(errors.current.contains("5 of 5 snapshots were removed as planned"), "\(errors.current)")
    #expect(try place.prune("--gc-only", "--apply").status == 0)
    #expect(try place.verify().status == 0)
  }

  @Test func `never removes the only snapshot, nor the newest complete one`() throws {
    let place = try Workplace.after(nights: 1)
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
    #expect(try place.prune("--keep-last", "0", "--apply").status == 0)
    #expect(try place.listedSnapshots().count == 1)
    let complete = try place.listedSnapshots()
    for _ in 1...3 {
      Thread.sleep(forTimeInterval: 1.01)
      #expect(try place.incompleteSnapshot().status == 3)
    }
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
    #expect(try place.listedSnapshots().contains(complete[0]))
  }

  @Test func `leaves databases alone whose names only begin alike`() throws {
    let place = try Workplace.after(nights: 2)
    let server = place.server
    let longer = "\(place.database)-staging"
    try server.sql("CREATE DATABASE \"\(longer)\"")
    var other = place
    other.environment["DATABASE_URL"] = server.url(longer)
    for _ in 1...2 {
      #expect(try other.snapshot().status == 0)
      Thread.sleep(forTimeInterval: 1.01)
    }
    #expect(try place.prune(place.database, "--keep-last", "1", "--apply").status == 0)
    let left = try #require(place.firn("list", "--json").json()["snapshots"] as? [[String: Any]])
    #expect(left.count { $0["database"] as? String == longer } == 2)
    #expect(left.count { $0["database"] as? String == place.database } == 1)
  }

  @Test func `waits for no one who is at work, and says who that is`() throws {
    let place = try Workplace.after(nights: 2)
    try place.sql("CREATE TABLE wide AS SELECT repeat(md5(g::text), 100) FROM generate_series(1, 100000) g")
    let running = try place.start("firn-snapshot", [])
    let locks = place.store.appending("locks")
    let deadline = ContinuousClock.now + .seconds(10)
    while !((try? Folder.names(in: locks)) ?? []).contains(where: { $0.hasSuffix(".json") }), ContinuousClock.now < deadline {
      Thread.sleep(forTimeInterval: 0.01)
    }
    running.stop()
    let result = try place.prune("--keep-last", "1", "--apply")
    #expect(result.status == 7)
    #expect(result.errors.contains("firn-snapshot of \(place.database)"))
    running.resume()
    #expect(running.wait() == 0)
    #expect(try place.prune("--keep-last", "1", "--apply", "--confirm", "remove 2 snapshots of \(place.database)").status == 0)
  }

  @Test func `goes by a policy that comes with it, by a file, or by the configuration`() throws {
    let place = try Workplace.after(nights: 2)
    let shipped = try place.prune("--policy", "nightly")
    #expect(shipped.status == 0 && shipped.output.contains("2 to keep, 0 to remove (policy nightly, days of UTC)"), "\(shipped)")
    for policy in ["hourly", "pre-migration", "compliance-7-years"] { #expect(try place.prune("--policy", policy).status == 0) }
    let file = try place.folder.write("keep: {last: 1}\ntime-zone: Europe/Berlin\n", to: "policy.yaml")
    #expect(try place.prune("--policy", "\(file)").output.contains("1 to keep, 1 to remove (policy \(file), days of Europe/Berlin)"))
    let configured = try place.folder.write("policy: \(file)\n", to: "firn.yaml")
    #expect(try place.prune("--config", "\(configured)").output.contains("1 to keep, 1 to remove"))
    let wrong = try place.folder.write("keep:\n  lst: 1\n", to: "wrong.yaml")
    let refused = try place.prune("--policy", "\(wrong)")
    #expect(refused.status == 78 && refused.errors.contains("line 2: there is no key lst") && refused.errors.contains("last"), "\(refused)")
    #expect(try place.prune("--policy", "nightl").status == 78)
    #expect(try place.prune("--keep-last", "1", "--time-zone", "Mars/Olympus").status == 78)
    let mars = try place.folder.write("time-zone: Mars/Olympus\n", to: "mars.yaml").string
    let listed = try place.firn("list", "--config", mars)
    #expect(listed.status == 78 && listed.errors.contains("there is no time zone Mars/Olympus"), "\(listed)")
    #expect(try place.prune().status == 64)
    #expect(try place.prune("--policy", "nightly", "--keep-last", "1").status == 64)
  }

  @Test func `keeps what is on hold, until the hold ends or is taken away`() throws {
    let place = try Workplace.after(nights: 3)
    let ids = try place.listedSnapshots()
    #expect(try place.firn("hold", place.database, ids[0]).status == 64)
    #expect(try place.firn("hold", place.database, ids[0], "--until", "2020-01-01", "--why", "x").status == 64)
    #expect(try place.firn("hold", place.database, ids[0], "--until", "2099-01-31", "--why", "case 7").status == 0)
    let plan = try place.prune("--keep-last", "1")
    #expect(plan.output.contains("2 to keep, 1 to remove") && plan.output.contains("on hold: case 7"), "\(plan)")
    // It goes along to copies, which have their own pruning.
    let copy = place.folder.path("copy").string
    #expect(try place.firn("copy", "--to", copy).status == 0)
    #expect(try place.prune("--store", copy, "--keep-last", "1").output.contains("on hold: case 7"))
    // It can't be weakened by the way.
    #expect(try place.firn("hold", place.database, ids[0], "--until", "2098-01-31", "--why", "oops").status == 5)
    #expect(try place.prune("--keep-last", "1").output.contains("on hold: case 7"))
    let why = try place.prune("--keep-last", "1", "--explain", ids[0])
    #expect(why.status == 0 && why.output.contains("kept by keep last 1:\n  - on hold: case 7"), "\(why)")
    #expect(try place.prune("--keep-last", "1", "--explain", ids[1]).output.contains("no rule keeps it"))
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
    #expect(try place.listedSnapshots() == [ids[0], ids[2]])
    // A hold that can't be read holds.
    try Folder.write([1, 2, 3], to: place.store.appending("snapshots/\(source(place))/\(place.database)/\(ids[0])/hold.json"))
    #expect(try place.prune("--keep-last", "1").output.contains("an order that can't be read"))
    // Nor does it have to be a file.
    let order = try place.store.appending("snapshots/\(source(place))/\(place.database)/\(ids[2])/hold.json")
    try Folder.make(order)
    _ = try place.takeSnapshot()
    let held = try place.prune("--keep-last", "1", "--apply")
    #expect(held.status == 0 && held.output.contains("an order that can't be read"), "\(held)")
    #expect(try place.listedSnapshots().contains(ids[2]))
    try Folder.removeTree(order)
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
    #expect(try place.firn("hold", place.database, ids[0], "--release").status == 5)
    #expect(try place.firn("hold", place.database, ids[0], "--release", "--confirm", ids[0]).status == 0)
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
    #expect(try Set(place.listedSnapshots()).isDisjoint(with: ids))
    #expect(try place.verify(place.database, "all", "--read").status == 0)
  }

  @Test func `leaves its question on the terminal until it is answered`() throws {
    let place = try Workplace.after(nights: 3)
    let command = "'\(FirnProgram.path("firn-prune"))' --keep-last 1 --apply"
    // Longer than the progress is still.
    let result = try Workplace.run(
      "/bin/sh", ["-c", "{ sleep 1.5; echo sure; sleep 0.5; } | script -qec \"$1\" /dev/null", "sh", command], environment: place.environment)
    let question = "Type remove 2 snapshots of \(place.database) to continue: "
    let asked = try #require(result.output.utf8.firstRange(of: question.utf8), "\(result)")
    let after = String(result.output[asked.upperBound...])
    #expect(after.hasPrefix("sure\r\n") && after.contains("\"sure\" is not \"remove 2 snapshots of \(place.database)\""), "\(result)")
    #expect(try place.listedSnapshots().count == 3)
  }

  @Test func `prunes the others if one database needs a confirmation and there is no terminal`() throws {
    let place = try Workplace.after(nights: 5)
    // This one's backups stopped long ago.
    var retired = place
    let name = "\(place.database)_retired"
    try place.server.sql("CREATE DATABASE \(name)")
    retired.environment["DATABASE_URL"] = place.server.url(name)
    for hour in 0..<5 {
      let date = "2025-01-01 0\(hour):00:00"
      let past = try retired.run(clock: [date], "firn-snapshot", [])
      #expect(past.status == 0, "\(past)")
    }
    let before = try place.listedSnapshots()
    let result = try place.prune("--keep-last", "3", "--apply")
    #expect(result.status == 5 && result.errors.contains("no snapshot of \(name) was removed"), "\(result)")
    #expect(result.errors.contains("removed 2 snapshots,") && result.errors.contains("--confirm 'the clock is right'"), "\(result)")
    let left = try #require(place.firn("list", "--json").json()["snapshots"] as? [[String: Any]])
    #expect(left.count { $0["database"] as? String == name } == 5)
    #expect(left.count { $0["database"] as? String == place.database } == 3)
    #expect(before.count == 10)
    // With nothing left that goes without words, as ever.
    #expect(try place.prune("--keep-last", "3", "--apply").status == 6)
    // Words that are not right are not passed over.
    #expect(try place.prune("--keep-last", "1", "--apply", "--confirm", "yes").status != 0)
    #expect(try place.prune("--keep-last", "3", "--apply", "--confirm", "the clock is right").status == 0)
    #expect(try place.listedSnapshots().count == 6)
    #expect(try place.verify(place.database, "all", "--read").status == 0)
  }

  @Test func `keeps what is intact where others share what was found damaged, whichever are decided on`() throws {
    let place = try Workplace.after(nights: 1)
    // Another database, whose newest snapshot needs an object that was found damaged in a snapshot of this one.
    var twin = place
    let name = "\(place.database)_twin"
    try place.server.sql("CREATE DATABASE \(name) TEMPLATE template0")
    twin.environment["DATABASE_URL"] = place.server.url(name)
    try place.server.sql("CREATE TABLE other AS SELECT g FROM generate_series(1, 10) g", in: name)
    let intact = try twin.takeSnapshot()
    Thread.sleep(forTimeInterval: 1.01)
    try place.server.sql("CREATE TABLE more AS SELECT g, md5(g::text) FROM generate_series(1, 5000) g", in: name)
    let newest = try twin.takeSnapshot()
    func file(_ words: String...) throws -> FilePath {
      let keys = try filesByPath(under: place.store).filter { $0.value.kind == .file }.keys
      return place.store.appending(try #require(keys.first { key in words.allSatisfy(key.contains) }))
    }
    func objects(of id: String) throws -> Set<String> {
      let list = String(decoding: try Folder.contents(of: file(id, "SHA256SUMS")), as: UTF8.self)
      return Set(list.split(separator: "\n").filter { $0.contains("  objects/") }.map { String($0.prefix(64)) })
    }
    let damaged = try #require(objects(of: newest).subtracting(objects(of: intact)).first)
    #expect(try place.verify(place.database, "--read").status == 0)
    let check = try file("/\(place.database)/", "/checks/")
    let text = String(decoding: try Folder.contents(of: check), as: UTF8.self)
    try Folder.write(Array(text.replacing("\"ok\" : true", with: "\"damagedObjects\" : [\"\(damaged)\"], \"ok\" : false").utf8), to: check)
    for arguments in [[name], []] {
      let plan = try place.run("firn-prune", arguments + ["--keep-last", "1"])
      #expect(plan.status == 0 && plan.output.contains("keep  \(intact)"), "\(plan)")
    }
    #expect(try place.run("firn-prune", [name, "--keep-last", "1", "--apply", "--confirm", "remove 1 snapshot of \(name)"]).status == 0)
    #expect(try place.listedSnapshots().contains(intact))
  }

  @Test func `names the source of what waits for a confirmation, and lists it as kept`() throws {
    let place = try Workplace.after(nights: 3)
    for number in 0..<2 {
      if number > 0 { Thread.sleep(forTimeInterval: 1.01) }
      _ = try place.takeSnapshot("--source", "other")
    }
    let result = try place.prune("--keep-last", "1", "--apply", "--json")
    #expect(result.status == 5 && result.errors.contains("/\(place.database) was removed"), "\(result)")
    #expect(!result.errors.contains("no snapshot of \(place.database) "), "\(result)")
    let report = try result.json()
    #expect((report["keep"] as? [[String: Any]])?.count == 4 && (report["remove"] as? [[String: Any]])?.count == 1, "\(result)")
    #expect(try place.listedSnapshots().count == 4)
  }

  @Test func `shows what a policy will hold in time`() throws {
    let place = try Workplace.after(nights: 2)
    let report = try place.prune("--policy", "nightly", "--simulate", "800d", "--every", "1d", "--json").json()
    let forecast = try #require((report["forecasts"] as? [[String: Any]])?.first)
    let steps = try #require(forecast["steps"] as? [[String: Any]])
    #expect(steps.last?["snapshots"] as? Int ?? 0 > 25 && steps.last?["snapshots"] as? Int ?? 99 < 40, "\(steps)")
    let oldest = (forecast["agesAtEnd"] as? [Int])?.last ?? 0
    #expect(oldest > 300 * 86400 && oldest < 370 * 86400)
    #expect(try place.prune("--policy", "nightly", "--simulate", "400d").output.contains("ages of the snapshots at the end"))
    for absurd in ["200000000000d", "100000000000d", "0d", "-1d"] {
      #expect(try place.prune("--policy", "nightly", "--simulate=\(absurd)", "--every", "60s").status == 64)
    }
    #expect(try place.listedSnapshots().count == 2)
  }

  @Test func `collects alone what no snapshot names, and leaves what is young`() throws {
    let place = try Workplace.after(nights: 1)
    func stray(_ digit: Character) -> FilePath { place.store.appending("objects/\(digit)\(digit)/\(String(repeating: digit, count: 64)).zst") }
    for digit in ["a", "b"] as [Character] {
      try? Folder.make(stray(digit).removingLastComponent())
      try Folder.write([1], to: stray(digit))
    }
    try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: -7200)], ofItemAtPath: stray("a").string)
    let look = try place.prune("--gc-only")
    #expect(look.status == 0 && look.errors.contains("1 object") && look.errors.contains("Nothing was deleted") && Folder.exists(stray("a")))
    #expect(try place.prune(place.database, "--gc-only").status == 64)
    let result = try place.prune("--gc-only", "--apply")
    #expect(result.status == 0 && result.errors.contains("deleted 1 object") && result.errors.contains("1 more"), "\(result)")
    #expect(!Folder.exists(stray("a")) && Folder.exists(stray("b")))
    // Where no snapshot is in sight, old objects may belong to some: the plan and what comes of it say the same.
    var empty = place
    empty.environment["FIRN_STORE"] = place.folder.path("empty").string
    #expect(try empty.firn("init").status == 0)
    let old = place.folder.path("empty/objects/cc/\(String(repeating: "c", count: 64)).zst")
    try? Folder.make(old.removingLastComponent())
    try Folder.write([1], to: old)
    try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: -3 * 86400)], ofItemAtPath: old.string)
    for arguments in [["--gc-only"], ["--gc-only", "--apply"]] {
      let doubted = try empty.run("firn-prune", arguments)
      #expect(doubted.status == 3 && doubted.errors.contains("are missing, and may need its objects"), "\(doubted)")
    }
    #expect(Folder.exists(old))
    #expect(try place.verify(place.database, "all", "--read").status == 0)
  }

  @Test func `is blocked by a lock of a lost machine, until an operator unlocks it`() throws {
    let place = try Workplace.after(nights: 2)
    let id = try place.listedSnapshots()[0]
    let now = Date().formatted(.iso8601)
    let lock = place.store.appending("locks/shared-11111111-1111-1111-1111-111111111111.json")
    try Folder.write(
      Array(
        """
        {"mode": "shared", "host": "burnt-down", "machine": "m", "boot": "b", "space": "s", "process": 7, "processStart": 1,
         "purpose": "firn-snapshot of app",
         "createdAt": "\(now)", "refreshedAt": "\(now)"}
        """.utf8), to: lock)
    let refused = try place.prune("--keep-last", "1", "--apply")
    #expect(refused.status == 7 && refused.errors.contains("process 7 on burnt-down"), "\(refused)")
    let look = try place.firn("unlock")
    #expect(look.status == 5 && look.output.contains("unknown") && look.output.contains("process 7 on burnt-down"), "\(look)")
    #expect(try place.firn("unlock", "--confirm", "remove 2 locks").status == 5 && Folder.exists(lock))
    #expect(try place.firn("unlock", "--confirm", "remove 1 lock").status == 0 && !Folder.exists(lock))
    #expect(try place.firn("unlock").status == 0)
    let none = try place.firn("unlock", "--json").json()
    #expect((none["locks"] as? [Any])?.isEmpty == true && none["removed"] as? Int == 0)
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
    #expect(try !place.listedSnapshots().contains(id))
    // One whose process lives here stays.
    try place.sql("CREATE TABLE wide AS SELECT repeat(md5(g::text), 100) FROM generate_series(1, 100000) g")
    let running = try place.start("firn-snapshot", [])
    let deadline = ContinuousClock.now + .seconds(10)
    func locks() -> [String] { ((try? Folder.names(in: place.store.appending("locks"))) ?? []).filter { $0.hasSuffix(".json") } }
    while locks().isEmpty, ContinuousClock.now < deadline { Thread.sleep(forTimeInterval: 0.01) }
    running.stop()
    let alive = try place.firn("unlock", "--confirm", "remove 1 lock")
    #expect(alive.status == 0 && alive.errors.contains("all of them live") && locks().count == 1, "\(alive)")
    running.resume()
    #expect(running.wait() == 0)
  }
}
