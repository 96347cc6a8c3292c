import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Databases of which a snapshot could easily miss something, or never end.
@Suite struct `A snapshot gets right` {
  private func expectRestorable(_ place: Workplace, _ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation) throws {
    let made = try place.run("firn-snapshot", arguments)
    #expect(made.status == 0, "\(made)", sourceLocation: sourceLocation)
    let copy = "\(place.database)_\(UInt32.random(in: 0 ... .max))"
    let restored = try place.restore(place.database, "latest", "--as", copy, "--prove")
    #expect(restored.status == 0, "\(restored)", sourceLocation: sourceLocation)
    try place.server.sql("DROP DATABASE \"\(copy)\"", in: "postgres")
  }

  @Test func `a table of contents of many megabytes`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql(
      """
      DO $$ BEGIN FOR n IN 1..300 LOOP
        EXECUTE format('CREATE FUNCTION f%s() RETURNS text LANGUAGE sql AS %L', n, 'SELECT ''' || repeat(md5(n::text), 900) || '''');
      END LOOP; END $$; CREATE TABLE t AS SELECT g id FROM generate_series(1, 1000) g
      """)
    try expectRestorable(place)
    let drilled = try place.verify(place.database, "latest", "--drill")
    #expect(drilled.status == 0, "\(drilled)")
  }

  @Test(arguments: [0, 2]) func `more large objects than the spool has room for, by a single job as by two`(_ number: Int) throws {
    let place = try Workplace(on: TestServer(binaries: TestServer.binaries(at: number)))
    try place.sql(
      """
      SELECT lo_from_bytea(0, decode(repeat(md5(g::text), 8000), 'hex')) FROM generate_series(1, 60) g;
      CREATE TABLE a AS SELECT repeat(md5(g::text), 20) x FROM generate_series(1, 10000) g; CREATE TABLE b AS SELECT * FROM a
      """)
    for jobs in ["1", "2", "3"] { try expectRestorable(place, "--jobs", jobs, "--spool-cap", "1MiB") }
  }

  @Test func `a database that is not in UTF-8, whatever its sessions are set to`() throws {
    let server = try TestServer.system.get()
    let name = "latin_\(UInt32.random(in: 0 ... .max))"
    try server.sql("CREATE DATABASE \(name) TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'", in: "postgres")
    let place = try Workplace(on: server, database: name)
    try place.sql(
      """
      SET client_encoding = 'UTF8'; CREATE TABLE "straße" ("größe" serial PRIMARY KEY, "Übersicht" text DEFAULT 'schön');
      INSERT INTO "straße" ("Übersicht") SELECT 'Größe ' || g || ' äöü' FROM generate_series(1, 500) g;
      CREATE SEQUENCE "zähler"; SELECT setval('"zähler"', 77);
      ALTER DATABASE \(name) SET client_encoding = 'UTF8'
      """)
    try expectRestorable(place)
    let copy = "\(name)_copy"
    #expect(try place.restore(name, "latest", "--as", copy).status == 0)
    let wanted = "SELECT md5(string_agg(\"Übersicht\", ',' ORDER BY \"größe\")), (SELECT last_value FROM \"zähler\") FROM \"straße\""
    #expect(try server.sql(wanted, in: copy) == server.sql(wanted, in: name))
    let part = try place.restore(name, "--table", "straße", "--json")
    #expect(part.status == 0, "\(part)")
    let schema = try #require(part.json()["restoredAs"] as? String)
    let rows = "SELECT md5(string_agg(\"Übersicht\", ',' ORDER BY \"größe\")) FROM"
    #expect(try place.sql("\(rows) \(schema).\"straße\"") == place.sql("\(rows) public.\"straße\""))
  }

  @Test func `what a lesser role is not shown, and what no dump holds`() throws {
    var place = try Workplace(on: TestServer.system.get())
    let role = "lesser_\(place.database)"
    try place.sql(
      """
      CREATE ROLE \(role) LOGIN PASSWORD 'abc'; GRANT pg_read_all_data TO \(role); CREATE EXTENSION postgres_fdw;
      CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw; CREATE USER MAPPING FOR postgres SERVER elsewhere OPTIONS (password 'hidden')
      """)
    #expect(try place.snapshot().status == 0)
    let url = place.environment["DATABASE_URL"]
    place.environment["DATABASE_URL"] = place.server.url(place.database, user: role, password: "abc")
    let lesser = try place.snapshot()
    #expect(lesser.status == 3 && lesser.errors.contains("options of user mappings are hidden from \(role): elsewhere for postgres"), "\(lesser)")
    place.environment["DATABASE_URL"] = url

    let setting = "firn_test.s\(UInt32.random(in: 0 ... .max))"
    try place.sql("ALTER ROLE ALL SET \(setting) = 'it''s'")
    let id = try place.takeSnapshot()
    try place.sql("ALTER ROLE ALL RESET \(setting)")
    let globals = try #require(filesByPath(under: place.store).keys.first { $0.contains(id) && $0.hasSuffix("globals.sql.zst") })
    let sql = try Workplace.run("/usr/bin/zstd", ["-dc", place.store.appending(globals).string], environment: [:]).output
    #expect(sql.contains("ALTER ROLE ALL SET ") && sql.contains("'it''s';"), "\(sql.suffix(300))")

    try place.sql("CREATE FUNCTION pg_catalog.of_\(place.database)() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    let made = try place.snapshot()
    #expect(made.status == 3 && made.errors.contains("objects that users made in pg_catalog are not in a dump: of_\(place.database)()"), "\(made)")
  }

  @Test func `a manifest that was changed and can still be read: it is not obeyed`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t (id int); COMMENT ON DATABASE \"\(place.database)\" IS 'what it was'")
    let id = try place.takeSnapshot()
    let manifest = place.store.appending(try #require(filesByPath(under: place.store).keys.first { $0.hasSuffix("manifest.json") }))
    let text = String(decoding: try Folder.contents(of: manifest), as: UTF8.self)
    try Folder.write(Array(text.replacing("what it was", with: "what it is!").utf8), to: manifest)
    let refused = try place.restore(place.database, id, "--as", "\(place.database)_copy")
    #expect(refused.status == 9 && refused.errors.contains("not what its checksum says"), "\(refused)")
    #expect(try !place.server.databaseNames().contains("\(place.database)_copy"))
  }
}
