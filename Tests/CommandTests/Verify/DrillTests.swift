import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// `firn-verify --drill`.
@Suite struct `A drill` {
  private func workplace() throws -> Workplace {
    let place = try Workplace(on: TestServer.system.get())
    let role = "drilled_\(place.database)"
    try place.sql(
      """
      CREATE ROLE \(role) LOGIN PASSWORD 'x'; CREATE TABLE notes (id serial PRIMARY KEY, body text DEFAULT 'none', at timestamptz DEFAULT '2026-01-01');
      CREATE INDEX by_body ON notes (body); ALTER TABLE notes OWNER TO \(role); GRANT SELECT ON notes TO PUBLIC; CREATE EXTENSION hstore;
      INSERT INTO notes (body) SELECT md5(g::text) FROM generate_series(1, 20000) g; SELECT lo_from_bytea(0, 'large');
      ALTER DATABASE "\(place.database)" SET work_mem = '7MB'; ALTER ROLE \(role) IN DATABASE "\(place.database)" SET search_path = public;
      REVOKE CONNECT ON DATABASE "\(place.database)" FROM PUBLIC;
      """)
    _ = try place.takeSnapshot()
    // If this is root, a drill's server runs as another user and has to reach its folder.
    for folder in [place.folder.path, place.spool] { try Folder.permitPassing(through: folder) }
    return place
  }

  private func configure(_ place: inout Workplace, _ text: String) throws {
    place.environment["HOME"] = place.folder.path.string
    try Folder.make(place.folder.path(".config/firn"))
    try Folder.write(Array(text.utf8), to: place.folder.path(".config/firn/firn.yaml"))
  }

  @Test func `takes lists in settings for what they are, in whichever form the server stores them`() throws {
    let place = try workplace()
    try place.sql(
      """
      SELECT set_config('search_path', 'notes_schema,"$user",public', false); ALTER DATABASE "\(place.database)" SET search_path FROM CURRENT;
      ALTER DATABASE "\(place.database)" SET DateStyle = 'ISO,DMY'
      """)
    let stored = try place.sql(
      "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database() AND setrole = 0")
    #expect(stored.contains("notes_schema,\\\"$user\\\",public"), "\(stored)")
    _ = try place.takeSnapshot()
    let drill = try place.verify(place.database, "--drill")
    #expect(drill.status == 0, "\(drill)")
  }

  @Test func `finds a sound snapshot sound, on a server of its own or another, and remembers it`() throws {
    var place = try workplace()
    try configure(
      &place,
      """
      assertions:
        - name: notes are there
          sql: select count(*) > 0 from notes
          expect: true
        - {sql: "select max(id) from notes", expect: 20000}

      """)
    let result = try place.verify(place.database, "latest", "--drill", "--json")
    #expect(result.status == 0, "\(result)")
    let report = try result.json()
    #expect(report["tablesCompared"] as? Int == 1 && report["schemaEqual"] as? Bool == true)
    #expect(report["restoreSeconds"] as? Double ?? 0 > 0)
    let snapshot = try #require((report["snapshots"] as? [[String: Any]])?.first)
    #expect(snapshot["ok"] as? Bool == true && snapshot["level"] as? String == "drill" && snapshot["assertionsMet"] as? Int == 2)
    #expect(try place.firn("show", place.database, "latest:verified").status == 0)
    #expect(try place.leftovers().isEmpty)
    try configure(&place, "assertions:\n  - {name: none, sql: select 1, expect: 2}\n")
    let unmet = try place.verify(place.database, "latest", "--drill")
    #expect(unmet.status == 4 && unmet.output.contains("assertion none: 1 instead of 2"), "\(unmet)")
    #expect(!unmet.output.contains("DIFFERS") && unmet.errors.contains("an assertion does not hold"), "\(unmet)")
    // The snapshot is nevertheless sound, and monitoring is informed.
    #expect(try !place.firn("list").output.contains("FOUND DAMAGED"))
    let status = try place.firn("status")
    #expect(status.status == 3 && status.output.contains("assertion none: 1 instead of 2"), "\(status)")
    // The next snapshot says nothing of that, nor does a reading of it.
    _ = try place.takeSnapshot()
    #expect(try place.verify(place.database, "latest", "--read").status == 0)
    let later = try place.firn("status")
    #expect(later.status == 3 && later.output.contains("assertion none: 1 instead of 2"), "\(later)")
    try configure(&place, "assertions:\n  - {name: none, sql: select 1, expect: 1}\n")
    #expect(try place.verify(place.database, "latest", "--drill").status == 0)
    #expect(try place.firn("status").status == 0)
  }

