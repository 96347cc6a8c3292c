import CommandSupport
import FirnCore
import Testing

@Suite struct `A failure's report` {
  @Test func `proposes to do without a last snapshot only where the database is kept`() {
    func hint(keeps: Bool) -> String {
      FailureReport(SafetySnapshotFailed(cause: FirnError.noDatabaseNamed, keepsOldDatabase: keeps)).hint ?? ""
    }
    #expect(hint(keeps: true).contains("--no-safety-snapshot"))
    #expect(!hint(keeps: false).contains("--no-safety-snapshot") && hint(keeps: false).contains("nothing would be left"))
  }
}
