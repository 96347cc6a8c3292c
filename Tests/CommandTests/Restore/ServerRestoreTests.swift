import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// `firn-restore --all`: a lost server comes back by one command.
@Suite struct `A restore of a whole server` {
  private static let names = (1...12).map { "app\($0)" } + ["na'me \"x\""]

  /// A server with twelve databases and a role of their own, and a store with a snapshot of each.
  private func workplace() throws -> Workplace {
    let server = try TestServer(binaries: TestServer.binaries(at: 0))
    try server.sql("CREATE ROLE shop_owner LOGIN PASSWORD 'secret'; CREATE ROLE reader; GRANT reader TO shop_owner")
    for (number, name) in Self.names.enumerated() {
      try server.sql("CREATE DATABASE \(Connection.identifier(name)) OWNER shop_owner")
      try server.sql(
        "CREATE TABLE t AS SELECT id, repeat(md5(id::text), 3) text FROM generate_series(1, \(1000 * number + 10)) id; "
          + "ALTER TABLE t ADD PRIMARY KEY (id), OWNER TO shop_owner; GRANT SELECT ON t TO reader", in: name)
    }
    let place = try Workplace(on: server, database: "postgres")
    let taken = try place.snapshot("--all", "--source", "main", "--exclude-database", "postgres")
    guard taken.status == 0 else { throw Unavailable("\(taken)") }
    return place
  }

  /// The dump of a database, for a comparison without Firn.
  private func dump(_ server: TestServer, _ name: String) throws -> [Substring] {
    let dumped = try server.tool("pg_dump", ["--dbname", "dbname=\(ConnectionSettings.quoted(name))"], in: name)
    #expect(dumped.exitCode == 0)
    return String(decoding: dumped.output, as: UTF8.self).split(separator: "\n").filter { !$0.contains("restrict ") && !$0.hasPrefix("-- Dumped") }
  }

  private func roles(_ server: TestServer) throws -> String {
    try server.sql("SELECT rolname, rolcanlogin, rolpassword FROM pg_authid WHERE rolname !~ '^pg_' AND rolname <> 'postgres' ORDER BY 1")
  }

  @Test func `brings back every database on an empty server, each as it was`() throws {
    var place = try workplace()
    let before = try Self.names.map { try dump(place.server, $0) }
    let rolesBefore = try roles(place.server)
    let server = try TestServer(binaries: TestServer.binaries(at: 0))
    place.environment["DATABASE_URL"] = server.url("postgres")
    let plan = try place.restore("--all", "--server", "main", "--dry-run")
    #expect(plan.status == 0 && plan.errors.contains("restoring 13 missing databases of main") && plan.errors.contains("role shop_owner"), "\(plan)")
    #expect(try server.databaseNames().count == 3)
    let result = try place.restore("--all", "--server", "main", "--prove", "--json")
    #expect(result.status == 0, "\(result)")
    let restored = try result.json()["restored"] as? [[String: Any]] ?? []
    #expect(restored.count == 13 && restored.allSatisfy { $0["proven"] as? Bool == true && $0["schemaCompared"] as? Bool == true }, "\(result)")
    for (name, text) in zip(Self.names, before) { #expect(try dump(server, name) == text, "\(name)") }
    #expect(try roles(server) == rolesBefore)
    // A second time: all are there.
    let again = try place.restore("--all", "--server", "main")
    #expect(again.status == 0 && again.output.contains("left as it is") && again.errors.contains("0 databases restored"), "\(again)")
  }

  @Test func `leaves databases that exist alone, unless their replacement is confirmed`() throws {
    let place = try workplace()
    for name in Self.names.dropFirst(2) { try place.server.sql("DROP DATABASE \(Connection.identifier(name))") }
    for name in Self.names.prefix(2) { try place.server.sql("TRUNCATE t", in: name) }
    let wrong = try place.restore("--all", "--server", "main", "--confirm", "replace all")
    #expect(wrong.status == 5 && wrong.errors.contains("replace 2 databases of main"), "\(wrong)")
    #expect(try place.server.databaseNames().contains("app5") == false)
    let missing = try place.restore("--all", "--server", "main")
    #expect(missing.status == 0 && missing.errors.contains("left as they are: app1, app2"), "\(missing)")
    #expect(try place.server.sql("SELECT count(*) FROM t", in: "app1") == "0")
    #expect(try place.server.sql("SELECT count(*) FROM t", in: "app12") == "11010")
    for name in Self.names.dropFirst(2) { try place.server.sql("DROP DATABASE \(Connection.identifier(name))") }
    let replaced = try place.restore("--all", "--server", "main", "--confirm", "replace 2 databases of main")
    #expect(replaced.status == 0, "\(replaced)")
    #expect(try place.server.sql("SELECT count(*) FROM t", in: "app1") == "10")
    #expect(try place.restore("app1", "--undo", "--confirm", "app1").status == 0)
    #expect(try place.server.sql("SELECT count(*) FROM t", in: "app1") == "0")
  }

  @Test func `goes on when one database fails, and takes nothing for a database`() throws {
    let place = try workplace()
    for name in Self.names { try place.server.sql("DROP DATABASE \(Connection.identifier(name))") }
    // No snapshot of it can be read.
    let folder = place.store.appending("snapshots/main/app3")
    for id in try Folder.names(in: folder) {
      var bytes = try Folder.contents(of: folder.appending(id).appending("chunks.tsv.zst"))
      bytes[bytes.count / 2] ^= 1
      try Folder.write(bytes, to: folder.appending(id).appending("chunks.tsv.zst"))
    }
    // Nor the manifest of another one's.
    let second = place.store.appending("snapshots/main/app2")
    for id in try Folder.names(in: second) { try Folder.write(Array("{".utf8), to: second.appending(id).appending("manifest.json")) }
    let result = try place.restore("--all", "--server", "main", "--json")
    #expect(result.status == 3 && result.errors.contains("app2, app3"), "\(result)")
    let (restored, failures) = (try result.json()["restored"] as? [Any], try result.json()["failures"] as? [Any])
    #expect(restored?.count == 11 && failures?.count == 2, "\(result)")
    #expect(try !place.server.databaseNames().contains("app3"))
    #expect(try place.restore("--all", "app1", "latest").status == 64)
    #expect(try place.restore("--all", "--as", "x").status == 64)
    #expect(try place.restore("--all", "--server", "nowhere").status == 10)
    #expect(try place.restore("--all", "before:2000-01-01", "--server", "main").status == 10)
    #expect(try place.restore().status == 64)
  }
}
