import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

@Suite(.serialized) struct `firn-migrate backfill` {
  private func backfill(_ place: MigrationPlace, _ arguments: String...) throws -> CommandResult {
    try place.work.run("firn-migrate", ["backfill", "--json"] + arguments)
  }

  @Test func `changes each row once, however often it is killed`() throws {
    let place = try MigrationPlace(on: TestServer.system.get(), rows: 1_000_000)
    try place.work.sql("ALTER TABLE documents ADD COLUMN count int NOT NULL DEFAULT 0")
    // Others change other rows and columns all the while, and some of these rows too.
    let url = place.work.server.url(place.work.database)
    let isDone = Monitor(false)
    let clients = (0..<2).map { number in
      WorkerThread(name: "client") {
        guard let connection = try? Connection(ConnectionSettings(url), applicationName: "client") else { return }
        while !isDone.current {
          let id = Int.random(in: 1...1_000_000)
          _ = try? connection.execute("UPDATE public.documents SET old_field = 'changed by \(number)' WHERE id = \(id)")
        }
      }
    }
    let arguments = ["backfill", "--table", "documents", "--set", "count = count + 1", "--batch", "2000", "--max-batch-time", "100ms", "--json"]
    var killed = 0
    // One may find the session of the one before still at work, and end by itself.
    for _ in 0..<40 where killed < 10 {
      let run = try place.work.start("firn-migrate", arguments)
      Thread.sleep(forTimeInterval: Double.random(in: 0.1...0.9))
      ProcessTable.send(SIGKILL, to: run.id)
      if run.wait() == 137 { killed += 1 }
    }
    let last = try place.work.run("firn-migrate", arguments)
    isDone.update { $0 = true }
    for client in clients { client.join() }
    #expect(last.status == 0 && killed == 10, "\(killed) \(last)")
    #expect(try place.work.sql("SELECT min(count), max(count), count(*) FROM documents") == "1|1|1000000")
    let report = try last.json()
    #expect((report["rows"] as? Int ?? 0) + (report["rowsBefore"] as? Int ?? 0) == 1_000_000)
    // The next one starts from the beginning.
    #expect(try place.work.run("firn-migrate", arguments + ["--where", "id <= 10"]).status == 0)
    #expect(try place.work.sql("SELECT count(*) FROM documents WHERE count = 2") == "10")
  }

