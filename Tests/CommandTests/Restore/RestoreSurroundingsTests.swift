import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// A server has settings, roles and restores of its own while one is under way.
@Suite struct `A restore minds on its server` {
  @Test func `an index that is built while a session of pg_restore has nothing to do, on a server that ends such`() throws {
    let hasty = try TestServer(binaries: try TestServer.binaries(at: 0), settings: ["idle_session_timeout=100ms"])
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) x FROM generate_series(1, 700000) g; CREATE INDEX ON t (x); CREATE INDEX ON t (id)")
    _ = try place.takeSnapshot()
    var other = place
    other.environment["DATABASE_URL"] = hasty.url("postgres")
    let restored = try other.restore(place.database, "latest", "--as", "copy", "--jobs", "2")
    #expect(restored.status == 0, "\(restored)")
  }

  @Test func `a database that others may not enter, not even while it is filled`() throws {
    let server = try TestServer.system.get()
    let place = try Workplace(on: server)
    try place.sql(
      "REVOKE CONNECT ON DATABASE \"\(place.database)\" FROM PUBLIC; CREATE TABLE t AS SELECT g id, md5(g::text) x FROM generate_series(1, 300000) g")
    _ = try place.takeSnapshot()
    let copy = "\(place.database)_copy"
    let run = try place.start("firn-restore", [place.database, "latest", "--as", copy])
    var seen = 0
    let unfinished = """
      SELECT count(*), count(*) FILTER (WHERE coalesce(datacl::text, '{=c/') ~ '[{,]=[A-Z]*c') FROM pg_database d
      WHERE datname ~ '^firn_unfinished_' AND shobj_description(oid, 'pg_database') LIKE '%"target":"\(copy)"%'
      """
    while run.exitCode() == nil {
      let found = try server.sql(unfinished)
      #expect(found == "0|0" || found == "1|0")
      if found == "1|0" { seen += 1 }
    }
    #expect(run.wait() == 0 && seen > 0)
  }

  @Test func `rows that row security hides from the role that restores: they are counted before it applies, and not compared after it`() throws {
    let server = try TestServer.system.get()
    let place = try Workplace(on: server)
    let role = "bound_\(place.database)"
    try place.sql(
      """
      CREATE ROLE \(role) LOGIN CREATEDB PASSWORD 'x'; CREATE TABLE t AS SELECT g id FROM generate_series(1, 100) g; ALTER TABLE t OWNER TO \(role);
      CREATE TABLE open AS SELECT g id FROM generate_series(1, 100) g; ALTER TABLE open OWNER TO \(role);
      CREATE POLICY few ON t USING (id < 5); ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;
      ALTER DATABASE "\(place.database)" OWNER TO \(role);
      """)
    _ = try place.takeSnapshot()
    var theirs = place
    theirs.environment["DATABASE_URL"] = server.url("postgres", user: role, password: "x")
    let copy = "\(place.database)_copy"
    let restored = try theirs.restore(place.database, "latest", "--as", copy)
    #expect(restored.status == 0, "\(restored)")
    let proven = try theirs.restore(place.database, "latest", "--as", "\(copy)_proven", "--prove")
    #expect(proven.status == 3 && proven.errors.contains("the rows of public.t were not compared"), "\(proven)")
    #expect(!proven.errors.contains("public.open"), "\(proven)")
    #expect(try server.sql("SELECT count(*) FROM t", in: copy) == "100")
  }

  @Test func `databases of restores elsewhere, which it leaves alone, whatever that machine is called`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT 1")
    _ = try place.takeSnapshot()
    let other = "firn_unfinished_\(place.database)"
    let mark = [
      "host": Host.name, "machine": "another", "space": Host.processSpace, "process": "PROCESS", "boot": "another", "target": "x", "snapshot": "y",
    ].map { "\"\($0)\":\"\($1)\"" }.joined(separator: ",").replacing("\"PROCESS\"", with: "1,\"start\":1")
    try place.server.sql("CREATE DATABASE \(other)")
    try place.server.sql("COMMENT ON DATABASE \(other) IS 'restore, not finished: {\(mark)}'")
    let restored = try place.restore(place.database, "latest", "--as", "\(place.database)_copy")
    #expect(restored.status == 0 && restored.errors.contains("\(other) belongs to a restore on another machine"), "\(restored)")
    #expect(try place.server.databaseNames().contains(other))
    try place.server.sql("DROP DATABASE \(other)")
  }
}
