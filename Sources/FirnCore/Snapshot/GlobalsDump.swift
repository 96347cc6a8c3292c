internal import Platform
internal import Postgres

/// The roles and tablespaces of a server, for the snapshots of one run over its databases: dumped once.
package final class SharedGlobals: Sendable {
  fileprivate typealias Globals = (sql: [UInt8], warnings: [String])

  private let known = Monitor<Globals?>(nil)

  package init() {}

  /// The globals of the run. `body` dumps them if this is the first call.
  fileprivate func value(_ body: () throws -> Globals) throws -> Globals {
    try known.update { globals in
      if let globals { return globals }
      let made = try body()
      globals = made
      return made
    }
  }
}

/// A run of pg_dumpall for roles and tablespaces, beside the dump of a database.
final class GlobalsDump: Sendable {
  let withPasswords: Bool
  private let outcome = Monitor<Result<(sql: [UInt8], warnings: [String]), any Error>?>(nil)
  private let thread: WorkerThread

  /// Starts it.
  /// - Parameter shared: those of the run over several databases; nil for a snapshot alone.
  init(tools: ServerTools, access: ToolAccess, database: String, withPasswords: Bool, shared: SharedGlobals?) {
    self.withPasswords = withPasswords
    thread = WorkerThread(name: "globals") { [outcome] in
      let result = Result {
        try (shared ?? SharedGlobals()).value {
          try DumpTool.globals(tools: tools, access: access, database: database, withPasswords: withPasswords)
        }
      }
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
