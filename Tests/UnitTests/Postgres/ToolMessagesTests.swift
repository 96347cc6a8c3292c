import Postgres
import Testing

@Suite struct `What a tool says` {
  @Test func `is split into warnings with their details, and errors`() {
    let messages = ToolMessages(tool: "pg_dump")
    for line in ["pg_dump: warning: circular", "pg_dump: detail: table t", "pg_dump: hint: use -a", "pg_dump: error: broken"] { messages.add(line) }
    #expect(messages.warnings == ["circular; detail: table t; hint: use -a"])
    #expect(messages.errors == ["error: broken"])
  }

  @Test func `never shows the statement that failed: it may hold a password`() {
    let messages = ToolMessages(tool: "pg_restore")
    for line in [
      "pg_restore: error: could not execute query: ERROR:  no", "Command was: CREATE SUBSCRIPTION s CONNECTION 'password=hunter2",
      "hunter2 goes on", "pg_restore: error: another",
    ] { messages.add(line) }
    #expect(messages.errors == ["error: could not execute query: ERROR:  no", "error: another"])
  }
}
