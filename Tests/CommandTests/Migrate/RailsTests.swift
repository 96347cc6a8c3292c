import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// An application of Debian's own Rails, with the migrations that Rails people write.
private struct RailsPlace {
  var place: MigrationPlace
  private let folder: FilePath

  init() throws {
    place = try MigrationPlace(on: TestServer.system.get(), rows: 0)
    try place.work.sql("DROP TABLE schema_migrations, ar_internal_metadata, documents, users")
    folder = place.work.folder.path("application")
    _ = try Workplace.run("/bin/cp", ["-r", FirnProgram.projectFile("Tests/CommandTests/Rails").string, folder.string], environment: [:])
    place.work.environment["RAILS_ENV"] = "production"
    place.work.environment["APPLICATION"] = folder.string
    try configure()
  }

  func configure(health: String = "test -e $PLACE/running") throws {
    try place.configure(health: health, rollback: "rake --rakefile $APPLICATION/Rakefile db:rollback")
  }

  func add(_ version: String, _ name: String, _ body: String) throws {
    let text = "class \(name) < ActiveRecord::Migration[6.1]\n\(body)\nend\n"
    let underscored = name.reduce(into: "") { $0 += $1.isUppercase && !$0.isEmpty ? "_" + $1.lowercased() : $1.lowercased() }
    _ = try place.work.folder.write(text, to: "application/db/migrate/\(version)_\(underscored).rb")
  }

  var migrate: [String] { ["--", "rake", "--rakefile", folder.appending("Rakefile").string, "db:migrate"] }

  func run(_ options: String...) throws -> CommandResult {
    try place.work.run("firn-migrate", place.arguments(["run"] + options + migrate))
  }

  func columns() throws -> String {
    try place.work.sql(
      "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'documents'::regclass AND attnum > 0 AND NOT attisdropped")
  }
}

@Suite struct `A Rails application` {
  private static let status = "  def change\n    add_column :documents, :status, :string, default: 'new'\n  end"

  @Test func `is migrated, from an empty database on, with lock_timeout in its sessions`() throws {
    let rails = try RailsPlace()
    let first = try rails.run("--json")
    #expect(first.status == 0, "\(first)")
    #expect(try first.json()["applied"] as? [String] == ["20260101000000"])
    #expect(try rails.place.work.sql("SELECT count(*) FROM documents") == "1000")
    try rails.add("20260102000000", "AddStatus", Self.status)
    try rails.add(
      "20260103000000", "IndexTitle",
      "  disable_ddl_transaction!\n  def change\n    add_index :documents, :title, algorithm: :concurrently\n  end")
    try rails.add(
      "20260104000000", "Note",
      """
        def up
          execute "CREATE TABLE notes AS SELECT current_setting('lock_timeout') AS lock, current_setting('application_name') AS name"
        end

        def down
          drop_table :notes
        end
      """)
    let second = try rails.run("--expect-environment", "production", "--lock-timeout", "7s", "--json")
    #expect(second.status == 0, "\(second)")
    #expect(try second.json()["applied"] as? [String] == ["20260102000000", "20260103000000", "20260104000000"])
    let note = try rails.place.work.sql("SELECT lock || ' ' || name FROM notes")
    #expect(note.hasPrefix("7s firn-migration-"), "\(note)")
    let tags = try rails.place.work.firn("show", rails.place.work.database, "--json").json()["tags"] as? [String: String]
    #expect(tags?["schema_version"] == "20260101000000", "\(tags ?? [:])")
    #expect(rails.place.services == ["stop", "start", "stop", "start"] && rails.place.isRunning)
    #expect(try rails.place.checklist().contains("- [x] Migration completed"))
    // Another environment stays untouched.
    #expect(try rails.run("--expect-environment", "staging").status == 6)
  }

  @Test func `is rolled back by its own task where a migration fails, to what it was`() throws {
    let rails = try RailsPlace()
    #expect(try rails.run().status == 0)
    try rails.add("20260102000000", "AddStatus", Self.status)
    try rails.add("20260103000000", "Fail", "  def change\n    add_column :documents, :more, :string\n    add_column :nowhere, :x, :string\n  end")
    let result = try rails.run("--on-failure", "rollback")
    #expect(result.status == 1, "\(result)")
    #expect(result.errors.contains("nowhere"), "what Rails says is passed on: \(result)")
    #expect(try rails.place.versions() == ["20260101000000"])
    #expect(try rails.columns() == "id title old_field created_at updated_at")
    #expect(rails.place.isRunning)
    #expect(try rails.place.checklist().contains("### Incident"))
  }

  @Test func `goes back by rollback or restore if the health check fails afterwards`() throws {
    let rails = try RailsPlace()
    #expect(try rails.run().status == 0)
    try rails.add("20260102000000", "AddStatus", Self.status)
    try rails.configure(health: #"test \"$(\"$PSQL\" \"$DATABASE_URL\" -AtXc 'SELECT count(*) FROM schema_migrations')\" = 1"#)
    for answer in [["--on-failure", "rollback"], ["--restore-on-failure", rails.place.work.database]] {
      let result = try rails.place.work.run("firn-migrate", rails.place.arguments(["run"] + answer + ["--json"] + rails.migrate))
      #expect(result.status == 1, "\(answer) \(result)")
      #expect(try result.json()["healthy"] as? Bool == true, "\(answer) \(result)")
      #expect(try rails.place.versions() == ["20260101000000"], "\(answer) \(result)")
      #expect(try rails.columns() == "id title old_field created_at updated_at", "\(answer)")
      #expect(rails.place.isRunning)
    }
    #expect(try rails.place.work.sql("SELECT count(*) FROM documents") == "1000")
  }

  @Test func `is rehearsed on a copy, which finds what its migration would lock`() throws {
    let rails = try RailsPlace()
    #expect(try rails.run().status == 0)
    _ = try rails.place.work.takeSnapshot()
    try rails.add("20260102000000", "IndexTitle", "  def change\n    add_index :documents, :title\n    sleep 0.3\n  end")
    // Where the URL leaves something open, Rails goes where this says.
    let database = rails.place.work
    _ = try database.folder.write(
      "production:\n  adapter: postgresql\n  host: 127.0.0.1\n  port: \(database.server.port)\n  username: postgres\n  password: \(TestServer.password)\n",
      to: "application/config/database.yml")
    let result = try rails.place.work.run("firn-migrate", rails.place.arguments(["rehearse", "--json"] + rails.migrate))
    #expect(result.output.contains("documents") && result.output.contains("SHARE"), "\(result)")
    #expect(try rails.place.versions() == ["20260101000000"], "the database itself is untouched")
  }
}
