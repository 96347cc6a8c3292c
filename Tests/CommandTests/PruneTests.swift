import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

@Suite struct `firn-prune` {
  private func workplace(nights: Int) throws -> Workplace {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) || md5((g * 3)::text) x FROM generate_series(1, 20000) g")
    for night in 0..<nights {
      if night > 0 { try place.sql("UPDATE t SET x = md5(x || \(night)) WHERE id % 50 = \(night)") }
      _ = try place.takeSnapshot()
      // Ids are told apart by their second, then by chance.
      Thread.sleep(forTimeInterval: 1.01)
    }
    return place
  }

  @Test func `prints its plan and removes nothing, until told to apply it`() throws {
    let place = try workplace(nights: 3)
    let ids = try place.listedSnapshots()
    let before = try filesByPath(under: place.store.appending("objects")).count
    let plan = try place.prune("--keep-last", "1")
    #expect(plan.status == 0)
    #expect(plan.output.contains("remove  \(place.database)  \(ids[0])"))
    #expect(plan.errors.contains("--apply"))
    #expect(try place.listedSnapshots() == ids)
    #expect(try filesByPath(under: place.store.appending("objects")).count == before)

    let report = try place.prune("--keep-last", "1", "--apply", "--json").json()
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

  @Test func `never removes the only snapshot, nor the newest complete one`() throws {
    let place = try workplace(nights: 1)
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
    #expect(try place.prune("--keep-last", "0", "--apply").status == 64)
    let complete = try place.listedSnapshots()
    for _ in 1...3 {
      Thread.sleep(forTimeInterval: 1.01)
      #expect(try place.snapshot("--exclude-table-data", "public.t").status == 3)
    }
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
    #expect(try place.listedSnapshots().contains(complete[0]))
  }

  @Test func `leaves databases alone whose names only begin alike`() throws {
    let place = try workplace(nights: 2)
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
    let place = try workplace(nights: 2)
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
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
  }
}
