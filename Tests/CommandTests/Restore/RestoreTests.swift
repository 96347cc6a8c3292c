import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

@Suite struct `firn-restore --as` {
  private func workplace(rows: Int = 20000) throws -> Workplace {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql(
      """
      CREATE TABLE users (id serial PRIMARY KEY, email text NOT NULL UNIQUE);
      CREATE TABLE posts (id serial PRIMARY KEY, user_id int REFERENCES users, body text);
      INSERT INTO users (email) SELECT 'u' || g || '@example.org' FROM generate_series(1, 500) g;
      INSERT INTO posts (user_id, body) SELECT 1 + g % 500, repeat(md5(g::text), 4) FROM generate_series(1, \(rows)) g;
      CREATE INDEX posts_user ON posts (user_id);
      """)
    return place
  }

  @Test func `reports its work under the fixed keys, and leaves statistics behind`() throws {
    let place = try workplace()
    let id = try place.takeSnapshot()
    let copy = "\(place.database)_copy"
    let result = try place.restore(place.database, "latest", "--as", copy, "--prove", "--json")
    #expect(result.status == 0, "\(result)")
    let report = try result.json()
    #expect(report["id"] as? String == id)
    #expect(report["database"] as? String == place.database)
    #expect(report["restoredAs"] as? String == copy)
    #expect(report["tables"] as? Int == 2)
    #expect(report["rows"] as? Int == 20500)
    #expect(report.keys.contains("keptAs") && report.keys.contains("downtimeSeconds") && report.keys.contains("seconds"))
    #expect(try place.server.sql("SELECT count(*) FROM pg_stats WHERE tablename = 'posts'", in: copy) == "3")
    #expect(try place.server.sql("SELECT nextval('public.posts_id_seq')", in: copy) == "20001")
    #expect(try place.leftovers().isEmpty)
  }

  /// Whether a database is being built from this place's snapshots, or was left.
  private func unfinished(_ place: Workplace) throws -> Bool {
    let ids = try place.listedSnapshots()
    let comments = try place.server.sql("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname ~ '^firn_unfinished_'")
    return ids.contains { comments.contains($0) }
  }

  @Test func `refuses a name that is taken, and touches nothing`() throws {
    let place = try workplace()
    _ = try place.takeSnapshot()
    let taken = try place.server.makeDatabase()
    try place.server.sql("CREATE TABLE mine (id int); INSERT INTO mine VALUES (42)", in: taken)
    for name in [taken, place.database, "postgres", "template1", "template0"] {
      let result = try place.restore(place.database, "latest", "--as", name)
      #expect(result.status == 6, "\(name): \(result)")
      #expect(result.errors.contains("hint: nothing was changed"))
    }
    #expect(try place.server.sql("SELECT id FROM mine", in: taken) == "42")
    #expect(try place.sql("SELECT count(*) FROM posts") == "20000")
  }

  @Test func `keeps the order of rows whose widths differ, for superusers and others, with one job or many`() throws {
    let place = try workplace(rows: 10)
    let role = "builder_\(place.database)"
    try place.sql(
      """
      CREATE ROLE \(role) LOGIN CREATEDB PASSWORD 'abc';
      ALTER DATABASE \(place.database) OWNER TO \(role);
      CREATE TABLE wide AS SELECT g id, left(repeat(md5(g::text), 100), 1 + g * 7919 % 1900) body FROM generate_series(1, 6000) g;
      ALTER TABLE users OWNER TO \(role); ALTER TABLE posts OWNER TO \(role); ALTER TABLE wide OWNER TO \(role);
      """)
    let id = try place.takeSnapshot()
    var lesser = place
    lesser.environment["DATABASE_URL"] = place.server.url(place.database, user: role, password: "abc")
    for (number, who) in [place, lesser].enumerated() {
      for jobs in ["1", "3"] {
        let result = try who.restore(place.database, id, "--as", "\(place.database)_\(number)_\(jobs)", "--prove", "--jobs", jobs)
        #expect(result.status == 0, "\(result)")
      }
    }
  }

