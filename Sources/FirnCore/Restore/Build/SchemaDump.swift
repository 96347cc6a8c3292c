internal import Repository
internal import Platform
internal import Postgres
internal import SystemPackage

/// The schema of a database, as pg_dump writes it now.
enum SchemaDump {
  /// - Parameter folder: a new folder for the archive, in a private one.
  /// - Throws: `PostgresError.toolFailed`, `FirnError.unsoundArchive`.
  static func take(of connection: Connection, tools: ServerTools, into folder: FilePath) throws -> ArchiveDirectory {
    // With thousands of tables, another session may hold a lock on one and wait for the next.
    for _ in 1..<3 {
      do { return try attempt(connection, tools, folder) } catch let error as PostgresError {
        guard case .toolFailed = error, try connection.hadDeadlock(in: connection.database) else { throw error }
        try Folder.removeTree(folder)
      }
    }
    return try attempt(connection, tools, folder)
  }

  private static func attempt(_ connection: Connection, _ tools: ServerTools, _ folder: FilePath) throws -> ArchiveDirectory {
    let access = try ToolAccess(as: connection, folder: folder.removingLastComponent())
    let messages = ToolMessages(tool: "pg_dump")
    let result = try ProgramResult.run(
      tools.path("pg_dump"),
      [
        "--dbname", access.connectionString(database: connection.database, applicationName: "firn pg_dump", options: DumpTool.fixedOptions),
        "--format=directory", "--schema-only", "--compress=0", "--no-sync", "--no-password", "--file", folder.string,
      ], environment: ToolAccess.environment)
    result.errors.forEach(messages.add)
    guard result.exitCode == 0 else { throw PostgresError.toolFailed(tool: "pg_dump", exitCode: result.exitCode, messages: messages.errors) }
    return try ArchiveDirectory(ofArchive: folder)
  }
}

extension ArchiveDirectory {
  /// Bytes; a million tables have about half of it.
  static let sizeLimit = 1 << 30

  /// Reads the table of contents of an archive in a folder.
  /// - Throws: `FirnError.unsoundArchive`.
  init(ofArchive folder: FilePath) throws {
    do { self = try ArchiveDirectory(parsing: Folder.contents(of: folder.appending(ArchiveFile.contents), limit: Self.sizeLimit)) } catch let error
      as Unreadable
    {
      throw FirnError.unsoundArchive(reason: error.reason)
    }
  }
}
