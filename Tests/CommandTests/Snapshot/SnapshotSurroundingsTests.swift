import Foundation
import Platform
import Postgres
import Repository
import SystemPackage
import TestSupport
import Testing

/// Other activity and settings while a snapshot is made.
@Suite struct `A snapshot beside others` {
  private func workplace(_ sql: String = "") throws -> Workplace {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) || md5((g * 3)::text) x FROM generate_series(1, 20000) g; \(sql)")
    return place
  }

  /// Repeats a statement in a session of its own while `body` runs.
  private func meanwhile(_ statement: String, _ place: Workplace, _ body: () throws -> Void) throws -> Int {
    let isDone = Monitor(false)
    let count = Monitor(0)
    let url = place.server.url(place.database)
    let worker = WorkerThread(name: "others") {
      guard let connection = try? Connection(try ConnectionSettings(url)) else { return }
      while !isDone.wait(atMost: .milliseconds(5), until: { $0 }) {
        if (try? connection.execute(statement)) != nil { count.update { $0 += 1 } }
      }
    }
    defer {
      isDone.update { $0 = true }
      worker.join()
    }
    try body()
    return count.current
  }

  @Test func `is made while a materialized view is refreshed all the time`() throws {
    let place = try workplace("CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM t")
    let refreshed = try meanwhile("REFRESH MATERIALIZED VIEW public.seen", place) {
      for _ in 0..<3 { _ = try place.takeSnapshot() }
    }
    #expect(refreshed > 10)
  }

  @Test func `waits for no temporary table of another session`() throws {
    let place = try workplace()
    let other = try place.server.connect(place.database)
    try other.execute("CREATE TEMPORARY TABLE mine (id int)")
    try other.execute("BEGIN; TRUNCATE mine")
    let made = try place.snapshot("--lock-wait", "2s")
    #expect(made.status == 0, "\(made)")
    try other.rollback()
  }

  @Test func `steps back from locks, so that no session is ended by a deadlock`() throws {
    let place = try workplace("CREATE TABLE u AS SELECT 1 id")
    for _ in 0..<3 {
      let migration = try place.server.connect(place.database)
      try migration.execute("BEGIN; LOCK TABLE public.u IN ACCESS EXCLUSIVE MODE")
      let command = try place.start("firn-snapshot", ["--lock-wait", "60s"])
      Thread.sleep(forTimeInterval: 0.7)
      // The other one, which a snapshot has locked by then that waits for this.
      try migration.execute("ALTER TABLE public.t ADD COLUMN IF NOT EXISTS y int")
      Thread.sleep(forTimeInterval: 1.5)
      try migration.execute("COMMIT")
      #expect(command.wait() == 0)
    }
  }

  @Test func `waits for no lock at all on request`() throws {
    let place = try workplace()
    let other = try place.server.connect(place.database)
    try other.execute("BEGIN; LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE")
    let made = try ProgramResult.run(
      FirnProgram.path("firn-snapshot"), ["--lock-wait", "0s"], environment: place.environment, within: .seconds(60))
    try other.rollback()
    #expect(made?.exitCode == 8 && made?.errors.contains { $0.contains("stayed locked") } == true, "\(String(describing: made))")
  }

  @Test func `releases all tables as soon as pg_dump has ended`() throws {
    var place = try workplace()
    let ended = place.folder.path("ended")
    // A session of pg_dump may be gone before a test under load has seen it.
    place.environment["FIRN_PG_BIN"] = try place.tools(with: "\"$real\" \"$@\"; code=$?; : > '\(ended)'; exit $code", inPlaceOf: "pg_dump").string
    let command = try place.start("firn-snapshot", ["--max-rate", "50kB"])
    while command.exitCode() == nil && !Folder.exists(ended) { Thread.sleep(forTimeInterval: 0.01) }
    Thread.sleep(forTimeInterval: 0.3)
    let locks = try place.server.sql(
      "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE l.mode = 'AccessShareLock' AND c.relname = 't' AND l.granted",
      in: place.database)
    // It still stores what was dumped.
    #expect(command.exitCode() == nil && locks == "0")
    #expect(command.wait() == 0)
  }

  @Test func `has pg_dump fail at damaged pages, whatever was set in an emergency, or says that it could not`() throws {
    let place = try workplace()
    try place.sql("ALTER DATABASE \"\(place.database)\" SET zero_damaged_pages = on")
    var watched = place
    let arguments = place.folder.path("arguments")
    watched.environment["FIRN_PG_BIN"] =
      try place.tools(with: "printf '%s\\n' \"$@\" >> '\(arguments)'; exec \"$real\" \"$@\"", inPlaceOf: "pg_dump").string
    #expect(try watched.snapshot().status == 0)
    #expect(String(decoding: try Folder.contents(of: arguments), as: UTF8.self).contains("-c zero_damaged_pages=off"))
    let role = "reader_\(UInt32.random(in: 0 ... .max))"
    try place.sql("CREATE ROLE \(role) LOGIN PASSWORD 'x' IN ROLE pg_read_all_data")
    var lesser = place
    lesser.environment["DATABASE_URL"] = place.server.url(place.database, user: role, password: "x")
    let made = try lesser.snapshot("--json")
    #expect(made.status == 3 && made.output.contains("damaged pages pass for empty ones"), "\(made)")
  }

  @Test func `holds the rows of an extension's tables, wherever these are`() throws {
    let place = try workplace()
    // As an extension does that keeps its own books there.
    try place.sql(
      """
      CREATE EXTENSION hstore; SET allow_system_table_mods = on; CREATE TABLE pg_catalog.books (id int); INSERT INTO pg_catalog.books VALUES (1), (2), (3);
      UPDATE pg_extension SET extconfig = ARRAY['pg_catalog.books'::regclass::oid], extcondition = ARRAY[''] WHERE extname = 'hstore';
      INSERT INTO pg_depend SELECT 'pg_class'::regclass, 'pg_catalog.books'::regclass, 0, 'pg_extension'::regclass, oid, 0, 'e' FROM pg_extension
        WHERE extname = 'hstore'
      """)
    let made = try place.snapshot("--json")
    #expect(made.status == 0, "\(made)")
    let tables = try #require(made.json()["tables"] as? [[String: Any]])
    #expect(tables.contains { $0["name"] as? String == "pg_catalog.books" && $0["rows"] as? Int == 3 })
  }

  @Test func `warns if the newest one is dated in the future`() throws {
    let place = try workplace()
    let ahead = try place.run(clock: ["-f", "+2d"], "firn-snapshot", [])
    #expect(ahead.status == 0, "\(ahead)")
    let made = try place.snapshot()
    #expect(made.status == 0 && made.errors.contains("\(ahead.output) is dated") && made.errors.contains("later than now"), "\(made)")
  }

  @Test func `warns if its server's log went back, like that of a copy`() throws {
    let place = try workplace()
    let first = try place.takeSnapshot()
    let key = try #require(filesByPath(under: place.store).keys.first { $0.hasSuffix("manifest.json") })
    let path = place.store.appending(key)
    let text = String(decoding: try Folder.contents(of: path), as: UTF8.self)
    try Folder.write(Array(text.replacing(/"lsn" : "[^"]*"/, with: "\"lsn\" : \"FFFF/0\"").utf8), to: path)
    let made = try place.snapshot()
    #expect(made.status == 3 && made.errors.contains("it was at FFFF/0 in \(first)") && made.errors.contains("--source"), "\(made)")
    let named = try place.snapshot("--source", "staging")
    #expect(named.status == 0, "\(named)")
  }

  /// A list whose chunks are stored again can have the same name again, mostly from the second time on: the first objects hold more than the
  /// table.
  @Test(arguments: [30_000, 160_000]) func `stores again what its parent's damaged table can't name`(_ rows: Int) throws {
    let place = try workplace(
      "DROP TABLE t; CREATE TABLE u AS SELECT g, md5(g::text) || md5((g * 3)::text) || md5((g * 5)::text) x FROM generate_series(1, \(rows)) g")
    _ = try place.takeSnapshot()
    var damaged: Set<String> = []
    for _ in 1...2 {
      let lists = try filesByPath(under: place.store).keys.filter { key in
        guard key.hasPrefix("objects/"), key.hasSuffix(".zst"), !damaged.contains(key) else { return false }
        let text = try ProgramResult.run("/usr/bin/zstd", ["-dcq", place.store.appending(key).string], environment: [:]).output
        return text.starts(with: Array("firn-list".utf8))
      }
      #expect(lists.count == 1)
      let key = try #require(lists.first)
      damaged.insert(key)
      var bytes = try Folder.contents(of: place.store.appending(key))
      // Behind its head, in a segment.
      bytes[bytes.count - 40] ^= 0x10
      try Folder.write(bytes, to: place.store.appending(key))
      let made = try place.snapshot()
      #expect(made.status == 3 && made.errors.contains("chunk table can't be read in parts"), "\(made)")
    }
    let restored = try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--prove")
    #expect(restored.status == 0, "\(restored)")
    #expect(try place.verify(place.database, "latest", "--read").status == 0)
  }

  @Test func `connects to the given address, and waits for ever on request`() throws {
    var place = try workplace()
    let url = place.server.url(place.database).replacing("127.0.0.1", with: "db.invalid")
    place.environment["DATABASE_URL"] = "\(url)?hostaddr=127.0.0.1&connect_timeout=0"
    let made = try place.snapshot()
    #expect(made.status == 0, "\(made)")
    let restored = try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--prove")
    #expect(restored.status == 0, "\(restored)")
    place.environment["DATABASE_URL"] = "\(place.server.url(place.database))?sslpassword=geheim"
    let refused = try place.snapshot()
    #expect(refused.status == 6 && refused.errors.contains("sslpassword") && !refused.errors.contains("geheim"), "\(refused)")
  }

  @Test func `ends in its own time, whatever signals its starter ignored`() throws {
    let place = try workplace()
    let program = FirnProgram.path("firn-snapshot").string
    let made = try ProgramResult.run(
      "/bin/sh", ["-c", "trap '' CHLD; exec \"$1\"", "sh", program], environment: place.environment, within: .seconds(60))
    #expect(try #require(made).exitCode == 0)
    // As nohup does.
    let command = try ChildProcess(
      "/bin/sh", arguments: ["-c", "trap '' HUP; exec \"$1\" --max-rate 200kB", "sh", program], environment: place.environment
    ) { _ in }
    Thread.sleep(forTimeInterval: 1)
    command.signalGroup(SIGHUP)
    #expect(command.wait() == 0)
    #expect(try place.listedSnapshots().count == 2)
  }

  @Test func `leaves no stopped pg_dump behind when it is killed`() throws {
    let place = try workplace(
      "CREATE TABLE more AS SELECT (SELECT string_agg(md5((g * i)::text || 'x'), '') FROM generate_series(1, 20) i) x FROM generate_series(1, 60000) g"
    )
    // One that adopts orphans, in the same session, as the first process of a container does: the kernel lets these stand.
    let script = """
      import ctypes, signal, subprocess, sys, time
      ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
      command = subprocess.Popen([sys.argv[1], "--verbose", "--spool-cap", "1MiB", "--max-rate", "100kB"], stderr=subprocess.PIPE, text=True)
      for line in command.stderr:
          if "pg_dump waits" in line:
              break
      time.sleep(0.5)
      command.send_signal(signal.SIGKILL)
      command.wait()
      time.sleep(40)
      """
    let adopter = try ChildProcess(
      "/usr/bin/python3", arguments: ["-c", script, FirnProgram.path("firn-snapshot").string], environment: place.environment
    ) {
      _ in
    }
    defer { adopter.terminate(grace: .seconds(1)) }
    func sessions() throws -> Int {
      Int(try place.server.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '\(place.database)' AND application_name LIKE 'firn pg_dump%'"))
        ?? 0
    }
    let begun = ContinuousClock.now + .seconds(30)
    while try sessions() == 0, ContinuousClock.now < begun { Thread.sleep(forTimeInterval: 0.05) }
    #expect(try sessions() > 0)
    let ended = ContinuousClock.now + .seconds(30)
    while try sessions() > 0, ContinuousClock.now < ended { Thread.sleep(forTimeInterval: 0.1) }
    #expect(try sessions() == 0)
    #expect(adopter.exitCode() == nil)
  }

  @Test func `takes no folder for its own that others made, and none away that another uses`() throws {
    let place = try workplace()
    // A folder of another container's process: no process has that id here.
    let foreign = place.spool.appending("firn-run-99999999-1-00000000-1")
    let (held, dead) = (foreign, place.spool.appending("firn-run-99999999-1-00000000-2"))
    for folder in [held, dead] {
      try Folder.make(folder)
      try Folder.write([], to: folder.appending(".lock"))
    }
    let lock = try FileLock(taking: held.appending(".lock"))
    _ = try place.takeSnapshot()
    #expect(Folder.exists(held) && !Folder.exists(dead))
    withExtendedLifetime(lock) {}
    // Nor one that was just made, and has no lock yet.
    let young = place.spool.appending("firn-run-99999999-1-00000000-3")
    try Folder.make(young)
    _ = try place.takeSnapshot()
    #expect(Folder.exists(young))
    #expect { try Folder.makeNew(young) } throws: { ($0 as? SystemError)?.number == .fileExists }
  }
}
