import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Snapshots that read only what changed since the one before.
@Suite struct `An incremental snapshot` {
  @Test(arguments: IncrementalPlace.all.indices)
  func `is, entry by entry and byte by byte, what a full one is, and is restored, copied, checked and recovered as one`(_ number: Int) throws {
    let place = try IncrementalPlace(
      on: IncrementalPlace.all[number].get(),
      """
      CREATE SCHEMA "o dd"; CREATE TYPE mood AS ENUM ('sad', 'ok');
      CREATE TABLE b (id int PRIMARY KEY, t text, g int GENERATED ALWAYS AS (id * 2) STORED); CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY, m mood, b int REFERENCES b);
      CREATE TABLE "o dd"."ta""ble|(x)" ("c ol" text, d date[]); CREATE TABLE big (id int, v text); CREATE TABLE empty (x int); CREATE TABLE none ();
      CREATE TABLE p (k int, v text) PARTITION BY RANGE (k); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
      CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (1000); CREATE UNLOGGED TABLE u (x int);
      INSERT INTO b SELECT g, md5(g::text) FROM generate_series(1, 5000) g; INSERT INTO a (m, b) SELECT 'ok', g FROM generate_series(1, 3000) g;
      INSERT INTO "o dd"."ta""ble|(x)" SELECT 'x' || g, ARRAY[date '2026-01-01' + g] FROM generate_series(1, 2000) g;
      INSERT INTO big SELECT g, (SELECT string_agg(md5(i::text || g), '') FROM generate_series(1, 200) i) FROM generate_series(1, 300) g;
      INSERT INTO p SELECT g % 1000, md5(g::text) FROM generate_series(1, 4000) g; INSERT INTO u VALUES (1); INSERT INTO none DEFAULT VALUES;
      CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM b; CREATE SEQUENCE s; SELECT nextval('s'); SELECT lo_from_bytea(0, 'large');
      """)
    let first = try place.snapshot()
    #expect(first.values.allSatisfy { !$0.isTaken })
    // Two nights: tables that were taken over are taken over again.
    var taken: [String: IncrementalPlace.Table] = [:]
    for change in ["UPDATE b SET t = 'changed' WHERE id < 50", "INSERT INTO p VALUES (150, 'new'); SELECT nextval('s')"] {
      try place.work.sql(change)
      try place.work.sql("CHECKPOINT")
      taken = try place.snapshot()
    }
    let incremental = try #require(try place.work.listedSnapshots().last)
    // Table b was read the night before, which set hint bits, and a server with checksums logs these.
    let read = Set(taken.filter { !$0.value.isTaken && !$0.value.isReadForItsObjects }.map(\.key)).subtracting(["public.b"])
    #expect(read == ["public.p2", "public.u"])
    let full = try place.snapshot("--full")
    #expect(full.values.allSatisfy { !$0.isTaken } && full.mapValues(\.sha256) == taken.mapValues(\.sha256))
    let ids = try place.work.listedSnapshots()
    let archives = try [incremental, #require(ids.last)].map(place.recovered)
    let scripts = try archives.map(place.script)
    #expect(scripts[0] == scripts[1])
    let folder = try TemporaryFolder()
    let stock = folder.path("stock")
    let dumped = try place.work.server.tool("pg_dump", ["-Fd", "-Z0", "-f", stock.string], in: place.work.database)
    #expect(dumped.exitCode == 0)
    #expect(try scripts[0] == place.script(of: stock))

    // In the store and in a copy.
    let work = place.work
    #expect(try work.verify(work.database, incremental, "--read").status == 0)
    #expect(try work.verify(work.database, incremental, "--drill").status == 0)
    let copy = work.folder.path("copy").string
    #expect(try work.firn("copy", "--to", copy, "--database", work.database).status == 0)
    for store in [work.store.string, copy] {
      #expect(try work.prune("--store", store, "--keep-last", "2", "--apply", "--all").status != 70)
      #expect(try work.verify("--store", store, work.database, incremental, "--read").status == 0)
    }
    let restored = try work.restore(work.database, incremental, "--as", "\(work.database)_copy", "--prove", "--store", copy)
    #expect(restored.status == 0, "\(restored)")
    let shown = try work.firn("show", work.database, incremental)
    #expect(shown.output.contains("taken over, the oldest was read"), "\(shown)")
  }

  /// Changes that affect COPY text, or may affect it, and the tables that must be read afterwards.
  static let changes: [(sql: String, read: Set<String>)] = [
    ("ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy'", ["direct", "domained", "arrayed", "composed", "nested"]),
    (
      "ALTER TYPE mood RENAME VALUE 'gloomy' TO 'x'; ALTER TYPE mood RENAME VALUE 'x' TO 'gloomy'",
      ["direct", "domained", "arrayed", "composed", "nested"]
    ),
    ("ALTER TABLE direct ADD COLUMN fast int DEFAULT 7", ["direct"]),
    ("ALTER TABLE direct DROP COLUMN fast", ["direct"]),
    ("ALTER TABLE plain RENAME COLUMN v TO w", ["plain"]),
    ("ALTER TABLE generated ALTER COLUMN g DROP EXPRESSION", ["generated"]),
    ("ALTER TABLE varying ALTER COLUMN v TYPE text", ["varying"]),
    ("ALTER TYPE pair ADD ATTRIBUTE more int", ["composed"]),
    ("ALTER TABLE plain RENAME TO renamed", ["renamed"]),
    ("ALTER TABLE renamed SET SCHEMA other", ["other.renamed"]),
    ("TRUNCATE emptied", ["emptied"]),
    ("VACUUM FULL vacuumed", ["vacuumed"]),
    ("DELETE FROM cut WHERE id > 10; VACUUM cut", ["cut"]),
    ("UPDATE toasted SET small = small + 1 WHERE id = 1", ["toasted"]),
    ("UPDATE toasted SET large = repeat(md5(random()::text), 3000) WHERE id = 2", ["toasted"]),
    ("INSERT INTO child VALUES (5)", ["child"]),
    ("ALTER TABLE parent ATTACH PARTITION part FOR VALUES FROM (0) TO (10)", []),
    ("CREATE TABLE fresh AS SELECT 1 a", ["fresh"]),
    ("DROP TABLE fresh; CREATE TABLE fresh AS SELECT 2 a", ["fresh"]),
    ("ALTER TABLE constrained ADD CHECK (id > 0)", ["constrained"]),
    ("UPDATE pg_extension SET extversion = '9' WHERE extname = 'plpgsql'", []),
    ("ALTER TABLE regs ALTER COLUMN t SET DEFAULT 'pg_class'", []),
  ]

  @Test(arguments: IncrementalPlace.all.indices.prefix(Thoroughness.count(1, thorough: 2)))
  func `reads each table whose text may be another, and hardly any other`(_ number: Int) throws {
    let place = try IncrementalPlace(
      on: IncrementalPlace.all[number].get(),
      """
      CREATE SCHEMA other; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN dmood AS mood; CREATE TYPE pair AS (m mood, n int);
      CREATE TYPE rmood AS RANGE (subtype = mood);
      CREATE TABLE direct (m mood); CREATE TABLE domained (m dmood); CREATE TABLE arrayed (m mood[]); CREATE TABLE composed (p pair);
      CREATE TABLE nested (r rmood); CREATE TABLE plain (v int); CREATE TABLE generated (id int, g int GENERATED ALWAYS AS (id + 1) STORED);
      CREATE TABLE varying (v varchar(10)); CREATE TABLE emptied (id int); CREATE TABLE vacuumed (id int); CREATE TABLE cut (id int);
      CREATE TABLE toasted (id int, small int, large text); CREATE TABLE ancestor (id int); CREATE TABLE child () INHERITS (ancestor);
      CREATE TABLE parent (id int) PARTITION BY RANGE (id); CREATE TABLE part (id int); CREATE TABLE constrained (id int); CREATE TABLE regs (t regclass);
      CREATE TABLE hostile ("a,b" text, "c""d" text);
      INSERT INTO direct VALUES ('sad'); INSERT INTO domained VALUES ('sad'); INSERT INTO arrayed VALUES ('{sad,ok}'); INSERT INTO composed VALUES (ROW('sad', 1));
      INSERT INTO nested VALUES ('[sad,ok]'); INSERT INTO plain SELECT generate_series(1, 100); INSERT INTO generated VALUES (1); INSERT INTO varying VALUES ('x');
      INSERT INTO emptied SELECT generate_series(1, 100); INSERT INTO vacuumed SELECT generate_series(1, 100); INSERT INTO cut SELECT generate_series(1, 5000);
      INSERT INTO toasted SELECT g, g, repeat(md5(g::text), 3000) FROM generate_series(1, 20) g; INSERT INTO child VALUES (1); INSERT INTO part VALUES (1);
      INSERT INTO constrained VALUES (1); INSERT INTO regs VALUES ('direct'); INSERT INTO hostile VALUES ('x', 'y');
      """)
    // Twice: the first reading may set hint bits, which pages with checksums log.
    for _ in 1...2 { _ = try place.snapshot() }
    for (sql, read) in Self.changes {
      // The last snapshot may have set hint bits. A summary begins and ends at a checkpoint.
      try place.work.sql("CHECKPOINT")
      _ = try place.snapshot()
      try place.work.sql("CHECKPOINT")
      // Some can't be run in a transaction.
      for statement in sql.split(separator: ";") { try place.work.sql(String(statement)) }
      let found = try place.snapshot()
      try place.expectRight(found, sql)
      let expected = Set(read.map { $0.contains(".") ? $0 : "public.\($0)" })
      // A type that depends on the catalogs is read always; an extension that came, everything once.
      let isRead = Set(found.filter { !$0.value.isTaken && !$0.value.isReadForItsObjects }.map(\.key)).subtracting(["public.regs"])
      if sql.contains("pg_extension") {
        #expect(found.values.allSatisfy { !$0.isTaken })
      } else {
        // A table may be read for nothing, as where the server freezes rows.
        #expect(isRead.isSuperset(of: expected) && isRead.count <= expected.count + 2, "\(sql): \(isRead)")
      }
    }
  }

  @Test(arguments: IncrementalPlace.all.indices.prefix(Thoroughness.count(1, thorough: 2)))
  func `reads what transactions had written and not committed when the parent was taken`(_ number: Int)
    throws
  {
    let place = try IncrementalPlace(
      on: IncrementalPlace.all[number].get(), (1...5).map { "CREATE TABLE t\($0) AS SELECT generate_series(1, 50) v;" }.joined())
    for _ in 1...2 { _ = try place.snapshot() }
    let server = place.work.server
    let (plain, sub, aborted) = (
      try server.connect(place.work.database), try server.connect(place.work.database), try server.connect(place.work.database)
    )
    try plain.execute("BEGIN"); try plain.execute("INSERT INTO public.t1 VALUES (51)")
    try sub.execute("BEGIN"); try sub.execute("SAVEPOINT s"); try sub.execute("INSERT INTO public.t2 VALUES (51)"); try sub.execute("RELEASE s")
    try place.work.sql("BEGIN; INSERT INTO t3 VALUES (51); PREPARE TRANSACTION 'third_\(place.work.database)'")
    try aborted.execute("BEGIN"); try aborted.execute("INSERT INTO public.t4 VALUES (51)")
    // All of it is in the log before the next snapshot records its position.
    try place.work.sql("CHECKPOINT")
    Thread.sleep(forTimeInterval: 0.5)
    _ = try place.snapshot()
    for connection in [plain, sub] { try connection.execute("COMMIT") }
    try place.work.sql("COMMIT PREPARED 'third_\(place.work.database)'")
    try aborted.execute("ROLLBACK")
    let found = try place.snapshot()
    try place.expectRight(found, "transactions that end after the parent")
    #expect(found.filter { $0.value.isTaken || $0.value.isReadForItsObjects }.map(\.key) == ["public.t5"])
  }

  @Test func `reads everything where the server does not tell, or is not the one it was`() throws {
    let server = try TestServer(binaries: TestServer.binaries(at: 2), settings: ["fsync=on", "autovacuum=off"])
    for setting in ["ALTER SYSTEM SET summarize_wal = on", "SELECT pg_reload_conf()"] { try server.sql(setting) }
    let place = try IncrementalPlace(on: server, (1...4).map { "CREATE TABLE t\($0) AS SELECT generate_series(1, 500) v;" }.joined())
    func taken() throws -> Int {
      try place.work.sql("CHECKPOINT")
      let found = try place.snapshot()
      try place.expectRight(found, "")
      return found.values.count { $0.isTaken || $0.isReadForItsObjects }
    }
    for _ in 1...2 { _ = try taken() }
    #expect(try taken() == 4)
    // A gap in the summaries.
    for value in ["off", "on"] {
      try server.sql("ALTER SYSTEM SET summarize_wal = \(value)"); try server.sql("SELECT pg_reload_conf()")
      if value == "off" {
        Thread.sleep(forTimeInterval: 1)
        try place.work.sql("UPDATE t1 SET v = v + 1; CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT")
        #expect(try taken() == 0)
      }
    }
    #expect(try taken() == 0)
    _ = try taken()
    #expect(try taken() == 4)
    // The summary of a change is gone, and those before and after it are there.
    let data = FilePath(try server.sql("SHOW data_directory"))
    let summaries = data.appending("pg_wal/summaries")
    let known = try Folder.names(in: summaries)
    try place.work.sql("UPDATE t1 SET v = v + 1; CHECKPOINT")
    let end = try server.sql("SELECT pg_current_wal_flush_lsn()")
    let deadline = ContinuousClock.now + .seconds(30)
    while try server.sql("SELECT max(end_lsn) >= '\(end)' FROM pg_available_wal_summaries()") != "t", ContinuousClock.now < deadline {
      try place.work.sql("CHECKPOINT")
      Thread.sleep(forTimeInterval: 0.1)
    }
    for name in try Folder.names(in: summaries) where !known.contains(name) { try Folder.removeFile(summaries.appending(name)) }
    #expect(try taken() == 0)
    _ = try taken()
    #expect(try taken() == 4)
    // The database is a copy, so the log has its earlier changes under the number of the database that it was copied from.
    try place.work.sql("UPDATE t1 SET v = v + 1")
    try server.sql("CREATE DATABASE passing TEMPLATE \(place.work.database) STRATEGY FILE_COPY")
    try server.sql("DROP DATABASE \(place.work.database)")
    try server.sql("ALTER DATABASE passing RENAME TO \(place.work.database)")
    #expect(try taken() == 0)
    _ = try taken()
    #expect(try taken() == 4)
    // A crash loses nothing, and hides nothing.
    try place.work.sql("UPDATE t2 SET v = v + 1")
    server.crash()
    try server.start()
    #expect(try taken() == 3)
    _ = try taken()
    // A role without the right to make a checkpoint.
    try place.work.sql("CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT pg_read_all_data TO weak")
    var weak = place.work
    weak.environment["DATABASE_URL"] = server.url(weak.database, user: "weak", password: "weak")
    let read = try weak.snapshot("--json", "--verbose")
    #expect(read.errors.contains("weak is not a member of pg_checkpoint and pg_monitor"), "\(read)")
    #expect(try place.tables().values.allSatisfy { !$0.isTaken })
    let doctor = try weak.firn("doctor", "--json").output
    #expect(doctor.contains("GRANT pg_checkpoint, pg_monitor TO \\\"weak\\\"") && doctor.contains("in 4 tables were unchanged"), "\(doctor)")
    // Files of an earlier day, put back.
    for _ in 1...2 { _ = try taken() }
    server.stop()
    while Folder.exists(data.appending("postmaster.pid")) { Thread.sleep(forTimeInterval: 0.05) }
    let aside = place.work.folder.path("aside").string
    func copy(_ from: String, _ to: String) throws { #expect(try Workplace.run("/bin/cp", ["-a", from, to], environment: [:]).status == 0) }
    try copy(data.string, aside)
    try server.start()
    try place.work.sql("UPDATE t3 SET v = 0; UPDATE t4 SET v = 0")
    _ = try taken()
    server.stop()
    while Folder.exists(data.appending("postmaster.pid")) { Thread.sleep(forTimeInterval: 0.05) }
    try Folder.removeTree(data)
    try copy(aside, data.string)
    try server.start()
    // Nobody restores files within the second in which a summary was written. The log takes the same way again.
    Thread.sleep(forTimeInterval: 1.1)
    try place.work.sql("UPDATE t3 SET v = 1; UPDATE t4 SET v = 1")
    #expect(try taken() == 0)
    try server.destroy()
  }

  @Test func `reads what the store can't give again`() throws {
    let place = try IncrementalPlace(
      on: IncrementalPlace.shared.get(), "CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 50000) g; CREATE TABLE e (x int)")
    // Reading sets hint bits, which count as changes once.
    var rounds = 0
    while rounds < 6, try place.snapshot()["public.t"]?.isTaken != true { rounds += 1 }
    #expect(try place.tables()["public.t"]?.isTaken == true)
    let objects = try filesByPath(under: place.work.store).filter { $0.key.hasPrefix("objects/") && $0.value.kind == .file }
    let largest = try #require(objects.max { $0.value.size < $1.value.size }?.key)
    try Folder.removeFile(place.work.store.appending(largest))
    let result = try place.work.snapshot("--verbose")
    // The store lost something, which an operator should learn.
    #expect(result.status == 3, "\(result)")
    #expect(result.errors.contains("of the parent was gone or damaged"), "\(result)")
    let found = try place.tables()
    #expect(found["public.t"]?.isTaken == false, "\(result)")
    try place.expectRight(found, "")
    let verified = try place.work.verify(place.work.database, "latest", "--read")
    #expect(verified.status == 0, "\(verified)")
  }

  @Test func `that took over what had changed is found by reading again, and raises an alarm`() throws {
    let server = try TestServer(binaries: TestServer.binaries(at: 2), settings: IncrementalPlace.settings + ["autovacuum=off"])
    let place = try IncrementalPlace(
      on: server, "CREATE TABLE t AS SELECT g, 'needle ' || md5(g::text) v FROM generate_series(1, 3000) g; CREATE TABLE other AS SELECT 1 a")
    for _ in 1...2 { _ = try place.snapshot() }
    // A change on the disk that is in no log.
    try place.work.sql("CHECKPOINT")
    let data = FilePath(try server.sql("SHOW data_directory"))
    let file = data.appending(try place.work.sql("SELECT pg_relation_filepath('t')"))
    server.stop()
    while Folder.exists(data.appending("postmaster.pid")) { Thread.sleep(forTimeInterval: 0.05) }
    let owner = try #require(try Folder.status(of: file))
    let off = try Workplace.run(
      "/usr/bin/setpriv", Account.setprivArguments + [server.binaries.appending("pg_checksums").string, "--disable", data.string],
      environment: ["PATH": "/usr/bin:/bin"])
    #expect(off.status == 0, "\(off)")
    var bytes = try Folder.contents(of: file)
    let place0 = try #require(bytes.firstRange(of: Array("needle ".utf8)))
    bytes[place0.lowerBound] = UInt8(ascii: "N")
    try File(file, .replace).write(bytes.span)
    #expect(try Folder.status(of: file)?.owner == owner.owner)
    try server.start()
    // It is not due to be read again, and the guards can't see the change.
    let wrong = try place.work.snapshot()
    #expect(wrong.status == 0 && wrong.errors.contains("unchanged and not read"), "\(wrong)")
    let alarm = try place.work.run(clock: ["-f", "+8d"], "firn-snapshot", ["--json"])
    #expect(alarm.status == 3, "\(alarm)")
    let warnings = try alarm.json()["warnings"] as? [String] ?? []
    #expect(warnings.contains { $0.contains("public.t seemed unchanged since") && $0.contains("its rows differ") }, "\(alarm)")
    let found = try place.tables()
    #expect(found.values.allSatisfy { !$0.isTaken })
    try place.expectRight(found, "")
    let status = try place.work.run(clock: ["-f", "+8d"], "firn", ["status"])
    #expect(status.status == 3 && "\(status)".contains("public.t seemed unchanged since"), "\(status)")
    let metrics = String(decoding: try Folder.contents(of: place.work.folder.path("firn.prom")), as: UTF8.self)
    #expect(metrics.split(separator: "\n").contains { $0.hasPrefix("firn_snapshot_refuted_tables{") && $0.hasSuffix(" 1") }, "\(metrics)")
    // Later snapshots take nothing over from it.
    _ = try place.work.run(clock: ["-f", "+9d"], "firn-snapshot", ["--json"])
    #expect(try place.tables().values.allSatisfy { !$0.isTaken })
    // The snapshot with the wrong rows stays known as such, and is restored with a warning.
    let ids = try place.work.listedSnapshots().sorted()
    for (number, id) in ids.enumerated() {
      let shown = try place.work.firn("show", place.work.database, id)
      // The first two read the table, and so did the last two.
      #expect(shown.output.contains("public.t may hold old rows") == (ids.count == 5 && number == 2), "\(number): \(shown)")
    }
    #expect(warnings.contains { $0.contains("1 snapshot between") }, "\(warnings)")
    let listed = try place.work.firn("list")
    #expect(listed.output.split(separator: "\n").filter { $0.contains("DOUBTFUL") }.allSatisfy { $0.contains(ids[2]) }, "\(listed)")
    #expect(listed.output.contains("complete, DOUBTFUL") && "\(listed)".contains("see firn show"), "\(listed)")
    let entries = try place.work.firn("list", "--json").json()["snapshots"] as? [[String: Any]] ?? []
    #expect(entries.map { $0["doubtfulTables"] as? [String] ?? ["?"] } == [[], [], ["public.t"], [], []], "\(entries)")
    let verified = try place.work.verify(place.work.database, "all")
    let doubted = verified.errors.split(separator: "\n").filter { $0.contains("public.t may hold old rows") }
    #expect(verified.status == 3 && doubted.count == 1 && doubted[0].contains(ids[2]), "\(verified)")
    let later = try place.work.run(clock: ["-f", "+10d"], "firn", ["status"])
    #expect(later.status == 3 && "\(later)".contains("may hold old rows of public.t"), "\(later)")
    let restored = try place.work.restore(place.work.database, ids[2], "--as", "\(place.work.database)_old")
    #expect(restored.errors.contains("public.t may hold old rows"), "\(restored)")
    try server.destroy()
  }

  @Test func `that reads everything on request finds what the one before took over wrongly`() throws {
    let place = try IncrementalPlace(
      on: IncrementalPlace.shared.get(),
      "CREATE TABLE t AS SELECT g, md5(g::text) v FROM generate_series(1, 3000) g; CREATE TABLE other AS SELECT 1 a")
    for _ in 1...2 { _ = try place.snapshot() }
    // As if the last snapshot had other rows: what its record says of them is changed, and the list of checksums with it.
    let key = try #require(try filesByPath(under: place.work.store).keys.filter { $0.hasSuffix("/manifest.json") }.max())
    let file = place.work.store.appending(key)
    let text = String(decoding: try Folder.contents(of: file), as: UTF8.self)
    let digest = try #require(try place.tables()["public.t"]?.sha256)
    try Folder.write(Array(text.replacing(digest, with: String(digest.reversed())).utf8), to: file)
    let full = try place.work.snapshot("--full")
    #expect(full.status == 3 && full.errors.contains("public.t seemed unchanged since"), "\(full)")
    try place.expectRight(try place.tables(), "")
  }

  @Test func `can be read whole night after night, however chunk lists are divided`() throws {
    // A segment of a chunk table has 4,096 chunks; each of these tables has about half as many.
    let place = try IncrementalPlace(
      on: IncrementalPlace.shared.get(),
      (1...6).map { "CREATE TABLE t\($0) AS SELECT g id, repeat(md5(g::text || \($0)), 4) v FROM generate_series(1, 40000) g;" }.joined())
    for night in 1...12 {
      try place.work.sql("UPDATE t\(night % 6 + 1) SET v = v || 'x' WHERE id % 400 = \(night)")
      try place.work.sql("CHECKPOINT")
      try place.expectRight(try place.snapshot(), "night \(night)")
      let read = try place.work.verify(place.work.database, "latest", "--read")
      #expect(read.status == 0, "night \(night): \(read)")
    }
    #expect(try place.tables().values.count { $0.isTaken } >= 3)
    let archive = try place.recovered(try #require(try place.work.listedSnapshots().last))
    let folder = try TemporaryFolder()
    let stock = folder.path("stock")
    let dumped = try place.work.server.tool("pg_dump", ["-Fd", "-Z0", "-f", stock.string], in: place.work.database)
    #expect(dumped.exitCode == 0)
    #expect(try place.script(of: archive) == place.script(of: stock))
    #expect(try place.work.restore(place.work.database, "latest", "--as", "\(place.work.database)_copy", "--prove").status == 0)
  }

  @Test func `waits for no session that waits for it`() throws {
    let place = try IncrementalPlace(on: IncrementalPlace.shared.get(), "CREATE TABLE t AS SELECT g FROM generate_series(1, 3000) g")
    for _ in 1...2 { _ = try place.snapshot() }
    let server = place.work.server
    // While the summaries are waited for, a session wants a catalog for itself that the exporting session has looked at.
    let summarizer = Int32(try server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsummarizer'")) ?? 0
    ProcessTable.send(SIGSTOP, to: summarizer)
    defer { ProcessTable.send(SIGCONT, to: summarizer) }
    let command = try place.work.start("firn-snapshot", ["--verbose"])
    let exporting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'firn-snapshot' AND state = 'idle in transaction'"
    let deadline = ContinuousClock.now + .seconds(60)
    while try server.sql(exporting) != "1", ContinuousClock.now < deadline { Thread.sleep(forTimeInterval: 0.05) }
    let locker = WorkerThread(name: "vacuum") { _ = try? server.sql("VACUUM FULL pg_type", in: place.work.database) }
    Thread.sleep(forTimeInterval: 1)
    ProcessTable.send(SIGCONT, to: summarizer)
    #expect(command.wait() == 0)
    locker.join()
    try place.expectRight(try place.tables(), "")
  }

  @Test func `reads every table within a week, though nothing changes`() throws {
    let place = try IncrementalPlace(
      on: IncrementalPlace.shared.get(), (1...8).map { "CREATE TABLE t\($0) AS SELECT generate_series(1, 1000) v;" }.joined())
    for _ in 1...2 { _ = try place.snapshot() }
    var read: [Set<String>] = []
    for day in 1...14 {
      let result = try place.work.run(clock: ["-f", "+\(day)d"], "firn-snapshot", ["--json"])
      #expect(result.status == 0, "\(result)")
      let found = try place.tables()
      read.append(Set(found.filter { !$0.value.isTaken }.map(\.key)))
      #expect(try place.work.run(clock: ["-f", "+\(day)d"], "firn", ["status"]).status == 3, "never verified")
    }
    for end in 7...14 { #expect(read[(end - 7)..<end].reduce(Set()) { $0.union($1) }.count == 8, "days \(end - 6) to \(end)") }
    #expect(read.allSatisfy { $0.count <= 2 }, "\(read.map(\.count))")
    // Everything is read on request.
    try place.configure("incremental: yes\nfull-every: 10d\n")
    _ = try place.work.run(clock: ["-f", "+15d"], "firn-snapshot", [])
    #expect(try place.tables().values.allSatisfy { !$0.isTaken })
  }
}
