/// Errors of a server or its tools that callers and users need to distinguish.
/// No case holds a password: texts of libpq are redacted before they come here.
package enum PostgresError: Error, Equatable {
  case invalidURL(reason: String)
  case cannotConnect(target: String, reason: String)
  case wrongPassword(target: String, reason: String)
  case noSuchDatabase(name: String)
  case connectionLost(reason: String)
  /// A statement failed. `state` is the SQLSTATE.
  case statementFailed(message: String, state: String)
  /// The server did not take rows of a table, or a large object, named by `what`.
  case rowsRefused(what: String, message: String, details: RowsRefusedDetails)
  /// The server answered a COPY with something else.
  case unexpectedAnswer(what: String)
  case behindPooler(reason: String, portOnly: Bool)
  case noTool(name: String, major: Int, found: [String])
  case unsupportedServer(version: String)
  /// A lock was not had in time. `holders` are the sessions in the way, in words.
  case lockTimeout(message: String, holders: [String])
  /// A secret that PostgreSQL's tools take on their command line only, where everybody sees it.
  case secretForTools(parameter: String)
  case toolFailed(tool: String, exitCode: Int32, messages: [String])
}

/// The server's report about rows that it refused.
package struct RowsRefusedDetails: Sendable, Equatable {
  package let state: String
  /// May hold values of the row.
  package let detail: String?
  /// The line of the COPY, and the column. May hold its value.
  package let context: String?

  package init(state: String, detail: String?, context: String?) {
    self.state = state
    self.detail = detail
    self.context = context
  }
}

extension PostgresError {
  /// The server's message with its details, a line each, for refused rows; the reason for other errors.
  package var lines: [String] {
    guard case .rowsRefused(let what, let message, let details) = self else { return [briefly] }
    return ["\(what): \(message) (SQLSTATE \(details.state))"]
      + [details.detail.map { "DETAIL:  \($0)" }, details.context.map { "CONTEXT:  \($0)" }].compactMap(\.self)
  }

  /// Its reason in a few words, for a note beside other things.
  package var briefly: String {
    switch self {
    case .statementFailed(let message, _), .rowsRefused(_, let message, _), .lockTimeout(let message, _): message
    case .connectionLost(let reason), .cannotConnect(_, let reason), .wrongPassword(_, let reason), .invalidURL(let reason),
      .behindPooler(let reason, _):
      reason
    case .noSuchDatabase(let name): "the server has no database \(name)"
    case .unexpectedAnswer(let what): "the server did not answer the COPY of \(what)"
    case .noTool(let name, let major, _): "no \(name) of PostgreSQL \(major) was found"
    case .unsupportedServer(let version): "PostgreSQL \(version) is not supported"
    case .secretForTools(let parameter): "\(parameter) can't be given to the tools"
    case .toolFailed(let tool, let code, let messages): messages.first ?? "\(tool) ended with exit code \(code)"
    }
  }

  /// Whether a name was not found (SQLSTATE 42883, 42P01, 42703, 42704, 3F000): in functions, most often for want of a `search_path`.
  package var isOfMissingName: Bool {
    guard case .rowsRefused(_, _, let details) = self else { return false }
    return [SQLState.undefinedFunction, SQLState.undefinedTable, SQLState.undefinedColumn, SQLState.undefinedObject, SQLState.invalidSchemaName]
      .contains(details.state)
  }

  /// Whether a statement waited for a lock as long as it may.
  package var isLockTimeout: Bool { if case .statementFailed(_, SQLState.lockNotAvailable) = self { true } else { false } }

  /// Whether messages of a tool or server report a full disk, in the words of the system and the storage manager
  /// (md.c, mdextend).
  package static func tellsOfFullDisk(_ messages: [String]) -> Bool {
    messages.contains { $0.contains("No space left on device") || $0.contains("could not extend file") }
  }
}