  @Test func `goes by keys of several columns, of any type, and takes what the condition picks`() throws {
    let place = try MigrationPlace(on: TestServer.system.get(), rows: 10)
    try place.work.sql(
      """
      CREATE SCHEMA "odd one"; CREATE TABLE "odd one"."Odd" ("a b" text, day date, n numeric, done bool, PRIMARY KEY ("a b", day, n));
      INSERT INTO "odd one"."Odd" SELECT 'k' || g % 7, '2020-01-01'::date + g % 11, g / 3.0 FROM generate_series(1, 5000) g;
      """)
    let result = try backfill(
      place, "--table", "\"odd one\".\"Odd\"", "--set", "done = true", "--where", "done IS NULL AND n < 1000", "--batch", "37")
    #expect(result.status == 0, "\(result)")
    #expect(
      try place.work.sql(#"SELECT count(*) FROM "odd one"."Odd" WHERE done AND n < 1000"#)
        == place.work.sql(#"SELECT count(*) FROM "odd one"."Odd" WHERE n < 1000"#))
    #expect(try place.work.sql(#"SELECT count(*) FROM "odd one"."Odd" WHERE done AND n >= 1000"#) == "0")
  }

  @Test func `waits for rows that others hold, and runs once at a time`() throws {
    let place = try MigrationPlace(on: TestServer.system.get(), rows: 1000)
    let holder = try Connection(try ConnectionSettings(place.work.server.url(place.work.database)))
    try holder.execute("BEGIN; UPDATE public.documents SET title = 'held' WHERE id = 500")
    let run = try place.work.start("firn-migrate", ["backfill", "--table", "documents", "--set", "old_field = 'new'", "--json"])
    Thread.sleep(forTimeInterval: 2.5)
    let second = try backfill(place, "--table", "documents", "--set", "old_field = 'new'")
    #expect(second.status == 7, "\(second)")
    try holder.execute("COMMIT")
    #expect(run.wait() == 0)
    #expect(try place.work.sql("SELECT count(*) FROM documents WHERE old_field = 'new'") == "1000")
    #expect(try place.work.sql("SELECT title FROM documents WHERE id = 500") == "held")
    #expect(String(decoding: run.standardOutput, as: UTF8.self).contains("\"lockWaits\":0") == false)
  }

  @Test func `refuses what would go wrong`() throws {
    let place = try MigrationPlace(on: TestServer.system.get(), rows: 10)
    try place.work.sql("CREATE TABLE keyless (a int); INSERT INTO keyless VALUES (1)")
    #expect(try backfill(place, "--table", "keyless", "--set", "a = 2").status == 6)
    #expect(try backfill(place, "--table", "nowhere", "--set", "a = 2").status == 6)
    let moving = try backfill(place, "--table", "documents", "--set", "id = documents.id + 100")
    #expect(moving.errors.contains("changes the primary key"), "\(moving)")
    #expect(try moving.status == 6 && place.work.sql("SELECT max(id) FROM documents") == "10", "\(moving)")
    #expect(try backfill(place, "--table", "documents", "--set", "nothing = 1").status == 8)
    #expect(try backfill(place, "--table", "documents", "--set", " ").status == 64)
    try place.work.sql("CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (x int) INHERITS (parent)")
    #expect(try backfill(place, "--table", "parent", "--set", "id = id").errors.contains("tables inherit from"))
  }

  @Test func `takes SQL that names the key and the table`() throws {
    let place = try MigrationPlace(on: TestServer.system.get(), rows: 100)
    try place.work.sql("CREATE TABLE items (document_id bigint, x int); INSERT INTO items SELECT g, 1 FROM generate_series(1, 100) g")
    let named = try backfill(
      place, "--table", "documents", "--set", "old_field = id || ' ' || (SELECT sum(x) FROM items WHERE items.document_id = documents.id)",
      "--where", "documents.old_field = 'x' AND id > 0")
    #expect(named.status == 0, "\(named)")
    #expect(try place.work.sql("SELECT count(*) FROM documents WHERE old_field = id || ' 1'") == "100")
  }

  @Test func `reports rows inserted behind it, and skips none for a row that moves`() throws {
    let place = try MigrationPlace(on: TestServer.system.get(), rows: 400)
    let url = place.work.server.url(place.work.database)
    let arguments = ["backfill", "--table", "documents", "--set", "old_field = 'new'", "--where", "old_field = 'x'", "--batch", "100", "--json"]
    let holder = try Connection(ConnectionSettings(url))
    // The row moves beyond all others while the first batch waits for it.
    try holder.execute("BEGIN; UPDATE public.documents SET id = 100000 WHERE id = 50")
    let run = try place.work.start("firn-migrate", arguments)
    try waitUntilItWaits(run, place)
    try holder.execute("COMMIT")
    #expect(run.wait() == 0)
    #expect(try place.work.sql("SELECT count(*) FROM documents WHERE old_field = 'new'") == "400")

    try place.work.sql("UPDATE documents SET old_field = 'x'")
    try holder.execute("BEGIN; UPDATE public.documents SET title = 'held' WHERE id = 399")
    let second = try place.work.start("firn-migrate", arguments)
    try waitUntilItWaits(second, place)
    try place.work.sql("INSERT INTO documents VALUES (0, 'late', 'x', 1)")
    try holder.execute("COMMIT")
    #expect(second.wait() == 3)
    #expect(String(decoding: second.standardOutput, as: UTF8.self).contains("\"rowsLate\":1"))
    #expect(try place.work.run("firn-migrate", arguments).status == 0)
    #expect(try place.work.sql("SELECT count(*) FROM documents WHERE old_field = 'new'") == "401")
  }

  private func waitUntilItWaits(_ run: ChildProcess, _ place: MigrationPlace) throws {
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND datname = current_database()"
    while try place.work.sql(waiting) == "0", run.exitCode() == nil { Thread.sleep(forTimeInterval: 0.01) }
  }

  @Test func `continues only where it was, and says so`() throws {
    var place = try MigrationPlace(on: TestServer.system.get(), rows: 2000)
    place.work.environment["XDG_STATE_HOME"] = place.work.folder.path("state").string
    try place.work.sql("ALTER TABLE documents ADD COLUMN count int NOT NULL DEFAULT 0")
    let arguments = ["backfill", "--table", "documents", "--set", "count = count + 1", "--batch", "100", "--pause", "50ms"]
    func cutOff() throws {
      let run = try place.work.start("firn-migrate", arguments)
      while try place.work.sql("SELECT count(*) FROM documents WHERE count > 0") == "0", run.exitCode() == nil { Thread.sleep(forTimeInterval: 0.01) }
      ProcessTable.send(SIGKILL, to: run.id)
      #expect(run.wait() == 137)
    }
    try cutOff()
    let other = try backfill(place, "--table", "documents", "--set", "count = count +1")
    #expect(other.status == 6 && other.errors.contains("SET count = count + 1"), "\(other)")
    let notes = try Folder.names(in: place.work.folder.path("state/firn")).filter { $0.hasPrefix("backfill-") }
    let note = place.work.folder.path("state/firn").appending(try #require(notes.first))
    let bytes = try Folder.contents(of: note)
    try Folder.write(Array("{".utf8), to: note)
    #expect(try place.work.run("firn-migrate", arguments).status == 6)
    try Folder.write(bytes, to: note)
    let resumed = try place.work.run("firn-migrate", arguments)
    #expect(resumed.status == 0 && resumed.errors.contains("continuing after key"), "\(resumed)")
    #expect(try place.work.sql("SELECT min(count), max(count) FROM documents") == "1|1")
    // A table created again is another table, although the server knows the transaction.
    try place.work.sql("UPDATE documents SET count = 0")
    try cutOff()
    try place.work.sql("CREATE TABLE again (LIKE documents INCLUDING ALL); INSERT INTO again SELECT id, title, old_field, user_id, 0 FROM documents")
    try place.work.sql("DROP TABLE documents; ALTER TABLE again RENAME TO documents")
    let again = try place.work.run("firn-migrate", arguments)
    #expect(again.status == 0 && !again.errors.contains("continuing"), "\(again)")
    #expect(try place.work.sql("SELECT min(count), max(count) FROM documents") == "1|1")
  }

  @Test func `notes as done only what survives a crash of the server`() throws {
    let server = try TestServer(
      binaries: TestServer.binaries(at: 0), settings: ["synchronous_commit=off", "wal_writer_delay=10s", "wal_writer_flush_after=0"])
    var place = try MigrationPlace(on: server, rows: 4000)
    place.work.environment["XDG_STATE_HOME"] = place.work.folder.path("state").string
    try place.work.sql("ALTER TABLE documents ADD COLUMN count int NOT NULL DEFAULT 0; CHECKPOINT")
    let arguments = ["backfill", "--table", "documents", "--set", "count = count + 1", "--batch", "100", "--pause", "20ms"]
    let run = try place.work.start("firn-migrate", arguments)
    while try place.work.sql("SELECT count(*) >= 500 FROM documents WHERE count > 0") == "f", run.exitCode() == nil {
      Thread.sleep(forTimeInterval: 0.01)
    }
    server.crash()
    #expect(run.wait() != 0)
    try server.start()
    let resumed = try place.work.run("firn-migrate", arguments)
    #expect(resumed.status == 0 && resumed.errors.contains("continuing after key"), "\(resumed)")
    #expect(try place.work.sql("SELECT min(count), max(count) FROM documents") == "1|1")
  }

  @Test func `takes no other transaction for its own after a crash of the server`() throws {
    // The log is written out only by commits, so a crash loses the number of an open transaction.
    let server = try TestServer(binaries: TestServer.binaries(at: 0), settings: ["wal_writer_delay=10s", "fsync=on"])
    var place = try MigrationPlace(on: server, rows: 300)
    place.work.environment["XDG_STATE_HOME"] = place.work.folder.path("state").string
    // Every commit waits a while once its rows are changed.
    try place.work.sql(
      """
      ALTER TABLE documents ADD COLUMN count int NOT NULL DEFAULT 0;
      CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.id = 150 THEN PERFORM pg_sleep(3); END IF; RETURN NULL; END';
      CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON documents DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();
      CHECKPOINT
      """)
    let arguments = ["backfill", "--table", "documents", "--set", "count = count + 1", "--batch", "100", "--pause", "1ms"]
    let run = try place.work.start("firn-migrate", arguments)
    while try server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "0", run.exitCode() == nil {
      Thread.sleep(forTimeInterval: 0.01)
    }
    server.crash()
    #expect(run.wait() != 0)
    try server.start()
    try place.work.sql("DROP TRIGGER slow ON documents; CREATE TABLE others (id int)")
    for number in 0..<200 { try place.work.sql("INSERT INTO others VALUES (\(number))") }
    let resumed = try place.work.run("firn-migrate", arguments)
    #expect(resumed.status == 0, "\(resumed)")
    #expect(try place.work.sql("SELECT count(*), min(count), max(count) FROM documents") == "300|1|1", "\(resumed)")
  }

  @Test func `does not trust its notes after a failover`() throws {
    var place = try MigrationPlace(on: TestServer.system.get(), rows: 2000)
    place.work.environment["XDG_STATE_HOME"] = place.work.folder.path("state").string
    try place.work.sql("ALTER TABLE documents ADD COLUMN count int NOT NULL DEFAULT 0")
    for (condition, status) in [([], 1), (["--where", "count = 0"], 0)] as [([String], Int32)] {
      try place.work.sql("UPDATE documents SET count = 0")
      let arguments =
        ["backfill", "--table", "documents", "--set", "count = count + 1", "--batch", "100", "--pause", "50ms"] + condition
      let run = try place.work.start("firn-migrate", arguments)
      while try place.work.sql("SELECT count(*) FROM documents WHERE count > 0") == "0", run.exitCode() == nil { Thread.sleep(forTimeInterval: 0.01) }
      ProcessTable.send(SIGKILL, to: run.id)
      _ = run.wait()
      let folder = place.work.folder.path("state/firn")
      let name = try #require(Folder.names(in: folder).first { $0.hasPrefix("backfill-") })
      let note = String(decoding: try Folder.contents(of: folder.appending(name)), as: UTF8.self)
      // A standby that lacked the last batches was promoted.
      let promoted = note.replacing("00000001", with: "00000000")
      #expect(promoted != note, "\(note)")
      try Folder.write(Array(promoted.utf8), to: folder.appending(name))
      try place.work.sql("UPDATE documents SET count = 0 WHERE id > 50")
      let resumed = try place.work.run("firn-migrate", arguments)
      #expect(resumed.status == status, "\(resumed)")
      if status == 0 {
        #expect(try place.work.sql("SELECT min(count), max(count) FROM documents") == "1|1")
      } else {
        #expect(resumed.errors.contains("promoted or restored"), "\(resumed)")
        try Folder.removeFile(folder.appending(name))
      }
    }
  }
}
