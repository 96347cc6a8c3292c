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
    // The next one begins anew.
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
    #expect(try moving.status != 0 && place.work.sql("SELECT max(id) FROM documents") == "10", "\(moving)")
    #expect(try backfill(place, "--table", "documents", "--set", "nothing = 1").status == 8)
    #expect(try backfill(place, "--table", "documents", "--set", " ").status == 64)
  }
}
