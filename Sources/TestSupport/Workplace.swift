internal import Foundation
package import Platform
package import SystemPackage

/// A store, a database and the built commands: what most tests of commands need.
package struct Workplace: Sendable {
  package let folder: TemporaryFolder
  package let server: TestServer
  package let database: String
  package var environment: [String: String]

  /// Makes a store and an empty database.
  package init(on server: TestServer, database: String? = nil) throws {
    // Drills create clusters in its spool.
    folder = try TemporaryFolder(inMemory: true)
    self.server = server
    self.database = try database ?? server.makeDatabase()
    let spool = folder.path("spool")
    try Folder.make(spool)
    environment = [
      "HOME": folder.path.string, "PATH": "/usr/bin:/bin", "TMPDIR": spool.string, "FIRN_STORE": folder.path("store").string,
      "DATABASE_URL": server.url(self.database), "FIRN_PG_BIN": server.binaries.string, "LC_ALL": "C.UTF-8",
    ]
    let made = try firn("init")
    guard made.status == 0 else { throw Unavailable("firn init: \(made)") }
  }

  package var store: FilePath { folder.path("store") }
  package var spool: FilePath { folder.path("spool") }

  /// Runs `firn`.
  @discardableResult package func firn(_ arguments: String...) throws -> CommandResult { try run("firn", arguments) }
  @discardableResult package func snapshot(_ arguments: String...) throws -> CommandResult { try run("firn-snapshot", arguments) }
  @discardableResult package func verify(_ arguments: String...) throws -> CommandResult { try run("firn-verify", arguments) }
  @discardableResult package func restore(_ arguments: String...) throws -> CommandResult { try run("firn-restore", arguments) }
  @discardableResult package func prune(_ arguments: String...) throws -> CommandResult { try run("firn-prune", arguments) }

  package func run(_ name: String, _ arguments: [String]) throws -> CommandResult {
    try Self.run(FirnProgram.path(name), arguments, environment: environment)
  }

  /// Runs a command by a clock that faketime sets, with faketime's arguments, such as `-f +2d`.
  package func run(clock: [String], _ name: String, _ arguments: [String]) throws -> CommandResult {
    while true {
      let result = try Self.run("/usr/bin/faketime", clock + [FirnProgram.path(name).string] + arguments, environment: environment)
      // faketime names a semaphore by its process id; a killed faketime leaves its own behind, and the command did not start.
      guard result.status == 1, result.errors.contains("faketime: sem_open: File exists") else { return result }
    }
  }

  package static func run(_ program: FilePath, _ arguments: [String], environment: [String: String]) throws -> CommandResult {
    let result = try ProgramResult.run(program, arguments, environment: environment)
    return CommandResult(
      status: result.exitCode, output: String(decoding: result.output, as: UTF8.self).trimmingCharacters(in: .newlines),
      errors: result.errors.joined(separator: "\n"))
  }

  /// Starts a command without waiting for it.
  package func start(_ name: String, _ arguments: [String], onErrorLine: @escaping @Sendable (String) -> Void = { _ in }) throws -> ChildProcess {
    try ChildProcess(
      FirnProgram.path(name), arguments: arguments, environment: environment, output: .kept, onErrorLine: onErrorLine)
  }

  /// Makes a snapshot that has to succeed, and gives its id.
  package func takeSnapshot(_ arguments: String...) throws -> String {
    let result = try run("firn-snapshot", arguments)
    guard result.status == 0 else { throw Unavailable("firn-snapshot: \(result)") }
    return result.output
  }

  /// Takes a snapshot that is incomplete: no dump has the rows of a foreign table.
  @discardableResult package func incompleteSnapshot(_ arguments: String...) throws -> CommandResult {
    try sql(
      "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing; CREATE FOREIGN TABLE elsewhere (a int) SERVER nowhere"
    )
    defer { _ = try? sql("DROP FOREIGN DATA WRAPPER nothing CASCADE") }
    return try run("firn-snapshot", arguments)
  }

  @discardableResult package func sql(_ text: String) throws -> String { try server.sql(text, in: database) }

  /// The ids that `firn list` shows.
  package func listedSnapshots() throws -> [String] {
    let listed = try firn("list", "--json").json()["snapshots"] as? [[String: Any]] ?? []
    return listed.compactMap { $0["id"] as? String }
  }

  /// A folder with the server's tools in which a shell script stands in the place of one: `$real` in it is the tool itself.
  package func tools(with script: String, inPlaceOf tool: String) throws -> FilePath {
    let tools = folder.path("tools-\(UUID())")
    try Folder.make(tools)
    for other in ["pg_dump", "pg_restore", "pg_dumpall", "psql", "postgres", "initdb"] where other != tool {
      try FileManager.default.createSymbolicLink(
        atPath: tools.appending(other).string, withDestinationPath: server.binaries.appending(other).string)
    }
    let start = "#!/bin/sh\nreal='\(server.binaries.appending(tool))'\n[ \"$1\" = --version ] && exec \"$real\" --version\n"
    try Folder.write(Array("\(start)\(script)\n".utf8), to: tools.appending(tool))
    try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: tools.appending(tool).string)
    return tools
  }

  /// Changes a bit in the middle of the store's largest object; done twice, it is as it was.
  package func flipBitOfLargestObject() throws {
    let objects = try filesByPath(under: store).filter { $0.key.hasPrefix("objects/") && $0.value.kind == .file }
    guard let largest = objects.max(by: { $0.value.size < $1.value.size })?.key else { throw Unavailable("the store has no object") }
    var bytes = try Folder.contents(of: store.appending(largest))
    bytes[bytes.count / 2] ^= 1
    try Folder.write(bytes, to: store.appending(largest))
  }

  /// Files that runs left in the folder for temporary files.
  package func leftovers() throws -> [String] { try Folder.names(in: spool) }
}
