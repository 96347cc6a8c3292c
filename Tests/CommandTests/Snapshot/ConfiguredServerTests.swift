import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// `servers` in `firn.yaml`: several servers, known by name.
@Suite struct `Servers by their names` {
  /// Two servers of their own: `main` with shop and crm, `other`, of another version, with shop.
  private func workplace() throws -> (place: Workplace, other: TestServer) {
    let (main, other) = (try TestServer(binaries: TestServer.binaries(at: 0)), try TestServer(binaries: TestServer.binaries(at: 2)))
    for (server, names) in [(main, ["shop", "crm"]), (other, ["shop"])] {
      for name in names {
        try server.sql("CREATE DATABASE \(name)")
        try server.sql("CREATE TABLE t AS SELECT generate_series(1, 10) id, \(server.port) AS port", in: name)
      }
    }
    var place = try Workplace(on: main, database: "shop")
    place.environment["DATABASE_URL"] = nil
    place.environment["FIRN_PG_BIN"] = "\(main.binaries):\(other.binaries)"
    try configure(place, other)
    return (place, other)
  }

  private func configure(_ place: Workplace, _ other: TestServer, _ more: String = "", excluding names: String = "postgres") throws {
    let text = """
      servers:
        main:
          database-url: \(place.server.url("postgres"))
          exclude: [\(names)]
      \(more)
        other:
          database-url: \(other.url("postgres"))
          databases: ["s*"]
      """
    let file = place.folder.path(".config/firn/firn.yaml")
    try Folder.make(file.removingLastComponent())
    try Folder.write(Array(text.utf8), to: file)
  }

  private func names(_ result: CommandResult, _ key: String, _ field: String = "database") throws -> Set<String> {
    Set((try result.json()[key] as? [[String: Any]] ?? []).compactMap { $0[field] as? String })
  }

  private func databases(_ status: CommandResult) throws -> [[String: Any]] { try status.json()["databases"] as? [[String: Any]] ?? [] }

  @Test func `are backed up as a whole, and status names what has no snapshot and what is gone`() throws {
    let (place, other) = try workplace()
    defer { withExtendedLifetime(other) {} }
    let first = try place.snapshot("--all", "--json")
    #expect(first.status == 0, "\(first)")
    #expect(try names(first, "snapshots", "source") == ["main", "other"] && (first.json()["snapshots"] as? [Any])?.count == 3, "\(first)")
    try place.server.sql("CREATE DATABASE fresh")
    try place.server.sql("DROP DATABASE crm")
    let status = try place.firn("status", "--json")
    #expect(try status.json()["problems"] as? [String] == ["main/fresh has no snapshot"], "\(status)")
    #expect(status.status == 3)
    let gone = try databases(status).filter { $0["gone"] as? Bool == true }
    #expect(gone.map { $0["database"] as? String } == ["crm"], "\(status)")
    #expect(try place.firn("doctor", "--server", "main").output.contains("main/fresh has no snapshot"))
    // A lost database is a warning.
    #expect(try place.snapshot("--all", "--server", "main").status == 3)
    #expect(try place.firn("status", "--json").json()["problems"] as? [String] == [])
  }

  @Test func `go on when one of them is down`() throws {
    let (place, other) = try workplace()
    other.stop()
    let result = try place.snapshot("--all", "--json")
    #expect(result.status == 3 && result.errors.contains("no new snapshot of all databases of other"), "\(result)")
    #expect(try names(result, "snapshots") == ["shop", "crm"] && names(result, "failures", "server") == ["other"], "\(result)")
    let status = try place.firn("status", "--json")
    #expect((try status.json()["problems"] as? [String] ?? []).contains { $0.hasPrefix("server other could not be asked") }, "\(status)")
    #expect(try place.snapshot("--all", "--server", "other").status == 8)
  }

  @Test func `decide which database of one name is meant`() throws {
    let (place, other) = try workplace()
    #expect(try place.snapshot("--all").status == 0)
    let unclear = try place.restore("shop", "--as", "copy")
    #expect(unclear.status == 10, "\(unclear)")
    #expect(unclear.errors.contains("main/shop, other/shop") && unclear.errors.contains("other is 127.0.0.1:\(other.port)"), "\(unclear)")
    // Named; by the source's name, which chooses the server too; by the server that is connected to.
    #expect(try place.restore("shop", "--server", "main", "--as", "copy").status == 0)
    #expect(try place.server.sql("SELECT DISTINCT port FROM t", in: "copy") == "\(place.server.port)")
    #expect(try place.restore("other/shop", "--as", "copy").status == 0)
    #expect(try other.sql("SELECT DISTINCT port FROM t", in: "copy") == "\(other.port)")
    var connected = place
    connected.environment["DATABASE_URL"] = other.url("postgres")
    #expect(try connected.restore("shop", "--as", "third").status == 0)
    #expect(try other.sql("SELECT DISTINCT port FROM t", in: "third") == "\(other.port)")
    // Other commands take a source alone.
    #expect(try place.firn("list", "--server", "other", "--json").json()["snapshots"].map { ($0 as? [Any])?.count } == 1)
    #expect(try place.verify("all", "latest", "--server", "main").status == 0)
    #expect(try place.verify("--server", "nowhere").status == 10)
    #expect(try place.prune("--server", "main", "--keep-last", "1").status == 0)
  }

