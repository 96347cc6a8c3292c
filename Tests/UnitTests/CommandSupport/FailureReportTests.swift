import CommandSupport
import FirnCore
import Postgres
import Testing

@Suite struct `A failure's report` {
  @Test func `proposes to do without a last snapshot only where the database is kept`() {
    func hint(keeps: Bool) -> String {
      FailureReport(SafetySnapshotFailed(cause: FirnError.noDatabaseNamed, keepsOldDatabase: keeps)).hint ?? ""
    }
    #expect(hint(keeps: true).contains("--no-safety-snapshot"))
    #expect(!hint(keeps: false).contains("--no-safety-snapshot") && hint(keeps: false).contains("nothing would be left"))
  }

  @Test func `leaves out rows if it goes to others`() {
    let lines = [
      "error: COPY failed for table \"c\": ERROR:  new row violates check constraint \"c_check\"",
      "DETAIL:  Failing row contains (ann@example.org, secret).", "CONTEXT:  COPY c, line 1: \"ann@example.org\tsecret\"",
    ]
    let report = FailureReport(PostgresError.toolFailed(tool: "pg_restore", exitCode: 1, messages: lines))
    #expect(report.message.contains("ann@example.org"))
    #expect(report.messageWithoutRows.contains("violates check constraint \"c_check\"") && report.messageWithoutRows.contains("COPY c, line 1"))
    #expect(!report.messageWithoutRows.contains("ann@example.org"))
  }
}
