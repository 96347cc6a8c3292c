import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Databases and servers that a restore could easily get wrong.
@Suite struct `A restore gets right` {
  /// Snapshots a database made by `sql`, restores it with proof, and gives the copy's name.
  @discardableResult private func thereAndBack(
    _ sql: String, on server: TestServer? = nil, expecting status: Int32 = 0,
    check: (Workplace, String, CommandResult) throws -> Void = { _, _, _ in }
  ) throws -> Workplace {
    let place = try Workplace(on: try server ?? TestServer.system.get())
    try place.sql(sql)
    let snapshot = try place.snapshot()
    #expect(snapshot.status == 0 || snapshot.status == 3, "\(snapshot)")
    let copy = "\(place.database)_copy"
    let result = try place.restore(place.database, "latest", "--as", copy, "--prove")
    #expect(result.status == status, "\(result)")
    try check(place, copy, result)
    return place
  }

  @Test func `names with dots, that look alike when joined`() throws {
    try thereAndBack(
      #"""
      CREATE SCHEMA a; CREATE SCHEMA "a.b";
      CREATE TABLE "a.b".c (id int); CREATE TABLE a."b.c" (id int); INSERT INTO a."b.c" VALUES (1);
      CREATE SEQUENCE "a.b".s; CREATE SEQUENCE a."b.s"; SELECT setval('"a.b".s', 100), setval('a."b.s"', 5);
      CREATE SEQUENCE a."odd 'q' \ ""s"""; SELECT setval('a."odd ''q'' \ ""s"""', 7, false);
      """#
    ) { (place, copy, _) throws in
      #expect(try place.server.sql("SELECT last_value FROM a.\"b.s\"", in: copy) == "5")
    }
  }

  @Test func `a sequence that is used while the snapshot is made, and begins again`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE SEQUENCE s MAXVALUE 50 CYCLE; CREATE TABLE wide AS SELECT repeat(md5(g::text), 60) x FROM generate_series(1, 30000) g")
    let isDone = Monitor(false)
    let url = place.server.url(place.database)
    let worker = WorkerThread(name: "sequence") {
      guard let connection = try? Connection(try ConnectionSettings(url)) else { return }
      while !isDone.current { _ = try? connection.execute("SELECT pg_catalog.nextval('public.s')") }
    }
    for round in 0..<3 {
      let id = try place.takeSnapshot()
      let result = try place.restore(place.database, id, "--as", "\(place.database)_\(round)", "--prove")
      #expect(result.status == 0, "\(result)")
    }
    isDone.update { $0 = true }
    worker.join()
  }

  @Test func `a sequence that belongs to an extension, which no dump has`() throws {
    try thereAndBack(
      "CREATE EXTENSION hstore; CREATE SEQUENCE s; ALTER EXTENSION hstore ADD SEQUENCE s; SELECT nextval('s'), nextval('s')", expecting: 3
    ) { (_, _, result) throws in
      // The extension here has no such sequence.
      #expect(result.errors.contains("left out: the value of public.s"), "\(result)")
    }
  }

  @Test func `statistics that can't be gathered, which is no reason to throw the rows away`() throws {
    try thereAndBack(
      """
      CREATE FUNCTION inner_f(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
      CREATE FUNCTION outer_f(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN inner_f($1); END $$;
      CREATE TABLE t (a text, b text); INSERT INTO t VALUES ('x', 'y'); CREATE TABLE other AS SELECT 1 id;
      CREATE STATISTICS st ON (outer_f(a)), b FROM t;
      """, expecting: 3
    ) { (place, copy, result) throws in
      #expect(result.errors.contains("no statistics of public.t"), "\(result)")
      #expect(try place.server.sql("SELECT a FROM t", in: copy) == "x")
    }
  }

  @Test func `event triggers that forbid what a restore has to do`() throws {
    try thereAndBack(
      """
      CREATE TABLE t AS SELECT g id FROM generate_series(1, 1000) g;
      CREATE MATERIALIZED VIEW a AS SELECT count(*) n FROM t; CREATE MATERIALIZED VIEW b AS SELECT n FROM a; CREATE MATERIALIZED VIEW c AS SELECT n FROM b;
      CREATE FUNCTION frozen() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ddl frozen: %', tg_tag; END $$;
      CREATE EVENT TRIGGER at_start ON ddl_command_start EXECUTE FUNCTION frozen();
      ALTER EVENT TRIGGER at_start DISABLE;
      COMMENT ON EVENT TRIGGER at_start IS 'not now';
      CREATE EVENT TRIGGER at_end ON ddl_command_end EXECUTE FUNCTION frozen();
      ALTER EVENT TRIGGER at_start ENABLE;
      """
    ) { (place, copy, _) throws in
      #expect(try place.server.sql("SELECT n FROM c", in: copy) == "1000")
      #expect(
        try place.server.sql("SELECT string_agg(evtname || evtenabled::text, ',' ORDER BY evtname) FROM pg_event_trigger", in: copy)
          == "at_endO,at_startO")
    }
  }

  @Test func `values whose text depends on settings, on a server that has others`() throws {
    let odd = try TestServer(
      binaries: try TestServer.binaries(at: 0),
      settings: [
        "timezone=Asia/Tokyo", "bytea_output=escape", "lc_monetary=de_DE.UTF-8", "intervalstyle=sql_standard", "array_nulls=off",
        "datestyle=German", "extra_float_digits=-5", "statement_timeout=50ms", "lock_timeout=1",
      ])
    let values = """
      SET default_transaction_read_only = off; SET statement_timeout = 0;
      CREATE TABLE t (z timestamptz, b bytea, m money, i interval, a text[], f float8, d date);
      INSERT INTO t VALUES ('2024-03-04 05:06:07.89+00', '\\x00ff5c', 12345.67, '-1 year 2 mons -3 days 04:05:06.789', ARRAY[NULL, 'NULL'], pi(), '2024-02-01');
      CREATE TABLE wide AS SELECT repeat(md5(g::text), 60) x FROM generate_series(1, 4000) g;
      """
    let place = try Workplace(on: TestServer.system.get())
    try place.sql(values)
    _ = try place.takeSnapshot()
    var other = place
    other.environment["DATABASE_URL"] = odd.url("postgres")
    let there = try other.restore(place.database, "latest", "--as", "copy", "--prove")
    #expect(there.status == 0, "\(there)")
    let check = "SET timezone = UTC; SET lc_monetary = 'C'; SELECT m, a, extract(epoch FROM z), b = '\\x00ff5c' FROM t"
    #expect(try odd.sql(check, in: "copy") == place.sql(check))
    try thereAndBack(values, on: odd)
  }

  @Test func `large objects, of which one may vanish on the way`() throws {
    try thereAndBack("SELECT lo_from_bytea(4711, '\\x0102'), lo_from_bytea(4712, decode(repeat('00ff', 400000), 'hex'))") { (place, copy, _) throws in
      #expect(try place.server.sql("SELECT count(*), sum(length(lo_get(oid))) FROM pg_largeobject_metadata", in: copy) == "2|800002")
    }
  }

  @Test func `tables that lock each other out while they are filled side by side: it begins once more`() throws {
    // On a server of its own: other tests build databases in the shared one.
    let server = try TestServer(binaries: TestServer.binaries(at: 0))
    let place = try Workplace(on: server)
    // While a role is there, a row of either table is checked by a look into the other, which its restore has emptied, and holds.
    let role = "\(place.database)_lock"
    for (mine, other) in [("one", "two"), ("two", "one")] {
      try place.sql(
        """
        CREATE FUNCTION look_into_\(other)() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
          IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '\(role)') THEN
            PERFORM pg_catalog.pg_sleep(0.3);
            PERFORM FROM public.\(other);
          END IF;
          RETURN true;
        END $$;
        CREATE TABLE \(mine) (id int CHECK (look_into_\(other)()));
        INSERT INTO \(mine) VALUES (1);
        """)
    }
    _ = try place.takeSnapshot()
    try server.sql("CREATE ROLE \(role)")
    let isDone = Monitor(false)
    let watcher = WorkerThread(name: "locks") {
      guard let connection = try? server.connect() else { return }
      let waiting = """
        SELECT count(*) >= 2 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT granted AND datname LIKE 'firn_unfinished%'
        """
      while !isDone.current, (try? connection.answer(to: waiting)) != "t" { Thread.sleep(forTimeInterval: 0.01) }
      _ = try? connection.execute("DROP ROLE \(role)")
    }
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--prove", "--jobs", "2", "--verbose")
    isDone.update { $0 = true }
    watcher.join()
    #expect(result.status == 0 && result.errors.contains("loading them again, in order"), "\(result)")
    #expect(try server.sql("SELECT count(*) FROM one, two", in: "\(place.database)_copy") == "1")
    #expect(try server.databaseNames().filter { $0.hasPrefix("firn_unfinished") }.isEmpty)
  }

  @Test func `a pg_restore that loses rows and says nothing: the copy is counted, and goes`() throws {
    let server = try TestServer(binaries: TestServer.binaries(at: 0))
    let place = try Workplace(on: server)
    try place.sql(
      """
      CREATE TABLE kept AS SELECT g id FROM generate_series(1, 10) g; CREATE TABLE lost AS TABLE kept; CREATE INDEX ON kept (id);
      CREATE TABLE parts (id int) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10);
      INSERT INTO parts SELECT generate_series(1, 9);
      """)
    _ = try place.takeSnapshot()
    for (table, change) in [
      ("lost", "DELETE FROM lost WHERE id = 7"), ("lost", "INSERT INTO lost VALUES (11)"), ("low", "DELETE FROM low WHERE id = 7"),
    ] {
      let script = """
        "$real" "$@" || exit
        [ "$1" != --dbname ] || "${real%pg_restore}psql" -qX -d "$2" -c '\(change)'
        """
      let tools = try place.tools(with: script, inPlaceOf: "pg_restore")
      let result = try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--pg-bin", tools.string)
      #expect(result.status == 4 && result.errors.contains("public.\(table)") && !result.errors.contains("kept"), "\(change): \(result)")
      #expect(try server.databaseNames() == [place.database, "postgres", "template0", "template1"], "\(change)")
    }
  }

  @Test func `a statement that fails: it stops there, and reports that one`() throws {
    let place = try Workplace(on: TestServer.system.get())
    let tables = (1...40).map { "CREATE TABLE t\($0) AS SELECT 'x' a; CREATE INDEX ON t\($0) (outer_f(a));" }
    try place.sql(
      """
      CREATE FUNCTION inner_f(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
      CREATE FUNCTION outer_f(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN inner_f($1); END $$; \(tables.joined())
      """)
    _ = try place.takeSnapshot()
    let log = place.folder.path("errors")
    let tools = try place.tools(with: "\"$real\" \"$@\" 2> '\(log)'; status=$?; cat '\(log)' >&2; exit $status", inPlaceOf: "pg_restore")
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--pg-bin", tools.string, "--jobs", "2")
    #expect(result.status == 8 && result.errors.contains("inner_f"), "\(result)")
    // Each of two workers may have met one.
    let met = try String(contentsOfFile: log.string, encoding: .utf8).components(separatedBy: "inner_f(text) does not exist").count - 1
    #expect((1...2).contains(met))
  }

  @Test func `subscriptions, which it leaves out and says so`() throws {
    try thereAndBack(
      "CREATE SUBSCRIPTION far_\(Int.random(in: 0..<1_000_000)) CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE, enabled = false)",
      expecting: 3
    ) { (place, _, result) throws in
      #expect(result.errors.contains("subscription far_"))
      let name = try place.sql("SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())")
      try place.sql("DROP SUBSCRIPTION \(name)")
    }
  }

  @Test func `roles that exist, which it changes in nothing`() throws {
    let source = try TestServer(binaries: try TestServer.binaries(at: 0))
    let target = try TestServer(binaries: try TestServer.binaries(at: 0))
    try source.sql(
      """
      CREATE ROLE powerful; CREATE ROLE bob; CREATE ROLE grantor SUPERUSER; CREATE ROLE absent; GRANT powerful TO bob; GRANT powerful TO absent;
      CREATE DATABASE app OWNER powerful;
      """)
    try target.sql("CREATE ROLE bob")
    var place = try Workplace(on: source, database: "app")
    _ = try place.takeSnapshot()
    place.environment["DATABASE_URL"] = target.url("postgres")
    let result = try place.restore("app", "latest", "--as", "app")
    #expect(result.status == 0, "\(result)")
    #expect(result.errors.contains("role powerful is created"))
    #expect(try target.sql("SELECT pg_has_role('bob', 'powerful', 'MEMBER')") == "f")
    #expect(try target.sql("SELECT rolname FROM pg_roles WHERE rolname IN ('powerful', 'absent')") == "powerful")
  }

  @Test func `a failure, after which the roles it made are gone too`() throws {
    let source = try TestServer(binaries: try TestServer.binaries(at: 0))
    let target = try TestServer(binaries: try TestServer.binaries(at: 0))
    try source.sql("CREATE ROLE owner; CREATE DATABASE app OWNER owner")
    try source.sql(
      """
      CREATE FUNCTION fine(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'; CREATE TABLE t (id int CHECK (fine(id))); INSERT INTO t VALUES (1);
      CREATE OR REPLACE FUNCTION fine(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT false';
      """, in: "app")
    var place = try Workplace(on: source, database: "app")
    _ = try place.takeSnapshot()
    place.environment["DATABASE_URL"] = target.url("postgres")
    #expect(try place.restore("app", "latest", "--as", "app").status == 8)
    #expect(try target.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'owner'") == "0")
    #expect(try target.databaseNames() == ["postgres", "template0", "template1"])
  }

  @Test func `an interruption while the database is being made`() throws {
    // Its commits wait for a standby that there isn't.
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    try server.sql("CREATE DATABASE app")
    try server.sql("CREATE TABLE t (id int)", in: "app")
    let place = try Workplace(on: server, database: "app")
    _ = try place.takeSnapshot()
    try server.sql("ALTER SYSTEM SET synchronous_standby_names = 'absent'; SELECT pg_reload_conf()")
    let command = try place.start("firn-restore", ["app", "latest", "--as", "copy"])
    let deadline = ContinuousClock.now + .seconds(10)
    while try server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "0", ContinuousClock.now < deadline {
      Thread.sleep(forTimeInterval: 0.02)
    }
    ProcessTable.send(SIGINT, to: command.id)
    Thread.sleep(forTimeInterval: 0.5)
    try server.sql("SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()")
    #expect(command.wait() == 130)
    #expect(try server.databaseNames() == ["app", "postgres", "template0", "template1"])
  }

  @Test func `a server without a database named postgres`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    try server.sql("CREATE DATABASE app")
    try server.sql("CREATE TABLE t (id int)", in: "app")
    let place = try Workplace(on: server, database: "app")
    _ = try place.takeSnapshot()
    try server.sql("ALTER DATABASE postgres RENAME TO other", in: "template1")
    let result = try place.restore("app", "latest", "--as", "copy")
    #expect(result.status == 0, "\(result)")
    try server.sql("ALTER DATABASE other RENAME TO postgres", in: "template1")
    #expect(try server.databaseNames().contains("copy"))
  }

  @Test func `a role that is not the owner's, and one that only reads by default`() throws {
    let server = try TestServer.system.get()
    let place = try Workplace(on: server)
    let (owner, weak) = ("owner_\(place.database)", "weak_\(place.database)")
    try place.sql(
      """
      CREATE ROLE \(owner); CREATE ROLE \(weak) LOGIN CREATEDB PASSWORD 'abc'; ALTER ROLE \(weak) SET default_transaction_read_only = on;
      ALTER DATABASE \(place.database) OWNER TO \(owner); ALTER SCHEMA public OWNER TO \(owner);
      """)
    _ = try place.takeSnapshot()
    var other = place
    other.environment["DATABASE_URL"] = server.url("postgres", user: weak, password: "abc")
    let reduced = try other.restore(place.database, "latest", "--as", "\(place.database)_copy")
    #expect(reduced.status == 3 && reduced.errors.contains("ownership of the database by \(owner), which goes to \(weak)"), "\(reduced)")
    // It could not end the sessions there, nor rename it.
    let refused = try other.restore(place.database, "latest", "--confirm", place.database)
    #expect(refused.status == 6 && refused.errors.contains("may not rename \(place.database)"), "\(refused)")
    try place.sql("GRANT \(owner) TO \(weak)")
    let allowed = try other.restore(place.database, "latest", "--as", "\(place.database)_again")
    #expect(allowed.status == 0, "\(allowed)")
  }

  @Test func `names that try to be statements`() throws {
    // Combined with its neighbour, a quote is no Character of its own.
    let odd = [
      "a\u{600}\"; DROP TABLE victim; --", "\"\u{301}; DROP TABLE victim; --", "'\u{301}); DROP TABLE victim; --", "x\ny'\u{600}'\\\"",
      "\u{e9}", "e\u{301}",
    ]
    let tables = odd.map { name in
      let quoted = Connection.identifier(name)
      return "CREATE TABLE \(quoted) (id serial, \(quoted) text); INSERT INTO \(quoted) (\(quoted)) VALUES (\(Connection.literal(name)));"
    }
    try thereAndBack("CREATE TABLE victim AS SELECT 1 id;" + tables.joined()) { (place, copy, _) throws in
      #expect(try place.server.sql("SELECT count(*) FROM victim", in: copy) == "1")
      #expect(try place.server.sql("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace", in: copy) == "7")
    }
  }

  @Test func `a disk that fills up in the middle: the live database stays, and the room is given back`() throws {
    let place = try Workplace(on: TestServer.system.get(), database: nil)
    try place.sql("CREATE TABLE t AS SELECT g id, repeat(md5(g::text), 30) x FROM generate_series(1, 100000) g")
    let id = try place.takeSnapshot()
    let small = place.folder.path("small")
    let log = place.folder.path("wal")
    try Folder.make(small)
    // A disk and a server of its own: as root on a mount, else in a namespace where we may make one.
    let namespace = Host.isRoot ? ["--mount"] : ["--map-current-user", "--keep-caps", "--mount"]
    let script = """
      set -eu
      export LC_ALL=C.UTF-8
      mount -t tmpfs -o size=110m,mode=755 none "$1"
      as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi; }
      if [ "$(id -u)" = 0 ]; then mkdir "$2"; chown postgres "$1" "$2"; chmod 711 "$(dirname "$2")"; fi
      as "$3/initdb" -D "$1/data" --waldir="$2/wal" -U postgres --auth=trust --no-sync > /dev/null
      as setpriv --pdeathsig INT "$3/postgres" -D "$1/data" -k "$1" -c listen_addresses= -c fsync=off -c wal_level=minimal -c max_wal_senders=0 > /dev/null 2>&1 &
      server=$!
      export PGHOST="$1" PGUSER=postgres
      n=0; until "$3/psql" -qc '' postgres 2> /dev/null; do n=$((n + 1)); [ $n -lt 300 ]; sleep 0.1; done
      "$3/psql" -qc "CREATE DATABASE \"$5\"" postgres
      "$3/psql" -qc "CREATE TABLE t AS SELECT 1 id" "$5"
      before=$(df --output=used -k "$1" | tail -n 1)
      export DATABASE_URL="postgresql:///postgres"
      status=0; "$4" "$5" "$6" --confirm "$5" --no-safety-snapshot || status=$?; echo "restore: $status"
      "$3/psql" -Atc "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1" postgres
      "$3/psql" -Atc "SELECT 'rows: ' || count(*) FROM t" "$5"
      "$3/psql" -qc CHECKPOINT postgres
      after=$(df --output=used -k "$1" | tail -n 1)
      if [ $after -lt $((before + 20000)) ]; then echo 'room: given back'; else echo "room: $before $after"; fi
      kill -INT "$(head -n 1 "$1/data/postmaster.pid")"; wait $server || true
      """
    let result = try Workplace.run(
      "/usr/bin/unshare",
      namespace + [
        "/bin/sh", "-c", script, "sh", small.string, log.string, place.server.binaries.string, FirnProgram.path("firn-restore").string,
        place.database, id,
      ], environment: place.environment)
    #expect(result.status == 0, "\(result)")
    #expect(result.output.split(separator: "\n") == ["restore: 8", "\(place.database)", "postgres", "rows: 1", "room: given back"], "\(result)")
    #expect(result.errors.contains("hint: the server's disk is full"), "\(result)")
  }
}
