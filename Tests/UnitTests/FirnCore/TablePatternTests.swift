import FirnCore
import Postgres
import Testing

@Suite struct `A table's name on the command line` {
  private func matches(_ pattern: String, _ schema: String, _ name: String) throws -> Bool {
    try TablePattern(pattern).matches(schema: schema, name: name)
  }

  @Test func `may have wildcards, a schema, and quotes`() throws {
    #expect(
      try matches("public.users", "public", "users") && !matches("public.users", "app", "users") && !matches("public.users", "public", "users2"))
    #expect(
      try matches("users", "any", "users") && matches("*.u?e*s", "a", "uses") && matches("*.u?e*s", "a", "useless") && !matches("u?e*s", "a", "uesx"))
    #expect(try matches("a*b*c", "x", "abbbc") && matches("a*b*c", "x", "abcbc") && !matches("a*b*c", "x", "abcb"))
    #expect(try matches(#""a.b"."c*""#, "a.b", "c*") && !matches(#""a.b"."c*""#, "a.b", "cd") && matches(#""it""s""#, "x", "it\"s"))
    // Composed and decomposed are two names.
    #expect(try !matches("\u{e9}", "x", "e\u{301}"))
    let reason = "a table is named as SCHEMA.TABLE, odd names within double quotes"
    for wrong in ["", ".", "a.", ".b", "\"open"] {
      #expect(throws: FirnError.invalidName(name: wrong, reason: reason)) { try TablePattern(wrong) }
    }
    #expect(throws: FirnError.invalidName(name: "a.b.c", reason: "a table is named as SCHEMA.TABLE")) { try TablePattern("a.b.c") }
  }

  @Test func `leads to statements of an archive that are taken apart`() {
    #expect(
      TableStatement.columns(of: "CREATE TABLE public.t (\n    id integer\n);\n\nALTER TABLE ONLY public.t ALTER COLUMN id SET STATISTICS 5;\n")
        == "(\n    id integer\n)")
    #expect(
      TableStatement.columns(of: "CREATE UNLOGGED TABLE a.\"b (;\"\" c\" (\n x text DEFAULT ');('::text\n)\nWITH (fillfactor='70');\n")
        == "(\n x text DEFAULT ');('::text\n)")
    #expect(TableStatement.columns(of: "CREATE TABLE a.b (\n x text\n)\nINHERITS (a.p);\n") == nil)
    #expect(TableStatement.columns(of: "CREATE TABLE a.b OF a.t;\n") == nil)
  }
}
