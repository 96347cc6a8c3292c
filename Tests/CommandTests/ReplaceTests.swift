import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// `firn-restore DATABASE SNAPSHOT`: in the place of a live database.
@Suite struct `firn-restore of a live database` {
  private func workplace(_ server: TestServer? = nil) throws -> Workplace {
    let place = try Workplace(on: server ?? TestServer.system.get())
    try place.sql(
      """
      CREATE TABLE notes (id serial PRIMARY KEY, body text NOT NULL);
      INSERT INTO notes (body) SELECT 'note ' || g FROM generate_series(1, 5000) g;
      CREATE TABLE wide AS SELECT g id, repeat(md5(g::text), 1 + g % 40) x FROM generate_series(1, 8000) g;
      """)
    return place
  }

  private func kept(_ place: Workplace) throws -> [String] {
    try place.server.databaseNames().filter { $0.hasPrefix(place.database + "_") }.sorted()
  }

  private func count(_ place: Workplace, in database: String? = nil) throws -> String {
    try place.server.sql("SELECT count(*) FROM notes", in: database ?? place.database)
  }

  @Test func `exchanges it, keeps it, brings it back, and lets go of it`() throws {
    let place = try workplace()
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
    #expect(try count(place) == "5000")
    #expect(try count(place, in: keptAs) == "100")
    // The database of before is in a snapshot, too.
    let listed = try #require(place.firn("list", place.database, "--json").json()["snapshots"] as? [[String: Any]])
    #expect(listed.map { $0["kind"] as? String } == ["manual", "pre-restore"])
    #expect(report["safetySnapshot"] as? String == listed.last?["id"] as? String)

    try place.sql("INSERT INTO notes (body) VALUES ('written since')")
    let undone = try place.restore(place.database, "--undo", "--confirm", place.database, "--json")
    #expect(undone.status == 0, "\(undone)")
    let aside = try #require(undone.json()["keptAs"] as? String)
    #expect(aside.hasPrefix("\(place.database)_undone_"))
    #expect(try count(place) == "100")
    #expect(try count(place, in: aside) == "5001")
    // And forth again.
    #expect(try place.restore(place.database, "--undo", "--confirm", place.database).status == 0)
    #expect(try count(place) == "5001")

    let names = try kept(place)
    #expect(names.count == 1)
    #expect(try place.restore(place.database, "--forget-old", "--confirm", place.database).status == 5)
    #expect(try kept(place) == names)
    let forgotten = try place.restore(place.database, "--forget-old", "--confirm", names[0])
    #expect(forgotten.status == 0, "\(forgotten)")
    #expect(try kept(place).isEmpty)
    #expect(try place.restore(place.database, "--forget-old", "--confirm", names[0]).status == 10)
    #expect(try place.restore(place.database, "--undo", "--confirm", place.database).status == 10)
    #expect(try count(place) == "5001")
    #expect(try place.leftovers().isEmpty)
  }

  @Test func `touches nothing without the right word`() throws {
    let place = try workplace()
    _ = try place.takeSnapshot()
    for arguments in [
      [], ["--confirm", "yes"], ["--confirm", ""], ["--confirm", place.database + " "], ["--confirm", place.database.uppercased()],
    ] {
      let result = try place.run("firn-restore", [place.database, "latest"] + arguments)
      #expect(result.status == 5, "\(result)")
      #expect(result.errors.contains("nothing was touched"))
      #expect(result.errors.contains("\(place.database)_before_"))
    }
    #expect(try place.server.databaseNames().filter { $0.hasPrefix(place.database) } == [place.database])
    #expect(try kept(place).isEmpty)
    #expect(try place.listedSnapshots().count == 1)
  }

