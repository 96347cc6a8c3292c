import Foundation
import Platform
import Postgres
import TestSupport
import Testing

@Suite struct `Snapshots of a whole server` {
  /// A server of its own, with three databases besides `postgres`.
  private func workplace() throws -> Workplace {
    let server = try TestServer(binaries: TestServer.binaries(at: 0))
    let place = try Workplace(on: server, database: "postgres")
    for name in ["shop", "crm", "scratch_1"] {
      try server.sql("CREATE DATABASE \(name)")
      try server.sql("CREATE TABLE t AS SELECT generate_series(1, 10) id", in: name)
    }
    return place
  }

  private func databases(_ result: CommandResult, _ key: String) throws -> Set<String> {
    Set((try result.json()[key] as? [[String: Any]] ?? []).compactMap { $0["database"] as? String })
  }

  @Test func `take each database, also one that is new, and leave out what was excluded or is no use`() throws {
    let place = try workplace()
    try place.server.sql("CREATE DATABASE closed ALLOW_CONNECTIONS false")
    try place.server.sql("CREATE DATABASE pattern IS_TEMPLATE true")
    let first = try place.snapshot("--all", "--exclude-database", "scratch_*", "--json")
    #expect(first.status == 0, "\(first)")
    #expect(try databases(first, "snapshots") == ["postgres", "shop", "crm"] && databases(first, "failures").isEmpty, "\(first)")
    #expect(try databases(first, "leftOut") == ["closed"], "\(first)")
    // A database that a restore keeps is left out.
    #expect(try place.restore("shop", "--confirm", "shop").status == 0)
    try place.server.sql("CREATE DATABASE \"new 'one'\"")
    let second = try place.snapshot("--all")
    #expect(second.status == 0 && second.errors.contains("5 snapshots of 5 databases"), "\(second)")
    #expect(second.errors.contains("it is the previous state of a restored database"), "\(second)")
    #expect(try place.firn("list", "new 'one'").output.contains("complete"))
  }

  @Test func `go on when one database fails, and say which`() throws {
    let place = try workplace()
    let holder = try Connection(ConnectionSettings(place.server.url("crm")), applicationName: "holder")
    try holder.execute("BEGIN; LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE")
    let result = try place.snapshot("--all", "--lock-wait", "1s", "--json")
    #expect(result.status == 3 && result.errors.contains("no new snapshot of crm"), "\(result)")
    #expect(try databases(result, "failures") == ["crm"] && databases(result, "snapshots") == ["postgres", "shop", "scratch_1"], "\(result)")
    let all = try place.snapshot(
      "--all", "--lock-wait", "1s", "--exclude-database", "shop", "--exclude-database", "scratch_1", "--exclude-database", "postgres")
    #expect(all.status == 8, "\(all)")
  }

  @Test func `show what they would be, and store nothing, with --dry-run`() throws {
    let place = try workplace()
    #expect(try place.snapshot("shop").status == 0)
    let before = try filesByPath(under: place.store).keys.sorted()
    let plan = try place.snapshot("--all", "--exclude-table-data", "public.t", "--dry-run", "--json")
    #expect(plan.status == 0, "\(plan)")
    let plans = try plan.json()["plans"] as? [[String: Any]] ?? []
    #expect(Set(plans.compactMap { $0["database"] as? String }) == ["postgres", "shop", "crm", "scratch_1"])
    #expect(plans.count { $0["parent"] is String } == 1 && plans.count { ($0["excluded"] as? [String])?.isEmpty == false } == 3, "\(plan)")
    let table = try place.snapshot("shop", "--dry-run")
    #expect(table.output.contains("changes since") && table.errors.contains("nothing was stored"), "\(table)")
    try place.server.sql("CREATE ROLE weak LOGIN PASSWORD 'weak'")
    var weak = place
    weak.environment["DATABASE_URL"] = place.server.url("shop", user: "weak", password: "weak")
    let refused = try weak.snapshot("--dry-run")
    #expect(refused.status == 6 && refused.errors.contains("weak may not read all of"), "\(refused)")
    #expect(try filesByPath(under: place.store).keys.sorted() == before)
  }

  @Test func `refuse a pattern that matches nothing or everything, and a database beside it`() throws {
    let place = try workplace()
    let none = try place.snapshot("--all", "--exclude-database", "shopp")
    #expect(none.status == 6 && none.errors.contains("matches shopp"), "\(none)")
    let every = try place.snapshot("--all", "--exclude-database", "*")
    #expect(every.status == 6 && every.errors.contains("every database"), "\(every)")
    #expect(try place.snapshot("shop", "--all").status == 64)
    #expect(try place.snapshot("shop", "--exclude-database", "x").status == 64)
    #expect(try place.listedSnapshots().isEmpty)
  }
}