  @Test func `are not changed by the environment, nor taken for another one`() throws {
    let (place, other) = try workplace()
    defer { withExtendedLifetime(other) {} }
    #expect(try place.snapshot("--all").status == 0)
    var elsewhere = place
    elsewhere.environment["PGPORT"] = "\(other.port)"
    #expect(try elsewhere.snapshot("--all", "--server", "main").status == 0)
    elsewhere.environment["PGSERVICE"] = "x"
    let led = try elsewhere.snapshot("--all", "--server", "main")
    #expect(led.status == 64 && led.errors.contains("PGSERVICE in the environment"), "\(led)")
    // A database of another source is no answer, nor is a server without its name.
    let missing = try place.restore("crm", "--server", "other", "--as", "copy")
    #expect(missing.status == 10, "\(missing)")
    for arguments in [["--all"], ["shop", "--undo"], ["shop", "--recover"]] {
      let unclear = try place.run("firn-restore", arguments)
      #expect(unclear.status == 64 && unclear.errors.contains("--server"), "\(unclear)")
    }
    // Both by name; and the doctor looks at both.
    #expect(try place.snapshot("--all", "--server", "main", "--server", "other").status == 0)
    let doctor = try place.firn("doctor").output
    #expect(doctor.contains("\(place.server.port), database") && doctor.contains("\(other.port), database"), "\(doctor)")
    #expect(try place.restore("main/shop", "--confirm", "shop").errors.contains("to undo: firn-restore shop --server main --undo"))
    #expect(try place.restore("shop", "--server", "main", "--undo", "--confirm", "shop").status == 0)
    #expect(try place.snapshot("--all", "--source", "joint").status == 64)
  }

  @Test func `give their name to their own snapshots alone`() throws {
    let (place, other) = try workplace()
    let file = place.folder.path(".config/firn/firn.yaml")
    let metrics = place.folder.path("firn.prom")
    try Folder.write(Array("servers: {main: {database-url: '\(place.server.url("postgres"))'}}\nmetrics: \(metrics)\n".utf8), to: file)
    try place.server.sql("CREATE DATABASE fresh")
    #expect(try place.snapshot("shop").status == 0)
    let samples = String(decoding: try Folder.contents(of: metrics), as: UTF8.self).split(separator: "\n").filter { $0.hasPrefix("firn_status_ok") }
    #expect(samples.contains { $0.hasSuffix("database=\"fresh\"} 0") } && samples.contains { $0.contains("database=\"shop\"") }, "\(samples)")
    var elsewhere = place
    elsewhere.environment["DATABASE_URL"] = other.url("shop")
    let foreign = try elsewhere.snapshot("--json")
    #expect(try foreign.status == 0 && foreign.json()["source"] as? String != "main", "\(foreign)")
    let own = try place.snapshot("shop", "--json")
    #expect(try own.status == 0 && own.json()["source"] as? String == "main", "\(own)")
    // Without its name the only server is meant.
    #expect(try place.restore("main/shop", "--confirm", "shop").status == 0)
    #expect(try place.restore("shop", "--undo", "--confirm", "shop").status == 0)
    let check = try place.run("firn-migrate", ["check", "shop"])
    #expect(check.output.contains("none was ever verified"), "\(check)")
  }

  @Test func `keep a failed night in sight until that server has a good one`() throws {
    let (place, other) = try workplace()
    #expect(try place.snapshot("--all").status == 0)
    other.stop()
    Thread.sleep(forTimeInterval: 1)
    #expect(try place.snapshot("--all").status == 3)
    func problems(_ arguments: String...) throws -> [String] {
      try place.run("firn", ["status", "--json"] + arguments).json()["problems"] as? [String] ?? []
    }
    let failed = try problems()
    #expect(failed.contains { $0.hasPrefix("all databases of other: the snapshot of") }, "\(failed)")
    #expect(try problems("--server", "main").isEmpty)
    try other.start()
    #expect(try place.snapshot("--all").status == 0)
    let left = try problems()
    #expect(left.isEmpty, "\(left)")
    // The success of one server is no answer for another.
    other.stop()
    Thread.sleep(forTimeInterval: 1)
    #expect(try place.snapshot("--all").status == 3)
    #expect(try place.snapshot("--all", "--server", "main").status == 0)
    #expect(try problems().contains { $0.hasPrefix("all databases of other: the snapshot of") })
    try other.start()
    #expect(try place.snapshot("shop", "--server", "other").status == 0)
    #expect(try !problems().contains { $0.hasPrefix("all databases of other: the snapshot of") }, "each of its databases has a newer one")
    // A mistyped command is no failed backup.
    #expect(try place.verify("shpo", "latest").status == 10)
    #expect(try problems().isEmpty)
  }

