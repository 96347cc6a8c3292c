import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Obstacles to a drill, and that it never counts as a verification then.
@Suite struct `A drill is no proof` {
  @Test func `of tables that could not be restored: these are read, and damage to them is found`() throws {
    var place = try Workplace(on: TestServer.system.get())
    try place.sql(
      """
      CREATE EXTENSION hstore; CREATE TABLE plain AS SELECT g id FROM generate_series(1, 10) g;
      CREATE TABLE tagged AS SELECT g id, hstore('k', md5(g::text) || md5((g * 7)::text)) tags FROM generate_series(1, 30000) g;
      """)
    _ = try place.takeSnapshot()
    // A server without the extension.
    let other = try TestServer.version16.get().address("postgres")
    place.environment["FIRN_PG_BIN"] = try TestServer.binaries(at: 1).string
    place.environment["PGPASSWORD"] = TestServer.password
    let drill = try place.verify(place.database, "latest", "--drill", "--server", other)
    #expect(drill.status == 3 && drill.errors.contains("only read: public.tagged"), "\(drill)")
    #expect(try place.firn("show", place.database, "latest").output.contains("intact by read"))
    // Also if nothing can be restored at all.
    var bare = try Workplace(on: TestServer.system.get())
    bare.environment["PGPASSWORD"] = TestServer.password
    try bare.sql("CREATE EXTENSION hstore")
    _ = try bare.takeSnapshot()
    let nothing = try bare.verify(bare.database, "latest", "--drill", "--server", other, "--pg-bin", TestServer.binaries(at: 1).string)
    #expect(nothing.status == 3 && nothing.errors.contains("not compared: extension hstore"), "\(nothing)")
    try place.flipBitOfLargestObject()
    let found = try place.verify(place.database, "latest", "--drill", "--server", other)
    #expect(found.status == 4 && found.output.contains("public.tagged: damaged"), "\(found)")
    #expect(try place.firn("list").output.contains("FOUND DAMAGED"))
  }

  @Test func `of a failed pg_restore: it is reported and recorded, and stops no other drill`() throws {
    let place = try Workplace(on: TestServer.system.get())
    for folder in [place.folder.path, place.spool] { try Folder.permitPassing(through: folder) }
    try place.sql("CREATE TABLE t AS SELECT g id FROM generate_series(1, 100) g")
    let sound = try place.takeSnapshot()
    // A check that its rows no longer meet.
    try place.sql(
      """
      CREATE FUNCTION fine(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'; ALTER TABLE t ADD CHECK (fine(id));
      CREATE OR REPLACE FUNCTION fine(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 < 50';
      """)
    let broken = try place.takeSnapshot()
    #expect(try place.verify(place.database, "all", "--read").status == 0)
    let drills = try place.verify(place.database, "all", "--drill", "--json")
    #expect(drills.status == 4, "\(drills)")
    let snapshots = try #require(drills.json()["snapshots"] as? [[String: Any]])
    #expect(snapshots.count == 2)
    for snapshot in snapshots { #expect(snapshot["ok"] as? Bool == (snapshot["id"] as? String == sound), "\(snapshot)") }
    #expect(try place.firn("show", place.database, broken).output.contains("COULD NOT BE RESTORED"))
    #expect(try place.firn("show", place.database, sound).output.contains("intact by drill"))
    let status = try place.firn("status")
    #expect(status.status == 3 && status.output.contains("the last drill, of \(broken), failed"), "\(status)")
    // Its bytes are what was dumped.
    #expect(try !place.firn("list").output.contains("FOUND DAMAGED"))
    let told = try place.verify(place.database, broken, "--drill")
    #expect(told.status == 4 && told.output.contains("COULD NOT BE RESTORED") && told.output.contains("violates check constraint"), "\(told)")
  }

  @Test func `of what differs for a reason outside the snapshot, which keeps its full value`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql(
      """
      CREATE EXTENSION hstore VERSION '1.4'; CREATE TABLE t AS SELECT g id FROM generate_series(1, 10) g;
      CREATE FUNCTION only_here() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        IF current_database() <> '\(place.database)' THEN RAISE 'not here'; END IF; RETURN 1; END $$;
      CREATE MATERIALIZED VIEW v AS SELECT only_here() + id AS n FROM t;
      """)
    let id = try place.takeSnapshot()
    let drill = try place.verify(place.database, "latest", "--drill", "--json")
    #expect(drill.status == 3, "\(drill)")
    let outcome = try #require((drill.json()["snapshots"] as? [[String: Any]])?.first)
    #expect(outcome["ok"] as? Bool == true && outcome["verdict"] as? String == "incomparable", "\(outcome)")
    let reservations = try #require(outcome["reservations"] as? [String])
    #expect(reservations.contains { $0.hasPrefix("extension hstore has version ") && $0.hasSuffix(", it had 1.4") }, "\(reservations)")
    #expect(reservations.contains { $0.contains("materialized view public.v was left empty: not here") }, "\(reservations)")
    #expect(reservations.count == 2, "\(reservations)")
    let listed = try #require((place.firn("list", "--json").json()["snapshots"] as? [[String: Any]])?.first)
    #expect(listed["damaged"] as? Bool == false && listed["verifiedAt"] is String, "\(listed)")
    let status = try place.firn("status")
    #expect(status.status == 0, "\(status)")
    let shown = try place.firn("show", place.database, id)
    #expect(shown.output.contains("intact by drill") && shown.output.contains("it had 1.4"), "\(shown)")
    // The confirmation of a replace names the view that will stay empty.
    let asked = try place.restore(place.database)
    #expect(asked.status == 5 && asked.errors.contains("could not fill materialized view public.v: it will stay empty"), "\(asked)")
    // A finding is cleared by reading everything again.
    let checks = place.store.appending("snapshots")
    let record = try #require(try filesByPath(under: checks).keys.first { $0.contains("/checks/") })
    try Folder.write(
      Array(#"{"level":"drill","ok":false,"checkedAt":"\#(Date().formatted(.iso8601))","seconds":1,"host":"h","firn":"0.9"}"#.utf8),
      to: checks.appending(record))
    #expect(try place.firn("list").output.contains("FOUND DAMAGED"))
    Thread.sleep(forTimeInterval: 1)
    #expect(try place.verify(place.database, "latest", "--read").status == 0)
    #expect(try !place.firn("list").output.contains("FOUND DAMAGED"))
  }
}
