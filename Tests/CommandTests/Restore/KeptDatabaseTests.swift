import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// The databases that `firn-restore` keeps, and what others do to them and to the one they were kept for.
@Suite struct `A kept database` {
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

  @Test func `does not take a stranger's database for the kept one`() throws {
    let place = try Workplace.withNotes()
    let role = "forger_\(place.database)"
    let comment = #"kept by firn: {"database":"\#(place.database)","keptAt":"2030-01-01T00:00:00Z"}"#
    try place.server.sql("CREATE ROLE \(role); CREATE DATABASE \(place.database)_forged OWNER \(role)")
    try place.server.sql("COMMENT ON DATABASE \(place.database)_forged IS \(Connection.literal(comment))")
    let undone = try place.restore(place.database, "--undo", "--confirm", place.database)
    #expect(undone.status == 6, "\(undone)")
    #expect(undone.errors.contains("belongs to \(role)"))
    #expect(try place.noteCount() == "5000")
  }

  @Test func `is never confused with the live database, whatever its comment says`() throws {
    let place = try Workplace.withNotes()
    let name = place.database
    try place.sql("COMMENT ON DATABASE \"\(name)\" IS 'mine'")
    _ = try place.takeSnapshot()
    #expect(try place.restore(name, "--confirm", name).status == 0)
    // The live one is dropped by mistake, and the kept one given its name by hand.
    let keptAs = try #require(place.keptDatabases().first)
    try place.server.sql("DROP DATABASE \"\(name)\"", in: "postgres")
    try place.server.sql("ALTER DATABASE \"\(keptAs)\" RENAME TO \"\(name)\"", in: "postgres")
    #expect(try !place.firn("list").errors.contains("kept on"))
    for mode in ["--forget-old", "--undo"] {
      let refused = try place.restore(name, mode, "--confirm", name)
      #expect(refused.status == 10 && refused.errors.contains("no database is kept"), "\(refused)")
    }
    #expect(try place.noteCount() == "5000")
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
    let place = try Workplace.withNotes()
    let name = place.database
    _ = try place.takeSnapshot()
    try place.sql("DELETE FROM notes WHERE id > 100")
    #expect(try place.restore(name, "latest", "--confirm", name).status == 0)
    let first = try #require(place.keptDatabases().first)
    try place.server.sql("DROP DATABASE \"\(name)\"", in: "postgres")
    let unconfirmed = try place.restore(name, "--undo", "--confirm", "wrong")
    #expect(unconfirmed.status == 5 && unconfirmed.errors.contains("has no database \(name) now"), "\(unconfirmed)")
    let back = try place.restore(name, "--undo", "--confirm", name, "--json")
    #expect(back.status == 0, "\(back)")
    #expect(try back.json()["restoredAs"] as? String == name && back.json()["keptAs"] is NSNull && back.json()["keptName"] as? String == first)
    #expect(try place.noteCount() == "100" && place.keptDatabases().isEmpty)

    #expect(try place.restore(name, "latest", "--confirm", name).status == 0)
    let oldest = try #require(place.keptDatabases().first)
    try place.sql("DELETE FROM notes WHERE id > 7")
    #expect(try place.restore(name, "latest", "--confirm", name).status == 0)
    let plan = try place.restore(name, "--undo", "--confirm", "wrong")
    #expect(plan.errors.contains("--kept \(oldest)"), "\(plan)")
    #expect(try place.restore(name, "--undo", "--kept", "\(name)_nothing", "--confirm", name).status == 10)
    #expect(try place.restore(name, "--kept", oldest, "--confirm", name).status == 64)
    #expect(try place.restore(name, "--undo", "--kept", oldest, "--confirm", name).status == 0)
    #expect(try place.noteCount() == "100")
  }

