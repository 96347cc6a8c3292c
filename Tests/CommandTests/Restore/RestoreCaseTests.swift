import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Databases that `pg_dump | pg_restore` brings back, each an example of its kind.
@Suite struct `A restore, as pg_restore does,` {
  /// With libraries that extensions need, and its own pg_cron.
  private static let server = Result {
    try TestServer(
      binaries: try TestServer.binaries(at: 0),
      settings: [
        "shared_preload_libraries=pg_cron,pgaudit", "cron.database_name=scheduled", "session_preload_libraries=pgextwlist",
        "extwlist.extensions=dblink",
      ])
  }

  private func place() throws -> Workplace { try Workplace(on: Self.server.get()) }

  /// As a role that may create databases and is no superuser.
  private func asLesserRole(_ place: Workplace, _ rights: String = "CREATEDB") throws -> Workplace {
    var lesser = place
    let role = "lesser_\(UUID().uuidString.prefix(8).lowercased())"
    try place.server.sql("CREATE ROLE \(role) LOGIN \(rights) PASSWORD 'lesser'")
    lesser.environment["DATABASE_URL"] = place.server.url("postgres", user: role, password: "lesser")
    return lesser
  }

  @Test func `keeps the rows of an extension's table that its condition selects`() throws {
    let place = try place()
    try place.sql(
      """
      CREATE EXTENSION postgis; CREATE TABLE p (id int, g geometry(Point, 4326)); INSERT INTO p SELECT g, ST_SetSRID(ST_MakePoint(g, g), 4326) FROM generate_series(1, 50) g;
      INSERT INTO spatial_ref_sys (srid, auth_name) VALUES (910001, 'ours'); UPDATE spatial_ref_sys SET auth_name = 'changed' WHERE srid = 4326
      """)
    let made = try place.snapshot()
    #expect(made.status == 0 && made.errors.contains("spatial_ref_sys, of extension postgis, has 1 changed row that no dump keeps"), "\(made)")
    let copy = "\(place.database)_copy"
    let result = try place.restore(place.database, "latest", "--as", copy, "--prove")
    #expect(result.status == 0 && result.errors.contains("every byte and the schema compared"), "\(result)")
    #expect(try place.server.sql("SELECT count(*) FROM spatial_ref_sys WHERE auth_name = 'ours'", in: copy) == "1")
    #expect(try place.server.sql("SELECT count(*) FROM p WHERE ST_X(g) = id", in: copy) == "50")
    let drill = try place.verify(place.database, "--drill")
    #expect(drill.status == 0, "\(drill)")
    // Into the extension's table of a database that exists, beside its own rows.
    try place.sql("DELETE FROM spatial_ref_sys WHERE srid = 910001; TRUNCATE p")
    let rows = try place.restore(place.database, "latest", "--data-only")
    #expect(try rows.status == 0 && place.sql("SELECT count(*) FROM spatial_ref_sys WHERE srid = 910001") == "1", "\(rows)")
  }

