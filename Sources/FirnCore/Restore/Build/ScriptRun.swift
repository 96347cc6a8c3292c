internal import Foundation
internal import Platform
internal import Postgres
package import SystemPackage

/// Runs the operator's SQL in a restored database before it gets its name, so that no session can see unmasked rows.
struct ScriptRun {
  let scripts: [FilePath]
  let tools: ServerTools

  /// Runs the scripts with psql, one after another, until one fails.
  /// - Throws: `ScriptFailed`, `Interruption`.
  func run(in database: String, _ settings: ConnectionSettings, _ work: WorkFolder, _ progress: WorkProgress) throws {
    for script in scripts {
      progress.begin("running \(script.lastComponent?.string ?? script.string)")
      let folder = try WorkFolder(in: work.path, prefix: "script-")
      defer { folder.remove() }
      let access = try ToolAccess(as: Connection(settings, applicationName: "firn-restore"), folder: folder.path)
      let messages = ToolMessages(tool: "psql")
      let child = try ChildProcess(
        tools.path("psql"),
        arguments: [
          "-X", "--quiet", "--no-password", "--set", "ON_ERROR_STOP=1", "--output", "/dev/null",
          "--dbname", access.connectionString(database: database, applicationName: "firn-restore script", options: "-c client_min_messages=warning"),
          "--file", script.string,
        ], environment: ToolAccess.environment
      ) { messages.add($0) }
      let code = try child.wait(checking: Interruption.check)
      try Interruption.check()
      guard code == 0 else {
        throw ScriptFailed(script: script, messages: messages.errors.isEmpty ? ["exit code \(code)"] : messages.errors)
      }
    }
  }
}

/// A script of `--run` failed; the new database was dropped.
package struct ScriptFailed: Error {
  package let script: FilePath
  package let messages: [String]

  package init(script: FilePath, messages: [String]) {
    self.script = script
    self.messages = messages
  }
}
