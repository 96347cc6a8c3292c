import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Every way of the migration guide, safe and unsafe, tried on a million rows.
@Suite(.serialized) struct `firn-migrate rehearse` {
  private struct Rehearsed {
    let status: Int32
    let kinds: [String: [String]]
    let locks: [String: Int]
    let result: CommandResult
  }

  private static let rows = 1_000_000

  private func place(on server: TestServer, rows: Int = rows) throws -> MigrationPlace {
    let place = try MigrationPlace(on: server, rows: rows)
    _ = try place.work.takeSnapshot()
    return place
  }

  /// Runs statements one after the other, each in a transaction of its own unless they come as one.
  private func rehearse(_ place: MigrationPlace, _ statements: [String], _ options: [String] = []) throws -> Rehearsed {
    let script = statements.map { "\"$PSQL\" \"$DATABASE_URL\" -Xq -v ON_ERROR_STOP=1 -c \"\($0)\"" }.joined(separator: " && ")
    let result = try place.work.run(
      "firn-migrate", ["rehearse", "--json"] + options + ["--", "/bin/sh", "-c", script])
    guard let report = try? result.json() else { throw Unavailable("no report: \(result)") }
    let findings = report["findings"] as? [[String: Any]] ?? []
    let unexpected = findings.filter { $0["expected"] as? Bool == false }
    let locks = (report["locks"] as? [[String: Any]] ?? []).map { ("\($0["table"] ?? "") \($0["mode"] ?? "")", $0["milliseconds"] as? Int ?? 0) }
    return Rehearsed(
      status: result.status,
      kinds: Dictionary(grouping: unexpected) { $0["kind"] as? String ?? "" }.mapValues { $0.map { $0["object"] as? String ?? "" } },
      locks: Dictionary(locks, uniquingKeysWith: max), result: result)
  }

  @Test func `finds each anti-pattern, with how long it keeps others out`() throws {
    let place = try place(on: TestServer.system.get())
    let bad = try rehearse(
      place,
      [
        "ALTER TABLE documents ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid()",
        "ALTER TABLE documents ADD COLUMN status text NOT NULL DEFAULT 'pending'",
        "CREATE INDEX documents_title ON documents (title)",
        "ALTER TABLE documents ADD CONSTRAINT owner FOREIGN KEY (user_id) REFERENCES users (id)",
        "ALTER TABLE documents ADD CONSTRAINT positive CHECK (id > 0)",
        "ALTER TABLE documents ALTER COLUMN title SET NOT NULL",
        "ALTER TABLE documents DROP COLUMN old_field",
        "ALTER TABLE documents RENAME COLUMN user_id TO owner_id",
        "UPDATE documents SET status = 'done'",
      ], ["--fail-on", "rewrite,index,exclusive>1ms"])
    #expect(bad.status == 6, "\(bad.result)")
    #expect(bad.kinds["rewrite"] == ["public.documents"])
    #expect(bad.kinds["default"] == ["public.documents.token", "public.documents.status"])
    #expect(bad.kinds["index"] == ["public.documents_title"])
    #expect(bad.kinds["validation"]?.sorted() == ["public.documents: owner", "public.documents: positive"])
    #expect(bad.kinds["not-null"] == ["public.documents.title"])
    #expect(bad.kinds["drop"] == ["public.documents.old_field"])
    #expect(bad.kinds["rename"] == ["public.documents.user_id"])
    #expect(bad.kinds["rows"] == ["public.documents"])
    // A million rows are not rewritten, nor indexed, in a twentieth of a second.
    #expect(bad.locks["public.documents ACCESS EXCLUSIVE"] ?? 0 > 50 && bad.locks["public.documents SHARE"] ?? 0 > 50, "\(bad.locks)")
    #expect(bad.locks["public.users SHARE ROW EXCLUSIVE"] ?? 0 > 0)
    // Nothing of it reached the database itself, and nothing is left.
    #expect(try place.work.sql("SELECT count(*) FROM information_schema.columns WHERE table_name = 'documents'") == "4")
    #expect(try place.work.leftovers().isEmpty)
  }

  @Test func `finds the giant change beside many small ones`() throws {
    let place = try place(on: TestServer.system.get(), rows: 30_000)
    let small = (1...40).map { "UPDATE users SET name = name WHERE id = \($0)" }
    let rehearsed = try rehearse(place, ["UPDATE documents SET title = 'x'"] + small, ["--fail-on", "rows"])
    #expect(rehearsed.kinds["rows"] == ["public.documents"] && rehearsed.status == 6, "\(rehearsed.result)")
  }

