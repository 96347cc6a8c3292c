import Foundation
import Postgres
import TestSupport
import Testing

/// Tables that are taken over by the times of their files, on a server without WAL summaries.
@Suite struct `A snapshot by file times` {
  private static let server = Result {
    try TestServer(binaries: TestServer.binaries(at: 0), settings: IncrementalPlace.olderSettings + ["autovacuum=off"])
  }

  private func place(_ sql: String) throws -> IncrementalPlace { try IncrementalPlace(on: Self.server.get(), mode: "file-times", sql) }

  /// Lets files become old enough: the server shows their times in whole seconds.
  private func wait(_ place: IncrementalPlace) throws {
    try place.work.sql("CHECKPOINT")
    Thread.sleep(forTimeInterval: 4.2)
  }

  private func read(_ tables: [String: IncrementalPlace.Table]) -> Set<String> {
    Set(tables.filter { !$0.value.isTaken && !$0.value.isReadForItsObjects }.keys.map { String($0.dropFirst("public.".count)) })
  }

  @Test func `reads what changed, and what was changing when the parent was taken`() throws {
    let place = try place(
      """
      CREATE TABLE a AS SELECT generate_series(1, 3000) v; CREATE TABLE b AS SELECT generate_series(1, 3000) v;
      CREATE TABLE c AS SELECT g id, repeat(md5(g::text), 3000) v FROM generate_series(1, 20) g; ALTER TABLE c ALTER v SET STORAGE EXTERNAL;
      CREATE TYPE mood AS ENUM ('x', 'y'); CREATE TABLE m AS SELECT 'x'::mood v FROM generate_series(1, 3000)
      """)
    // A first reading sets hint bits.
    for table in ["a", "b", "c", "m"] { try place.work.sql("SELECT count(*) FROM \(table) WHERE v IS NOT NULL; VACUUM \(table)") }
    try wait(place)
    #expect(read(try place.snapshot()) == ["a", "b", "c", "m"])
    #expect(read(try place.snapshot()) == [])
    let changes: [(sql: String, read: Set<String>)] = [
      ("UPDATE a SET v = v + 1 WHERE v = 7", ["a"]), ("UPDATE c SET v = 'new' WHERE id = 3; ALTER TYPE mood RENAME VALUE 'x' TO 'z'", ["c", "m"]),
      ("VACUUM FULL b", ["b"]),
    ]
    for (sql, expected) in changes {
      // No checkpoint: the snapshot makes one.
      for statement in sql.split(separator: ";") { try place.work.sql(String(statement)) }
      let found = try place.snapshot()
      #expect(read(found).isSuperset(of: expected), "\(sql)")
      try place.expectRight(found, sql)
      // Too young to be a base.
      #expect(read(try place.snapshot()).isSuperset(of: expected.subtracting(["m"])), "after \(sql)")
      try wait(place)
      _ = try place.snapshot()
      #expect(read(try place.snapshot()) == [], "later, after \(sql)")
    }
    // A writer whose changes are in the files already, and not yet in the snapshot.
    let writer = try place.work.server.connect(place.work.database)
    try writer.execute("BEGIN; INSERT INTO public.b VALUES (77777)")
    try wait(place)
    _ = try place.snapshot()
    try writer.execute("COMMIT")
    let found = try place.snapshot()
    #expect(read(found).contains("b"))
    try place.expectRight(found, "a writer")
    for (setting, expected) in [
      ("file-times", "snapshots read only tables whose files changed"), ("auto", "with incremental: file-times in firn.yaml"),
      ("no", "every snapshot reads all tables: incremental is no in firn.yaml"),
    ] {
      try place.configure("incremental: \(setting)\n")
      let shown = try place.work.firn("doctor")
      #expect(shown.output.contains(expected), "\(shown)")
    }
  }

  @Test func `reads all without the right to look at files`() throws {
    let place = try place("CREATE TABLE a AS SELECT generate_series(1, 3000) v")
    let role = "weak_\(UInt32.random(in: 0 ... .max))"
    try place.work.sql("CREATE ROLE \(role) LOGIN PASSWORD 'x' IN ROLE pg_read_all_data")
    var weak = place.work
    weak.environment["DATABASE_URL"] = place.work.server.url(weak.database, user: role, password: "x")
    let refused = try weak.run("firn-snapshot", ["--verbose"])
    #expect(refused.errors.contains("all tables are read: \(role) may not execute pg_stat_file"), "\(refused)")
    try place.work.sql("GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO \(role)")
    let without = try weak.run("firn-snapshot", ["--verbose"])
    #expect(without.errors.contains("all tables are read: \(role) is not a member of pg_checkpoint"), "\(without)")
    let doctor = try weak.firn("doctor")
    #expect(doctor.output.contains("\(role) is not a member of pg_checkpoint") && doctor.output.contains("firn setup --apply grants"), "\(doctor)")

    try place.work.sql("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) FROM \(role)")
    let name = place.work.database
    try place.configure(
      "incremental: file-times\nservers: {main: {database-url: '\(place.work.server.address("postgres"))', exclude: [\(name)]}}\n")
    let excluded = try setUp(place, role)
    #expect(excluded.status == 0 && !excluded.output.contains("'\(name)'"), "\(excluded)")
    try place.configure("incremental: file-times\n")
    let shown = try setUp(place, role)
    #expect(shown.output.contains("\\connect -reuse-previous=on \"dbname='\(place.work.database)'\"\nGRANT EXECUTE ON FUNCTION"), "\(shown)")
    #expect(try setUp(place, role, "--apply").status == 0)
    try place.work.sql("SELECT count(*) FROM a; VACUUM a")
    try wait(place)
    for _ in 1...2 { _ = try weak.snapshot() }
    #expect(try weak.run("firn-snapshot", ["--json"]).json()["tablesTakenOver"] as? Int == 1)
    #expect(try !setUp(place, role).output.contains("GRANT EXECUTE"))
    // The right is in each dump, and a role that can't give it restores all else.
    for statement in ["ALTER ROLE \(role) CREATEDB", "ALTER DATABASE \(place.work.database) OWNER TO \(role)", "ALTER TABLE a OWNER TO \(role)"] {
      try place.work.sql(statement)
    }
    _ = try weak.snapshot()
    let restored = try weak.restore(place.work.database, "--as", "\(place.work.database)_copy", "--prove")
    #expect(restored.status == 0 && restored.errors.contains("run firn setup --apply after the restore"), "\(restored)")
  }

  private func setUp(_ place: IncrementalPlace, _ role: String, _ more: String...) throws -> CommandResult {
    var work = place.work
    work.environment["PGPASSWORD"] = TestServer.password
    return try work.run("firn", ["setup", "--superuser-url", work.server.address("postgres"), "--role", role] + more)
  }
}