  @Test func `ends no session while another holds a lock on the database, and names it`() throws {
    let place = try Workplace.withNotes()
    let name = place.database
    _ = try place.takeSnapshot()
    let url = place.server.url("postgres")
    let holder = try Connection(ConnectionSettings(url), applicationName: "the holder")
    try holder.execute("BEGIN; ALTER DATABASE \"\(name)\" CONNECTION LIMIT 50")
    let client = try Connection(ConnectionSettings(place.server.url(name)), applicationName: "client")
    let result = try place.restore(name, "latest", "--confirm", name, "--no-safety-snapshot")
    #expect(result.status == 6 && result.errors.contains("(the holder)") && result.errors.contains("is unchanged"), "\(result)")
    try client.execute("INSERT INTO public.notes (body) VALUES ('still here')")
    #expect(try place.noteCount() == "5001" && place.keptDatabases().isEmpty)
    try holder.execute("ROLLBACK")
    // One who is in the database itself is ended as others are.
    try client.execute("BEGIN; ALTER DATABASE \"\(name)\" CONNECTION LIMIT 50")
    let done = try place.restore(name, "latest", "--confirm", name, "--no-safety-snapshot")
    #expect(done.status == 0, "\(done)")
    #expect(try place.noteCount() == "5000")
  }

  @Test func `ends no session while another holds a lock on the kept one`() throws {
    let place = try Workplace.withNotes()
    let name = place.database
    _ = try place.takeSnapshot()
    #expect(try place.restore(name, "latest", "--confirm", name).status == 0)
    let old = try #require(place.keptDatabases().first)
    let holder = try Connection(ConnectionSettings(place.server.url("postgres")), applicationName: "the holder")
    try holder.execute("BEGIN; COMMENT ON DATABASE \"\(old)\" IS 'mine'")
    let client = try Connection(ConnectionSettings(place.server.url(name)), applicationName: "client")
    let result = try place.restore(name, "--undo", "--confirm", name)
    #expect(result.status == 6 && result.errors.contains("(the holder)") && result.errors.contains("is unchanged"), "\(result)")
    try client.execute("INSERT INTO public.notes (body) VALUES ('still here')")
    try holder.execute("ROLLBACK")
    #expect(try place.restore(name, "--undo", "--confirm", name).status == 0)
    #expect(try place.server.databaseNames().allSatisfy { !$0.hasPrefix("firn_swap") })
  }

  @Test func `is not brought back by a guess if there is none to compare`() throws {
    let place = try Workplace.withNotes()
    let name = place.database
    let mallory = "mallory_\(name)"
    _ = try place.takeSnapshot()
    #expect(try place.restore(name, "latest", "--confirm", name).status == 0)
    let old = try #require(place.keptDatabases().first)
    let record = #"kept by firn: {"database":"\#(name)","name":"\#(mallory)","keptAt":"2099-01-01T00:00:00Z"}"#
    for statement in [
      "CREATE ROLE \"\(mallory)\"", "CREATE DATABASE \"\(mallory)\" OWNER \"\(mallory)\"", "COMMENT ON DATABASE \"\(mallory)\" IS '\(record)'",
      "DROP DATABASE \"\(name)\"",
    ] { try place.server.sql(statement, in: "postgres") }
    let refused = try place.restore(name, "--undo", "--confirm", name)
    #expect(refused.status == 6 && refused.errors.contains("belongs to \(mallory)"), "\(refused)")
    #expect(try place.restore(name, "--undo", "--kept", old, "--confirm", name).status == 0)
    #expect(try place.noteCount() == "5000")
  }

  @Test func `touches no other database that has the name by then`() throws {
    var place = try Workplace.withNotes()
    let name = place.database
    _ = try place.takeSnapshot()
    let postgres = try place.psqlCommand()
    try place.beforeRestoring(
      run: "\(postgres) 'ALTER DATABASE \"\(name)\" RENAME TO \"\(name)_aside\"' && \(postgres) 'CREATE DATABASE \"\(name)\"'")
    let result = try place.restore(name, "latest", "--confirm", name, "--no-safety-snapshot", "--jobs", "1")
    #expect(result.status == 6 && result.errors.contains("was replaced in the meantime"), "\(result)")
    #expect(try place.server.sql("SELECT count(*) FROM pg_class WHERE relname = 'notes'", in: name) == "0")
    #expect(try place.keptDatabases() == ["\(name)_aside"])
  }
}
