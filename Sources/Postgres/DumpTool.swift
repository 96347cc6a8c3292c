internal import Foundation
package import Platform
package import SystemPackage

/// What a tool of PostgreSQL says on standard error, told apart.
package final class ToolMessages: Sendable {
  private struct State: Sendable {
    var warnings: [String] = []
    var others: [String] = []
  }
  private let state = Monitor(State())
  private let tool: String

  package init(tool: String) { self.tool = tool }

  /// Takes one line. What follows a warning as detail or hint belongs to it.
  package func add(_ line: String) {
    let text = line.hasPrefix("\(tool): ") ? String(line.dropFirst(tool.count + 2)) : line
    state.update { state in
      if text.hasPrefix("warning: ") {
        state.warnings.append(String(text.dropFirst(9)))
      } else if state.others.isEmpty, !state.warnings.isEmpty, text.hasPrefix("detail: ") || text.hasPrefix("hint: ") {
        state.warnings[state.warnings.count - 1] += "; " + text
      } else if !text.isEmpty, state.others.count < 100 {
        state.others.append(text)
      }
    }
  }

  package var warnings: [String] { state.current.warnings }
  /// Errors with their details; the statement that failed is left out, as it may hold rows.
  package var errors: [String] {
    let lines = state.current.others
    return lines.enumerated().filter { !$1.hasPrefix("Command was:") }.map(\.element)
  }
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
  /// Where not empty, only these tables' rows, named as SQL does.
  package var onlyTables: [String] = []

  package init(
    tools: ServerTools, access: ToolAccess, database: String, jobs: Int, snapshot: String, lockWait: Duration, excludedTableData: [String]
  ) {
    self.tools = tools
    self.access = access
    self.database = database
    self.jobs = jobs
    self.snapshot = snapshot
    self.lockWait = lockWait
    self.excludedTableData = excludedTableData
  }

  /// Starts the dump into `folder`, which must not exist.
  package func start(into folder: FilePath, messages: ToolMessages) throws -> ChildProcess {
    var arguments = [
      "--dbname", access.connectionString(database: database, applicationName: "firn pg_dump"),
      "--format=directory", "--jobs=\(jobs)", "--compress=0", "--no-sync", "--no-password",
      "--snapshot=\(snapshot)", "--lock-wait-timeout=\(lockWait.milliseconds)", "--file", folder.string,
    ]
    if !onlyTables.isEmpty { arguments += ["--data-only"] + onlyTables.map { "--table=\($0)" } }
    for pattern in excludedTableData { arguments += ["--exclude-table-data", pattern] }
    return try ChildProcess(tools.path("pg_dump"), arguments: arguments, environment: ToolAccess.environment) { messages.add($0) }
  }

  /// The schema of the database as SQL, of a snapshot or as it is.
  package static func schema(of database: String, tools: ServerTools, access: ToolAccess) throws -> [UInt8] {
    let messages = ToolMessages(tool: "pg_dump")
    let result = try ProgramResult.run(
      tools.path("pg_dump"),
      ["--dbname", access.connectionString(database: database, applicationName: "firn pg_dump"), "--schema-only", "--no-password"],
      environment: ToolAccess.environment)
    result.errors.forEach(messages.add)
    guard result.exitCode == 0 else { throw PostgresError.toolFailed(tool: "pg_dump", exitCode: result.exitCode, messages: messages.errors) }
    return result.output
  }

  /// Roles, memberships and tablespaces as SQL.
  package static func globals(
    tools: ServerTools, access: ToolAccess, database: String, withPasswords: Bool
  ) throws -> (sql: [UInt8], warnings: [String]) {
    let messages = ToolMessages(tool: "pg_dumpall")
    var arguments = [
      "--dbname", access.connectionString(database: database, applicationName: "firn pg_dumpall"), "--globals-only", "--no-password",
    ]
    if !withPasswords { arguments.append("--no-role-passwords") }
    let result = try ProgramResult.run(tools.path("pg_dumpall"), arguments, environment: ToolAccess.environment)
    result.errors.forEach(messages.add)
    guard result.exitCode == 0 else {
      throw PostgresError.toolFailed(tool: "pg_dumpall", exitCode: result.exitCode, messages: messages.errors)
    }
    return (result.output, messages.warnings)
  }
}
