import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// What keeps a drill from being a proof, and that it never passes for one.
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
    let other = try TestServer.version16.get().url("postgres")
    place.environment["FIRN_PG_BIN"] = try TestServer.binaries(at: 1).string
    let drill = try place.verify(place.database, "latest", "--drill", "--server", other)
    #expect(drill.status == 3 && drill.errors.contains("only read: public.tagged"), "\(drill)")
    #expect(try place.firn("show", place.database, "latest").output.contains("intact by read"))
    // Also where nothing can be restored at all.
    let bare = try Workplace(on: TestServer.system.get())
    try bare.sql("CREATE EXTENSION hstore")
    _ = try bare.takeSnapshot()
    let nothing = try bare.verify(bare.database, "latest", "--drill", "--server", other, "--pg-bin", TestServer.binaries(at: 1).string)
    #expect(nothing.status == 0 && nothing.errors.contains("not compared: extension hstore"), "\(nothing)")
    try place.flipBitOfLargestObject()
    let found = try place.verify(place.database, "latest", "--drill", "--server", other)
    #expect(found.status == 4 && found.output.contains("public.tagged: damaged"), "\(found)")
    #expect(try place.firn("list").output.contains("FOUND DAMAGED"))
  }

  @Test func `of what pg_restore could not restore: it is told, recorded, and keeps no other from its drill`() throws {
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
}
