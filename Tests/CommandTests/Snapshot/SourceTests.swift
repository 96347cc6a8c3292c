import Foundation
import Platform
import Postgres
import Repository
import TestSupport
import Testing

/// The names of servers in a store.
@Suite struct `Sources` {
  private func workplace(_ server: TestServer) throws -> Workplace {
    try server.sql("CREATE DATABASE shop")
    try server.sql("CREATE TABLE t AS SELECT id, md5(id::text) FROM generate_series(1, 20000) id", in: "shop")
    return try Workplace(on: server, database: "shop")
  }

  private func sources(_ place: Workplace) throws -> [[String: Any]] {
    try place.firn("source", "list", "--json").json()["sources"] as? [[String: Any]] ?? []
  }

  @Test func `have names by default, can be renamed, and names work where folders do`() throws {
    let server = try TestServer(binaries: TestServer.binaries(at: 0), settings: ["cluster_name=15/main"])
    let place = try workplace(server)
    _ = try place.takeSnapshot()
    let found = try #require(sources(place).first)
    #expect((found["name"] as? String)?.hasSuffix("-15-main") == true, "\(found)")
    let folder = try #require(found["source"] as? String)
    #expect(try place.firn("source", "rename", folder, "a/b").status == 64)
    #expect(try place.firn("source", "rename", "nowhere", "main").status == 10)
    #expect(try place.firn("source", "rename", folder, "main").status == 0)
    for name in ["main/shop", "\(folder)/shop"] { #expect(try place.firn("show", name).status == 0, "\(name)") }
    // The name stays, and the snapshots go on in the same folder, with and without it.
    _ = try place.takeSnapshot()
    _ = try place.takeSnapshot("--source", "main")
    #expect(try sources(place).map { $0["name"] as? String } == ["main"])
    #expect(try place.listedSnapshots().count == 3)
  }

  @Test func `go on with a new server of the same name, once, and are never shared by two`() throws {
    let (old, new) = (try TestServer(binaries: TestServer.binaries(at: 0)), try TestServer(binaries: TestServer.binaries(at: 2)))
    var place = try workplace(old)
    _ = try place.takeSnapshot("--source", "main")
    let first = try place.snapshot("--source", "main", "--json").json()["storedBytes"] as? Int ?? 0
    // Moved to another version.
    try new.sql("CREATE DATABASE shop")
    try new.sql("CREATE TABLE t AS SELECT id, md5(id::text) FROM generate_series(1, 20000) id", in: "shop")
    place.environment["DATABASE_URL"] = new.url("shop")
    place.environment["FIRN_PG_BIN"] = "\(old.binaries):\(new.binaries)"
    let moved = try place.snapshot("--source", "main", "--json")
    #expect(moved.status == 3, "\(moved)")
    #expect((try moved.json()["warnings"] as? [String] ?? []).contains { $0.hasPrefix("source main continues with another server") }, "\(moved)")
    #expect(try moved.json()["storedBytes"] as? Int ?? .max < first + 100_000, "it is deduplicated against the last snapshot: \(moved)")
    let servers = try #require(sources(place).first?["servers"] as? [[String: Any]])
    #expect(servers.count == 2)
    // The old one is still there, and takes its snapshots under the same name.
    place.environment["DATABASE_URL"] = old.url("shop")
    let refused = try place.snapshot("--source", "main")
    #expect(refused.status == 6 && refused.errors.contains("another server takes its snapshots as source main"), "\(refused)")
    #expect(try place.snapshot("--source", "main", "--take-source-back").status == 3)
    #expect(try place.snapshot("--source", "main").status == 0)
    place.environment["DATABASE_URL"] = new.url("shop")
    #expect(try place.snapshot("--source", "main").status == 6)
  }
}
