import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// A database with everything that is hard to carry over, there and back again.
@Suite(.serialized) struct `A database of every oddity` {
  enum Version: CaseIterable {
    case system, sixteen, eighteen

    var server: TestServer {
      get throws {
        switch self {
        case .system: try TestServer.system.get()
        case .sixteen: try TestServer.version16.get()
        case .eighteen: try TestServer.version18.get()
        }
      }
    }
  }

  @Test(arguments: Version.allCases) func `comes back as it was`(_ version: Version) throws {
    let server = try version.server
    let name = "torture \"of'\(server.major)% \u{1F9CA}"
    let folder = try TemporaryFolder()
    let locale = version == .system ? "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-kn-true'" : ""
    try server.psql(
      ["-v", "db=\(name)", "-v", "locale=\(locale)", "-f", FirnProgram.projectFile("Tests/CommandTests/Torture/Database.sql").string], in: "postgres")
    for script in ["Schema", "Data"] {
      try server.psql(["-f", FirnProgram.projectFile("Tests/CommandTests/Torture/\(script).sql").string], in: name)
    }
    // The servers 16 and 18 from PyPI are built without ICU and XML, and come without the contributed extensions.
    if version == .system { try server.psql(["-f", FirnProgram.projectFile("Tests/CommandTests/Torture/Extensions.sql").string], in: name) }

    let place = try Workplace(on: server, database: name)
    let snapshot = try place.snapshot("--json")
    #expect(snapshot.status == 0, "\(snapshot)")
    let copy = "\(name) copy"
    let restored = try place.restore(name, "latest", "--as", copy, "--prove", "--json")
    #expect(restored.status == 0, "\(restored)")
    #expect(try restored.json()["tables"] as? Int ?? 0 > 5000)

    #expect(try schema(server, copy) == schema(server, name))
    #expect(try properties(server, copy) == properties(server, name))
    let before = try tableDigests(server, name, folder.path("before"))
    #expect(before.count >= 27)
    #expect(try tableDigests(server, copy, folder.path("after")) == before)
    #expect(try sequences(server, copy) == sequences(server, name))
    #expect(try largeObjects(server, copy) == largeObjects(server, name))
    #expect(try place.verify(name, "all", "--read").status == 0)
    for folder in [place.folder.path, place.spool] { try Folder.permitPassing(through: folder) }
    let drill = try place.verify(name, "latest", "--drill", "--json")
    #expect(drill.status == 0, "\(drill)")
    #expect(try drill.json()["schemaEqual"] as? Bool == true)
  }

  private func schema(_ server: TestServer, _ database: String) throws -> [Substring] {
    let result = try server.tool("pg_dump", ["--schema-only", "--dbname", "dbname=\(ConnectionSettings.quoted(database))"], in: database)
    #expect(result.exitCode == 0)
    return String(decoding: result.output, as: UTF8.self).split(separator: "\n").filter {
      !$0.hasPrefix("\\restrict") && !$0.hasPrefix("\\unrestrict")
    }
  }

  /// Properties of a database that no archive applies.
  private func properties(_ server: TestServer, _ database: String) throws -> String {
    let provider = server.major >= 17 ? "datlocale" : "daticulocale"
    return try server.sql(
      """
      SELECT datdba::regrole, encoding, datlocprovider, datcollate, datctype, \(provider), datconnlimit, dattablespace,
        (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a), shobj_description(oid, 'pg_database'),
        (SELECT array_agg(setrole::regrole || ' ' || c ORDER BY setrole::regrole::text, c) FROM pg_db_role_setting, unnest(setconfig) c
          WHERE setdatabase = d.oid)
      FROM pg_database d WHERE datname = \(Connection.literal(database))
      """)
  }

  private func tableDigests(_ server: TestServer, _ database: String, _ folder: FilePath) throws -> [String: String] {
    let names = try server.sql(
      """
      SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
      WHERE relkind = 'r' AND nspname !~ '^pg_|information_schema' AND n.nspname <> 'many' AND relname !~ '^by_mood_'
      """, in: database)
    try Folder.make(folder)
    var script = ""
    // A table's name has a line end in it.
    var tables = names.replacing("\"two\nlines\"", with: "\"two\u{1}lines\"").split(separator: "\n").map { line in
      String(line).replacing("\u{1}", with: "\n")
    }
    for (index, table) in tables.enumerated() {
      // Generated columns are left out of COPY by itself.
      script += "COPY \(table) TO STDOUT \\g \(Connection.literal(folder.appending("\(index)").string))\n"
    }
    // Rows of these may be in other partitions: an enum's hash differs from database to database.
    script += "COPY (SELECT * FROM public.by_mood ORDER BY 1, 2) TO STDOUT \\g \(Connection.literal(folder.appending("\(tables.count)").string))\n"
    tables.append("public.by_mood")
    try server.sql("SET default_transaction_read_only = off; SET statement_timeout = 0;\n" + script, in: database)
    var digests: [String: String] = [:]
    for (index, table) in tables.enumerated() {
      let sum = try Workplace.run("/usr/bin/sha256sum", [folder.appending("\(index)").string], environment: [:])
      digests[table] = String(sum.output.prefix(64))
    }
    return digests
  }

  private func sequences(_ server: TestServer, _ database: String) throws -> String {
    try server.sql("SELECT schemaname, sequencename, last_value, increment_by, cycle FROM pg_sequences ORDER BY 1, 2", in: database)
  }

  private func largeObjects(_ server: TestServer, _ database: String) throws -> String {
    try server.sql(
      "SELECT oid, lomowner::regrole, lomacl, md5(lo_get(oid)), obj_description(oid, 'pg_largeobject') FROM pg_largeobject_metadata ORDER BY 1",
      in: database)
  }
}
