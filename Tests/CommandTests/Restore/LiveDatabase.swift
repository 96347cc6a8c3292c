import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport

/// Shared parts of the tests of replaced databases.
extension Workplace {
  /// On a server of its own, for tests about a whole server, on which other tests must leave nothing.
  static func withNotesAlone() throws -> Workplace { try withNotes(on: TestServer(binaries: TestServer.binaries(at: 0))) }

  /// With 5,000 notes, and a wider table.
  static func withNotes(on server: TestServer? = nil) throws -> Workplace {
    let place = try Workplace(on: server ?? TestServer.system.get())
    try place.sql(
      """
      CREATE TABLE notes (id serial PRIMARY KEY, body text NOT NULL);
      INSERT INTO notes (body) SELECT 'note ' || g FROM generate_series(1, 5000) g;
      CREATE TABLE wide AS SELECT g id, repeat(md5(g::text), 1 + g % 40) x FROM generate_series(1, 8000) g;
      """)
    return place
  }

  /// The databases whose names begin with that of this one.
  func keptDatabases() throws -> [String] { try server.databaseNames().filter { $0.hasPrefix(database + "_") }.sorted() }

  func noteCount(in database: String? = nil) throws -> String {
    try server.sql("SELECT count(*) FROM notes", in: database ?? self.database)
  }

  mutating func configure(maintenance: String) throws {
    environment["HOME"] = folder.path.string
    try Folder.make(folder.path(".config/firn"))
    try Folder.write(Array("maintenance:\n\(maintenance)".utf8), to: folder.path(".config/firn/firn.yaml"))
  }

  /// A command that runs SQL as the superuser, without its password in it.
  func psqlCommand() throws -> String {
    _ = try server.environment("postgres", passFileIn: folder.path)
    return "PGPASSFILE='\(folder.path("pgpass"))' '\(server.binaries.appending("psql"))' -h 127.0.0.1 -p \(server.port) -U postgres -Xqc"
  }

  /// Has a shell run `script` before each pg_restore that restores something, trials aside.
  mutating func beforeRestoring(run script: String) throws {
    let wrapper = "case \"$*\" in *--list* | *--file* | *--version* | *trial*) ;; *) \(script) ;; esac; exec \"$real\" \"$@\""
    environment["FIRN_PG_BIN"] = try tools(with: wrapper, inPlaceOf: "pg_restore").string
  }
}
