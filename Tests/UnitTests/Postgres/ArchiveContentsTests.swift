import Postgres
import Testing

@Suite struct `An archive's contents` {
  @Test func `show where it sets its sequences`() {
    let script = #"""
      SELECT pg_catalog.setval('public.users_id_seq', 42, true);
      SELECT pg_catalog.setval('public."it''s ""odd"" )"', -7, true);
      SELECT pg_catalog.setval('"a.b"."c"', 1, false);
      SELECT pg_catalog.setval(E'public."back\\slash"', 9, true);
      """#
    let values = ArchiveDirectory.sequenceValues(inScript: script)
    #expect(values.count == 4)
    #expect(values[QualifiedName(schema: "public", name: "users_id_seq")] == 42)
    #expect(values[QualifiedName(schema: "public", name: "it's \"odd\" )")] == -7)
    #expect(values[QualifiedName(schema: "a.b", name: "c")] == .some(nil))
    #expect(values[QualifiedName(schema: "public", name: #"back\slash"#)] == 9)
  }

  @Test func `name relations as SQL quotes them`() {
    #expect(QualifiedName(quoted: "public.t") == QualifiedName(schema: "public", name: "t"))
    #expect(QualifiedName(quoted: #""a ""b"" .c"."d.e""#) == QualifiedName(schema: #"a "b" .c"#, name: "d.e"))
    #expect(QualifiedName(quoted: "t") == nil)
    #expect(QualifiedName(quoted: #"public."open"#) == nil)
  }

  @Test func `tell sequences apart from what only reads like them`() {
    let script =
      "-- Name: SELECT pg_catalog.setval('public.s', 5, true); Type: SEQUENCE SET\n\nSELECT pg_catalog.setval('public.\"a\u{600}\"\"\nSELECT pg_catalog.setval(\u{301}\"', 3, true);\n"
    let values = ArchiveDirectory.sequenceValues(inScript: script)
    #expect(values == [QualifiedName(schema: "public", name: "a\u{600}\"\nSELECT pg_catalog.setval(\u{301}"): 3])
    // Composed and decomposed: two names.
    #expect(QualifiedName(schema: "s", name: "\u{e9}") != QualifiedName(schema: "s", name: "e\u{301}"))
  }
}
