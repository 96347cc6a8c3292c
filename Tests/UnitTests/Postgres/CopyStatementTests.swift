import Postgres
import Testing

@Suite struct `The COPY statement of an archive` {
  private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

  @Test func `keeps its table and columns byte for byte`() throws {
    let statement = try #require(CopyStatement(Array("COPY public.\"t (\" (id, \" FROM stdin;\") FROM stdin;\n".utf8)))
    #expect(text(statement.target) == "public.\"t (\"")
    #expect(text(statement.loading(freezes: true)) == "COPY public.\"t (\" (id, \" FROM stdin;\") FROM stdin WITH (FREEZE)")
    #expect(text(statement.dumping(condition: "")) == "COPY public.\"t (\" (id, \" FROM stdin;\") TO stdout")
    #expect(
      text(statement.dumping(condition: "WHERE NOT builtin"))
        == "COPY (SELECT id, \" FROM stdin;\" FROM ONLY public.\"t (\" WHERE NOT builtin) TO stdout")
    #expect(text(statement.truncation) == "TRUNCATE TABLE ONLY public.\"t (\"")
    // In SQL_ASCII a name can be any bytes.
    let odd = try #require(CopyStatement(Array("COPY a.b (caf".utf8) + [0xE9] + Array(") FROM stdin;\n".utf8)))
    #expect(odd.columns == Array("(caf".utf8) + [0xE9] + Array(")".utf8))
  }

  @Test func `may have no columns`() throws {
    let statement = try #require(CopyStatement(Array("COPY public.empty  FROM stdin;\n".utf8)))
    #expect(text(statement.loading(freezes: false)) == "COPY public.empty FROM stdin")
  }

  @Test(arguments: [
    "", "COPY  FROM stdin;\n", "COPY a.b (x) TO stdout;\n", "INSERT INTO a VALUES (1);\n", "COPY \"a (x) FROM stdin;\n", "COPY a (x FROM stdin;\n",
  ])
  func `is nothing else`(_ text: String) { #expect(CopyStatement(Array(text.utf8)) == nil) }
}
