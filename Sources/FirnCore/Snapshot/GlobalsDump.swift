internal import Platform
internal import Postgres

/// A run of pg_dumpall for roles and tablespaces, beside the dump of a database.
final class GlobalsDump: Sendable {
  let withPasswords: Bool
  private let outcome = Monitor<Result<(sql: [UInt8], warnings: [String]), any Error>?>(nil)
  private let thread: WorkerThread

  /// Starts it.
  init(tools: ServerTools, access: ToolAccess, database: String, withPasswords: Bool) {
    self.withPasswords = withPasswords
    thread = WorkerThread(name: "globals") { [outcome] in
      let result = Result { try DumpTool.globals(tools: tools, access: access, database: database, withPasswords: withPasswords) }
      outcome.update { $0 = result }
    }
  }

  /// Waits for its end.
  func wait() { thread.join() }

  /// - Throws: `PostgresError.toolFailed`, `Interruption`.
  func result() throws -> (sql: [UInt8], warnings: [String]) {
    wait()
    return try outcome.current!.get()
  }
}
