internal import Foundation
package import Platform
package import SystemPackage

/// A run of `pg_restore` into an existing, empty database.
package struct RestoreTool: Sendable {
  package var tools: ServerTools
  package var access: ToolAccess
  package var database: String
  package var jobs: Int
  /// Settings for its sessions.
  package var settings: [(name: String, value: String)]
  /// The name of its sessions.
  package var applicationName = "firn pg_restore"
  /// More options, such as `--no-privileges`.
  package var flags: [String] = []

  package init(tools: ServerTools, access: ToolAccess, database: String, jobs: Int, settings: [(name: String, value: String)]) {
    self.tools = tools
    self.access = access
    self.database = database
    self.jobs = jobs
    self.settings = settings
  }

  /// Starts restoring the archive in `folder`. Never with `--create` or `--clean`.
  /// - Parameter list: a file with the entries to restore, in the form of `pg_restore --list`; nil for all. An empty one is for none.
  package func start(of folder: FilePath, list: FilePath?, messages: ToolMessages) throws -> ChildProcess {
    let own = settings.map { "-c \($0.name)=\($0.value.replacingASCII("\\", with: "\\\\").replacingASCII(" ", with: "\\ "))" }
    let options = ([ValueText.options] + own).joined(separator: " ")
    var arguments = [
      "--dbname", access.connectionString(database: database, applicationName: applicationName, options: options),
      "--format=directory", "--jobs=\(jobs)", "--exit-on-error", "--no-password", "--no-subscriptions",
    ]
    arguments += flags
    if let list { arguments += ["--use-list", list.string] }
    arguments.append(folder.string)
    return try ChildProcess(tools.path("pg_restore"), arguments: arguments, environment: ToolAccess.environment) { messages.add($0) }
  }
}
