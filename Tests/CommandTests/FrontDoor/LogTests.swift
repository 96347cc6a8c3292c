import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// `firn log`: what ran, and what failed.
@Suite struct `The log of runs` {
  private func runs(_ place: Workplace, _ arguments: String...) throws -> [[String: Any]] {
    try place.run("firn", ["log", "--json"] + arguments).json()["runs"] as? [[String: Any]] ?? []
  }

  private func problems(_ place: Workplace) throws -> [String] {
    let status = try place.firn("status", "--json").json()
    let databases = status["databases"] as? [[String: Any]] ?? []
    return (status["problems"] as? [String] ?? []) + databases.flatMap { $0["problems"] as? [String] ?? [] }
  }

  @Test func `shows a failed night, as do the status and the report, until one succeeds`() throws {
    var place = try Workplace(on: try TestServer.system.get())
    #expect(try place.snapshot("--kind", "nightly").status == 0)
    Thread.sleep(forTimeInterval: 1)
    let url = place.environment["DATABASE_URL"]
    place.environment["DATABASE_URL"] = "postgresql://postgres@127.0.0.1:1/\(place.database)"
    #expect(try place.snapshot("--kind", "nightly").status == 8)
    #expect(try runs(place).map { $0["outcome"] as? String } == ["failure", "success"])
    let failed = try runs(place, "--failed")
    #expect(failed.count == 1 && failed[0]["exitCode"] as? Int == 8 && failed[0]["database"] as? String == place.database, "\(failed)")
    #expect((failed[0]["error"] as? String)?.contains("cannot connect") == true && failed[0]["hint"] is String, "\(failed)")
    #expect(try problems(place).contains { $0.hasPrefix("the snapshot of") && $0.contains("failed: cannot connect") })
    #expect(try place.firn("log").output.contains("FAILED (8)"))
    #expect(try place.firn("report").output.contains("Failed runs"))
    // A store that can't be reached: this machine remembers.
    var elsewhere = place
    elsewhere.environment["FIRN_STORE"] = place.folder.path("missing").string
    #expect(try elsewhere.snapshot().status == 10)
    let missing = try elsewhere.firn("log", "--json")
    #expect(try missing.status == 3 && (missing.json()["runs"] as? [Any])?.count == 1, "\(missing)")
    #expect(try runs(place, "--failed").count == 1, "runs of another store are not of this one")

    place.environment["DATABASE_URL"] = url
    #expect(try place.snapshot("--kind", "nightly").status == 0)
    #expect(try !problems(place).contains { $0.hasPrefix("the snapshot of") })
    #expect(try runs(place, "--job", "snapshot", "--last", "2").count == 2)
    #expect(try runs(place, "nobody").isEmpty)
    #expect(try place.firn("log", "--job", "nothing").status == 64)
  }

  @Test func `shows a run that was killed`() throws {
    let place = try Workplace(on: try TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT 1 a")
    #expect(try place.snapshot().status == 0)
    Thread.sleep(forTimeInterval: 1)
    let holder = try Connection(ConnectionSettings(place.server.url(place.database)), applicationName: "holder")
    try holder.execute("BEGIN; LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE")
    let child = try place.start("firn-snapshot", [])
    let deadline = ContinuousClock.now + .seconds(30)
    while try runs(place).count < 2, .now < deadline { Thread.sleep(forTimeInterval: 0.05) }
    #expect(try runs(place).first?["outcome"] as? String == "running")
    Host.send(9, to: child.id)
    _ = child.wait()
    #expect(try runs(place).first?["outcome"] as? String == "killed")
    #expect(try problems(place).contains { $0.hasPrefix("the snapshot of") && $0.hasSuffix("was killed") })
  }

  @Test func `has no error messages in an encrypted store`() throws {
    var place = try Workplace(on: try TestServer.system.get())
    let identity = place.folder.path("identity").string
    let recipient = try place.firn("key", "new", identity, "--json").json()["recipient"] as? String ?? ""
    place.environment["FIRN_STORE"] = place.folder.path("sealed").string
    #expect(try place.firn("init", "--recipient", recipient).status == 0)
    #expect(try place.snapshot("--exclude-table-data", "public.secret_name").status == 6)
    let files = try Folder.names(in: place.folder.path("sealed/runs"))
    let text = try files.map { String(decoding: try Folder.contents(of: place.folder.path("sealed/runs/\($0)")), as: UTF8.self) }.joined()
    #expect(files.count == 1 && !text.contains("secret_name"), "\(text)")
    #expect((try runs(place)[0]["error"] as? String)?.contains("secret_name") == true, "this machine has them")
  }
}
