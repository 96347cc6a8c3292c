import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Parts of a snapshot, other owners, other places, lesser roles.
@Suite struct `A part of a snapshot` {
  private func workplace(_ server: TestServer? = nil, _ more: String = "") throws -> Workplace {
    let place = try Workplace(on: try server ?? TestServer.system.get())
    try place.sql(
      #"""
      CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('calm', 'afraid');
      CREATE TABLE app.people (id serial PRIMARY KEY, mood app.mood DEFAULT 'calm' NOT NULL, note text CHECK (note <> ';)'),
        doubled int GENERATED ALWAYS AS (length(note) * 2) STORED);
      CREATE TABLE app.letters (id serial PRIMARY KEY, person int NOT NULL REFERENCES app.people, body text);
      ALTER TABLE app.letters ALTER body SET STORAGE EXTERNAL;
      CREATE TABLE "odd ""; name(" ("co""l (" text); INSERT INTO "odd ""; name(" VALUES (E'a\tb\\.\n\\.'), (NULL), ('');
      INSERT INTO app.people (note) SELECT 'person ' || g FROM generate_series(1, 300) g;
      INSERT INTO app.letters (person, body) SELECT 1 + g % 300, md5(g::text) FROM generate_series(1, 5000) g;
      """# + more)
    return place
  }

  @Test func `comes back beside the live tables, in a schema of its own`() throws {
    let place = try workplace()
    let id = try place.takeSnapshot()
    try place.sql(
      "DROP TABLE app.letters; UPDATE app.people SET note = 'changed'; CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent)")
    let result = try place.restore(place.database, id, "--table", "app.l*", "--table", "app.people", "--table", #""odd ""; name(""#, "--json")
    #expect(result.status == 0, "\(result)")
    let schema = try #require(result.json()["restoredAs"] as? String)
    #expect(schema.hasPrefix("firn_restored_"))
    #expect(try place.sql("SELECT count(*), sum(doubled) FROM \(schema).people") == "300|5784")
    #expect(try place.sql("SELECT count(DISTINCT body), sum(person) FROM \(schema).letters") == "5000|742700")
    #expect(try place.sql(#"SELECT count(*), count("co""l ("), max(length("co""l (")) FROM "\#(schema)"."odd ""; name(""#) == "3|2|8")
    #expect(try place.sql("SELECT count(*) FROM app.people WHERE note = 'changed'") == "300")
    #expect(try place.sql("SELECT to_regclass('app.letters') IS NULL") == "t")

    // Two in one second get different names.
    let both = try (1...2).map { _ in try place.start("firn-restore", [place.database, id, "--table", "app.people"]) }
    #expect(both.map { $0.wait() } == [0, 0])
    let made = try place.sql(
      "SELECT string_agg(quote_ident(nspname), ', ') FROM pg_namespace WHERE nspname ~ '^firn_restored' AND nspname <> '\(schema)'")
    #expect(made.split(separator: ",").count == 2)
    try place.sql("DROP SCHEMA \(made) CASCADE")

    let unknown = try place.restore(place.database, id, "--table", "app.none")
    #expect(unknown.status == 6, "\(unknown)")
    #expect(try place.restore(place.database, id, "--table", "a.b.c").status == 6)
    // A table that inherits would become a part of the live parent.
    let second = try place.takeSnapshot()
    let inheriting = try place.restore(place.database, second, "--table", "child")
    #expect(inheriting.status == 6 && inheriting.errors.contains("inherits"), "\(inheriting)")
    #expect(try place.sql("SELECT count(*) FROM pg_namespace WHERE nspname ~ '^firn_restored'") == "1")
  }

  @Test func `reads only the objects that hold it`() throws {
    let place = try workplace(nil, "CREATE TABLE large AS SELECT md5(g::text) || md5((g * 3)::text) x FROM generate_series(1, 1400000) g")
    _ = try place.takeSnapshot()
    let result = try place.restore(place.database, "--table", "app.letters", "--json").json()
    let read = try #require(result["objectsRead"] as? Int)
    let all = try #require(result["objectsOfSnapshot"] as? Int)
    #expect(read >= 1 && read <= 3 && all > 4, "\(read) of \(all)")
  }

  @Test func `comes into a new database, with the whole schema except foreign keys`() throws {
    let place = try workplace()
    _ = try place.takeSnapshot()
    let copy = "\(place.database)_copy"
    let result = try place.restore(place.database, "latest", "--as", copy, "--table", "letters", "--prove")
    #expect(result.status == 3, "\(result)")
    #expect(result.errors.contains("foreign key app.letters letters_person_fkey"), "\(result)")
    let server = place.server
    #expect(try server.sql("SELECT (SELECT count(*) FROM app.letters), (SELECT count(*) FROM app.people)", in: copy) == "5000|0")
    #expect(try server.sql("INSERT INTO app.letters (person) VALUES (1) RETURNING id", in: copy) == "5001")

    let schema = "\(place.database)_schema"
    #expect(try place.restore(place.database, "latest", "--as", schema, "--schema-only", "--prove").status == 0)
    #expect(try server.sql("SELECT count(*) FROM app.letters", in: schema) == "0")

    // And the rows later, into the tables that are empty.
    let filled = try place.restore(place.database, "latest", "--as", schema, "--data-only")
    #expect(filled.status == 0, "\(filled)")
    #expect(try server.sql("SELECT (SELECT count(*) FROM app.letters), (SELECT count(*) FROM app.people)", in: schema) == "5000|300")
    #expect(try server.sql("INSERT INTO app.letters (person) VALUES (1) RETURNING id", in: schema) == "5001")
    let again = try place.restore(place.database, "latest", "--as", schema, "--data-only")
    #expect(again.status == 6 && again.errors.contains("app.letters has rows"), "\(again)")
    #expect(try server.sql("SELECT count(*) FROM app.people", in: schema) == "300")
  }

  @Test func `is written out as an archive that stock tools restore`() throws {
    let place = try workplace()
    _ = try place.takeSnapshot()
    let folder = place.folder.path("archive")
    let result = try place.restore(place.database, "latest", "--export", folder.string)
    #expect(result.status == 0 && result.output == folder.string, "\(result)")
    let copy = try place.server.makeDatabase()
    let restored = try place.server.tool("pg_restore", ["--exit-on-error", "-d", copy, folder.string], in: copy)
    #expect(restored.exitCode == 0, "\(restored.errors)")
    #expect(try place.server.sql("SELECT (SELECT count(*) FROM app.letters), (SELECT count(*) FROM app.people)", in: copy) == "5000|300")
    #expect(try Folder.status(of: folder.appending("toc.dat"))?.mode == 0o600)
    let taken = try place.restore(place.database, "latest", "--export", folder.string)
    #expect(taken.status == 6, "\(taken)")

    let part = place.folder.path("part")
    #expect(try place.restore(place.database, "latest", "--export", part.string, "--table", "app.people").status == 0)
    let other = try place.server.makeDatabase()
    let some = try place.server.tool(
      "pg_restore", ["--exit-on-error", "--use-list", part.appending("use.list").string, "-d", other, part.string], in: other)
    #expect(some.exitCode == 0, "\(some.errors)")
    #expect(try place.server.sql("SELECT (SELECT count(*) FROM app.letters), (SELECT count(*) FROM app.people)", in: other) == "0|300")
  }

  @Test func `is restored without damaged tables on request, and damage is reported by table`() throws {
    let place = try workplace(nil, "CREATE TABLE large AS SELECT g id, md5(g::text) || md5((g * 3)::text) x FROM generate_series(1, 200000) g")
    _ = try place.takeSnapshot()
    try place.flipBitOfLargestObject()
    let copy = "\(place.database)_copy"
    let failed = try place.restore(place.database, "latest", "--as", copy)
    #expect(failed.status == 4 && failed.errors.contains("public.large") && failed.errors.contains("--only-intact"), "\(failed)")
    let result = try place.restore(place.database, "latest", "--as", copy, "--only-intact")
    #expect(result.status == 3 && result.errors.contains("rows of public.large: they are damaged"), "\(result)")
    #expect(try place.server.sql("SELECT (SELECT count(*) FROM app.letters), (SELECT count(*) FROM large)", in: copy) == "5000|0")
    // It takes a live database's place only when that is said, too.
    let refused = try place.restore(place.database, "latest", "--only-intact", "--confirm", place.database)
    #expect(refused.status == 6 && refused.errors.contains("--allow-incomplete"), "\(refused)")
  }

  @Test func `gets other owners on request`() throws {
    let place = try workplace()
    let (old, new) = ("old_\(place.database)", "new_\(place.database)")
    try place.sql(
      """
      CREATE ROLE \(old); CREATE ROLE \(new); ALTER DATABASE "\(place.database)" OWNER TO \(old); ALTER TABLE app.people OWNER TO \(old);
      ALTER SCHEMA app OWNER TO \(old); GRANT SELECT ON app.letters TO \(old); ALTER DEFAULT PRIVILEGES FOR ROLE \(old) GRANT ALL ON TABLES TO \(new);
      SELECT lo_from_bytea(7, 'large'); ALTER LARGE OBJECT 7 OWNER TO \(old);
      """)
    _ = try place.takeSnapshot()
    let copy = "\(place.database)_copy"
    let result = try place.restore(place.database, "latest", "--as", copy, "--owner", new, "--no-privileges", "--prove")
    #expect(result.status == 0, "\(result)")
    let owners = """
      SELECT pg_get_userbyid(datdba), (SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ',') FROM pg_class WHERE oid >= 16384 AND relkind = 'r'),
        (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'app'), (SELECT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata),
        (SELECT relacl IS NULL FROM pg_class WHERE relname = 'letters'), (SELECT count(*) FROM pg_default_acl)
      FROM pg_database WHERE datname = current_database()
      """
    #expect(try place.server.sql(owners, in: copy) == "\(new)|\(new)|\(new)|\(new)|t|0")
    let plain = "\(place.database)_plain"
    #expect(try place.restore(place.database, "latest", "--as", plain, "--no-owner", "--prove").status == 0)
    #expect(try place.server.sql(owners, in: plain) == "postgres|postgres|postgres|postgres|f|1")
    let unknown = try place.restore(place.database, "latest", "--as", "x_\(copy)", "--owner", "nobody_\(copy)")
    #expect(unknown.status == 6 && unknown.errors.split(separator: "nobody_\(copy)").count == 2, "\(unknown)")
  }

  @Test func `lies in other tablespaces on request`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    try server.sql("CREATE ROLE someone; SET allow_in_place_tablespaces = on; CREATE TABLESPACE fast LOCATION ''")
    try server.sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE slow LOCATION ''")
    let place = try workplace(server, "CREATE TABLE there (id int) TABLESPACE fast; CREATE INDEX there_too ON app.people (note) TABLESPACE fast")
    _ = try place.takeSnapshot()
    try place.sql("DROP TABLE there; DROP INDEX app.there_too; DROP TABLESPACE fast")
    let copy = "\(place.database)_copy"
    let missing = try place.restore(place.database, "latest", "--as", copy)
    #expect(missing.status == 6 && missing.errors.contains("--tablespace fast="), "\(missing)")
    let mistaken = try place.restore(place.database, "latest", "--as", copy, "--tablespace", "fats=slow", "--tablespace", "fast=slow")
    #expect(mistaken.status == 6 && mistaken.errors.contains("nothing of the snapshot is in a tablespace fats"), "\(mistaken)")
    let result = try place.restore(place.database, "latest", "--as", copy, "--tablespace", "fast=slow", "--prove")
    #expect(result.status == 0, "\(result)")
    #expect(
      try server.sql(
        "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class c JOIN pg_tablespace t ON t.oid = reltablespace WHERE spcname = 'slow'",
        in: copy)
        == "there,there_too")
  }

  @Test func `is all that a lesser role may restore, with every exception reported`() throws {
    let server = try TestServer.system.get()
    let place = try workplace(server)
    let (lesser, other) = ("lesser_\(place.database)", "other_\(place.database)")
    try place.sql(
      """
      CREATE ROLE \(other); CREATE ROLE \(lesser) LOGIN CREATEDB PASSWORD 'a:b';
      CREATE EXTENSION pg_buffercache; CREATE EXTENSION hstore; CREATE TABLE tagged (id int, tags hstore); INSERT INTO tagged VALUES (1, 'a=>1');
      CREATE VIEW buffers AS SELECT count(*) FROM pg_buffercache;
      CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER noting ON ddl_command_start EXECUTE FUNCTION note();
      CREATE PUBLICATION everything FOR ALL TABLES; CREATE PUBLICATION letters FOR TABLE app.letters;
      ALTER TABLE app.people OWNER TO \(other); GRANT SELECT ON app.letters TO \(other);
      """)
    _ = try place.takeSnapshot()
    var theirs = place
    theirs.environment["DATABASE_URL"] = server.url("postgres", user: lesser, password: "a:b")
    let copy = "\(place.database)_copy"
    let result = try theirs.restore(place.database, "latest", "--as", copy)
    #expect(result.status == 3, "\(result)")
    for words in [
      "extension pg_buffercache: only a superuser", "view public.buffers: it needs extension pg_buffercache",
      "event trigger noting: only a superuser",
      "publication everything: only a superuser", "ownership by \(other)", "ownership of the database by postgres",
    ] { #expect(result.errors.contains("left out: \(words)"), "\(words)\n\(result)") }
    #expect(result.errors.split(separator: "\n").count { $0.contains("left out: ") } <= 8, "\(result)")
    #expect(
      try server.sql("SELECT (SELECT count(*) FROM app.letters), (SELECT tags -> 'a' FROM tagged), (SELECT count(*) FROM pg_publication)", in: copy)
        == "5000|1|1")
    #expect(try server.sql("SELECT relacl::text ~ '\(other)' FROM pg_class WHERE relname = 'letters'", in: copy) == "t")
    try server.sql("DROP PUBLICATION everything; DROP EVENT TRIGGER noting", in: place.database)
  }

  @Test func `goes into empty tables as it was dumped: no trigger runs for it, and foreign keys are met`() throws {
    let place = try workplace()
    let id = try place.takeSnapshot()
    let role = "mere_\(place.database)"
    try place.sql(
      """
      TRUNCATE app.people, app.letters; CREATE ROLE \(role) LOGIN PASSWORD 'x'; ALTER SCHEMA app OWNER TO \(role);
      ALTER TABLE app.people OWNER TO \(role); ALTER TABLE app.letters OWNER TO \(role); GRANT USAGE ON SCHEMA public TO \(role);
      CREATE FUNCTION app.stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.body := 'stamped'; RETURN NEW; END$$;
      CREATE TRIGGER stamping BEFORE INSERT ON app.letters FOR EACH ROW EXECUTE FUNCTION app.stamp();
      """)
    var theirs = place
    theirs.environment["DATABASE_URL"] = place.server.url(place.database, user: role, password: "x")
    let both = ["--data-only", "--table", "app.letters", "--table", "app.people"]
    let refused = try theirs.run("firn-restore", [place.database, id] + both)
    #expect(refused.status == 6 && refused.errors.contains("trigger stamping of app.letters"), "\(refused)")
    try place.sql("ALTER TABLE app.letters DISABLE TRIGGER stamping")
    let filled = try theirs.run("firn-restore", [place.database, id] + both)
    #expect(filled.status == 0, "\(filled)")
    let sums = "SELECT count(*), count(*) FILTER (WHERE body = 'stamped') FROM app.letters"
    #expect(try place.sql(sums) == "5000|0")
    // A superuser's rows fire no trigger, except ENABLE ALWAYS.
    try place.sql("TRUNCATE app.people, app.letters; ALTER TABLE app.letters ENABLE TRIGGER stamping")
    #expect(try place.run("firn-restore", [place.database, id] + both).status == 0)
    #expect(try place.sql(sums) == "5000|0")
    try place.sql("TRUNCATE app.people, app.letters; ALTER TABLE app.letters ENABLE ALWAYS TRIGGER stamping")
    let always = try place.run("firn-restore", [place.database, id] + both)
    #expect(always.status == 6 && always.errors.contains("trigger stamping of app.letters"), "\(always)")
  }

  @Test func `makes no tables in a database whose subscribers would stop at them`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0), settings: ["wal_level=logical"])
    let place = try workplace(server)
    let id = try place.takeSnapshot()
    try place.sql("CREATE PUBLICATION everything FOR ALL TABLES")
    #expect(try place.restore(place.database, id, "--table", "app.people").status == 0)
    try place.sql("SELECT pg_create_logical_replication_slot('follower', 'pgoutput')")
    let refused = try place.restore(place.database, id, "--table", "app.people")
    #expect(refused.status == 6 && refused.errors.contains("publication everything"), "\(refused)")
    try place.sql("SELECT pg_drop_replication_slot('follower')")
  }

  @Test func `never adds to rows, never leaves keys that point to nothing, and sets no sequence back`() throws {
    let place = try workplace(nil, "CREATE TABLE app.letters_old (id serial); INSERT INTO app.letters_old DEFAULT VALUES")
    let id = try place.takeSnapshot()
    try place.sql("TRUNCATE app.people, app.letters; SELECT setval('app.letters_old_id_seq', 900), setval('app.letters_id_seq', 7000)")
    let dangling = try place.restore(place.database, id, "--data-only", "--table", "app.letters")
    #expect(dangling.status == 6 && dangling.errors.contains("5000 rows of app.letters would point to rows of app.people"), "\(dangling)")
    #expect(try place.sql("SELECT count(*) FROM app.letters") == "0")
    let nothing = try place.restore(place.database, id, "--data-only", "--table", "app.letters", "--table", "app.leters")
    #expect(nothing.status == 6 && nothing.errors.contains("app.leters"), "\(nothing)")
    #expect(try place.restore(place.database, id, "--table", "app.letters", "--prove").status == 64)
    let both = try place.restore(place.database, id, "--data-only", "--table", "app.letters", "--table", "app.people")
    #expect(both.status == 0, "\(both)")
    #expect(try place.sql("SELECT (SELECT last_value FROM app.letters_old_id_seq), (SELECT last_value FROM app.letters_id_seq)") == "900|7000")
    #expect(try place.sql("SELECT count(*) FROM app.letters") == "5000")
  }

  @Test func `may lack tables' rows from the start, and be proven all the same`() throws {
    let place = try workplace()
    #expect(try place.snapshot("--exclude-table-data", "app.people").status == 0)
    let result = try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--prove")
    #expect(result.status == 3 && result.errors.contains("foreign key app.letters letters_person_fkey"), "\(result)")
  }

  @Test func `may hold rows of an extension's own tables`() throws {
    let folder = try TemporaryFolder()
    let extensions = folder.path("extension")
    try Folder.make(extensions)
    try folder.write("default_version = '1.0'\nrelocatable = false\nschema = public\n", to: "extension/ours.control")
    try folder.write(
      "CREATE TABLE settings (name text, value text); SELECT pg_catalog.pg_extension_config_dump('settings', '');", to: "extension/ours--1.0.sql")
    if let user = Account.unprivileged {
      let all = [folder.path, extensions] + ["ours.control", "ours--1.0.sql"].map { extensions.appending($0) }
      for path in all { try Folder.changeOwner(of: path, user: user.user, group: user.group) }
    }
    let server = try TestServer(binaries: try TestServer.binaries(at: 2), settings: ["extension_control_path=$system:\(folder.path.string)"])
    let place = try workplace(server, "CREATE EXTENSION ours; INSERT INTO settings VALUES ('mine', 'kept')")
    _ = try place.takeSnapshot()
    let copy = "\(place.database)_copy"
    let result = try place.restore(place.database, "latest", "--as", copy, "--prove")
    #expect(result.status == 0, "\(result)")
    #expect(try server.sql("SELECT value FROM settings", in: copy) == "kept")
  }

  @Test func `distinguishes tables of one name`() throws {
    let place = try workplace(nil, "CREATE TABLE letters AS SELECT 1 id")
    _ = try place.takeSnapshot()
    let result = try place.restore(place.database, "--table", "*.letters")
    #expect(result.status == 0, "\(result)")
    #expect(result.errors.contains("\(result.output).app.letters: 5 000 rows") && result.errors.contains("\(result.output).public.letters: 1 row"))
    #expect(try place.sql("SELECT count(*) FROM \(result.output).\"public.letters\"") == "1")
  }
}
