import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// `firn-restore DATABASE SNAPSHOT`: in the place of a live database.
@Suite struct `firn-restore of a live database` {

  @Test func `swaps it, keeps it, undoes, and drops it`() throws {
    let place = try Workplace.withNotes()
    let id = try place.takeSnapshot()
    try place.sql("DELETE FROM notes WHERE id > 100; CREATE TABLE later (id int)")
    let result = try place.restore(place.database, "latest", "--confirm", place.database, "--prove", "--json")
    #expect(result.status == 0, "\(result)")
    let report = try result.json()
    #expect(report["id"] as? String == id)
    #expect(report["restoredAs"] as? String == place.database)
    let keptAs = try #require(report["keptAs"] as? String)
    #expect(keptAs.hasPrefix("\(place.database)_before_"))
    #expect(report["downtimeSeconds"] as? Double ?? 9 < 3)
    #expect(try place.noteCount() == "5000")
    #expect(try place.noteCount(in: keptAs) == "100")
    // The previous database is in a snapshot, too.
    let listed = try #require(place.firn("list", place.database, "--json").json()["snapshots"] as? [[String: Any]])
    #expect(listed.map { $0["kind"] as? String } == ["manual", "pre-restore"])
    #expect(report["safetySnapshot"] as? String == listed.last?["id"] as? String)

    try place.sql("INSERT INTO notes (body) VALUES ('written since')")
    let undone = try place.restore(place.database, "--undo", "--confirm", place.database, "--json")
    #expect(undone.status == 0, "\(undone)")
    let aside = try #require(undone.json()["keptAs"] as? String)
    #expect(aside.hasPrefix("\(place.database)_undone_"))
    #expect(try place.noteCount() == "100")
    #expect(try place.noteCount(in: aside) == "5001")
    // And forth again.
    #expect(try place.restore(place.database, "--undo", "--confirm", place.database).status == 0)
    #expect(try place.noteCount() == "5001")

    let names = try place.keptDatabases()
    #expect(names.count == 1)
    #expect(try place.restore(place.database, "--forget-old", "--confirm", place.database).status == 5)
    #expect(try place.keptDatabases() == names)
    let forgotten = try place.restore(place.database, "--forget-old", "--confirm", names[0])
    #expect(forgotten.status == 0, "\(forgotten)")
    #expect(try place.keptDatabases().isEmpty)
    #expect(try place.restore(place.database, "--forget-old", "--confirm", names[0]).status == 10)
    #expect(try place.restore(place.database, "--undo", "--confirm", place.database).status == 10)
    #expect(try place.noteCount() == "5001")
    #expect(try place.leftovers().isEmpty)
  }

  @Test func `touches nothing without the right word`() throws {
    let place = try Workplace.withNotes()
    _ = try place.takeSnapshot()
    for arguments in [
      [], ["--confirm", "yes"], ["--confirm", ""], ["--confirm", place.database + " "], ["--confirm", place.database.uppercased()],
    ] {
      let result = try place.run("firn-restore", [place.database, "latest"] + arguments)
      #expect(result.status == 5, "\(result)")
      #expect(result.errors.contains("nothing was changed"))
      #expect(result.errors.contains("\(place.database)_before_"))
    }
    #expect(try place.server.databaseNames().filter { $0.hasPrefix(place.database) } == [place.database])
    #expect(try place.keptDatabases().isEmpty)
    #expect(try place.listedSnapshots().count == 1)
  }

  @Test func `hands on settings, privileges, comment, limit and owner of the live one`() throws {
    let place = try Workplace.withNotes()
    let name = Connection.identifier(place.database)
    let role = "owner_\(place.database)"
    _ = try place.takeSnapshot()
    try place.sql(
      """
      CREATE ROLE \(role); ALTER DATABASE \(name) OWNER TO \(role); ALTER DATABASE \(name) SET work_mem = '17MB';
      ALTER ROLE \(role) IN DATABASE \(name) SET search_path = a, "B"; REVOKE CONNECT ON DATABASE \(name) FROM PUBLIC;
      GRANT CONNECT ON DATABASE \(name) TO \(role); COMMENT ON DATABASE \(name) IS 'it''s live'; ALTER DATABASE \(name) CONNECTION LIMIT 33;
      """)
    let properties = """
      SELECT datdba::regrole, datconnlimit, datallowconn, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a), shobj_description(oid, 'pg_database'),
        (SELECT array_agg(setrole::regrole || ' ' || c ORDER BY setrole::regrole || ' ' || c) FROM pg_db_role_setting, unnest(setconfig) c WHERE setdatabase = d.oid)
      FROM pg_database d WHERE datname = '\(place.database)'
      """
    let before = try place.server.sql(properties)
    #expect(try place.restore(place.database, "--confirm", place.database).status == 0)
    #expect(try place.server.sql(properties) == before)
    #expect(try place.restore(place.database, "--undo", "--confirm", place.database).status == 0)
    #expect(try place.server.sql(properties) == before)
  }

