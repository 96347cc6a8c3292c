import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// Schemas and extensions by people who never heard of Firn, each through every way back, beside `pg_dump` and `pg_restore`.
///
/// The results are compared by psql and pg_dump alone.
@Suite(.serialized) struct `A database made by others` {
  private static let all = [
    "osm", "topo", "tiger", "raster", "partman", "netinv", "queue", "analytics", "temporal", "oraapp", "audit", "tests", "pagila", "northwind",
    "discourse", "mastodon", "tpch", "odoo", "django", "tenants", "gallery", "gitlab",
  ]
  /// A part of them, if scripts/suites.py spreads them over several processes: `1/4` for the second of four.
  private static let names: [String] = {
    let shard = (ProcessInfo.processInfo.environment["FIRN_TEST_SHARD"] ?? "").split(separator: "/").compactMap { Int($0) }
    guard shard.count == 2 else { return all }
    return all.enumerated().filter { $0.offset % shard[1] == shard[0] }.map(\.element)
  }()

  private static let libraries = "shared_preload_libraries=pg_stat_statements,pg_stat_kcache,pg_qualstats,pgaudit,set_user"
  private static let server = Result { try TestServer(binaries: try TestServer.binaries(at: 0), settings: [libraries]) }
  private static let other = Result { try TestServer(binaries: try TestServer.binaries(at: 0), settings: [libraries]) }

  /// Digests of all rows, in no order, with columns by name: of tables, materialized views and large objects.
  private func rows(_ database: String, on server: TestServer) throws -> String {
    try server.sql(
      """
      SET search_path = ''; SET row_security = off; SET datestyle = ISO; SET intervalstyle = postgres; SET timezone = UTC; SET bytea_output = hex;
      SET extra_float_digits = 3; SET lc_monetary = 'C'; SET xmloption = content;
      SELECT format('SELECT %L, count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text COLLATE "C")) FROM (SELECT %s FROM %s %s) t', c.oid::regclass,
        (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
        CASE c.relkind WHEN 'r' THEN 'ONLY' END, c.oid::regclass)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE (c.relkind = 'r' OR c.relkind = 'm' AND c.relispopulated) AND c.relpersistence <> 't' AND nspname <> 'information_schema' AND nspname !~ '^pg_'
      ORDER BY c.oid::regclass::text COLLATE "C" \\gexec
      SELECT loid, pageno, md5(data) FROM pg_largeobject ORDER BY 1, 2;
      -- An extension's are in no dump.
      SELECT sequencename, last_value FROM pg_sequences WHERE NOT EXISTS (SELECT FROM pg_depend
        WHERE objid = format('%I.%I', schemaname, sequencename)::regclass AND deptype = 'e') ORDER BY schemaname, sequencename;
      """, in: database)
  }

  private func schema(_ database: String, on server: TestServer) throws -> [String] {
    let result = try server.tool("pg_dump", ["--schema-only", "--restrict-key=compare"], in: database)
    guard result.exitCode == 0 else { throw Unavailable("pg_dump: \(result.errors)") }
    return String(decoding: result.output, as: UTF8.self).split(separator: "\n").map(String.init).filter { !$0.hasPrefix("\\") }
  }

  /// A new database restored by stock tools; nil if they fail.
  private func stockCopy(of database: String, on server: TestServer, as lesser: [String: String]? = nil) throws -> String? {
    let folder = try TemporaryFolder()
    let archive = folder.path("archive")
    let dumped = try server.tool("pg_dump", ["-Fd", "-Z0", "-f", archive.string], in: database)
    guard dumped.exitCode == 0 else { return nil }
    let copy = try server.makeDatabase("stock")
    var environment = try server.environment(copy, passFileIn: folder.path)
    for (name, value) in lesser ?? [:] { environment[name] = value }
    if let role = lesser?["PGUSER"] { try server.sql("ALTER DATABASE \(copy) OWNER TO \(role)") }
    let restored = try ProgramResult.run(
      server.binaries.appending("pg_restore"), ["--exit-on-error", "--no-password"] + (lesser == nil ? [] : ["-Ox"]) + ["-d", copy, archive.string],
      environment: environment)
    return restored.exitCode == 0 ? copy : nil
  }