  /// Sessions that attach indexes side by side lock each other out, in every second restore of these tables.
  @Test func `attaches the indexes of partitions in one session`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql(
      """
      CREATE TABLE measured (at int, region text, PRIMARY KEY (at, region)) PARTITION BY RANGE (at);
      CREATE TABLE measured_old PARTITION OF measured FOR VALUES FROM (MINVALUE) TO (10);
      CREATE TABLE measured_new PARTITION OF measured FOR VALUES FROM (10) TO (20) PARTITION BY LIST (region);
      CREATE TABLE measured_new_north PARTITION OF measured_new FOR VALUES IN ('north');
      CREATE TABLE measured_new_rest PARTITION OF measured_new DEFAULT;
      CREATE TABLE measured_default PARTITION OF measured DEFAULT; CREATE INDEX ON measured (region);
      CREATE TABLE refers (at int, region text, FOREIGN KEY (at, region) REFERENCES measured);
      COMMENT ON CONSTRAINT refers_at_region_fkey ON refers IS 'last';
      INSERT INTO measured SELECT g, (ARRAY['north', 'south'])[1 + g % 2] FROM generate_series(1, 30) g; INSERT INTO refers SELECT * FROM measured
      """)
    _ = try place.takeSnapshot()
    for number in 1...8 {
      let copy = "\(place.database)_\(number)"
      let result = try place.restore(place.database, "latest", "--as", copy, "--prove", "--jobs", "4", "--verbose")
      #expect(result.status == 0 && !result.errors.contains("waited for each other"), "\(result)")
      #expect(try place.server.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid", in: copy) == "0")
      #expect(try place.server.sql("SELECT count(*) FROM pg_constraint WHERE obj_description(oid) = 'last'", in: copy) == "1")
    }
  }

  @Test func `compresses values the faster way, unless a way is configured`() throws {
    let place = try workplace(rows: 10)
    let column = "body text"
    func make(_ name: String, _ type: String) -> String {
      "CREATE TABLE \(name) (\(type)); INSERT INTO \(name) SELECT string_agg(md5(g::text) || repeat('word ', 9), ' ') FROM generate_series(1, 200) g;"
    }
    try place.sql("\(make("usual", column)) \(make("chosen", "\(column) COMPRESSION pglz"))")
    func compression(_ table: String, _ arguments: String...) throws -> String {
      let copy = "\(place.database)_\(UInt32.random(in: 0 ... .max))"
      let result = try place.run("firn-restore", [place.database, "latest", "--as", copy, "--prove", "--verbose"] + arguments)
      #expect(result.status == 0 && result.errors.contains("session settings: "), "\(result)")
      defer { _ = try? place.server.sql("DROP DATABASE \"\(copy)\"") }
      return try place.server.sql("SELECT pg_column_compression(body) FROM \(table)", in: copy)
    }
    _ = try place.takeSnapshot()
    #expect(try place.sql("SELECT pg_column_compression(body) FROM usual") == "pglz")
    #expect(try compression("usual") == "lz4")
    #expect(try compression("chosen") == "pglz")
    #expect(try compression("usual", "--set", "default_toast_compression=pglz") == "pglz")
    // A setting of the database is restored with it.
    try place.sql("ALTER DATABASE \"\(place.database)\" SET default_toast_compression = 'pglz'")
    _ = try place.takeSnapshot()
    #expect(try compression("usual") == "pglz")
  }

  @Test func `refuses a name that PostgreSQL would cut`() throws {
    let place = try workplace(rows: 10)
    _ = try place.takeSnapshot()
    let before = try place.server.databaseNames()
    let long = String(repeating: "ä", count: 32)
    let result = try place.restore(place.database, "latest", "--as", long)
    #expect(result.status == 6)
    #expect(result.errors.contains("63"))
    #expect(try place.restore(place.database, "latest", "--as", String(long.dropLast()) + "x").status == 0)
    let made = try place.server.databaseNames().subtracting(before)
    #expect(made.contains(String(long.dropLast()) + "x"))
  }

  @Test func `drops the new database where a constraint can't be made again`() throws {
    let place = try workplace()
    // Legal now, and not when it is restored: what the check calls has changed.
    try place.sql(
      """
      CREATE FUNCTION fine(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
      CREATE TABLE checked (body text CHECK (fine(body))); INSERT INTO checked VALUES ('bad');
      CREATE OR REPLACE FUNCTION fine(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT false';
      """)
    _ = try place.takeSnapshot()
    let before = try place.server.databaseNames()
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_copy")
    #expect(result.status == 8)
    #expect(result.errors.contains("checked"))
    #expect(try place.server.databaseNames().intersection(["\(place.database)_copy"]).isEmpty)
    #expect(before.contains(place.database))
    #expect(try place.leftovers().isEmpty)
  }

  @Test func `makes missing roles from the snapshot, passwords and memberships too`() throws {
    let source = try TestServer(binaries: try TestServer.binaries(at: 0))
    let target = try TestServer(binaries: try TestServer.binaries(at: 0))
    try source.sql(
      #"""
      CREATE ROLE "app; owner" LOGIN PASSWORD 'geheim;''x'; CREATE ROLE readers; CREATE ROLE reader IN ROLE readers;
      ALTER ROLE reader SET work_mem = '7MB'; COMMENT ON ROLE reader IS 'reads; only';
      CREATE DATABASE app OWNER "app; owner"; REVOKE CONNECT ON DATABASE app FROM PUBLIC; GRANT CONNECT ON DATABASE app TO readers;
      """#)
    try source.sql("CREATE TABLE t (id int); ALTER TABLE t OWNER TO \"app; owner\"; GRANT SELECT ON t TO reader", in: "app")
    var place = try Workplace(on: source, database: "app")
    _ = try place.takeSnapshot()
    place.environment["DATABASE_URL"] = target.url("postgres")
    let result = try place.restore("app", "latest", "--as", "app", "--prove")
    #expect(result.status == 0, "\(result)")
    #expect(try target.sql("SELECT has_database_privilege('readers', 'app', 'CONNECT'), has_database_privilege('public', 'app', 'CONNECT')") == "t|f")
    #expect(try target.sql("SELECT pg_has_role('reader', 'readers', 'MEMBER'), shobj_description('reader'::regrole, 'pg_authid')") == "t|reads; only")
    let secret = "SELECT rolpassword FROM pg_authid WHERE rolname = 'app; owner'"
    #expect(try target.sql(secret) == source.sql(secret))
    #expect(try target.sql("SELECT tableowner FROM pg_tables WHERE tablename = 't'", in: "app") == "app; owner")
  }

  @Test func `names everything that stands in the way, at once`() throws {
    let source = try TestServer.system.get()
    let place = try Workplace(on: source)
    try place.sql("CREATE EXTENSION pg_trgm; CREATE TABLE t (id int)")
    _ = try place.takeSnapshot()
    let target = try TestServer.version18.get()
    try target.sql("CREATE ROLE limited_\(place.database) LOGIN PASSWORD 'abc'")
    var other = place
    other.environment["DATABASE_URL"] = target.url("postgres", user: "limited_\(place.database)", password: "abc")
    other.environment["FIRN_PG_BIN"] = target.binaries.string
    let result = try other.restore(place.database, "latest", "--as", "anything")
    #expect(result.status == 6)
    #expect(result.errors.contains("pg_trgm") && result.errors.contains("create databases"), "\(result)")
    #expect(try !target.databaseNames().contains("anything"))
  }

  @Test func `restores a snapshot of an older server into a newer one, never the other way`() throws {
    let old = try TestServer.version16.get()
    let place = try Workplace(on: old)
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) x FROM generate_series(1, 3000) g")
    _ = try place.takeSnapshot()
    let new = try TestServer.version18.get()
    var upward = place
    upward.environment["DATABASE_URL"] = new.url("postgres")
    upward.environment["FIRN_PG_BIN"] = new.binaries.string
    let result = try upward.restore(place.database, "latest", "--as", "\(place.database)_up", "--prove")
    // Both schemas are dumped by the new server's pg_dump.
    #expect(result.status == 0, "\(result)")
    #expect(result.errors.contains("every byte and the schema compared"), "\(result)")
    let oldest = try TestServer.system.get()
    guard oldest.major < 16 else { return }
    var downward = place
    downward.environment["DATABASE_URL"] = oldest.url("postgres")
    downward.environment["FIRN_PG_BIN"] = oldest.binaries.string
    #expect(try downward.restore(place.database, "latest", "--as", "\(place.database)_down").status == 6)
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGHUP]) func `ends cleanly on a signal, in every phase`(_ signal: Int32) throws {
    let place = try workplace(rows: 120_000)
    _ = try place.takeSnapshot()
    let copy = "\(place.database)_copy"
    for step in 0..<6 {
      let command = try place.start("firn-restore", [place.database, "latest", "--as", copy, "--prove"])
      Thread.sleep(forTimeInterval: 0.05 + 0.28 * Double(step))
      let children = ProcessTable.children(of: command.id).map(\.id)
      ProcessTable.send(signal, to: command.id)
      let status = command.wait()
      if status == 0 {
        try place.server.sql("DROP DATABASE \(copy)")
      } else {
        #expect(status == 128 + signal)
      }
      #expect(try !place.server.databaseNames().contains(copy), "step \(step)")
      #expect(try !unfinished(place), "step \(step)")
      #expect(try place.leftovers().isEmpty, "step \(step)")
      #expect(children.allSatisfy { !ProcessTable.isAlive($0) }, "step \(step)")
    }
    #expect(try place.listedSnapshots().count == 1)
  }

  @Test func `says which database is left behind when the server dies midway, and drops nothing else`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    try server.sql("CREATE DATABASE app")
    try server.sql("CREATE TABLE t AS SELECT g id, repeat(md5(g::text), 8) x FROM generate_series(1, 150000) g; CREATE INDEX ON t (x)", in: "app")
    let place = try Workplace(on: server, database: "app")
    _ = try place.takeSnapshot()
    let lines = Monitor<[String]>([])
    let command = try place.start("firn-restore", ["app", "latest", "--as", "copy"]) { line in lines.update { $0.append(line) } }
    let deadline = ContinuousClock.now + .seconds(20)
    while try !server.databaseNames().contains(where: { $0.hasPrefix("firn_unfinished_") }), ContinuousClock.now < deadline {
      Thread.sleep(forTimeInterval: 0.01)
    }
    Thread.sleep(forTimeInterval: 0.3)
    server.crash()
    let status = command.wait()
    #expect(status == 8, "\(lines.current)")
    #expect(lines.current.joined().contains("hint: when the server is back: DROP DATABASE \"firn_unfinished_"), "\(lines.current)")
    try server.start()
    #expect(try !server.databaseNames().contains("copy"))
    #expect(try server.sql("SELECT count(*) FROM t", in: "app") == "150000")
    #expect(try place.leftovers().isEmpty)
    // The next restore clears up after the one that died.
    let next = try place.restore("app", "latest", "--as", "copy")
    #expect(next.status == 0, "\(next)")
    #expect(next.errors.contains("dropped firn_unfinished_"))
    #expect(try server.databaseNames() == ["app", "copy", "postgres", "template0", "template1"])
  }
}
