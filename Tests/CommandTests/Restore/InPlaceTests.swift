import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// `firn-restore --in-place`.
@Suite struct `firn-restore in place` {
  @Test func `destroys in place only what was confirmed`() throws {
    var place = try Workplace.withNotes()
    let name = place.database
    _ = try place.takeSnapshot()
    // While the application is stopped, another database gets the name.
    let others = ["ALTER DATABASE \"\(name)\" RENAME TO \"\(name)_aside\"", "CREATE DATABASE \"\(name)\""]
    let file = try place.folder.write(others.joined(separator: ";\n") + ";\n", to: "others.sql")
    try place.configure(maintenance: "  stop: [\"\(place.psqlCommand().replacing(" -Xqc", with: " -Xqf")) '\(file)'\"]\n")
    let result = try place.restore(name, "latest", "--in-place", "--untested", "--confirm", "destroy \(name)")
    #expect(result.status == 6 && result.errors.contains("was replaced in the meantime"), "\(result)")
    #expect(try Set([name, "\(name)_aside"]).isSubset(of: place.server.databaseNames()))
  }

  @Test(arguments: [SIGKILL, SIGTERM]) func `reports after a killed restore in place what is gone, and how to restore it`(
    signal: Int32
  ) throws {
    var place = try Workplace.withNotesAlone()
    let name = place.database
    let id = try place.takeSnapshot()
    try place.sql("DELETE FROM notes WHERE id > 100")
    let mark = place.folder.path("at-work")
    try place.beforeRestoring(run: "touch '\(mark)'; sleep 60")
    let run = try place.start("firn-restore", [name, id, "--in-place", "--untested", "--confirm", "destroy \(name)"])
    while !Folder.exists(mark), run.exitCode() == nil { Thread.sleep(forTimeInterval: 0.02) }
    ProcessTable.send(signal, to: run.id)
    #expect(run.wait() == 128 + signal)
    place.environment["FIRN_PG_BIN"] = place.server.binaries.string
    #expect(try !place.server.databaseNames().contains(name))
    let safety = try #require(place.listedSnapshots().last)
    // A restore of another database on this server reports it, and leaves the marker.
    let another = try place.restore(name, id, "--as", "\(name)_other")
    #expect(another.status == 0 && another.errors.contains("\(name) IS GONE"), "\(another)")
    #expect(try place.restore(name, "--recover").status == 3)
    let recovered = try place.restore(name, "--recover")
    #expect(recovered.status == 3 && recovered.errors.contains("\(name) IS GONE"), "\(recovered)")
    #expect(recovered.errors.contains("firn-restore \(name) \(id)") && recovered.errors.contains("firn-restore \(name) \(safety)"), "\(recovered)")
    // Nor does a restore of it that fails.
    var failing = place
    try failing.beforeRestoring(run: "echo 'pg_restore: error: no' >&2; exit 1")
    #expect(try failing.restore(name).status == 8)
    let again = try place.restore(name, "--recover")
    #expect(again.status == 3 && again.errors.contains("\(name) IS GONE") && again.errors.contains("firn-restore \(name) \(safety)"), "\(again)")
    // The marker is small: the disk may be full. An empty database that an application created is no way back.
    let markers = "FROM pg_database WHERE datname ~ '^firn_unfinished_'"
    #expect(try place.server.sql("SELECT count(*), max(pg_database_size(oid)) < 10000000 \(markers)") == "1|t")
    // A restore from another machine reports it, too.
    func moveMark(from machine: String, to other: String) throws {
      let comment = "replace(shobj_description(oid, 'pg_database'), '\(machine)', '\(other)')"
      try place.server.sql(place.server.sql("SELECT format('COMMENT ON DATABASE %I IS %L', datname, \(comment)) \(markers)"))
    }
    try moveMark(from: Host.machineID, to: "elsewhere")
    let elsewhere = try place.restore(name, "--recover")
    #expect(elsewhere.status == 3 && elsewhere.errors.contains("\(name) IS GONE") && elsewhere.errors.contains(safety), "\(elsewhere)")
    #expect(try place.firn("doctor", "--json").output.contains("\(name) IS GONE"))
    try place.server.sql("CREATE DATABASE \"\(name)\"")
    try place.sql("CREATE TABLE schema_migrations (version text)")
    let other = try place.restore(name, "--recover")
    #expect(other.status == 3 && other.errors.contains("THE ORIGINAL DATABASE \(name) IS GONE"), "\(other)")
    try place.server.sql("DROP DATABASE \"\(name)\"")
    // A part of it is no way back either.
    #expect(try place.restore(name, id, "--as", name, "--schema-only").status == 0)
    #expect(try place.restore(name, "--recover").errors.contains("THE ORIGINAL DATABASE \(name) IS GONE"))
    try place.server.sql("DROP DATABASE \"\(name)\"")
    // By the policy that keeps least, what is in that snapshot stays for two weeks.
    let older = try place.restore(name)
    #expect(older.status == 0 && older.errors.contains("a newer snapshot, \(safety), is of the database as it was before a restore"), "\(older)")
    #expect(!older.errors.contains("IS GONE") && !older.errors.contains("WAS"), "\(older)")
    #expect(try place.restore(name, "--recover").errors.contains("no leftover of a restore"))
    _ = try place.takeSnapshot()
    _ = try place.takeSnapshot()
    let plan = try place.prune(name, "--keep-last", "1", "--json").json()
    let keeps = (plan["keep"] as? [[String: Any]] ?? []).filter { $0["id"] as? String == safety }
    #expect((keeps.first?["reasons"] as? [String])?.contains { $0.contains("made before a restore") } == true, "\(plan)")
    #expect(try place.restore(name, safety, "--confirm", name, "--no-safety-snapshot").status == 0)
    #expect(try place.noteCount() == "100")
  }