  @Test func `hands on settings, privileges, comment, limit and owner of the live one`() throws {
    let place = try workplace()
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
        (SELECT array_agg(setrole::regrole || ' ' || c ORDER BY 1) FROM pg_db_role_setting, unnest(setconfig) c WHERE setdatabase = d.oid)
      FROM pg_database d WHERE datname = '\(place.database)'
      """
    let before = try place.server.sql(properties)
    #expect(try place.restore(place.database, "--confirm", place.database).status == 0)
    #expect(try place.server.sql(properties) == before)
    #expect(try place.restore(place.database, "--undo", "--confirm", place.database).status == 0)
    #expect(try place.server.sql(properties) == before)
  }

  @Test func `leaves no comment of its own on a new database`() throws {
    let place = try workplace()
    _ = try place.takeSnapshot()
    #expect(try place.restore(place.database, "latest", "--as", "\(place.database)_copy").status == 0)
    #expect(
      try place.server.sql("SELECT shobj_description(oid, 'pg_database') IS NULL FROM pg_database WHERE datname = '\(place.database)_copy'") == "t")
  }

  @Test func `is refused for what stands in the way, all at once, and touches nothing`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0), settings: ["max_prepared_transactions=5", "wal_level=logical"])
    let place = try workplace(server)
    _ = try place.takeSnapshot()
    // First, as it waits for every transaction under way.
    try place.sql("SELECT pg_create_logical_replication_slot('a_slot', 'pgoutput')")
    try place.sql("BEGIN; INSERT INTO notes (body) VALUES ('prepared'); PREPARE TRANSACTION 'left over'")
    let refused = try place.restore(place.database, "--confirm", place.database)
    #expect(refused.status == 6, "\(refused)")
    for word in ["left over", "a_slot", "2 things"] { #expect(refused.errors.contains(word), "\(refused)") }
    try place.sql("ROLLBACK PREPARED 'left over'")
    try place.sql("SELECT pg_drop_replication_slot('a_slot')")

    try place.sql(
      "CREATE TABLE parent (id int); CREATE INDEX broken ON parent (id); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass"
    )
    #expect(try place.snapshot().status == 3)
    let incomplete = try place.restore(place.database, "--confirm", place.database)
    #expect(incomplete.status == 6, "\(incomplete)")
    #expect(incomplete.errors.contains("--allow-incomplete"))
    #expect(try kept(place).isEmpty)
    let allowed = try place.restore(place.database, "--confirm", place.database, "--allow-incomplete")
    #expect(allowed.status == 3, "\(allowed)")
    #expect(try kept(place).count == 1)
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

  @Test func `is stopped by a byte that was changed before the exchange`() throws {
    // On a busy day the vandal may come too late: then it tries again, elsewhere.
    var wasChanged = false
    for _ in 0..<5 where !wasChanged { wasChanged = try changeBeforeExchange() }
    #expect(wasChanged)
  }

  /// - Returns: whether the vandal came in time.
  private func changeBeforeExchange() throws -> Bool {
    let place = try workplace()
    let id = try place.takeSnapshot()
    let isDone = Monitor(false)
    let changed = Monitor(false)
    let server = place.server
    let vandal = WorkerThread(name: "vandal") {
      while !isDone.current && !changed.current {
        let names = (try? server.sql("SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') ~ 'restore of \(id)'")) ?? ""
        for name in names.split(separator: "\n") {
          // What comes after the proof has begun to look is not seen by it: then it does nothing.
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
    // On a fast day the vandal comes too late for the proof's own snapshot, but not for the exchange to take place wrongly.
    if changed.current {
      #expect(result.status == 4, "\(result)")
      #expect(result.errors.contains("public.notes"), "\(result)")
      #expect(try kept(place).isEmpty)
      #expect(try place.server.sql("SELECT body FROM notes WHERE id = 77", in: place.database) == "note 77")
    }
    return changed.current
  }

  @Test func `stops and starts the application around the exchange, whatever becomes of it`() throws {
    var place = try workplace()
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

    // An application that doesn't come back: the exchange stays, or is taken back.
    try configure("  health: 'exit 1'\n  health-retries: 1\n  health-pause: 10ms\n")
    try place.sql("TRUNCATE notes")
    let unwell = try place.restore(place.database, "latest:manual", "--confirm", place.database)
    #expect(unwell.status == 1, "\(unwell)")
    #expect(unwell.errors.contains("--undo"))
    #expect(try count(place) == "5000")
    try place.sql("TRUNCATE notes")
    let back = try place.restore(place.database, "latest:manual", "--confirm", place.database, "--undo-on-failure")
    #expect(back.status == 1, "\(back)")
    #expect(try count(place) == "0")
    #expect(try logged().hasSuffix("stop\nstart\nstarted\nstop\nstart\nstarted\n"))

    // A stop that fails: nothing is exchanged, and the application is started again.
    try configure("")
    try Folder.write(
      Array("maintenance:\n  stop: ['echo stop >> \(log)', 'echo no way >&2; exit 3']\n  start: ['echo start >> \(log)']\n".utf8),
      to: place.folder.path(".config/firn/firn.yaml"))
    let names = try kept(place)
    let failed = try place.restore(place.database, "latest:manual", "--confirm", place.database)
    #expect(failed.status == 1, "\(failed)")
    #expect(failed.errors.contains("no way"))
    #expect(try logged() == "stop\nstart\n")
    #expect(try kept(place) == names)
  }

  @Test func `gives a name of 63 bytes a kept one that PostgreSQL doesn't cut`() throws {
    let server = try TestServer.system.get()
    let name = String(String(repeating: "データ", count: 8).prefix(19)) + String(Int.random(in: 100000..<999999))
    #expect(name.utf8.count == 63)
    try server.sql("CREATE DATABASE \(Connection.identifier(name)) TEMPLATE template0")
    let place = try Workplace(on: server, database: name)
    try place.sql("CREATE TABLE notes (id int)")
    _ = try place.takeSnapshot()
    for _ in 1...2 { #expect(try place.restore(name, "--confirm", name).status == 0) }
    let others = try server.databaseNames().filter { $0.hasPrefix("データデータ") && $0 != name && $0.contains("_before_") }
    #expect(others.count == 2)
    #expect(others.allSatisfy { $0.utf8.count <= 63 })
    #expect(try place.restore(name, "--undo", "--confirm", name).status == 0)
  }

  @Test func `makes the database where there is none, roles and privileges included`() throws {
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
    #expect(throws: PostgresError.self) { try Connection(try ConnectionSettings(bare.url("a2d2_production", user: "stranger", password: "x"))) }
    let grants =
      "SELECT datacl::text, (SELECT array_agg(defaclacl::text ORDER BY defaclacl::text) FROM pg_default_acl) FROM pg_database WHERE datname = current_database()"
    #expect(try bare.sql(grants, in: "a2d2_production") == server.sql(grants, in: "a2d2_production"))
    #expect(try bare.sql("SELECT pg_has_role('a2d2_user', 'readers', 'MEMBER')") == "t")
  }

  private func configure(_ place: inout Workplace, _ maintenance: String) throws {
    place.environment["HOME"] = place.folder.path.string
    try Folder.make(place.folder.path(".config/firn"))
    try Folder.write(Array("maintenance:\n\(maintenance)".utf8), to: place.folder.path(".config/firn/firn.yaml"))
  }

  @Test func `leaves running what a start command started, and tells what did not start`() throws {
    var place = try workplace()
    _ = try place.takeSnapshot()
    let pid = place.folder.path("pid")
    try configure(&place, "  start: ['sleep 60 >/dev/null 2>&1 & echo $! > \(pid)']\n")
    #expect(try place.restore(place.database, "--confirm", place.database).status == 0)
    let number = try #require(Int32(String(decoding: try Folder.contents(of: pid), as: UTF8.self).trimmingCharacters(in: .newlines)))
    #expect(Host.startTime(of: number) != nil)
    Host.send(SIGTERM, to: number)

    try configure(&place, "  stop: ['exit 3']\n  start: ['exit 4']\n")
    let failed = try place.restore(place.database, "--confirm", place.database)
    #expect(failed.status == 1, "\(failed)")
    #expect(failed.errors.contains("exit 3 failed") && failed.errors.contains("exit 4 failed"), "\(failed)")
  }

  @Test func `is followed by one that starts what it left stopped when it was killed`() throws {
    var place = try workplace()
    let id = try place.takeSnapshot()
    let log = place.folder.path("log").string
    // The command's parent is firn-restore.
    try configure(&place, "  stop: ['echo stop >> \(log); kill -9 $PPID']\n  start: ['echo start >> \(log)']\n")
    #expect(try place.restore(place.database, "--confirm", place.database).status == 128 + SIGKILL)
    let recovered = try place.restore(place.database, "--recover")
    #expect(recovered.status == 0, "\(recovered)")
    #expect(recovered.errors.contains("started again"), "\(recovered)")
    // Another test's restore may have cleared it away before.
    let unfinished = "SELECT count(*) FROM pg_database WHERE shobj_description(oid, 'pg_database') ~ 'restore of \(id)'"
    #expect(try place.server.sql(unfinished) == "0")
    #expect(String(decoding: try Folder.contents(of: FilePath(log)), as: UTF8.self) == "stop\nstart\n")
    #expect(try place.restore(place.database, "--recover").errors.contains("nothing is left"))
    #expect(try count(place) == "5000")
    #expect(try kept(place).isEmpty)
  }

  @Test func `does not take a stranger's database for the kept one`() throws {
    let place = try workplace()
    let role = "forger_\(place.database)"
    let comment = #"kept by firn: {"database":"\#(place.database)","keptAt":"2030-01-01T00:00:00Z"}"#
    try place.server.sql("CREATE ROLE \(role); CREATE DATABASE \(place.database)_forged OWNER \(role)")
    try place.server.sql("COMMENT ON DATABASE \(place.database)_forged IS \(Connection.literal(comment))")
    let undone = try place.restore(place.database, "--undo", "--confirm", place.database)
    #expect(undone.status == 6, "\(undone)")
    #expect(undone.errors.contains("belongs to \(role)"))
    #expect(try count(place) == "5000")
  }

  @Test func `lets nobody take the live database for a kept one, though its comment says so`() throws {
    let place = try workplace()
    let name = place.database
    try place.sql("COMMENT ON DATABASE \"\(name)\" IS 'mine'")
    _ = try place.takeSnapshot()
    #expect(try place.restore(name, "--confirm", name).status == 0)
    // The live one is dropped by mistake, and the kept one given its name by hand.
    let keptAs = try #require(kept(place).first)
    try place.server.sql("DROP DATABASE \"\(name)\"", in: "postgres")
    try place.server.sql("ALTER DATABASE \"\(keptAs)\" RENAME TO \"\(name)\"", in: "postgres")
    #expect(try !place.firn("list").errors.contains("kept on"))
    for mode in ["--forget-old", "--undo"] {
      let refused = try place.restore(name, mode, "--confirm", name)
      #expect(refused.status == 10 && refused.errors.contains("no database is kept"), "\(refused)")
    }
    #expect(try count(place) == "5000")
    // Nor does its comment go into snapshots, or from one database to the next.
    _ = try place.takeSnapshot()
    func comment(_ database: String) throws -> String {
      try place.server.sql("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '\(database)'", in: "postgres")
    }
    #expect(try place.restore(name, "--as", "\(name)_copy", "--prove").status == 0)
    #expect(try comment("\(name)_copy") == "mine")
    #expect(try place.restore(name, "--confirm", name).status == 0)
    #expect(try comment(name) == "mine")
    #expect(try place.restore(name, "--undo", "--confirm", name).status == 0)
    #expect(try comment(name) == "mine")
  }

  @Test func `brings back the kept one where the live one is gone, and the one that is named`() throws {
    let place = try workplace()
    let name = place.database
    _ = try place.takeSnapshot()
    try place.sql("DELETE FROM notes WHERE id > 100")
    #expect(try place.restore(name, "latest", "--confirm", name).status == 0)
    let first = try #require(kept(place).first)
    try place.server.sql("DROP DATABASE \"\(name)\"", in: "postgres")
    let unconfirmed = try place.restore(name, "--undo", "--confirm", "wrong")
    #expect(unconfirmed.status == 5 && unconfirmed.errors.contains("has no database \(name) now"), "\(unconfirmed)")
    let back = try place.restore(name, "--undo", "--confirm", name, "--json")
    #expect(back.status == 0, "\(back)")
    #expect(try back.json()["restoredAs"] as? String == name && back.json()["keptAs"] is NSNull && back.json()["keptName"] as? String == first)
    #expect(try count(place) == "100" && kept(place).isEmpty)

    #expect(try place.restore(name, "latest", "--confirm", name).status == 0)
    let oldest = try #require(kept(place).first)
    try place.sql("DELETE FROM notes WHERE id > 7")
    #expect(try place.restore(name, "latest", "--confirm", name).status == 0)
    let plan = try place.restore(name, "--undo", "--confirm", "wrong")
    #expect(plan.errors.contains("--kept \(oldest)"), "\(plan)")
    #expect(try place.restore(name, "--undo", "--kept", "\(name)_nothing", "--confirm", name).status == 10)
    #expect(try place.restore(name, "--kept", oldest, "--confirm", name).status == 64)
    #expect(try place.restore(name, "--undo", "--kept", oldest, "--confirm", name).status == 0)
    #expect(try count(place) == "100")
  }

  @Test func `dedupes against what was before an emptied database was replaced`() throws {
    let place = try workplace()
    try place.sql("CREATE TABLE broad AS SELECT md5(g::text) x, md5((g * 7)::text) y FROM generate_series(1, 20000) g")
    let first = try place.snapshot("--json").json()["storedBytes"] as? Int ?? 0
    try place.sql("DELETE FROM broad; DELETE FROM notes")
    #expect(try place.restore(place.database, "latest", "--confirm", place.database).status == 0)
    let next = try place.snapshot("--json").json()
    #expect(next["storedBytes"] as? Int ?? .max < first / 4, "\(first), then \(next)")
  }

  @Test func `tells of the snapshot that stays where a restore fails after it`() throws {
    var place = try workplace()
    _ = try place.takeSnapshot()
    let script = "case \"$*\" in *--list* | *--file* | *--version*) ;; *) echo 'pg_restore: error: no' >&2; exit 1 ;; esac; exec \"$real\" \"$@\""
    place.environment["FIRN_PG_BIN"] = try place.tools(with: script, inPlaceOf: "pg_restore").string
    let failed = try place.restore(place.database, "latest", "--confirm", place.database)
    let safety = try #require(place.listedSnapshots().last)
    #expect(failed.status == 8 && failed.errors.contains("as it was before this stays: \(safety)"), "\(failed)")
  }

  @Test func `ends nobody's session while somebody holds a lock on the database, and names him`() throws {
    let place = try workplace()
    let name = place.database
    _ = try place.takeSnapshot()
    let url = place.server.url("postgres")
    let holder = try Connection(ConnectionSettings(url), applicationName: "the holder")
    try holder.execute("BEGIN; ALTER DATABASE \"\(name)\" CONNECTION LIMIT 50")
    let client = try Connection(ConnectionSettings(place.server.url(name)), applicationName: "client")
    let result = try place.restore(name, "latest", "--confirm", name, "--no-safety-snapshot")
    #expect(result.status == 6 && result.errors.contains("(the holder)") && result.errors.contains("is as it was"), "\(result)")
    try client.execute("INSERT INTO public.notes (body) VALUES ('still here')")
    #expect(try count(place) == "5001" && kept(place).isEmpty)
    try holder.execute("ROLLBACK")
    // One who is in the database itself is ended as others are.
    try client.execute("BEGIN; ALTER DATABASE \"\(name)\" CONNECTION LIMIT 50")
    let done = try place.restore(name, "latest", "--confirm", name, "--no-safety-snapshot")
    #expect(done.status == 0, "\(done)")
    #expect(try count(place) == "5000")
  }

  @Test func `ends nobody's session while somebody holds a lock on the kept one`() throws {
    let place = try workplace()
    let name = place.database
    _ = try place.takeSnapshot()
    #expect(try place.restore(name, "latest", "--confirm", name).status == 0)
    let old = try #require(kept(place).first)
    let holder = try Connection(ConnectionSettings(place.server.url("postgres")), applicationName: "the holder")
    try holder.execute("BEGIN; COMMENT ON DATABASE \"\(old)\" IS 'mine'")
    let client = try Connection(ConnectionSettings(place.server.url(name)), applicationName: "client")
    let result = try place.restore(name, "--undo", "--confirm", name)
    #expect(result.status == 6 && result.errors.contains("(the holder)") && result.errors.contains("is as it was"), "\(result)")
    try client.execute("INSERT INTO public.notes (body) VALUES ('still here')")
    try holder.execute("ROLLBACK")
    #expect(try place.restore(name, "--undo", "--confirm", name).status == 0)
    #expect(try place.server.databaseNames().allSatisfy { !$0.hasPrefix("firn_swap") })
  }

  /// A command that runs SQL as the superuser, without its password in it.
  private func psql(_ place: Workplace) throws -> String {
    _ = try place.server.environment("postgres", passFileIn: place.folder.path)
    return
      "PGPASSFILE='\(place.folder.path("pgpass"))' '\(place.server.binaries.appending("psql"))' -h 127.0.0.1 -p \(place.server.port) -U postgres -Xqc"
  }

  @Test func `destroys in place only what was confirmed`() throws {
    var place = try workplace()
    let name = place.database
    _ = try place.takeSnapshot()
    // While the application is stopped, another database gets the name.
    let others = ["ALTER DATABASE \"\(name)\" RENAME TO \"\(name)_aside\"", "CREATE DATABASE \"\(name)\""]
    let file = try place.folder.write(others.joined(separator: ";\n") + ";\n", to: "others.sql")
    try configure(&place, "  stop: [\"\(psql(place).replacing(" -Xqc", with: " -Xqf")) '\(file)'\"]\n")
    let result = try place.restore(name, "latest", "--in-place", "--confirm", "destroy \(name)")
    #expect(result.status == 6 && result.errors.contains("was replaced meanwhile"), "\(result)")
    #expect(try Set([name, "\(name)_aside"]).isSubset(of: place.server.databaseNames()))
  }

  @Test func `guesses not whose database comes back where none is there to compare`() throws {
    let place = try workplace()
    let name = place.database
    let mallory = "mallory_\(name)"
    _ = try place.takeSnapshot()
    #expect(try place.restore(name, "latest", "--confirm", name).status == 0)
    let old = try #require(kept(place).first)
    let record = #"kept by firn: {"database":"\#(name)","name":"\#(mallory)","keptAt":"2099-01-01T00:00:00Z"}"#
    for statement in [
      "CREATE ROLE \"\(mallory)\"", "CREATE DATABASE \"\(mallory)\" OWNER \"\(mallory)\"", "COMMENT ON DATABASE \"\(mallory)\" IS '\(record)'",
      "DROP DATABASE \"\(name)\"",
    ] { try place.server.sql(statement, in: "postgres") }
    let refused = try place.restore(name, "--undo", "--confirm", name)
    #expect(refused.status == 6 && refused.errors.contains("belongs to \(mallory)"), "\(refused)")
    #expect(try place.restore(name, "--undo", "--kept", old, "--confirm", name).status == 0)
    #expect(try count(place) == "5000")
  }

  @Test func `touches no other database that has the name by then`() throws {
    var place = try workplace()
    let name = place.database
    _ = try place.takeSnapshot()
    let postgres = try psql(place)
    let script = """
      case "$*" in *--list* | *--file* | *--version*) ;; *) \(postgres) 'ALTER DATABASE "\(name)" RENAME TO "\(name)_aside"' && \(postgres) 'CREATE DATABASE "\(name)"' ;; esac
      exec "$real" "$@"
      """
    place.environment["FIRN_PG_BIN"] = try place.tools(with: script, inPlaceOf: "pg_restore").string
    let result = try place.restore(name, "latest", "--confirm", name, "--no-safety-snapshot", "--jobs", "1")
    #expect(result.status == 6 && result.errors.contains("was replaced meanwhile"), "\(result)")
    #expect(try place.server.sql("SELECT count(*) FROM pg_class WHERE relname = 'notes'", in: name) == "0")
    #expect(try kept(place) == ["\(name)_aside"])
  }

  @Test func `tells after a restore in place that was killed what is gone, and how to have it again`() throws {
    var place = try workplace()
    let name = place.database
    let id = try place.takeSnapshot()
    try place.sql("DELETE FROM notes WHERE id > 100")
    let mark = place.folder.path("at-work")
    let script = "case \"$*\" in *--list* | *--file* | *--version*) ;; *) touch '\(mark)'; sleep 60 ;; esac; exec \"$real\" \"$@\""
    place.environment["FIRN_PG_BIN"] = try place.tools(with: script, inPlaceOf: "pg_restore").string
    let run = try place.start("firn-restore", [name, id, "--in-place", "--confirm", "destroy \(name)"])
    while !Folder.exists(mark), run.exitCode() == nil { Thread.sleep(forTimeInterval: 0.02) }
    ProcessTable.send(SIGKILL, to: run.id)
    #expect(run.wait() == 137)
    place.environment["FIRN_PG_BIN"] = place.server.binaries.string
    #expect(try !place.server.databaseNames().contains(name))
    let safety = try #require(place.listedSnapshots().last)
    let recovered = try place.restore(name, "--recover")
    #expect(recovered.status == 3 && recovered.errors.contains("\(name) IS GONE"), "\(recovered)")
    #expect(recovered.errors.contains("firn-restore \(name) \(id)") && recovered.errors.contains("firn-restore \(name) \(safety)"), "\(recovered)")
    // By the policy that keeps least, what is in that snapshot stays for two weeks.
    #expect(try place.restore(name, id).status == 0)
    _ = try place.takeSnapshot()
    _ = try place.takeSnapshot()
    let plan = try place.prune(name, "--keep-last", "1", "--json").json()
    let keeps = (plan["keep"] as? [[String: Any]] ?? []).filter { $0["id"] as? String == safety }
    #expect((keeps.first?["reasons"] as? [String])?.contains { $0.contains("made before a restore") } == true, "\(plan)")
    #expect(try place.restore(name, safety, "--confirm", name, "--no-safety-snapshot").status == 0)
    #expect(try count(place) == "100")
  }

  @Test func `destroys the old one only for stronger words, and tells the way back where that fails`() throws {
    let place = try workplace()
    let id = try place.takeSnapshot()
    try place.sql("DELETE FROM notes WHERE id > 100; COMMENT ON DATABASE \"\(place.database)\" IS 'mine'")
    for word in [place.database, "destroy", "DESTROY \(place.database)"] {
      let refused = try place.restore(place.database, id, "--in-place", "--confirm", word)
      #expect(refused.status == 5 && refused.errors.contains("DESTROYS"), "\(refused)")
    }
    #expect(try count(place) == "100")
    let result = try place.restore(place.database, id, "--in-place", "--confirm", "destroy \(place.database)", "--json")
    #expect(result.status == 0, "\(result)")
    #expect(try result.json()["keptAs"] is NSNull)
    let safety = try #require(result.json()["safetySnapshot"] as? String)
    #expect(try count(place) == "5000")
    #expect(try place.sql("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()") == "mine")
    #expect(try kept(place).isEmpty)
    #expect(try place.restore(place.database, safety, "--as", "\(place.database)_copy", "--prove").status == 0)
    #expect(try count(place, in: "\(place.database)_copy") == "100")

    // Damage is found before anything is dropped, also where the last snapshot would share it.
    let objects = try filesByPath(under: place.store).filter { $0.key.hasPrefix("objects/") && $0.value.kind == .file }
    let largest = place.store.appending(try #require(objects.max { $0.value.size < $1.value.size }).key)
    let intact = try Folder.contents(of: largest)
    var bytes = intact
    bytes[bytes.count / 2] ^= 1
    try Folder.write(bytes, to: largest)
    let damaged = try place.restore(place.database, id, "--in-place", "--confirm", "destroy \(place.database)")
    #expect(damaged.status == 4 && damaged.errors.contains("public.wide"), "\(damaged)")
    #expect(try count(place) == "5000")
    try Folder.write(intact, to: largest)

    // What fails after it tells the way back, and leaves the application stopped: it would find nothing.
    var stopping = place
    let log = place.folder.path("log").string
    try configure(&stopping, "  stop: ['echo stop >> \(log)']\n  start: ['echo start >> \(log)']\n")
    let failed = try stopping.restore(place.database, id, "--in-place", "--confirm", "destroy \(place.database)", "--set", "work_mem=none")
    #expect(failed.status == 8, "\(failed)")
    let last = try #require(place.listedSnapshots().last)
    #expect(failed.errors.contains("firn-restore \(place.database) \(last)") && failed.errors.contains("stays stopped"), "\(failed)")
    #expect(try !place.server.databaseNames().contains(place.database))
    func logged() throws -> String { String(decoding: try Folder.contents(of: FilePath(log)), as: UTF8.self) }
    #expect(try stopping.restore(place.database, "--recover").status == 3)
    #expect(try logged() == "stop\n")
    #expect(try stopping.restore(place.database, last).status == 0)
    #expect(try logged() == "stop\nstart\n")
    #expect(try count(place) == "5000")
  }
}