  @Test func `have exceptions for some of their databases`() throws {
    let (place, other) = try workplace()
    try configure(
      place, other, "    per-database:\n      crm: {exclude-table-data: [public.t], max-age: 1000d}\n      'sh*': {max-age: 1s, jobs: 1}")
    let result = try place.snapshot("--all", "--server", "main", "--json")
    #expect(result.status == 0, "\(result)")
    let rows = (try result.json()["snapshots"] as? [[String: Any]] ?? []).reduce(into: [:]) {
      $0[$1["database"] as? String ?? ""] = ($1["tables"] as? [[String: Any]])?.count
    }
    #expect(rows == ["shop": 1, "crm": 0])
    // Names without a schema are found too, as pg_dump finds them.
    let planned = try place.snapshot("crm", "--server", "main", "--exclude-table-data", "t", "--dry-run", "--json").json()["plans"]
    #expect((planned as? [[String: Any]])?.first?["excluded"] as? [String] == ["\"public\".\"t\""], "\(planned ?? "")")
    // Also in a snapshot of that database alone.
    let alone = try place.snapshot("crm", "--server", "main", "--json")
    #expect(try (alone.json()["tables"] as? [Any])?.isEmpty == true, "\(alone)")
    Thread.sleep(forTimeInterval: 1.1)
    let status = try place.firn("status", "--server", "main", "--json")
    let old = try databases(status).filter { ($0["problems"] as? [String] ?? []).contains { $0.hasPrefix("the newest snapshot was taken") } }
    #expect(old.map { $0["database"] as? String } == ["shop"], "\(status)")
    // Neither a mistyped name nor a lost database goes unsaid.
    try configure(place, other, "    per-database: {cmr: {jobs: 1}}", excluding: "postgres, scratsh, '*_test'")
    try place.server.sql("DROP DATABASE crm")
    let after = try place.snapshot("--all", "--server", "main")
    #expect(after.status == 3 && after.errors.contains("per-database cmr of server main: no database matches it"), "\(after)")
    #expect(after.errors.contains("exclude scratsh of server main: no database matches it") && !after.errors.contains("_test"), "\(after)")
    #expect(after.errors.contains("main/crm: no snapshot: the server no longer has it"), "\(after)")
    func warnsOfIt() throws -> Bool {
      try databases(place.firn("status", "--json")).contains {
        ($0["problems"] as? [String] ?? []).contains { $0.hasPrefix("the server no longer has this database") }
      }
    }
    #expect(try warnsOfIt())
    // Or it was intended: because it is excluded, or after a while.
    try configure(place, other, "", excluding: "postgres, crm")
    let excluded = try place.snapshot("--all", "--server", "main")
    #expect(try excluded.status == 0 && !excluded.errors.contains("the server no longer") && !warnsOfIt(), "\(excluded)")
    try configure(place, other, "", excluding: "postgres")
    let late = try place.run(clock: ["-f", "+9d"], "firn-snapshot", ["--all", "--server", "main"])
    #expect(late.status == 0 && !late.errors.contains("crm: the server"), "\(late)")
  }

  @Test func `are refused when they make no sense`() throws {
    let (place, other) = try workplace()
    try configure(place, other, "    databases: [shop, nothing*]")
    let unmatched = try place.snapshot("--all", "--server", "main")
    #expect(unmatched.status == 3 && unmatched.errors.contains("no new snapshot of main/nothing*"), "\(unmatched)")
    #expect(try place.firn("list", "shop", "--json").json()["snapshots"].map { ($0 as? [Any])?.count } == 1, "the others have theirs")
    try configure(place, other, "    databases: [nothing*]")
    #expect(try place.snapshot("--all", "--server", "main").status == 6)
    #expect(try place.snapshot("--all", "--server", "mian").status == 64)
    for (text, words) in [
      ("servers: {main: {databases: ['*']}}", "lacks database-url"), ("servers: {a/b: {database-url: postgres://x}}", "neither spaces nor /"),
      ("servers: {a: {database-url: postgres://x}, b: {database-url: postgres://x}}", "are the same server"),
      ("servers: {a: {database-url: postgres://x, patterns: x}}", "there is no key patterns"),
    ] {
      try Folder.write(Array(text.utf8), to: place.folder.path(".config/firn/firn.yaml"))
      let result = try place.snapshot("--all")
      #expect(result.status == 78 && result.errors.contains(words), "\(result)")
    }
  }
}