  @Test(arguments: names) func `comes back on every way on which stock tools bring it back`(_ name: String) throws {
    let server = try Self.server.get()
    try server.sql("CREATE DATABASE \(name) TEMPLATE template0")
    let place = try Workplace(on: server, database: name)
    let made = FirnProgram.projectFile("Tests/CommandTests/Databases/\(name).sql")
    try server.psql(["-f", made.string], in: name)
    let original = try rows(name, on: server)
    var table = [name]
    func step(_ title: String, _ result: CommandResult, stock: Bool) {
      table.append("\(title) \(result.status)/\(stock ? "ok" : "fails")")
      if stock { #expect([0, 3].contains(result.status), "\(name), \(title): \(result)") }
    }

    let snapshot = try place.snapshot()
    #expect([0, 3].contains(snapshot.status), "\(snapshot)")
    step("read", try place.verify(name, "--read"), stock: true)
    let stock = try stockCopy(of: name, on: server)
    let copy = "\(name)_firn"
    let proven = try place.restore(name, "latest", "--as", copy, "--prove")
    step("prove", proven, stock: stock != nil)
    if let stock, [0, 3].contains(proven.status) {
      #expect(try rows(copy, on: server) == rows(stock, on: server), "\(name): rows beside stock's")
      let (ours, theirs) = (try schema(copy, on: server), try schema(stock, on: server))
      #expect(ours == theirs, "\(name): \(ours.difference(from: theirs))")
    }
    step("drill", try place.verify(name, "--drill"), stock: stock != nil)
    let replaced = try place.restore(name, "latest", "--confirm", name, "--allow-incomplete")
    step("replace", replaced, stock: stock != nil)
    if [0, 3].contains(replaced.status) {
      #expect(try rows(name, on: server) == rows(copy, on: server), "\(name): rows after a replace")
      let undone = try place.restore(name, "--undo", "--confirm", name)
      step("undo", undone, stock: true)
      #expect(try rows(name, on: server) == original, "\(name): rows after an undo")
    }

    let bare = try Self.other.get()
    var there = place
    there.environment["DATABASE_URL"] = bare.url("postgres")
    step("bare", try there.restore(name, "latest", "--as", copy), stock: stock != nil)
    #expect(try rows(copy, on: bare) == rows(copy, on: server), "\(name): rows on another server")

    let role = "lesser_\(name)"
    try server.sql("CREATE ROLE \(role) LOGIN CREATEDB PASSWORD 'lesser'")
    var lesser = place
    lesser.environment["DATABASE_URL"] = server.url("postgres", user: role, password: "lesser")
    let stockAsLesser = try stockCopy(of: name, on: server, as: ["PGUSER": role, "PGPASSWORD": "lesser", "PGPASSFILE": "/dev/null"])
    step("lesser", try lesser.restore(name, "latest", "--as", "\(name)_lesser", "--no-owner", "--no-privileges"), stock: stockAsLesser != nil)

    let one = try server.sql(
      "SELECT n.nspname || '.\"' || relname || '\"' FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND nspname = 'public' AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e') AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid) ORDER BY reltuples DESC, 1 LIMIT 1",
      in: name)
    if !one.isEmpty { step("table", try place.restore(name, "latest", "--table", one, "--as", "\(name)_table"), stock: true) }

    // By hand, with the script that lies beside the snapshot.
    let folder = try filesByPath(under: place.store.appending("snapshots")).keys.first { $0.hasSuffix("/recover.sh") && !$0.contains("pre-restore") }
    let script = place.store.appending("snapshots").appending(try #require(folder))
    let byHand = place.folder.path("by-hand")
    let recovered = try Workplace.run("/bin/sh", [script.string, byHand.string], environment: place.environment)
    #expect(recovered.status == 0, "\(recovered)")
    if stock != nil {
      let target = try server.makeDatabase("byhand")
      let restored = try server.tool("pg_restore", ["--exit-on-error", "-d", target, byHand.appending("archive").string], in: target)
      #expect(restored.exitCode == 0, "\(name), recover.sh: \(restored.errors)")
      #expect(try rows(target, on: server) == rows(copy, on: server), "\(name): rows by recover.sh")
    }
    print("matrix: \(table.joined(separator: " | "))")
  }
}
