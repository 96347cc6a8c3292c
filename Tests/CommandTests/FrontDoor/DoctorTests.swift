import Foundation
import Platform
import Repository
import SystemPackage
import TestSupport
import Testing

/// What `firn doctor` finds.
@Suite struct `A doctor` {
  private struct Visit {
    let status: Int32
    let verdicts: [String: String]
    let details: [String: String]
    let hints: [String: String]

    init(_ place: Workplace, _ arguments: String...) throws {
      let result = try place.run("firn", ["doctor", "--json"] + arguments)
      status = result.status
      let findings = try result.json()["findings"] as? [[String: String]] ?? []
      verdicts = findings.reduce(into: [:]) { $0[$1["name"] ?? ""] = $1["verdict"] }
      details = findings.reduce(into: [:]) { $0[$1["name"] ?? ""] = $1["detail"] }
      hints = findings.reduce(into: [:]) { $0[$1["name"] ?? ""] = $1["hint"] }
    }
  }

  private func configured(_ text: String, on server: TestServer? = nil) throws -> Workplace {
    let place = try Workplace(on: try server ?? TestServer.system.get())
    for name in [".config", ".config/firn"] { try Folder.make(place.folder.path(name)) }
    _ = try place.folder.write(text, to: ".config/firn/firn.yaml")
    return place
  }

  @Test func `finds a sound place sound, and leaves it as it was`() throws {
    var place = try configured("")
    let copy = place.folder.path("copy")
    _ = try place.folder.write("copies: [\(copy)]\nmetrics: \(place.folder.path("firn.prom"))\n", to: ".config/firn/firn.yaml")
    try place.sql("CREATE TABLE t (id int)")
    _ = try place.takeSnapshot()
    #expect(try place.verify().status == 0)
    place.environment["PATH"] = "/usr/bin:/bin"
    let before = try Workplace.run("/usr/bin/find", [place.folder.path.string, "-not", "-type", "d"], environment: [:]).output
    let visit = try Visit(place)
    #expect(visit.verdicts.values.allSatisfy { $0 == "pass" || $0 == "unknown" || $0 == "warn" } && visit.status != 6, "\(visit)")
    for name in [
      "configuration", "server", "server-version", "rights", "roles", "lock-table", "server-clock", "store", "store-writing", "copy-1", "spool",
      "metrics", "told", "snapshots",
    ] {
      #expect(visit.verdicts[name] == "pass", "\(name): \(visit.details[name] ?? "not looked at")")
    }
    #expect(try Workplace.run("/usr/bin/find", [place.folder.path.string, "-not", "-type", "d"], environment: [:]).output == before)
  }