  @Test func `creates roles that only rows or functions name`() throws {
    let place = try Workplace(on: TestServer.system.get())
    let role = "named_by_\(place.database)"
    try place.sql(
      """
      CREATE ROLE \(role);
      CREATE FUNCTION is_known(r regrole) RETURNS bool LANGUAGE sql AS $$ SELECT pg_has_role('\(role)', 'usage') $$;
      CREATE TABLE audit (who regrole CHECK (is_known(who))); INSERT INTO audit VALUES ('\(role)')
      """)
    defer { _ = try? place.sql("DROP TABLE audit; DROP ROLE \(role)") }
    _ = try place.takeSnapshot()
    let drill = try place.verify(place.database, "--drill")
    #expect(drill.status == 0, "\(drill)")
  }

  @Test func `reports precisely what was changed by hand after restoring`() throws {
    let place = try workplace()
    let changes: [(sql: String, words: [String])] = [
      ("UPDATE notes SET body = 'other' WHERE id = 77", ["public.notes: its bytes differ"]),
      ("DROP INDEX by_body", ["the schema differs", "missing: index public.by_body"]),
      (
        "GRANT UPDATE ON notes TO PUBLIC",
        [
          "the schema differs", "differs: privileges on public.TABLE notes", "- GRANT SELECT ON TABLE public.notes TO PUBLIC;",
          "+ GRANT SELECT,UPDATE ON TABLE public.notes TO PUBLIC;",
        ]
      ),
      ("SELECT setval('notes_id_seq', 7)", ["sequence public.notes_id_seq stands at 7 instead of 20000"]),
      (
        "ALTER TABLE notes ALTER body SET DEFAULT 'some'",
        ["the schema differs", "differs: table public.notes", "-     body text DEFAULT 'none'::text,", "+     body text DEFAULT 'some'::text,"]
      ),
      ("SELECT lo_put(oid, 0, 'L') FROM pg_largeobject_metadata", ["large object"]),
      (
        "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = %L', current_database(), '9MB'); END$$", ["the database's settings differs"]
      ),
    ]
    for (sql, words) in changes {
      let script = try place.folder.write(sql, to: "change.sql")
      // After each part that pg_restore restores into the first database; statements that come too early fail. The second database is the one
      // that stock pg_restore creates for the comparison. Settings are restored last, so these are changed when the schema is compared.
      let tools = try place.tools(
        with: """
          "$real" "$@"; status=$?
          name=$(printf %s "$2" | sed "s/.*dbname='\\([^']*\\)'.*/\\1/"); first=$(dirname "$0")/first
          [ -e "$first" ] || printf %s "$name" >"$first"
          [ "$name" != "$(cat "$first")" ] || '\(place.server.binaries)/psql' -Xqf '\(script)' "$2" >/dev/null 2>&1
          exit $status
          """, inPlaceOf: sql.contains("ALTER DATABASE") ? "pg_dump" : "pg_restore")
      try Folder.permitPassing(through: tools)
      let result = try place.verify(place.database, "latest", "--drill", "--json", "--pg-bin", tools.string)
      #expect(result.status == 4, "\(sql)\n\(result)")
      let snapshots = try #require(result.json()["snapshots"] as? [[String: Any]])
      let reasons = (snapshots.first?["problems"] as? [[String: Any]] ?? []).compactMap { $0["reason"] as? String }
      #expect(reasons.count == words.count, "\(sql)\n\(reasons)")
      for word in words { #expect(reasons.contains { $0.hasPrefix(word) }, "\(word)\n\(reasons)") }
    }
    #expect(try place.firn("list").output.contains("FOUND DAMAGED"))
    #expect(try place.verify(place.database, "latest", "--drill").status == 0)
  }

  @Test func `that is killed leaves nothing behind after the next, at 16 random moments`() throws {
    let place = try workplace()
    for _ in 0..<16 {
      let drill = try place.start("firn-verify", [place.database, "latest", "--drill"])
      Thread.sleep(forTimeInterval: .random(in: 0.05...3))
      ProcessTable.send(SIGKILL, to: drill.id)
      _ = drill.wait()
    }
    #expect(try place.verify(place.database, "latest", "--drill").status == 0)
    #expect(try place.leftovers() == [])
    let spool = place.spool.string
    func alive() -> [String] { ProcessTable.commandLines().filter { $0.contains(spool) } }
    let deadline = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < deadline, !alive().isEmpty { Thread.sleep(forTimeInterval: 0.1) }
    #expect(alive().isEmpty)
    // A drill that gets a signal cleans up itself.
    let told = try place.start("firn-verify", [place.database, "latest", "--drill"])
    Thread.sleep(forTimeInterval: 1)
    ProcessTable.send(SIGTERM, to: told.id)
    #expect(told.wait() == 128 + SIGTERM)
    #expect(try place.leftovers() == [])
    #expect(alive().isEmpty)
  }

  @Test func `of a damaged snapshot names what is damaged`() throws {
    let place = try workplace()
    try place.flipBitOfLargestObject()
    let damaged = try place.verify(place.database, "latest", "--drill")
    #expect(damaged.status == 4 && damaged.output.contains("public.notes: damaged"), "\(damaged)")
    #expect(try place.firn("list").output.contains("FOUND DAMAGED"))
    #expect(try place.leftovers().isEmpty)
  }
}
