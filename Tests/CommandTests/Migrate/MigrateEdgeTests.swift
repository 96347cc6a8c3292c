import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Input that would send a migration, or the way back from it, to the wrong place, or claim more than is known.
@Suite struct `firn-migrate with odd input` {
  private let good = "ALTER TABLE documents ADD COLUMN status text"
  private let goodBack = "ALTER TABLE documents DROP COLUMN status"

  private func command(_ statement: String) -> [String] { ["--", "/bin/sh", "-c", "\"$PSQL\" \"$DATABASE_URL\" -AtXc \"\(statement)\""] }

  @Test func `migrates the database that was checked and snapshotted, whatever else names one`() throws {
    var place = try MigrationPlace(on: TestServer.system.get())
    let (server, checked) = (place.work.server, place.work.database)
    try place.work.sql("CREATE DATABASE \(checked)_other")
    place.work.environment["DATABASE_URL"] = server.url("\(checked)_other")
    let words = "host=127.0.0.1 port=\(server.port) user=postgres dbname=\(checked) passfile='\(place.work.folder.path("pgpass"))'"
    _ = try server.environment("postgres", passFileIn: place.work.folder.path)
    let arguments = place.arguments(["run", "--database-url", words]) + command("SELECT 'in ' || current_database()")
    let result = try place.work.run("firn-migrate", arguments)
    #expect(result.errors.contains("in \(checked)\n") && !result.errors.contains("in \(checked)_other"), "\(result)")
  }

  @Test func `waits for locks no longer than it may, whatever the URL says, also on the way back`() throws {
    var place = try MigrationPlace(on: TestServer.system.get())
    place.work.environment["DATABASE_URL"] =
      try #require(place.work.environment["DATABASE_URL"])
      + "?options=-csearch_path%3Dpublic&application_name=rails"
    let show = "SELECT concat_ws(' ', current_setting('lock_timeout'), current_setting('search_path'), current_setting('application_name'))"
    let result = try place.work.run("firn-migrate", place.arguments(["run", "--lock-timeout", "7s"]) + command(show))
    #expect(result.status == 0 && result.errors.contains("7s public firn-migration-"), "\(result)")
    let undo = try place.work.folder.write(
      "#!/bin/sh\n\"$PSQL\" \"$DATABASE_URL\" -AtXqc \"\(show)\"\n\(FirnProgram.projectFile("Tests/CommandTests/Migrations/rollback.sh"))\n",
      to: "undo.sh")
    _ = try Workplace.run("/bin/chmod", ["700", undo.string], environment: [:])
    try place.configure(rollback: undo.string)
    try place.add("20250103000000", "status", good, down: goodBack)
    try place.add("20250104000000", "bad", "ALTER TABLE nowhere ADD COLUMN x int")
    let back = try place.migrate("run", "--lock-timeout", "6s", "--on-failure", "rollback", "--", MigrationPlace.runner)
    #expect(back.errors.contains("6s public firn-migration-") && back.errors.contains("rolled back by"), "\(back)")
  }

  @Test func `rolls back no migration that was there before, and calls no rollback a database as before`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    try place.add("20250103000000", "status", good, down: goodBack)
    #expect(try place.migrate("run", "--", MigrationPlace.runner).status == 0)
    try place.add("20250102500000", "late", "ALTER TABLE documents ADD COLUMN late text", down: "ALTER TABLE documents DROP COLUMN late")
    try place.add("20250104000000", "bad", "ALTER TABLE nowhere ADD COLUMN x int")
    let refused = try place.migrate("run", "--on-failure", "rollback", "--", MigrationPlace.runner)
    #expect(refused.status == 1 && refused.errors.contains("nothing was rolled back"), "\(refused)")
    #expect(refused.errors.contains("VERSION=20250102500000") && !refused.errors.contains("STEP="), "\(refused)")
    #expect(try place.versions().suffix(2) == ["20250102500000", "20250103000000"] && place.isRunning)
    #expect(try place.checklist().contains("- [ ] Rollback initiated"))

