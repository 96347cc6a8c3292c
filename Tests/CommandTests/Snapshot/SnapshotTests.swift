import Foundation
import Platform
import Postgres
import Repository
import SystemPackage
import TestSupport
import Testing

@Suite struct `firn-snapshot` {
  private func workplace() throws -> Workplace { try Workplace(on: TestServer.system.get()) }

  @Test func `prints the id alone and reports the rest on standard error`() throws {
    let place = try workplace()
    try place.sql("CREATE TABLE notes (id int, body text); INSERT INTO notes SELECT g, 'note ' || g FROM generate_series(1, 250) g")
    let result = try place.snapshot()
    #expect(result.status == 0)
    #expect(SnapshotID(result.output) != nil)
    #expect(result.errors.contains(": 1 table, 250 rows"))
    #expect(try place.listedSnapshots() == [result.output])
  }

  @Test func `reports its work in JSON, under the fixed keys`() throws {
    let place = try workplace()
    try place.sql("CREATE SCHEMA s; CREATE TABLE s.t (id int); INSERT INTO s.t VALUES (1), (2), (3)")
    let report = try place.snapshot("--json", "--kind", "nightly", "--tag", "ticket=42", "--source", "main").json()
    #expect(report["source"] as? String == "main")
    #expect(report["database"] as? String == place.database)
    #expect(report["kind"] as? String == "nightly")
    #expect(report["complete"] as? Bool == true)
    #expect((report["warnings"] as? [String])?.isEmpty == true)
    let tables = try #require(report["tables"] as? [[String: Any]])
    #expect(tables.count == 1)
    #expect(tables.first?["name"] as? String == "s.t")
    #expect(tables.first?["rows"] as? Int == 3)
    for key in ["id", "bytes", "storedBytes", "newObjects", "seconds"] { #expect(report[key] != nil, "\(key)") }
  }

  @Test func `counts rows whose values hold every character that COPY escapes`() throws {
    let place = try workplace()
    try place.sql(
      #"""
      CREATE TABLE odd (a text, b bytea);
      INSERT INTO odd VALUES (E'a\nb\\.\n\t\r', '\x0a0d00'), (E'\\.', NULL), (NULL, NULL), ('', ''), (E'\n\n\n', '\x5c2e0a');
      CREATE TABLE no_columns (); INSERT INTO no_columns DEFAULT VALUES; INSERT INTO no_columns DEFAULT VALUES;
      CREATE TABLE empty (id int);
      """#)
    let report = try place.snapshot("--json").json()
    let tables = try #require(report["tables"] as? [[String: Any]])
    let rows = Dictionary(uniqueKeysWithValues: tables.map { ($0["name"] as? String ?? "", $0["rows"] as? Int ?? -1) })
    #expect(rows == ["public.odd": 5, "public.no_columns": 2, "public.empty": 0])
  }

  @Test func `leaves files and folders that only their owner can read`() throws {
    let place = try workplace()
    try place.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) id")
    _ = try place.takeSnapshot()
    for (path, status) in try filesByPath(under: place.store) {
      #expect(status.mode == (status.kind == .folder ? 0o700 : 0o600), "\(path)")
    }
    #expect(try place.leftovers().isEmpty)
  }

  @Test func `stores what sha256sum -c from the store's root agrees with`() throws {
    let place = try workplace()
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) x FROM generate_series(1, 20000) g")
    var ids = [try place.takeSnapshot()]
    try place.sql("UPDATE t SET x = 'changed' WHERE id % 100 = 0")
    ids.append(try place.takeSnapshot())
    let sums = try filesByPath(under: place.store).keys.filter { $0.hasSuffix("/SHA256SUMS") }
    #expect(sums.count == 2)
    for file in sums {
      let check = try Workplace.run(
        "/bin/sh", ["-c", "cd \"$1\" && sha256sum --strict -c \"$2\"", "sh", place.store.string, file], environment: place.environment)
      #expect(check.status == 0, "\(check)")
      #expect(check.output.split(separator: "\n").count >= 5)
    }
  }

  @Test func `stores a second night in little more than what changed`() throws {
    let place = try workplace()
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) || md5((g + 1)::text) x FROM generate_series(1, 60000) g")
    let first = try place.snapshot("--json").json()
    try place.sql("UPDATE t SET x = 'changed' WHERE id = 777")
    let second = try place.snapshot("--json").json()
    let (before, after) = (try #require(first["storedBytes"] as? Int), try #require(second["storedBytes"] as? Int))
    #expect(before > 1_000_000)
    #expect(after < before / 10)
  }

  @Test func `marks a snapshot incomplete for what was left out, and says what`() throws {
    let place = try workplace()
    try place.sql(
      """
      CREATE EXTENSION postgres_fdw;
      CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw;
      CREATE FOREIGN TABLE afar (id int) SERVER away;
      CREATE TABLE kept (id int); CREATE TABLE log (id int); INSERT INTO log VALUES (1);
      CREATE TABLE twice (id int); INSERT INTO twice VALUES (1), (1);
      """)
    // It fails, and leaves an invalid index behind.
    _ = try? place.server.psql(["-c", "CREATE UNIQUE INDEX CONCURRENTLY twice_id ON twice (id)"], in: place.database)
    let result = try place.snapshot("--json")
    #expect(result.status == 3)
    let warnings = try #require(try result.json()["warnings"] as? [String]).joined(separator: "\n")
    #expect(warnings.contains("afar"))
    #expect(warnings.contains("twice_id"))
    let listed = try place.firn("list")
    #expect(listed.output.contains("INCOMPLETE"))
  }

  @Test func `reports rows that belong to an extension and are in no dump`() throws {
    let place = try workplace()
    try place.sql(
      """
      CREATE EXTENSION hstore; CREATE TABLE members (id int); INSERT INTO members VALUES (1);
      ALTER EXTENSION hstore ADD TABLE members;
      """)
    let result = try place.snapshot()
    #expect(result.status == 3)
    #expect(result.errors.contains("extension") && result.errors.contains("members"))
  }

  @Test func `takes what pg_dump warns of as something left out`() throws {
    let place = try workplace()
    let role = "warned_\(place.database)"
    // A role that is no superuser may not dump subscriptions, which pg_dump warns of.
    try place.sql(
      """
      CREATE ROLE \(role) LOGIN PASSWORD 'x y'; CREATE TABLE t (id int); INSERT INTO t VALUES (1); GRANT pg_read_all_data TO \(role);
      CREATE SUBSCRIPTION far CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE, enabled = false);
      """)
    defer {
      _ = try? place.sql("DROP SUBSCRIPTION far; DROP OWNED BY \(role)")
      _ = try? place.server.sql("DROP ROLE \(role)")
    }
    var other = place
    other.environment["DATABASE_URL"] = place.server.url(place.database, user: role, password: "x y")
    let result = try other.snapshot("--source", "s")
    #expect(result.status == 3)
    #expect(result.errors.contains("subscriptions not dumped"))
  }

  @Test func `keeps apart databases of one name on two servers`() throws {
    let here = try workplace()
    try here.sql("CREATE TABLE t (id int)")
    let there = try TestServer.version16.get()
    try there.sql("CREATE DATABASE \(here.database)")
    try there.sql("CREATE TABLE t (id int); INSERT INTO t VALUES (1)", in: here.database)
    _ = try here.takeSnapshot()
    var other = here
    other.environment["DATABASE_URL"] = there.url(here.database)
    other.environment["FIRN_PG_BIN"] = there.binaries.string
    #expect(try other.snapshot().status == 0)
    // The server that is connected to decides, if there is one.
    #expect(try here.firn("show", here.database).output.contains("in 1 table, 0 rows"))
    #expect(try other.firn("show", here.database).output.contains("in 1 table, 1 row"))
    var unconnected = here
    unconnected.environment["DATABASE_URL"] = nil
    let ambiguous = try unconnected.firn("show", here.database)
    #expect(ambiguous.status == 10)
    #expect(ambiguous.errors.contains("hint: name one: "))
    let sources = Set((try here.firn("list", "--json").json()["snapshots"] as? [[String: Any]] ?? []).compactMap { $0["source"] as? String })
    #expect(sources.count == 2)
    for source in sources {
      #expect(try here.firn("show", "\(source)/\(here.database)").status == 0)
      // The configured one is meant.
      let file = try here.folder.write("source: \"\(source)\"\n", to: "\(source).yaml").string
      let meant = try unconnected.firn("show", here.database, "--config", file)
      #expect(meant.status == 0 && meant.output.contains(source), "\(meant)")
    }
  }

  @Test func `keeps its temporary disk space near the cap, and the bytes right`() throws {
    let place = try workplace()
    try place.sql("CREATE TABLE t AS SELECT g id, repeat(md5(g::text), 30) x FROM generate_series(1, 60000) g")
    let watched = place.spool
    let peak = Monitor<Int64>(0)
    let isDone = Monitor(false)
    let watcher = WorkerThread(name: "watch") {
      while !isDone.wait(atMost: .milliseconds(5), until: { $0 }) {
        let now = ((try? filesByPath(under: watched)) ?? [:]).values.reduce(0) { $0 + ($1.kind == .file ? $1.allocated : 0) }
        peak.update { $0 = max($0, now) }
      }
    }
    _ = try place.takeSnapshot("--spool-cap", "8MiB")
    isDone.update { $0 = true }
    watcher.join()
    #expect(peak.current > 0)
    #expect(peak.current < (8 + 64) << 20)
    #expect(try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--prove").status == 0)
  }

  @Test func `lists nothing when its lock was taken from it`() throws {
    let place = try workplace()
    try place.sql("CREATE TABLE wide AS SELECT repeat(md5(g::text), 100) FROM generate_series(1, 100000) g")
    let running = try place.start("firn-snapshot", [])
    let locks = place.store.appending("locks")
    let deadline = ContinuousClock.now + .seconds(10)
    while !((try? Folder.names(in: locks)) ?? []).contains(where: { $0.hasSuffix(".json") }), ContinuousClock.now < deadline {
      Thread.sleep(forTimeInterval: 0.01)
    }
    running.stop()
    for name in try Folder.names(in: locks) { try Folder.removeFile(locks.appending(name)) }
    running.resume()
    #expect(running.wait() == 9)
    #expect(try place.listedSnapshots().isEmpty)
    #expect(try place.snapshot().status == 0)
  }

  @Test func `warns of a table that lost most of its rows`() throws {
    let place = try workplace()
    try place.sql(
      "CREATE TABLE shrinking AS SELECT g id FROM generate_series(1, 1000) g; CREATE TABLE few AS SELECT g id FROM generate_series(1, 9) g")
    _ = try place.takeSnapshot()
    try place.sql("DELETE FROM shrinking WHERE id > 400; DELETE FROM few")
    let result = try place.snapshot()
    #expect(result.status == 3, "\(result)")
    #expect(result.errors.contains("public.shrinking has 400 rows, it had 1000") && !result.errors.contains("public.few"), "\(result)")
    #expect(try place.snapshot().status == 0)
  }
}
