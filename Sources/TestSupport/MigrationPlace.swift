internal import Foundation
internal import Platform
package import SystemPackage

/// A database with an application's migrations, an application that is stopped and started by a file, and how to run them.
package struct MigrationPlace: Sendable {
  package var work: Workplace

  /// - Parameter rows: of the table `documents`.
  package init(on server: TestServer, rows: Int = 1000) throws {
    work = try Workplace(on: server)
    let folder = work.folder
    for name in ["migrations", "migrations/down", "state"] { try Folder.make(folder.path(name)) }
    work.environment["PSQL"] = FirnProgram.projectFile("Tests/CommandTests/Migrations/psql.sh").string
    work.environment["PSQL_PROGRAM"] = server.binaries.appending("psql").string
    work.environment["MIGRATIONS"] = folder.path("migrations").string
    work.environment["PLACE"] = folder.path.string
    work.environment["XDG_STATE_HOME"] = folder.path("state").string
    try work.sql(
      """
      CREATE TABLE schema_migrations (version varchar PRIMARY KEY); INSERT INTO schema_migrations VALUES ('20250101000000'), ('20250102000000');
      CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY, value varchar); INSERT INTO ar_internal_metadata VALUES ('environment', 'production');
      CREATE TABLE users (id bigint PRIMARY KEY, name text); INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 100) g;
      CREATE TABLE documents (id bigint PRIMARY KEY, title text, old_field text, user_id bigint);
      INSERT INTO documents SELECT g, md5(g::text), 'x', g % 100 + 1 FROM generate_series(1, \(rows)) g; ANALYZE;
      """)
    try configure()
  }

  /// Writes `firn.yaml`. The application runs while the file `running` is there.
  package func configure(
    stop: String = "rm -f $PLACE/running", start: String = "touch $PLACE/running", health: String = "test -e $PLACE/running",
    rollback: String = FirnProgram.projectFile("Tests/CommandTests/Migrations/rollback.sh").string, more: String = ""
  ) throws {
    _ = try work.folder.write(
      """
      maintenance:
        stop: ["echo stop >> $PLACE/services; \(stop)"]
        start: ["echo start >> $PLACE/services; \(start)"]
        health: "\(health)"
        health-retries: 2
        health-pause: 300ms
      migrate:
        rollback: \(rollback)
      \(more)
      """, to: "firn.yaml")
  }

  package func add(_ version: String, _ name: String, _ sql: String, down: String? = nil, isPlain: Bool = false) throws {
    _ = try work.folder.write(sql, to: "migrations/\(version)_\(name)\(isPlain ? ".plain" : "").sql")
    if let down { _ = try work.folder.write(down, to: "migrations/down/\(version)_\(name).sql") }
  }

  package static var runner: String { FirnProgram.projectFile("Tests/CommandTests/Migrations/migrate.sh").string }

  package func migrate(_ words: String...) throws -> CommandResult { try work.run("firn-migrate", arguments(words)) }

  /// With the configuration after the subcommand, where options belong.
  package func arguments(_ words: [String]) -> [String] {
    [words[0], "--config", work.folder.path("firn.yaml").string] + words.dropFirst()
  }

  package func versions() throws -> [String] {
    try work.sql("SELECT version FROM schema_migrations ORDER BY 1").split(separator: "\n").map(String.init)
  }

  package var isRunning: Bool { Folder.exists(work.folder.path("running")) }

  /// The calls to the application's stop and start commands, in order.
  package var services: [String] { Self.text(of: work.folder.path("services")).split(separator: "\n").map(String.init) }

  package static func text(of path: FilePath) -> String { (try? Folder.contents(of: path)).map { String(decoding: $0, as: UTF8.self) } ?? "" }

  /// The newest checklist.
  package func checklist() throws -> String {
    let folder = work.folder.path("state").appending("firn/migrations")
    return try Folder.names(in: folder).filter { $0.hasSuffix(".md") }.sorted().last.map { Self.text(of: folder.appending($0)) } ?? ""
  }
}
