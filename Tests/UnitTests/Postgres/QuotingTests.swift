import Postgres
import Testing

@Suite struct `Quoting` {
  @Test func `sees a quote whatever stands beside it`() {
    // U+0600 combines with the next character, U+0301 with the previous one: each makes one Character with the
    // quote.
    #expect(Array(Connection.identifier("a\u{600}\"b\"\u{301}").utf8) == Array("\"a\u{600}\"\"b\"\"\u{301}\"".utf8))
    #expect(Array(Connection.literal("a\u{600}'b'\u{301}").utf8) == Array("'a\u{600}''b''\u{301}'".utf8))
    #expect(Array(Connection.literal("\u{600}\\'\u{301}").utf8) == Array(" E'\u{600}\\\\''\u{301}'".utf8))
    #expect(Array(ConnectionSettings.quoted("\u{600}'\\\u{301}").utf8) == Array("'\u{600}\\'\\\\\u{301}'".utf8))
  }
}