  @Test func `leaves no comment of its own on a new database`() throws {
    let place = try Workplace.withNotes()
    _ = try place.takeSnapshot()
    #expect(try place.restore(place.database, "latest", "--as", "\(place.database)_copy").status == 0)
    #expect(
      try place.server.sql("SELECT shobj_description(oid, 'pg_database') IS NULL FROM pg_database WHERE datname = '\(place.database)_copy'") == "t")
  }

  @Test func `is refused with all obstacles at once, and changes nothing`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0), settings: ["max_prepared_transactions=5", "wal_level=logical"])
    let place = try Workplace.withNotes(on: server)
    _ = try place.takeSnapshot()
    // First, as it waits for every transaction under way.
    try place.sql("SELECT pg_create_logical_replication_slot('a_slot', 'pgoutput')")
    try place.sql("BEGIN; INSERT INTO notes (body) VALUES ('prepared'); PREPARE TRANSACTION 'left over'")
    let refused = try place.restore(place.database, "--confirm", place.database)
    #expect(refused.status == 6, "\(refused)")
    for word in ["left over", "a_slot", "2 obstacles"] { #expect(refused.errors.contains(word), "\(refused)") }
    try place.sql("ROLLBACK PREPARED 'left over'")
    try place.sql("SELECT pg_drop_replication_slot('a_slot')")

    try place.sql(
      "CREATE TABLE parent (id int); CREATE INDEX broken ON parent (id); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass"
    )
    #expect(try place.snapshot().status == 3)
    let incomplete = try place.restore(place.database, "--confirm", place.database)
    #expect(incomplete.status == 6, "\(incomplete)")
    #expect(incomplete.errors.contains("--allow-incomplete"))
    #expect(try place.keptDatabases().isEmpty)
    let allowed = try place.restore(place.database, "--confirm", place.database, "--allow-incomplete")
    #expect(allowed.status == 3, "\(allowed)")
    #expect(try place.keptDatabases().count == 1)
  }

  @Test func `never replaces what belongs to the server`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    for name in ["postgres", "template1"] {
      let place = try Workplace(on: server, database: name)
      #expect(try place.snapshot().status == 0)
      let result = try place.restore(name, "--confirm", name)
      #expect(result.status == 6, "\(result)")
      #expect(result.errors.contains("belongs to the server"))
    }
  }

  @Test func `is stopped by a byte that was changed before the swap`() throws {
    // On a busy day the vandal may come too late: then it tries again, elsewhere.
    var wasChanged = false
    for _ in 0..<5 where !wasChanged { wasChanged = try changeBeforeSwap() }
    #expect(wasChanged)
  }

  /// - Returns: whether the vandal came in time.
  private func changeBeforeSwap() throws -> Bool {
    let place = try Workplace.withNotes()
    let id = try place.takeSnapshot()
    let isDone = Monitor(false)
    let changed = Monitor(false)
    let server = place.server
    let vandal = WorkerThread(name: "vandal") {
      while !isDone.current && !changed.current {
        let names = (try? server.sql("SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') ~ 'restore of \(id)'")) ?? ""
        for name in names.split(separator: "\n") {
          // A change after the verification's snapshot is not seen by it and has no effect.
          let done = try? server.sql(
            """
            UPDATE notes SET body = body || '!' WHERE id = 77 AND NOT EXISTS (
              SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle in transaction')
            RETURNING 'changed'
            """, in: String(name))
          if done == "changed" { changed.update { $0 = true } }
        }
      }
    }
    let result = try place.restore(place.database, id, "--prove", "--confirm", place.database, "--no-safety-snapshot")
    isDone.update { $0 = true }
    vandal.join()
    // On a fast day the vandal comes too late for the proof's own snapshot, but not for a wrong swap.
    if changed.current {
      #expect(result.status == 4, "\(result)")
      #expect(result.errors.contains("public.notes"), "\(result)")
      #expect(try place.keptDatabases().isEmpty)
      #expect(try place.server.sql("SELECT body FROM notes WHERE id = 77", in: place.database) == "note 77")
    }
    return changed.current
  }

  @Test func `stops and starts the application around the swap, whatever its outcome`() throws {
    var place = try Workplace.withNotes()
    _ = try place.takeSnapshot()
    let log = place.folder.path("log").string
    func configure(_ more: String) throws {
      place.environment["HOME"] = place.folder.path.string
      try Folder.make(place.folder.path(".config/firn"))
      try Folder.write(
        Array("maintenance:\n  stop: ['echo stop >> \(log)']\n  start: ['echo start >> \(log)', 'false', 'echo started >> \(log)']\n\(more)".utf8),
        to: place.folder.path(".config/firn/firn.yaml"))
      try Folder.removeFile(place.folder.path("log"))
    }
    func logged() throws -> String { String(decoding: try Folder.contents(of: place.folder.path("log")), as: UTF8.self) }
    try configure("")
    let warned = try place.restore(place.database, "--confirm", place.database)
    #expect(warned.status == 3, "\(warned)")
    #expect(warned.errors.contains("false failed with exit code 1"))
    #expect(try logged() == "stop\nstart\nstarted\n")

    // An application that doesn't come back: the swap stays, or is undone.
    try configure("  health: 'exit 1'\n  health-retries: 1\n  health-pause: 10ms\n")
    try place.sql("TRUNCATE notes")
    let unwell = try place.restore(place.database, "latest:manual", "--confirm", place.database)
    #expect(unwell.status == 1, "\(unwell)")
    #expect(unwell.errors.contains("--undo"))
    #expect(try place.noteCount() == "5000")
    try place.sql("TRUNCATE notes")
    let back = try place.restore(place.database, "latest:manual", "--confirm", place.database, "--undo-on-failure")
    #expect(back.status == 1, "\(back)")
    #expect(try place.noteCount() == "0")
    #expect(try logged().hasSuffix("stop\nstart\nstarted\nstop\nstart\nstarted\n"))

    // A stop that fails: nothing is swapped, and the application is started again. Before it, what did not start last time.
    try configure("")
    try Folder.write(
      Array("maintenance:\n  stop: ['echo stop >> \(log)', 'echo no way >&2; exit 3']\n  start: ['echo start >> \(log)']\n".utf8),
      to: place.folder.path(".config/firn/firn.yaml"))
    let names = try place.keptDatabases()
    let failed = try place.restore(place.database, "latest:manual", "--confirm", place.database)
    #expect(failed.status == 1, "\(failed)")
    #expect(failed.errors.contains("no way"))
    #expect(try logged() == "start\nstarted\nstop\nstart\n")
    #expect(try place.keptDatabases() == names)
  }

  @Test func `creates a missing database, roles and privileges included`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    try server.sql("CREATE ROLE a2d2_user LOGIN PASSWORD 'secure \"password'; CREATE ROLE readers; GRANT readers TO a2d2_user")
    try server.sql("CREATE DATABASE a2d2_production")
    try server.sql(
      """
      GRANT ALL PRIVILEGES ON DATABASE a2d2_production TO a2d2_user; REVOKE CONNECT ON DATABASE a2d2_production FROM PUBLIC;
      GRANT ALL ON SCHEMA public TO a2d2_user;
      ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO a2d2_user;
      ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO a2d2_user;
      CREATE TABLE notes (id serial, body text); INSERT INTO notes (body) VALUES ('kept');
      ALTER DATABASE a2d2_production SET statement_timeout = '7s'; ALTER ROLE a2d2_user IN DATABASE a2d2_production SET work_mem = '9MB';
      """, in: "a2d2_production")
    let place = try Workplace(on: server, database: "a2d2_production")
    _ = try place.takeSnapshot()

    let bare = try TestServer(binaries: try TestServer.binaries(at: 0))
    var there = place
    there.environment["DATABASE_URL"] = bare.url("postgres")
    let result = try there.restore("a2d2_production", "latest")
    #expect(result.status == 0, "\(result)")
    let application = try Connection(
      try ConnectionSettings(bare.url("a2d2_production", user: "a2d2_user", password: "secure \"password")), applicationName: "application")
    try application.execute(
      "CREATE TABLE public.mine (id int); INSERT INTO public.notes (body) VALUES ('new'); SELECT pg_catalog.nextval('public.notes_id_seq')")
    #expect(try bare.sql("SELECT count(*) FROM notes", in: "a2d2_production") == "2")
    let settings = "SELECT string_agg(setrole::regrole || ' ' || c, ', ' ORDER BY c) FROM pg_db_role_setting, unnest(setconfig) c"
    #expect(try bare.sql(settings) == "- statement_timeout=7s, a2d2_user work_mem=9MB")
    try bare.sql("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    #expect {
      try Connection(try ConnectionSettings(bare.url("a2d2_production", user: "stranger", password: "x")))
    } throws: { error in
      if case PostgresError.cannotConnect(_, let reason) = error { reason.contains("permission denied for database") } else { false }
    }
    let grants =
      "SELECT datacl::text, (SELECT array_agg(defaclacl::text ORDER BY defaclacl::text) FROM pg_default_acl) FROM pg_database WHERE datname = current_database()"
    #expect(try bare.sql(grants, in: "a2d2_production") == server.sql(grants, in: "a2d2_production"))
    #expect(try bare.sql("SELECT pg_has_role('a2d2_user', 'readers', 'MEMBER')") == "t")
  }

  @Test func `leaves running what a start command started, and reports what did not start`() throws {
    var place = try Workplace.withNotes()
    _ = try place.takeSnapshot()
    let pid = place.folder.path("pid")
    try place.configure(maintenance: "  start: ['sleep 60 >/dev/null 2>&1 & echo $! > \(pid)']\n")
    #expect(try place.restore(place.database, "--confirm", place.database).status == 0)
    let number = try #require(Int32(String(decoding: try Folder.contents(of: pid), as: UTF8.self).trimmingCharacters(in: .newlines)))
    #expect(Host.startTime(of: number) != nil)
    Host.send(SIGTERM, to: number)

    try place.configure(maintenance: "  stop: ['exit 3']\n  start: ['exit 4']\n")
    let failed = try place.restore(place.database, "--confirm", place.database)
    #expect(failed.status == 1, "\(failed)")
    #expect(failed.errors.contains("exit 3 failed") && failed.errors.contains("exit 4 failed"), "\(failed)")
  }

  @Test func `is followed by one that starts what it left stopped when it was killed`() throws {
    var place = try Workplace.withNotesAlone()
    let id = try place.takeSnapshot()
    let log = place.folder.path("log").string
    // The command's parent is firn-restore.
    try place.configure(maintenance: "  stop: ['echo stop >> \(log); kill -9 $PPID']\n  start: ['echo start >> \(log)']\n")
    #expect(try place.restore(place.database, "--confirm", place.database).status == 128 + SIGKILL)
    let recovered = try place.restore(place.database, "--recover")
    #expect(recovered.status == 0, "\(recovered)")
    #expect(recovered.errors.contains("started again"), "\(recovered)")
    let unfinished = "SELECT count(*) FROM pg_database WHERE shobj_description(oid, 'pg_database') ~ 'restore of \(id)'"
    #expect(try place.server.sql(unfinished) == "0")
    #expect(String(decoding: try Folder.contents(of: FilePath(log)), as: UTF8.self) == "stop\nstart\n")
    #expect(try place.restore(place.database, "--recover").errors.contains("no leftover"))
    #expect(try place.noteCount() == "5000")
    #expect(try place.keptDatabases().isEmpty)
  }

  @Test func `dedupes against what was before an emptied database was replaced`() throws {
    let place = try Workplace.withNotes()
    try place.sql("CREATE TABLE broad AS SELECT md5(g::text) x, md5((g * 7)::text) y FROM generate_series(1, 20000) g")
    let first = try place.snapshot("--json").json()["storedBytes"] as? Int ?? 0
    try place.sql("DELETE FROM broad; DELETE FROM notes")
    #expect(try place.restore(place.database, "latest", "--confirm", place.database).status == 0)
    let next = try place.snapshot("--json").json()
    #expect(next["storedBytes"] as? Int ?? .max < first / 4, "\(first), then \(next)")
  }

  @Test func `reports the safety snapshot that stays if a restore fails after it`() throws {
    var place = try Workplace.withNotes()
    _ = try place.takeSnapshot()
    try place.beforeRestoring(run: "echo 'pg_restore: error: no' >&2; exit 1")
    let failed = try place.restore(place.database, "latest", "--confirm", place.database)
    let safety = try #require(place.listedSnapshots().last)
    #expect(failed.status == 8 && failed.errors.contains("as it was before this stays: \(safety)"), "\(failed)")
  }

}