  @Test func `brings the jobs of pg_cron back under the name that they run from`() throws {
    let server = try Self.server.get()
    try server.sql("CREATE DATABASE scheduled")
    let place = try Workplace(on: server, database: "scheduled")
    try place.sql(
      """
      CREATE EXTENSION pg_cron; SELECT cron.schedule('nightly', '0 3 * * *', 'SELECT 1'); SELECT cron.schedule('weekly', '0 3 * * 1', 'SELECT 2');
      CREATE ROLE scheduler; GRANT USAGE ON SCHEMA cron TO scheduler; CREATE TABLE t AS SELECT g FROM generate_series(1, 30000) g
      """)
    _ = try place.takeSnapshot()
    let elsewhere = try place.restore("scheduled", "latest", "--as", "scheduled_elsewhere", "--prove")
    #expect(elsewhere.status == 3, "\(elsewhere)")
    for left in ["extension pg_cron", "rows of cron.job", "privileges on SCHEMA cron"] {
      #expect(elsewhere.errors.contains("left out: \(left)"), "\(elsewhere)")
    }
    try place.sql("SELECT cron.unschedule('nightly'); TRUNCATE t")
    let replaced = try place.restore("scheduled", "latest", "--confirm", "scheduled")
    #expect(replaced.status == 0, "\(replaced)")
    #expect(
      try place.sql("SELECT string_agg(jobname || ' ' || command, ', ' ORDER BY jobid), count(*) FROM cron.job")
        == "nightly SELECT 1, weekly SELECT 2|2")
    #expect(
      try place.sql("SELECT last_value FROM cron.jobid_seq; SELECT count(*) FROM t; SELECT has_schema_privilege('scheduler', 'cron', 'USAGE')")
        == "2\n30000\nt")
    let drill = try place.verify("scheduled", "--drill")
    #expect(drill.status == 3 && drill.errors.contains("not restored here, and only read: cron.job"), "\(drill)")
  }

  @Test func `leaves an extension out with all that belongs to it, where the role may not create it`() throws {
    let place = try place()
    try place.sql(
      """
      CREATE EXTENSION postgis; INSERT INTO spatial_ref_sys (srid, auth_name) VALUES (910002, 'ours'); GRANT SELECT ON spatial_ref_sys TO PUBLIC;
      CREATE TABLE places (g geometry); CREATE TABLE plain AS SELECT g FROM generate_series(1, 40000) g; CREATE EXTENSION dblink
      """)
    _ = try place.takeSnapshot()
    let lesser = try asLesserRole(place)
    let copy = "\(place.database)_lesser"
    let result = try lesser.restore(place.database, "latest", "--as", copy, "--prove")
    #expect(result.status == 3, "\(result)")
    for left in ["extension postgis", "rows of public.spatial_ref_sys", "table public.places: it needs extension postgis"] {
      #expect(result.errors.contains("left out: \(left)"), "\(result)")
    }
    #expect(try place.server.sql("SELECT count(*) FROM plain", in: copy) == "40000")
    // The server lets this role create it, though its list says otherwise (pgextwlist).
    #expect(!result.errors.contains("dblink"), "\(result)")
    #expect(try place.server.sql("SELECT extname FROM pg_extension WHERE extname = 'dblink'", in: copy) == "dblink")
  }

  @Test func `finds what functions name without a schema, with a search_path`() throws {
    var place = try place()
    try place.sql(
      """
      CREATE EXTENSION unaccent;
      CREATE FUNCTION slugify(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN lower(unaccent(t)); END $$;
      CREATE TABLE posts (id serial PRIMARY KEY, title text, slug text GENERATED ALWAYS AS (slugify(title)) STORED);
      INSERT INTO posts (title) SELECT 'Été ' || g FROM generate_series(1, 2000) g; CREATE INDEX ON posts (slugify(title));
      CREATE TABLE known (id int PRIMARY KEY); INSERT INTO known SELECT generate_series(1, 10);
      CREATE FUNCTION is_known(i int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN EXISTS (SELECT FROM known WHERE id = i); END $$;
      CREATE TABLE checked (i int CHECK (is_known(i))); INSERT INTO checked SELECT generate_series(1, 10)
      """)
    let id = try place.takeSnapshot()
    let failed = try place.restore(place.database, id, "--as", "\(place.database)_a")
    #expect(failed.status == 8 && failed.errors.contains("--search-path public"), "\(failed)")
    #expect(
      try !place.server.databaseNames().contains {
        $0.hasPrefix("\(place.database)_a") || $0.hasPrefix("firn_unfinished") && $0.contains(place.database)
      })
    // Nothing is dropped for it.
    let trial = try place.restore(place.database, id, "--in-place", "--untested", "--confirm", "destroy \(place.database)")
    #expect(trial.status == 8 && trial.errors.contains("--search-path") && trial.errors.contains("\(place.database) is unchanged"), "\(trial)")
    #expect(try place.sql("SELECT count(*) FROM posts") == "2000")
    let restored = try place.restore(place.database, id, "--as", "\(place.database)_b", "--search-path", "public", "--prove")
    #expect(restored.status == 0, "\(restored)")
    #expect(try place.server.sql("SELECT count(*) FROM posts WHERE slug LIKE 'ete %'", in: "\(place.database)_b") == "2000")
    // The setting of the configuration is stored in the snapshot.
    place.environment["FIRN_CONFIG"] = nil
    let file = try place.folder.write("restore: {search-path: public}\n", to: "firn.yaml")
    _ = try place.takeSnapshot("--config", file.string)
    let drill = try place.verify(place.database, "--drill")
    #expect(drill.status == 0 && drill.output.contains("the schema as dumped"), "\(drill)")
    let again = try place.restore(place.database, "latest", "--as", "\(place.database)_c", "--prove")
    #expect(again.status == 0, "\(again)")
    // In two steps, though the planner of any query inlines functions of an index.
    try place.sql(
      "DROP TABLE posts, checked; CREATE FUNCTION plain(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT unaccent(''unaccent'', t)'; CREATE TABLE names AS SELECT 'É'::text AS n; CREATE INDEX ON names (plain(n))"
    )
    let simple = try place.takeSnapshot()
    let schema = try place.restore(place.database, simple, "--as", "\(place.database)_d", "--schema-only", "--search-path", "public")
    #expect(schema.status == 0, "\(schema)")
    let rows = try place.restore(place.database, simple, "--as", "\(place.database)_d", "--data-only", "--search-path", "public")
    #expect(try rows.status == 0 && place.server.sql("SELECT n FROM names", in: "\(place.database)_d") == "É", "\(rows)")
  }

  @Test func `takes explicit privileges that equal the default for what they are`() throws {
    let place = try place()
    try place.sql("GRANT CONNECT ON DATABASE \(place.database) TO PUBLIC; CREATE SCHEMA s; CREATE TABLE s.t (a int); INSERT INTO s.t VALUES (1)")
    _ = try place.takeSnapshot()
    let lesser = try asLesserRole(place)
    let result = try lesser.restore(place.database, "latest", "--as", "\(place.database)_r")
    #expect(try result.status == 3 && place.server.sql("SELECT a FROM s.t", in: "\(place.database)_r") == "1", "\(result)")
    #expect(!result.errors.contains("permission denied"), "\(result)")
  }

  @Test func `is refused before anything is created where a policy's role is missing`() throws {
    let place = try place()
    let role = "reporting_\(place.database)"
    try place.sql(
      "CREATE ROLE \(role); CREATE TABLE t (a int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY \"p TO q\" ON t AS RESTRICTIVE TO \(role) USING (a > 0)"
    )
    _ = try place.takeSnapshot()
    try place.sql("DROP POLICY \"p TO q\" ON t; DROP ROLE \(role)")
    let lesser = try asLesserRole(place)
    let refused = try lesser.restore(place.database, "latest", "--as", "\(place.database)_r")
    #expect(refused.status == 6 && refused.errors.contains("is for role \(role), which does not exist"), "\(refused)")
    // A superuser has the role created.
    let made = try place.restore(place.database, "latest", "--as", "\(place.database)_s")
    #expect(
      try made.status == 0 && place.server.sql("SELECT polroles::regrole[] FROM pg_policy", in: "\(place.database)_s") == "{\(role)}", "\(made)")
  }

  @Test func `brings thousands of large objects back, large ones and empty ones among them`() throws {
    let place = try place()
    try place.sql(
      """
      SELECT lo_from_bytea(0, convert_to('object ' || g, 'UTF8')) FROM generate_series(1, 3000) g;
      SELECT lo_create(0); SELECT lo_from_bytea(0, decode(repeat('00ff5c27', 700000), 'hex'))
      """)
    _ = try place.takeSnapshot()
    let copy = "\(place.database)_copy"
    let result = try place.restore(place.database, "latest", "--as", copy, "--prove")
    #expect(result.status == 0, "\(result)")
    let digest = "SELECT count(*), md5(string_agg(oid || ' ' || md5(lo_get(oid)), ',' ORDER BY oid)) FROM pg_largeobject_metadata"
    #expect(try place.server.sql(digest, in: copy) == place.sql(digest))
    // One byte is noticed.
    try place.server.sql("SELECT lo_put(max(oid), 2000000, 'x') FROM pg_largeobject_metadata", in: copy)
  }

  @Test func `dumps with one job where the lock table has no room for two`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0), settings: ["max_locks_per_transaction=20", "max_connections=30"])
    let place = try Workplace(on: server)
    try place.sql("CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY HASH (id)")
    // One transaction each: the lock table is small here as well.
    let parts = (0..<450).map { "CREATE TABLE p\($0) PARTITION OF p FOR VALUES WITH (MODULUS 450, REMAINDER \($0));" }
    try server.sql(parts.joined(separator: "\n"), in: place.database)
    try place.sql("INSERT INTO p SELECT g, 'v' || g FROM generate_series(1, 5000) g")
    let made = try place.snapshot()
    #expect(
      made.status == 0 && made.errors.contains("dumped with one job instead of 2") && made.errors.contains("max_locks_per_transaction"), "\(made)")
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_r", "--prove")
    #expect(try result.status == 0 && server.sql("SELECT count(*) FROM p", in: "\(place.database)_r") == "5000", "\(result)")
  }

  @Test func `goes into an empty existing database, and empties it again after a failure`() throws {
    let place = try place()
    try place.sql(
      "CREATE TABLE t AS SELECT g, repeat('x', 50) x FROM generate_series(1, 20000) g; CREATE SCHEMA s; CREATE TABLE s.u (a int PRIMARY KEY); CREATE TYPE mood AS ENUM ('a'); SELECT lo_from_bytea(0, 'x')"
    )
    let id = try place.takeSnapshot()
    let lesser = try asLesserRole(place, "NOCREATEDB")
    let role =
      String(try #require(lesser.environment["DATABASE_URL"]).split(separator: "/")[1].split(separator: ":")[0]).removingPercentEncoding ?? ""
    let target = try place.server.makeDatabase("target")
    let refused = try lesser.restore(place.database, id, "--as", "\(target)_new")
    #expect(refused.status == 6 && refused.errors.contains("--into NAME"), "\(refused)")
    try place.server.sql("ALTER DATABASE \(target) OWNER TO \(role)")
    // A row that the new database refuses: what was restored is gone again, and what is not of the restore stays.
    let filled = try lesser.restore(place.database, id, "--into", target, "--prove")
    #expect(try filled.status == 3 && place.server.sql("SELECT count(*) FROM t", in: target) == "20000", "\(filled)")
    let again = try lesser.restore(place.database, id, "--into", target)
    #expect(
      try again.status == 6 && again.errors.contains("is not empty") && place.server.sql("SELECT count(*) FROM t", in: target) == "20000", "\(again)")

    try place.sql(
      "CREATE FUNCTION fails(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN EXISTS (SELECT FROM t WHERE g = $1); END $$; CREATE TABLE v (i int CHECK (fails(i))); INSERT INTO v VALUES (1)"
    )
    let bad = try place.takeSnapshot()
    let second = try place.server.makeDatabase("target")
    try place.server.sql("ALTER DATABASE \(second) OWNER TO \(role)")
    let failed = try lesser.restore(place.database, bad, "--into", second)
    #expect(failed.status == 8, "\(failed)")
    #expect(
      try place.server.sql(
        "SELECT count(*) FROM pg_class WHERE oid >= 16384; SELECT count(*) FROM pg_largeobject_metadata; SELECT count(*) FROM pg_type WHERE typname = 'mood'",
        in: second)
        == "0\n0\n0", "\(failed)")
  }

  @Test func `serves a target without the original's locale`() throws {
    let server = try Self.server.get()
    let name = "german_\(UUID().uuidString.prefix(8).lowercased())"
    try server.sql("CREATE DATABASE \(name) TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'de_DE.UTF-8' LC_CTYPE 'de_DE.UTF-8'")
    let place = try Workplace(on: server, database: name)
    try place.sql("CREATE TABLE t (w text PRIMARY KEY); INSERT INTO t VALUES ('ä'), ('z'), ('a')")
    _ = try place.takeSnapshot()
    let odd = try place.restore(name, "latest", "--as", "\(name)_x", "--locale", "xx_XX.UTF-8")
    #expect(odd.status == 6 && odd.errors.contains("--locale"), "\(odd)")
    let result = try place.restore(name, "latest", "--as", "\(name)_r", "--locale", "C.UTF-8", "--prove")
    #expect(try result.status == 0 && server.sql("SELECT string_agg(w, ' ' ORDER BY w) FROM t", in: "\(name)_r") == "a z ä", "\(result)")
  }

  @Test func `restores the partitions for a partitioned table, and reports children's rows`() throws {
    let place = try place()
    try place.sql(
      """
      CREATE TABLE pt (id int, k int) PARTITION BY RANGE (k); CREATE TABLE pt1 PARTITION OF pt FOR VALUES FROM (0) TO (10);
      CREATE TABLE pt2 PARTITION OF pt FOR VALUES FROM (10) TO (20) PARTITION BY LIST (k); CREATE TABLE pt2a PARTITION OF pt2 DEFAULT;
      INSERT INTO pt SELECT g, g % 20 FROM generate_series(1, 1000) g; CREATE TABLE other AS SELECT 1 a;
      CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent); INSERT INTO child VALUES (1, 2); INSERT INTO parent VALUES (3)
      """)
    _ = try place.takeSnapshot()
    let parts = try place.restore(place.database, "latest", "--table", "pt", "--as", "\(place.database)_r")
    #expect(
      try parts.status == 0 && place.server.sql("SELECT count(*), (SELECT count(*) FROM other) FROM pt", in: "\(place.database)_r") == "1000|0",
      "\(parts)")
    let parent = try place.restore(place.database, "latest", "--table", "parent", "--as", "\(place.database)_p")
    #expect(parent.status == 0 && parent.errors.contains("rows of public.child, which inherit from it, are not"), "\(parent)")
  }

  @Test func `keeps names of a database in SQL_ASCII byte for byte, or refuses them by name`() throws {
    let server = try Self.server.get()
    let name = "ascii_\(UUID().uuidString.prefix(8).lowercased())"
    try server.sql("CREATE DATABASE \(name) TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    let place = try Workplace(on: server, database: name)
    func run(_ bytes: [UInt8]) throws {
      try Folder.write(bytes, to: place.folder.path("odd.sql"))
      try server.psql(["-c", "SET client_encoding = 'SQL_ASCII'", "-f", place.folder.path("odd.sql").string], in: name)
    }
    let odd = Array("caf".utf8) + [0xE9]
    try run(
      Array("CREATE TABLE t (id int, \"".utf8) + odd + Array("\" text); INSERT INTO t SELECT g, repeat('".utf8) + odd
        + Array("', 20) FROM generate_series(1, 9000) g;".utf8))
    _ = try place.takeSnapshot()
    let copy = "\(name)_copy"
    let result = try place.restore(name, "latest", "--as", copy, "--prove")
    #expect(result.status == 0, "\(result)")
    let digest =
      "SET client_encoding = 'SQL_ASCII'; SELECT md5(string_agg(t::text, ',' ORDER BY id)), (SELECT md5(string_agg(attname, ',')) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0) FROM t"
    #expect(try server.sql(digest, in: copy) == server.sql(digest, in: name))
    try run(Array("CREATE TABLE \"".utf8) + odd + Array("\" (id int);".utf8))
    let refused = try place.snapshot()
    #expect(refused.status == 6 && refused.errors.contains(#"relation public.caf\xE9 is not UTF-8"#), "\(refused)")
  }

  @Test(arguments: [2, 4]) func `loads rows before constraints they violate, and again in order if one table needs another`(_ jobs: Int)
    throws
  {
    let place = try place()
    try place.sql(
      """
      CREATE DOMAIN positive AS int; CREATE TABLE a (x positive, pad text); INSERT INTO a SELECT g, repeat('p', 30) FROM generate_series(-5, 30000) g;
      ALTER DOMAIN positive ADD CONSTRAINT above CHECK (value > 0) NOT VALID;
      CREATE TABLE known (id int PRIMARY KEY, pad text); INSERT INTO known SELECT g, repeat('p', 20) FROM generate_series(1, 5000) g;
      CREATE FUNCTION is_known(i int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN EXISTS (SELECT FROM public.known WHERE id = i); END $$;
      CREATE TABLE checked (i int CHECK (public.is_known(i)), pad text); INSERT INTO checked SELECT g % 5000 + 1, repeat('p', 300) FROM generate_series(1, 6000) g
      """)
    _ = try place.takeSnapshot()
    for attempt in 1...3 {
      let result = try place.restore(place.database, "latest", "--as", "\(place.database)_\(attempt)", "--jobs", "\(jobs)", "--prove")
      #expect(result.status == 0, "\(result)")
    }
  }

  @Test func `drills extensions that a server loads when it starts, and tables of theirs with foreign keys`() throws {
    let place = try place()
    try place.sql(
      """
      CREATE EXTENSION pgaudit; CREATE EXTENSION pgq; SELECT pgq.create_queue('q'); SELECT pgq.register_consumer('q', 'c');
      CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g
      """)
    _ = try place.takeSnapshot()
    let drill = try place.verify(place.database, "--drill")
    #expect(drill.status == 0, "\(drill)")
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_r", "--jobs", "4", "--prove")
    #expect(try result.status == 0 && place.server.sql("SELECT queue_name FROM pgq.queue", in: "\(place.database)_r") == "q", "\(result)")
  }

  @Test func `of a snapshot without some rows keeps foreign keys that don't point to these`() throws {
    let place = try place()
    try place.sql(
      """
      CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); CREATE TABLE log (id int PRIMARY KEY, b int REFERENCES b);
      CREATE TABLE of_log (l int REFERENCES log); CREATE TABLE events (id int, k int) PARTITION BY RANGE (k);
      CREATE TABLE events1 PARTITION OF events FOR VALUES FROM (0) TO (10);
      INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1); INSERT INTO log VALUES (1, 1); INSERT INTO of_log VALUES (1); INSERT INTO events VALUES (1, 1)
      """)
    let misspelt = try place.snapshot("--exclude-table-data", "public.lgo")
    #expect(misspelt.status == 6 && misspelt.errors.contains("no table matches public.lgo"), "\(misspelt)")
    let made = try place.snapshot("--exclude-table-data", "public.log", "--exclude-table-data", "events", "--json")
    #expect(made.status == 0, "\(made)")
    #expect(try made.json()["complete"] as? Bool == true)
    let copy = "\(place.database)_copy"
    let result = try place.restore(place.database, "latest", "--as", copy, "--prove")
    #expect(result.status == 3 && result.errors.contains("left out: foreign key public.of_log"), "\(result)")
    #expect(result.errors.contains("has no rows of public.events1, public.log: they were excluded"), "\(result)")
    let keys = "SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE contype = 'f'"
    #expect(try place.server.sql(keys, in: copy) == "b_a_fkey log_b_fkey")
    // In the configuration a table that is gone costs no night.
    let file = try place.folder.write("exclude-table-data: [public.gone]\n", to: "firn.yaml")
    let night = try place.snapshot("--config", file.string)
    #expect(night.status == 3 && night.errors.contains("no table matches public.gone"), "\(night)")
    let table = try place.restore(place.database, "latest", "--table", "a", "--table", "b", "--as", "\(place.database)_t")
    #expect(try table.status == 0 && place.server.sql(keys, in: "\(place.database)_t") == "b_a_fkey log_b_fkey of_log_l_fkey", "\(table)")
  }

  @Test func `reports a row that the server refuses with its table and line, and leaves nothing behind`() throws {
    let place = try place()
    try place.sql(
      "CREATE FUNCTION fits(i int) RETURNS bool LANGUAGE sql AS 'SELECT true'; CREATE TABLE t (i int CHECK (fits(i)), pad text); INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g; CREATE OR REPLACE FUNCTION fits(i int) RETURNS bool LANGUAGE sql AS 'SELECT i < 15000'"
    )
    _ = try place.takeSnapshot()
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_r")
    #expect(result.status == 8 && result.errors.contains("rows of public.t:") && result.errors.contains("line 15000"), "\(result)")
    #expect(try !place.server.databaseNames().contains("\(place.database)_r"))
    let replaced = try place.restore(place.database, "latest", "--confirm", place.database)
    #expect(try replaced.status == 8 && place.sql("SELECT count(*) FROM t") == "20000", "\(replaced)")
    #expect(try place.leftovers().isEmpty)
  }

  @Test func `keeps privileges on functions of extensions, whatever their arguments are called`() throws {
    let place = try place()
    try place.sql("CREATE EXTENSION hstore; REVOKE EXECUTE ON FUNCTION each(hstore) FROM PUBLIC")
    _ = try place.takeSnapshot()
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_r", "--prove")
    #expect(result.status == 0, "\(result)")
    #expect(try place.server.sql("SELECT proacl FROM pg_proc WHERE proname = 'each'", in: "\(place.database)_r") == "{postgres=X/postgres}")
  }

  @Test func `fills a materialized view by the database's own search_path`() throws {
    let place = try place()
    try place.sql(
      """
      CREATE TABLE documents AS SELECT 'word ' || g AS title FROM generate_series(1, 100) g;
      CREATE MATERIALIZED VIEW words AS SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', title) FROM documents');
      CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM words
      """)
    _ = try place.takeSnapshot()
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_r", "--prove")
    #expect(try result.status == 0 && place.server.sql("SELECT * FROM counted", in: "\(place.database)_r") == "101", "\(result)")
    #expect(try place.verify(place.database, "--drill").status == 0)
  }

  @Test func `takes no side of an extension's trigger, and restores its sequences`() throws {
    let place = try place()
    try place.sql("CREATE EXTENSION pgq; SELECT pgq.create_queue('q'); SELECT nextval('pgq.queue_queue_id_seq') FROM generate_series(1, 40)")
    let made = try place.snapshot()
    #expect(made.status == 0, "\(made)")
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_r", "--prove")
    #expect(result.status == 0, "\(result)")
    let values = "SELECT last_value FROM pgq.queue_queue_id_seq"
    #expect(try place.server.sql(values, in: "\(place.database)_r") == place.sql(values))
  }

  @Test func `restores row security last, which may shut out the role that restores`() throws {
    let place = try place()
    try place.sql(
      """
      CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int REFERENCES a); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);
      ALTER TABLE b ENABLE ROW LEVEL SECURITY; ALTER TABLE b FORCE ROW LEVEL SECURITY
      """)
    _ = try place.takeSnapshot()
    let lesser = try asLesserRole(place)
    let result = try lesser.restore(place.database, "latest", "--as", "\(place.database)_r", "--no-owner", "--no-privileges", "--prove")
    #expect(result.status == 3 && result.errors.contains("the rows of public.b were not compared"), "\(result)")
    #expect(!result.errors.contains("every byte"), "\(result)")
    #expect(
      try place.server.sql("SELECT count(*) FROM b; SELECT relforcerowsecurity FROM pg_class WHERE relname = 'b'", in: "\(place.database)_r")
        == "1\nt")
  }

  @Test func `dumps settings of the database away: quoted names, other literals, another role`() throws {
    let place = try place()
    let role = "app_\(place.database)"
    try place.sql(
      """
      CREATE ROLE \(role); CREATE TABLE t (a int, b text DEFAULT E'a\\\\b'); CREATE VIEW v AS SELECT a FROM t; CREATE MATERIALIZED VIEW m AS SELECT a FROM t WHERE a < 3;
      CREATE FUNCTION nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION nothing();
      ALTER DATABASE \(place.database) SET quote_all_identifiers = on; ALTER DATABASE \(place.database) SET standard_conforming_strings = off;
      ALTER DATABASE \(place.database) SET role = '\(role)'; GRANT SELECT ON t TO \(role)
      """)
    // As that role it is not shown all.
    #expect(try place.snapshot().status == 3)
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_r", "--prove")
    #expect(result.status == 3 && result.errors.contains("every byte and the schema compared"), "\(result)")
    let drill = try place.verify(place.database, "--drill")
    #expect(drill.status == 0, "\(drill)")
  }

  @Test func `proves what the server prints otherwise, and columns that come in another order`() throws {
    let place = try place()
    try place.sql(
      """
      CREATE TABLE t (s varchar(10) CHECK (s IN ('a', 'b'))); INSERT INTO t VALUES ('a');
      CREATE TABLE p (a int); CREATE TABLE c (b int) INHERITS (p); ALTER TABLE p ADD COLUMN z int; INSERT INTO c VALUES (1, 2, 3)
      """)
    _ = try place.takeSnapshot()
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_r", "--prove")
    #expect(result.status == 0 && result.errors.contains("every byte and the schema compared"), "\(result)")
    #expect(try place.verify(place.database, "--drill").status == 0)
  }

  @Test func `stops at once where a session is ended while rows are compared`() throws {
    let place = try place()
    try place.sql(
      "CREATE TABLE ended_1 AS SELECT g, repeat(md5(g::text), 8) x FROM generate_series(1, 600000) g; CREATE TABLE ended_2 AS TABLE ended_1")
    _ = try place.takeSnapshot()
    let isDone = Monitor(false)
    let server = place.server
    let killer = WorkerThread(name: "killer") {
      guard let connection = try? server.connect() else { return }
      while !isDone.current {
        let ended = try? connection.answer(
          to:
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'COPY public.ended_% TO stdout' AND application_name = 'firn-restore'"
        )
        if ended != nil, ended != "0" { return }
        Thread.sleep(forTimeInterval: 0.005)
      }
    }
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_r", "--prove")
    isDone.update { $0 = true }
    killer.join()
    #expect(result.status == 8, "\(result)")
    #expect(try !place.server.databaseNames().contains { $0 == "\(place.database)_r" })
  }

  @Test func `changes nothing in a database that is not empty, and keeps its extensions`() throws {
    let place = try place()
    try place.sql(
      "CREATE FUNCTION no(int) RETURNS bool LANGUAGE sql AS 'SELECT true'; CREATE TABLE t (i int CHECK (no(i))); INSERT INTO t VALUES (1); CREATE OR REPLACE FUNCTION no(int) RETURNS bool LANGUAGE sql AS 'SELECT false'; CREATE PUBLICATION pub FOR TABLE t"
    )
    _ = try place.takeSnapshot()
    let full = try place.server.makeDatabase("full")
    try place.server.sql("CREATE FUNCTION precious() RETURNS int LANGUAGE sql AS 'SELECT 1'", in: full)
    let refused = try place.restore(place.database, "latest", "--into", full)
    #expect(try refused.status == 6 && place.server.sql("SELECT precious()", in: full) == "1", "\(refused)")
    let prepared = try place.server.makeDatabase("prepared")
    try place.server.sql("CREATE EXTENSION hstore", in: prepared)
    let failed = try place.restore(place.database, "latest", "--into", prepared)
    #expect(failed.status == 8, "\(failed)")
    let left =
      "SELECT (SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension), (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM pg_class WHERE relname = 't')"
    #expect(try place.server.sql(left, in: prepared) == "hstore plpgsql|0|0")
    // Relations of extensions are not of users.
    try place.sql("DROP TABLE t")
    let sound = try place.takeSnapshot()
    let monitored = try place.server.makeDatabase("monitored")
    try place.server.sql("CREATE EXTENSION pg_stat_statements", in: monitored)
    let restored = try place.restore(place.database, sound, "--into", monitored)
    #expect(try restored.status == 0 && place.server.sql("SELECT no(1)", in: monitored) == "f", "\(restored)")
  }
}