  @Test func `passes each of the safe patterns`() throws {
    let place = try place(on: TestServer.system.get())
    let good = try rehearse(
      place,
      [
        "ALTER TABLE documents ADD COLUMN status text",
        "ALTER TABLE documents ALTER COLUMN status SET DEFAULT 'pending'",
        "CREATE INDEX CONCURRENTLY documents_title ON documents (title)",
        "ALTER TABLE documents ADD CONSTRAINT owner FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID",
        "ALTER TABLE documents VALIDATE CONSTRAINT owner",
        "ALTER TABLE documents ADD CONSTRAINT titled CHECK (title IS NOT NULL) NOT VALID",
        "ALTER TABLE documents VALIDATE CONSTRAINT titled",
        "ALTER TABLE documents ALTER COLUMN title SET NOT NULL",
        "ALTER TABLE documents DROP CONSTRAINT titled",
        "ALTER TABLE documents DROP COLUMN old_field",
        "DO \\$\\$ BEGIN FOR start IN 0..999999 BY 5000 LOOP UPDATE documents SET status = 'pending' WHERE id > start AND id <= start + 5000; COMMIT; END LOOP; END \\$\\$",
        "CREATE TABLE tags (id bigint PRIMARY KEY, name text NOT NULL DEFAULT ''); CREATE INDEX ON tags (name); INSERT INTO tags SELECT g FROM generate_series(1, 20000) g",
      ],
      [
        "--expect-drop", "public.documents.old_field", "--fail-on",
        "rewrite,index,validation,not-null,default,drop,rename,rows,exclusive>2s",
      ])
    #expect(good.status == 0 && good.kinds.isEmpty, "\(good.result)")
  }

  @Test(arguments: [1, 2]) func `works on servers 16 and 18`(version: Int) throws {
    let place = try place(on: version == 1 ? TestServer.version16.get() : TestServer.version18.get(), rows: 50_000)
    let bad = try rehearse(
      place,
      [
        "ALTER TABLE documents ALTER COLUMN user_id TYPE int", "CREATE INDEX documents_title ON documents (title)",
        "CREATE INDEX CONCURRENTLY documents_user ON documents (user_id)", "ALTER TABLE documents ALTER COLUMN title SET NOT NULL",
        "DROP TABLE users",
      ])
    #expect(bad.status == 3, "\(bad.result)")
    #expect(
      bad.kinds == [
        "rewrite": ["public.documents"], "index": ["public.documents_title"], "not-null": ["public.documents.title"], "drop": ["public.users"],
      ])
  }

  @Test func `reports a command that fails, and shows the schema's difference`() throws {
    let place = try place(on: TestServer.system.get(), rows: 100)
    let failed = try rehearse(place, ["ALTER TABLE documents ADD COLUMN x int", "ALTER TABLE nowhere ADD COLUMN x int"])
    #expect(failed.status == 1, "\(failed.result)")
    let schema = try failed.result.json()["schema"] as? [[String: Any]] ?? []
    let added = schema.flatMap { $0["added"] as? [String] ?? [] }
    #expect(added.contains { $0.contains("x integer") } && schema.count == 1, "\(schema)")
    let wrong = try place.work.run("firn-migrate", ["rehearse", "--fail-on", "rewrites", "--", "/bin/true"])
    #expect(wrong.status == 64 && wrong.errors.contains("rewrites"))
  }

  @Test func `keeps the command from production, and reports one that worked elsewhere`() throws {
    let place = try place(on: TestServer.system.get(), rows: 10)
    let production = place.work.server.url(place.work.database)
    // By libpq's variables alone, though they lead to production here.
    var led = place
    led.work.environment.merge([
      "PGHOST": "127.0.0.1", "PGPORT": "\(place.work.server.port)", "PGUSER": "postgres", "PGPASSWORD": TestServer.password, "PGSSLMODE": "require",
      "PGDATABASE": place.work.database,
    ]) { $1 }
    let copied = try led.work.run(
      "firn-migrate", ["rehearse", "--json", "--", "/bin/sh", "-c", "\"$PSQL\" -Xqc 'ALTER TABLE documents ADD COLUMN here int'"])
    #expect(copied.status == 0, "\(copied)")
    #expect(try copied.json()["reachedCopy"] as? Bool == true)
    #expect(try place.work.sql("SELECT count(*) FROM pg_attribute WHERE attname = 'here'") == "0")

    var elsewhere = place
    elsewhere.work.environment["PRODUCTION"] = production
    let lost = try elsewhere.work.run("firn-migrate", ["rehearse", "--", "/bin/sh", "-c", "\"$PSQL\" \"$PRODUCTION\" -Xqc 'SELECT 1'"])
    #expect(lost.status == 1 && lost.errors.contains("never connected to the copy"), "\(lost)")
    #expect(!lost.output.contains("nothing that would hurt"), "\(lost)")
    // The shortest there is.
    let short = try place.work.run("firn-migrate", ["rehearse", "--", "/bin/sh", "-c", "\"$PSQL\" \"$DATABASE_URL\" -Xqc 'SELECT 1'"])
    #expect(short.status == 0, "\(short)")
  }

  @Test func `that is killed leaves no server and no folder behind after the next`() throws {
    let place = try place(on: TestServer.system.get(), rows: 100)
    let run = try place.work.start(
      "firn-migrate", ["rehearse", "--", "/bin/sh", "-c", "touch $PLACE/at-work; sleep 30"])
    while !Folder.exists(place.work.folder.path("at-work")) { Thread.sleep(forTimeInterval: 0.02) }
    ProcessTable.send(SIGKILL, to: run.id)
    run.wait()
    let next = try rehearse(place, ["SELECT 1"])
    #expect(next.status == 0, "\(next.result)")
    #expect(try place.work.leftovers().isEmpty)
    #expect(!ProcessTable.commandLines().contains { $0.contains(place.work.spool.string) })
  }
}