  @Test func `leaves the new one whole where others took the name, until that is restored`() throws {
    var place = try Workplace.withNotesAlone()
    let name = place.database
    let id = try place.takeSnapshot()
    try place.beforeRestoring(run: "\(place.psqlCommand()) 'CREATE DATABASE \"\(name)\"' >&2")
    let result = try place.restore(name, id, "--in-place", "--untested", "--confirm", "destroy \(name)")
    #expect(result.status == 6 && result.errors.contains("it is complete, under the name firn_unfinished_"), "\(result)")
    place.environment["FIRN_PG_BIN"] = place.server.binaries.string
    for _ in 0..<2 {
      let recovered = try place.restore(name, "--recover")
      #expect(recovered.status == 3 && recovered.errors.contains("RENAME TO \"\(name)\""), "\(recovered)")
    }
    let whole = try #require(place.server.databaseNames().first { $0.hasPrefix("firn_unfinished_") })
    #expect(try place.noteCount(in: whole) == "5000")
    #expect(try place.restore(name, id, "--confirm", name).status == 0)
    #expect(try place.noteCount() == "5000" && place.restore(name, "--recover").errors.contains("no leftover"))
  }

  @Test func `drops nothing for a snapshot that this server can't make, and stops no application for it`() throws {
    var place = try Workplace.withNotes()
    let library = place.folder.path("gone.so")
    try Folder.permitPassing(through: place.folder.path)
    let found = try ProgramResult.run(place.server.binaries.appending("pg_config"), ["--pkglibdir"], environment: [:])
    let folder = FilePath(String(decoding: found.output, as: UTF8.self).trimmingCharacters(in: .newlines))
    try Folder.write(try Folder.contents(of: folder.appending("hstore.so"), limit: 1 << 24), to: library)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: library.string)
    try place.sql("CREATE FUNCTION version_of(int) RETURNS int LANGUAGE c AS '\(library)', 'hstore_version_diag'")
    let id = try place.takeSnapshot()
    try Folder.removeFile(library)
    let log = place.folder.path("log").string
    try place.configure(maintenance: "  stop: ['echo stop >> \(log)']\n  start: ['echo start >> \(log)']\n")
    let refused = try place.restore(place.database, id, "--in-place", "--untested", "--confirm", "destroy \(place.database)")
    #expect(refused.status == 8 && refused.errors.contains("gone.so"), "\(refused)")
    #expect(refused.errors.contains("\(place.database) is unchanged"), "\(refused)")
    #expect(try place.noteCount() == "5000")
    #expect(!Folder.exists(FilePath(log)))
    #expect(try place.listedSnapshots().count == 1)
    let rest = """
      SELECT count(*) FROM pg_database
      WHERE datname ~ '^firn_unfinished_' AND shobj_description(oid, 'pg_database') LIKE '%"target":"\(place.database)"%'
      """
    #expect(try place.server.sql(rest) == "0")
  }

  @Test func `gives nothing up for a snapshot that no drill could restore`() throws {
    var place = try Workplace.withNotes()
    place.environment["PGPASSWORD"] = TestServer.password
    try place.sql(
      """
      CREATE SCHEMA app; SET search_path = app, public; CREATE TABLE app.helper (x int); CREATE TABLE app.checked (y int);
      CREATE FUNCTION app.is_fine(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM helper) < 9; END';
      ALTER TABLE app.checked ADD CHECK (app.is_fine(y)); INSERT INTO app.checked VALUES (1);
      """)
    let id = try place.takeSnapshot()
    #expect(try place.verify(place.database, id, "--drill", "--server", place.server.address("postgres")).status == 4)
    let refused = try place.restore(place.database, id, "--in-place", "--untested", "--confirm", "destroy \(place.database)")
    #expect(refused.status == 6 && refused.errors.contains("the last drill of \(id) could not restore it"), "\(refused)")
    #expect(try place.noteCount() == "5000" && place.listedSnapshots().count == 1)
  }

  @Test func `says of a database that was half dropped what it is`() throws {
    let place = try Workplace.withNotes()
    let id = try place.takeSnapshot()
    try place.server.sql("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '\(place.database)'")
    let refused = try place.restore(place.database, id, "--confirm", place.database)
    #expect(refused.status == 6 && refused.errors.contains("DROP DATABASE \"\(place.database)\""), "\(refused)")
    try place.server.sql("DROP DATABASE \"\(place.database)\"")
    #expect(try place.restore(place.database, id).status == 0)
    #expect(try place.noteCount() == "5000")
  }

  @Test func `destroys the old one only for a longer phrase, and shows the way back if that fails`() throws {
    let place = try Workplace.withNotesAlone()
    let id = try place.takeSnapshot()
    try place.sql("DELETE FROM notes WHERE id > 100; COMMENT ON DATABASE \"\(place.database)\" IS 'mine'")
    for word in [place.database, "destroy", "DESTROY \(place.database)"] {
      let refused = try place.restore(place.database, id, "--in-place", "--untested", "--confirm", word)
      #expect(refused.status == 5 && refused.errors.contains("DESTROYS"), "\(refused)")
    }
    #expect(try place.noteCount() == "100")
    let result = try place.restore(place.database, id, "--in-place", "--untested", "--confirm", "destroy \(place.database)", "--json")
    #expect(result.status == 0, "\(result)")
    #expect(try result.json()["keptAs"] is NSNull)
    let safety = try #require(result.json()["safetySnapshot"] as? String)
    #expect(try place.noteCount() == "5000")
    #expect(try place.sql("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()") == "mine")
    #expect(try place.keptDatabases().isEmpty)
    #expect(try place.restore(place.database, safety, "--as", "\(place.database)_copy", "--prove").status == 0)
    #expect(try place.noteCount(in: "\(place.database)_copy") == "100")

    // Damage is found before anything is dropped, also where the last snapshot would share it.
    try place.flipBitOfLargestObject()
    let damaged = try place.restore(place.database, id, "--in-place", "--untested", "--confirm", "destroy \(place.database)")
    #expect(damaged.status == 4 && damaged.errors.contains("public.wide"), "\(damaged)")
    #expect(try place.noteCount() == "5000")
    try place.flipBitOfLargestObject()

    // A failure after it shows the way back and leaves the application stopped, since there is no database.
    var stopping = place
    let log = place.folder.path("log").string
    try stopping.configure(maintenance: "  stop: ['echo stop >> \(log)']\n  start: ['echo start >> \(log)']\n")
    try stopping.beforeRestoring(run: "echo 'pg_restore: error: no' >&2; exit 1")
    let failed = try stopping.restore(place.database, id, "--in-place", "--untested", "--confirm", "destroy \(place.database)")
    #expect(failed.status == 8, "\(failed)")
    stopping.environment["FIRN_PG_BIN"] = place.server.binaries.string
    let last = try #require(place.listedSnapshots().last)
    #expect(failed.errors.contains("firn-restore \(place.database) \(last)") && failed.errors.contains("stays stopped"), "\(failed)")
    #expect(try !place.server.databaseNames().contains(place.database))
    func logged() throws -> String { String(decoding: try Folder.contents(of: FilePath(log)), as: UTF8.self) }
    #expect(try stopping.restore(place.database, "--recover").status == 3)
    #expect(try logged() == "stop\n")
    #expect(try stopping.restore(place.database, last).status == 0)
    #expect(try logged() == "stop\nstart\n")
    #expect(try place.noteCount() == "5000")
  }
}
