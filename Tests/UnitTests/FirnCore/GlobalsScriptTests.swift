import FirnCore
import Postgres
import Testing

@Suite struct `A globals file` {
  private let script = GlobalsScript(
    #"""
    --
    -- Roles
    --
    \restrict abc
    CREATE ROLE app;
    ALTER ROLE app WITH NOSUPERUSER INHERIT LOGIN PASSWORD 'SCRAM-SHA-256$4096:x;y''z--';
    COMMENT ON ROLE app IS 'two
    lines; of "text"';
    CREATE ROLE "odd ""role""";
    ALTER ROLE "odd ""role""" WITH SUPERUSER;
    CREATE ROLE readers;
    ALTER ROLE readers WITH NOSUPERUSER;
    CREATE ROLE other;
    ALTER ROLE other SET search_path TO 'x';
    GRANT readers TO app WITH INHERIT TRUE GRANTED BY postgres;
    GRANT other TO stranger GRANTED BY postgres;
    """#)

  @Test func `gives up the roles that are missing, with those they belong to`() {
    let roles = script.roles(toMake: ["app"], existing: ["postgres"])
    #expect(roles.map(\.name) == ["app", "readers"])
    let statements = roles.flatMap(\.statements)
    #expect(statements.first == "CREATE ROLE app" && statements[1] == "CREATE ROLE readers")
    #expect(statements.contains("ALTER ROLE app WITH NOSUPERUSER INHERIT LOGIN PASSWORD 'SCRAM-SHA-256$4096:x;y''z--'"))
    #expect(statements.contains("COMMENT ON ROLE app IS 'two\nlines; of \"text\"'"))
    #expect(statements.contains("GRANT readers TO app WITH INHERIT TRUE"))
    #expect(!statements.contains { $0.contains("other") || $0.contains("odd") })
  }

  @Test func `recognizes superusers, whatever their names`() {
    let roles = script.roles(toMake: [#"odd "role""#], existing: [])
    #expect(roles.map(\.name) == [#"odd "role""#])
    #expect(roles[0].powers.contains("SUPERUSER"))
  }

  @Test func `recognizes powers in whichever form they are given`() {
    let script = GlobalsScript(
      "CREATE ROLE a SUPERUSER LOGIN; CREATE ROLE b; ALTER ROLE b BYPASSRLS; CREATE ROLE c WITH LOGIN IN ROLE pg_execute_server_program; CREATE ROLE d NOSUPERUSER PASSWORD 'SUPERUSER CREATEDB';"
    )
    let powers = script.roles(toMake: ["a", "b", "c", "d"], existing: []).reduce(into: [:]) { $0[$1.name] = $1.powers }
    #expect(powers == ["a": ["SUPERUSER"], "b": ["BYPASSRLS"], "c": ["member of pg_execute_server_program"], "d": []])
  }

  @Test(arguments: [
    ("PASSWORD 'x''y' SUPERUSER", ["SUPERUSER"]), ("IN ROLE harmless, \"pg execute\"", ["member of harmless", "member of pg execute"]),
    ("SUPERUSER/**/LOGIN", ["SUPERUSER/**/LOGIN"]), ("VALID UNTIL 'infinity'SUPERUSER", ["SUPERUSER"]),
    ("ROLE \"password\" SUPERUSER", ["with the member password", "SUPERUSER"]), ("superuser", ["SUPERUSER"]),
    ("CONNECTION LIMIT -1SUPERUSER", ["-1SUPERUSER"]),
    ("ADMIN app, b", ["with the member app", "with the member b"]),
    ("WITH NOSUPERUSER INHERIT LOGIN CONNECTION LIMIT 3 VALID UNTIL 'x' PASSWORD 'SUPERUSER'", []),
    ("SET search_path TO 'x', y", ["SET search_path"]),
  ])
  func `shows every option of a role that may give it power, however it is written`(_ options: String, _ powers: [String]) {
    for verb in ["CREATE", "ALTER"] {
      let script = GlobalsScript("\(verb == "ALTER" ? "CREATE ROLE r;" : "")\(verb) ROLE r \(options);")
      let found = script.roles(toMake: ["r"], existing: []).flatMap(\.powers)
      #expect(found.map { $0.uppercased() } == powers.map { $0.uppercased() })
    }
  }

  @Test func `changes nothing of roles that exist`() {
    let roles = script.roles(toMake: ["app"], existing: ["readers"])
    #expect(roles.map(\.name) == ["app"])
    #expect(!roles[0].statements.contains { $0.contains("ROLE readers") })
    #expect(roles[0].statements.contains("GRANT readers TO app WITH INHERIT TRUE"))
    #expect(script.roles(toMake: ["nobody"], existing: []).isEmpty)
  }

  @Test func `sees a quote whatever stands beside it`() {
    let script = GlobalsScript(
      "CREATE ROLE \"a\u{600}\"\"; GRANTED BY \"\"\u{301}\";\nCREATE ROLE m;\nGRANT \"a\u{600}\"\"; GRANTED BY \"\"\u{301}\" TO m GRANTED BY \"x\u{301}\";"
    )
    let name = "a\u{600}\"; GRANTED BY \"\u{301}"
    #expect(script.statements.count == 3)
    let roles = script.roles(toMake: ["m"], existing: [])
    #expect(Set(roles.map(\.name)) == [name, "m"])
    #expect(roles.flatMap(\.statements).last.map { Array($0.utf8) } == Array("GRANT \"a\u{600}\"\"; GRANTED BY \"\"\u{301}\" TO m".utf8))
  }
}
