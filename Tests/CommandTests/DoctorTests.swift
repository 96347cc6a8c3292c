import Foundation
import Platform
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

  @Test func `looks at the server where no database is named, and at the policy`() throws {
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

  @Test func `says the same to people, in a table`() throws {
    let place = try configured("")
    let result = try place.firn("doctor")
    #expect(
      result.output.contains("pass     server ") && result.output.contains("\n                           (") || result.output.contains("         ("),
      "\(result)")
    #expect(result.output.split(separator: "\n").allSatisfy { $0.hasPrefix("  ") }, "\(result)")
  }
}
