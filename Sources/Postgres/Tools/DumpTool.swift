internal import Foundation
package import Platform
package import SystemPackage

/// Settings of dumping and restoring sessions on which the text of values depends: the same everywhere, whatever servers,
/// databases and roles have set.
enum ValueText {
  static let settings = [
    ("timezone", "UTC"), ("bytea_output", "hex"), ("lc_monetary", "C"), ("intervalstyle", "postgres"), ("array_nulls", "on"),
    ("xmloption", "content"), ("datestyle", "ISO"), ("standard_conforming_strings", "on"), ("quote_all_identifiers", "off"),
  ]
  static let options = settings.map { "-c \($0.0)=\($0.1)" }.joined(separator: " ")
}

/// A run of `pg_dump`.
package struct DumpTool: Sendable {
  package var tools: ServerTools
  package var access: ToolAccess
  package var database: String
  package var jobs: Int
  /// The exported snapshot to read.
  package var snapshot: String
  package var lockWait: Duration
  package var excludedTableData: [String]
  /// The database's own: roles and databases may have set another for their sessions.
  package var encoding: String
  /// Where not empty, only these tables' rows, named as SQL does.
  package var onlyTables: [String] = []
  /// To be off in its sessions.
  package var settingsToTurnOff: [String] = []

  /// The application name of its sessions, unique to this run.
  package let applicationName = "firn pg_dump \(Host.processID)"

  package init(
    tools: ServerTools, access: ToolAccess, database: String, encoding: String, jobs: Int, snapshot: String, lockWait: Duration,
    excludedTableData: [String]
  ) {
    self.encoding = encoding
    self.tools = tools
    self.access = access
    self.database = database
    self.jobs = jobs
    self.snapshot = snapshot
    self.lockWait = lockWait
    self.excludedTableData = excludedTableData
  }

  /// For every run of pg_dump: what is dumped doesn't depend on how servers and roles are set.
  package static let fixedOptions = ValueText.options

  /// Starts the dump into `folder`, which must not exist.
  package func start(into folder: FilePath, messages: ToolMessages) throws -> ChildProcess {
    let options = ([ValueText.options] + settingsToTurnOff.map { "-c \($0)=off" }).joined(separator: " ")
    var arguments = [
      "--dbname", access.connectionString(database: database, applicationName: applicationName, options: options),
      "--format=directory", "--jobs=\(jobs)", "--compress=0", "--no-sync", "--no-password",
      "--encoding=\(encoding)", "--snapshot=\(snapshot)", "--lock-wait-timeout=\(Connection.limit(lockWait))", "--file", folder.string,
    ]
    if !onlyTables.isEmpty { arguments += ["--data-only"] + onlyTables.map { "--table=\($0)" } }
    for pattern in excludedTableData { arguments += ["--exclude-table-data", pattern] }
    return try ChildProcess(tools.path("pg_dump"), arguments: arguments, environment: ToolAccess.environment, isStopped: true) { messages.add($0) }
  }

  /// Roles, memberships and tablespaces as SQL.
  package static func globals(
    tools: ServerTools, access: ToolAccess, database: String, withPasswords: Bool
  ) throws -> (sql: [UInt8], warnings: [String]) {
    // It goes to postgres or template1, as all that is shared is written in one encoding there; the role may not be let in.
    do { return try globals(tools, access, database, withPasswords, of: []) } catch PostgresError.toolFailed {
      return try globals(tools, access, database, withPasswords, of: ["--database", database])
    }
  }

  private static func globals(
    _ tools: ServerTools, _ access: ToolAccess, _ database: String, _ withPasswords: Bool, of place: [String]
  ) throws -> (sql: [UInt8], warnings: [String]) {
    let messages = ToolMessages(tool: "pg_dumpall")
    var arguments = [
      "--dbname", access.connectionString(database: database, applicationName: "firn pg_dumpall"), "--globals-only", "--no-password",
    ]
    arguments += place
    if !withPasswords { arguments.append("--no-role-passwords") }
    let result = try ProgramResult.run(tools.path("pg_dumpall"), arguments, environment: ToolAccess.environment)
    result.errors.forEach(messages.add)
    guard result.exitCode == 0 else {
      throw PostgresError.toolFailed(tool: "pg_dumpall", exitCode: result.exitCode, messages: messages.errors)
    }
    return (result.output, messages.warnings)
  }
}
