import Postgres
import Testing

@Suite struct `A pattern of pg_dump` {
  @Test(arguments: [
    ("public.log", "^(public)$", "^(log)$"), ("Public.LOG*", "^(public)$", "^(log.*)$"), ("\"Public\".\"a*b\"", "^(Public)$", "^(a\\*b)$"),
    ("db.s.t?", "^(s)$", "^(t.)$"), ("s.\"it\"\"s\"", "^(s)$", "^(it\"s)$"), ("s.(a|b)", "^(s)$", "^((a|b))$"), ("s.a$", "^(s)$", "^(a\\$)$"),
    ("s.x[]", "^(s)$", "^(x\\[])$"),
  ])
  func `becomes a regular expression`(_ pattern: String, _ schema: String, _ name: String) {
    #expect(DumpPattern(pattern).schema == schema)
    #expect(DumpPattern(pattern).name == name)
  }

  @Test func `may name no schema`() {
    #expect(DumpPattern("events_*").schema == nil)
    #expect(DumpPattern("events_*").name == "^(events_.*)$")
  }
}