    let other = try MigrationPlace(on: TestServer.system.get())
    try other.add("20250103000000", "gone", "ALTER TABLE documents DROP COLUMN old_field", down: "ALTER TABLE documents ADD COLUMN old_field text")
    try other.add("20250104000000", "bad", "ALTER TABLE nowhere ADD COLUMN x int")
    let back = try other.migrate("run", "--on-failure", "rollback", "--", MigrationPlace.runner)
    #expect(back.errors.contains("a rollback does not bring back"), "\(back)")
    #expect(try other.checklist().contains("- [ ] Database as before: schema_migrations is"))
    // The same for one without records.
    try Folder.removeFile(other.work.folder.path("migrations/20250103000000_gone.sql"))
    let plain = try other.work.run(
      "firn-migrate", other.arguments(["run", "--on-failure", "rollback"]) + command("UPDATE documents SET title = 'lost'; SELECT 1/0"))
    #expect(plain.status == 1 && plain.errors.contains("check whether the command left anything behind"), "\(plain)")
    #expect(try other.checklist().contains("- [ ] Database as before"))
  }

  @Test func `says that it does not know what it could not read`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let result = try place.work.run(
      "firn-migrate", place.arguments(["run", "--json"]) + command("ALTER TABLE schema_migrations RENAME COLUMN version TO versions; SELECT 1/0"))
    let renamed = try place.work.sql("SELECT count(*) FROM information_schema.columns WHERE column_name = 'versions'")
    // One statement string is one transaction: nothing of it remains, which is reported.
    #expect(renamed == "0" && result.status == 1, "\(result)")
    let lost = try place.work.run(
      "firn-migrate", place.arguments(["run", "--json"]) + command("ALTER TABLE schema_migrations RENAME COLUMN version TO versions"))
    #expect(lost.status == 1, "\(lost)")
    #expect(try lost.json()["applied"] is NSNull)
    let again = try place.work.run("firn-migrate", place.arguments(["run"]) + command("SELECT 1"))
    #expect(again.status != 0 && !again.errors.contains("as it was"), "\(again)")
    #expect(try place.checklist().contains("- [ ] schema_migrations: not known"))
  }

  @Test func `keeps passwords out of log and checklist, and ticks nothing that was not observed`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let result = try place.migrate("run", "--", "/bin/sh", "-c", "true psql://u:hidden-word@h/d")
    #expect(result.status == 0 && !result.errors.contains("hidden-word"), "\(result)")
    let failed = try place.migrate("run", "--", "/bin/sh", "-c", "true psql://u:hidden-word@h/d; exit 1")
    #expect(failed.status == 1 && !failed.errors.contains("hidden-word"), "\(failed)")
    let text = try place.checklist()
    #expect(text.contains("u:…@h") && !text.contains("hidden-word") && text.contains("- [ ] Migration monitored"), "\(text)")
  }

  @Test func `leaves what was cut off on another server for a run there`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let note: [String: Any] = [
      "host": Host.name, "database": place.work.database, "cluster": "another", "startedAt": 0, "process": 1, "processStart": 1, "boot": "before",
      "application": "firn-migration-1-1", "log": "/nowhere", "step": "command", "versionsBefore": ["1"],
    ]
    try Folder.make(place.work.folder.path("state/firn"))
    let path = place.work.folder.path("state/firn/migrating-1-1.json")
    try Folder.write(Array(JSONSerialization.data(withJSONObject: note)), to: path)
    let result = try place.migrate("recover")
    #expect(result.status == 3 && result.errors.contains("it ran on another server"), "\(result)")
    #expect(Folder.exists(path))
  }

  @Test func `passes no snapshot that was found damaged, no old proof, and nothing it is not shown`() throws {
    var place = try MigrationPlace(on: TestServer.system.get())
    func findings() throws -> [String: String] {
      let found = try place.migrate("check", "--json").json()["findings"] as? [[String: Any]] ?? []
      return Dictionary(found.map { ($0["name"] as? String ?? "", $0["verdict"] as? String ?? "") }, uniquingKeysWith: { $1 })
    }
    _ = try place.work.takeSnapshot()
    #expect(try place.work.verify("--read").status == 0)
    try place.configure(more: "max-proof-age: 1s")
    Thread.sleep(forTimeInterval: 1.2)
    #expect(try findings()["snapshot"] == "warn")
    try place.configure()
    #expect(try findings()["snapshot"] == "pass")
    _ = try place.work.takeSnapshot()
    let files = try filesByPath(under: place.work.store).filter { $0.key.hasPrefix("objects/") && $0.value.kind == .file }.keys.sorted()
    for file in files {
      var bytes = try Folder.contents(of: place.work.store.appending(file))
      bytes[bytes.count / 2] ^= 1
      try Folder.write(bytes, to: place.work.store.appending(file))
    }
    #expect(try place.work.verify(place.work.database, "latest", "--read").status == 4)
    #expect(try findings()["snapshot"] == "stop")

    let role = "plain_\(place.work.database)"
    try place.work.sql("CREATE ROLE \(role) LOGIN PASSWORD 'abc'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO \(role)")
    place.work.environment["DATABASE_URL"] = place.work.server.url(place.work.database, user: role, password: "abc")
    let weak = try findings()
    #expect(weak["long-transactions"] == "unknown" && weak["blocked-sessions"] == "unknown", "\(weak)")
    try place.work.sql("GRANT pg_monitor TO \(role)")
    #expect(try findings()["long-transactions"] == "pass")
  }
}