  @Test func `says what keeps backups from working, and what to do`() throws {
    var place = try configured("")
    let role = "weak_\(place.database)"
    try place.sql("CREATE ROLE \(role) LOGIN PASSWORD 'abc'; CREATE TABLE barred (id int)")
    place.environment["DATABASE_URL"] = place.server.url(place.database, user: role, password: "abc")
    let weak = try Visit(place)
    #expect(weak.status == 6 && weak.verdicts["rights"] == "stop" && weak.hints["rights"]?.contains("GRANT pg_read_all_data") == true, "\(weak)")
    #expect(weak.verdicts["roles"] == "warn")

    place.environment["DATABASE_URL"] = "postgresql://127.0.0.1:1/nowhere"
    place.environment["FIRN_STORE"] = place.folder.path("nothing").string
    let lost = try Visit(place, "--spool", "/proc/nothing")
    #expect(lost.status == 6)
    #expect(lost.verdicts["server"] == "stop" && lost.verdicts["store"] == "stop" && lost.verdicts["spool"] == "stop", "\(lost)")
    #expect(lost.hints["store"]?.contains("firn init") == true)

    place.environment["FIRN_STORE"] = place.store.string
    place.environment["DATABASE_URL"] = place.server.url(place.database)
    place.environment["PATH"] = "/nowhere"
    _ = try place.folder.write(
      "metrics: /nonexistent/firn.prom\nmail: {to: a@b, program: /nonexistent/sendmail}\ndatabase-url: 'postgresql://u:secret@h/d'\n",
      to: ".config/firn/firn.yaml")
    _ = try Workplace.run("/bin/chmod", ["644", place.folder.path(".config/firn/firn.yaml").string], environment: [:])
    let odd = try Visit(place)
    #expect(odd.status == 3, "\(odd)")
    for name in ["configuration", "metrics", "mail", "recovery", "copies", "snapshots"] { #expect(odd.verdicts[name] == "warn", "\(name): \(odd)") }
    #expect(!odd.details.values.contains { $0.contains("secret") })
  }

  @Test func `finds a pooler, an encryption that is not ours, and a missing tool`() throws {
    let server = try TestServer.system.get()
    var place = try configured("", on: server)
    let recipient = try place.firn("key", "new", place.folder.path("identity").string).output
    _ = try place.folder.write("recipients: [\(recipient)]", to: ".config/firn/firn.yaml")
    place.environment["FIRN_PG_BIN"] = "/nonexistent"
    let visit = try Visit(place)
    #expect(visit.status == 6 && visit.verdicts["store"] == "stop" && visit.details["store"]?.contains("not encrypted") == true, "\(visit)")
    let pooler = try TestPooler(before: server)
    place.environment["DATABASE_URL"] = pooler.url(place.database)
    let pooled = try Visit(place)
    #expect(pooled.verdicts["server"] == "stop" && pooled.details["server"]?.contains("pool") == true, "\(pooled)")
  }

  @Test func `examines the server without a named database, and the policy`() throws {
    var place = try configured("policy: nigthly\n")
    let role = "nodatabase_\(place.database)"
    try place.sql("CREATE ROLE \(role) LOGIN PASSWORD 'abc'")
    place.environment["DATABASE_URL"] = nil
    place.environment.merge(["PGHOST": "127.0.0.1", "PGPORT": "\(place.server.port)", "PGUSER": role, "PGPASSWORD": "abc"]) { $1 }
    let visit = try Visit(place)
    #expect(visit.verdicts["server"] == "pass" && visit.details["server"]?.contains("database postgres") == true, "\(visit)")
    #expect(visit.verdicts["policy"] == "warn" && visit.details["policy"]?.contains("nigthly") == true, "\(visit)")
    place.environment["PGDATABASE"] = role
    #expect(try Visit(place).verdicts["server"] == "stop")
  }

  @Test func `finds what pg_dump would not be let see, in every database that is backed up`() throws {
    var place = try configured("")
    let server = place.server
    let (role, other) = ("barred_\(place.database)", "\(place.database)_other")
    try place.sql("CREATE DATABASE \(other)")
    try place.sql("CREATE ROLE \(role) LOGIN PASSWORD 'abc'; GRANT pg_read_all_data TO \(role); CREATE TABLE t (id int)")
    for database in [place.database, other] { #expect(try place.snapshot(database).status == 0) }
    place.environment["DATABASE_URL"] = server.url(place.database, user: role, password: "abc")
    func rights() throws -> [[String: String]] {
      let findings = try place.firn("doctor", "--json").json()["findings"] as? [[String: String]] ?? []
      return findings.filter { $0["name"] == "rights" }
    }
    #expect(try rights().map { $0["verdict"] } == ["pass", "pass"])
    let barriers: [(sql: String, undo: String, detail: String, hint: String)] = [
      (
        "CREATE TABLE secret (id int); ALTER TABLE secret ENABLE ROW LEVEL SECURITY", "DROP TABLE secret", "row security",
        "ALTER ROLE \"\(role)\" BYPASSRLS"
      ),
      ("SELECT lo_from_bytea(7, 'x')", "SELECT lo_unlink(7)", "may not read the large object 7", "superuser"),
    ]
    for (sql, undo, detail, hint) in barriers {
      _ = try server.sql(sql, in: other)
      let found = try #require(rights().first { $0["verdict"] == "stop" })
      #expect(found["detail"]?.hasPrefix("\(other): ") == true && found["detail"]?.contains(detail) == true, "\(found)")
      #expect(found["hint"]?.contains(hint) == true, "\(found)")
      // The snapshot fails, as predicted.
      #expect(try place.snapshot(other, "--store", place.store.string).status != 0)
      _ = try server.sql(undo, in: other)
    }
    try place.sql("REVOKE pg_read_all_data FROM \(role); GRANT SELECT ON t TO \(role); CREATE SEQUENCE s")
    let sequence = try #require(rights().first { $0["verdict"] == "stop" })
    #expect(sequence["detail"] == "\(place.database): \(role) may not read the sequence public.s", "\(sequence)")
  }

  @Test func `finds copies that would be refused, addresses that can't be read, and a store that is in use`() throws {
    var place = try configured("")
    func configure(_ text: String) throws { _ = try place.folder.write(text, to: ".config/firn/firn.yaml") }
    let copy = place.folder.path("copy")
    try configure("copies: [\(copy)]\nping: \(place.folder.path("address"))\n")
    #expect(try Visit(place).verdicts["told"] == "warn")
    _ = try place.takeSnapshot()
    #expect(try Visit(place).verdicts["copy-1"] == "pass")
    try Folder.rename(copy, to: place.folder.path("away"))
    let gone = try Visit(place)
    #expect(gone.verdicts["copy-1"] == "stop" && gone.details["copy-1"]?.contains("no longer holds a repository") == true, "\(gone)")
    _ = try Workplace.run("/bin/cp", ["-a", place.store.string, copy.string], environment: [:])
    #expect(try Visit(place).verdicts["copy-1"] == "stop")
    try Folder.removeTree(copy)
    let recipient = try place.firn("key", "new", place.folder.path("identity").string).output
    #expect(try place.firn("init", "--store", copy.string, "--recipient", recipient).status == 0)
    #expect(try Visit(place).verdicts["copy-1"] == "stop")
    // A written address and a password as a parameter are secrets.
    for text in ["ping: 'https://hc.example.org/secret'", "database-url: 'postgresql://h/d?user=u&password=secret'"] {
      try configure(text)
      _ = try Workplace.run("/bin/chmod", ["644", place.folder.path(".config/firn/firn.yaml").string], environment: [:])
      let visit = try Visit(place)
      #expect(visit.verdicts["configuration"] == "warn" && !visit.details.values.contains { $0.contains("secret") }, "\(visit)")
    }
    try configure("")
    let lock = try RepositoryLock(.exclusive, on: LocalStore(root: place.store), purpose: "a test")
    let busy = try Visit(place)
    #expect(busy.verdicts["store-writing"] == "warn" && busy.status == 3, "\(busy)")
    lock.release()
    place.environment["DATABASE_URL"] = "postgresql://[::1/x"
    let invalid = try Visit(place)
    #expect(invalid.status == 6 && invalid.verdicts["server"] == "stop" && invalid.verdicts["store"] == "pass", "\(invalid)")
  }

  @Test func `says the same to people, in a table`() throws {
    let place = try configured("")
    let result = try place.firn("doctor")
    #expect(
      result.output.contains("pass     server ") && result.output.contains("\n                           (") || result.output.contains("         ("),
      "\(result)")
    #expect(result.output.split(separator: "\n").allSatisfy { $0.hasPrefix("  ") }, "\(result)")
  }
}
