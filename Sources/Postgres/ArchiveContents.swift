internal import Foundation
internal import Platform
package import SystemPackage

/// An archive's table of contents, as `pg_restore --list` prints it.
package struct ArchiveContents: Sendable {
  package struct Entry: Sendable {
    package let dumpID: Int
    /// The object's id in the catalogue it was dumped from; 0 where it has none.
    package let oid: UInt32
    /// The rest of the line: type, schema, name, owner.
    package let text: String

    package var isTableData: Bool { text.hasPrefix("TABLE DATA ") }
    /// The file of its rows.
    package var file: String { "\(dumpID).dat" }
  }

  package let entries: [Entry]

  /// - Throws: `PostgresError.toolFailed`.
  package init(of folder: FilePath, tools: ServerTools) throws {
    let messages = ToolMessages(tool: "pg_restore")
    let result = try ProgramResult.run(tools.path("pg_restore"), ["--list", folder.string], environment: ToolAccess.environment)
    result.errors.forEach(messages.add)
    guard result.exitCode == 0 else {
      throw PostgresError.toolFailed(tool: "pg_restore", exitCode: result.exitCode, messages: messages.errors)
    }
    // A line is "DUMPID; TABLEOID OID TYPE SCHEMA NAME OWNER"; names with line ends are written without them.
    entries = result.output.split(separator: 0x0A).compactMap { line in
      let parts = String(decoding: line, as: UTF8.self).split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
      guard parts.count == 4, parts[0].hasSuffix(";"), let id = Int(parts[0].dropLast()), let oid = UInt32(parts[2]) else { return nil }
      return Entry(dumpID: id, oid: oid, text: String(parts[3]))
    }
  }
}
