/// What can go wrong with a server or its tools, as far as callers and users tell it apart.
/// No case holds a password: texts of libpq are redacted before they come here.
package enum PostgresError: Error, Equatable {
  case invalidURL(reason: String)
  case cannotConnect(target: String, reason: String)
  case wrongPassword(target: String, reason: String)
  case noSuchDatabase(name: String)
  case connectionLost(reason: String)
  /// A statement failed. `state` is the SQLSTATE.
  case statementFailed(message: String, state: String)
  case behindPooler(reason: String, portOnly: Bool)
  case noTool(name: String, major: Int, found: [String])
  case unsupportedServer(version: String)
  /// A lock was not had in time. `holders` are the sessions in the way, in words.
  case lockTimeout(message: String, holders: [String])
  /// A secret that PostgreSQL's tools take on their command line only, where everybody sees it.
  case secretForTools(parameter: String)
  case toolFailed(tool: String, exitCode: Int32, messages: [String])
}

extension PostgresError {
  /// Whether a statement waited for a lock as long as it may.
  package var isLockTimeout: Bool { if case .statementFailed(_, "55P03") = self { true } else { false } }

  /// Whether a tool or the server tells of a full disk, as the system and the storage manager say it (md.c, mdextend).
  package static func tellsOfFullDisk(_ messages: [String]) -> Bool {
    messages.contains { $0.contains("No space left on device") || $0.contains("could not extend file") }
  }
}
