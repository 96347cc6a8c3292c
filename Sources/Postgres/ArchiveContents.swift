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
    fileprivate let line: [UInt8]

    package var isTableData: Bool { text.hasPrefix("TABLE DATA ") }
    package var isEventTrigger: Bool { text.hasPrefix("EVENT TRIGGER ") || text.hasPrefix("COMMENT - EVENT TRIGGER ") }
    package var isMaterializedView: Bool { text.hasPrefix("MATERIALIZED VIEW DATA ") }
    package var isSubscription: Bool { text.hasPrefix("SUBSCRIPTION ") }
    /// The file of its rows.
    package var file: String { "\(dumpID).dat" }
  }

  package let entries: [Entry]
  private let folder: FilePath
  private let tools: ServerTools

  /// - Throws: `PostgresError.toolFailed`.
  package init(of folder: FilePath, tools: ServerTools) throws {
    self.folder = folder
    self.tools = tools
    // A line is "DUMPID; TABLEOID OID TYPE SCHEMA NAME OWNER"; names with line ends are written without them.
    entries = try Self.output(of: ["--list", folder.string], tools).split(separator: 0x0A).compactMap { line in
      let parts = String(decoding: line, as: UTF8.self).split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
      guard parts.count == 4, parts[0].hasSuffix(";"), let id = Int(parts[0].dropLast()), let oid = UInt32(parts[2]) else { return nil }
      return Entry(dumpID: id, oid: oid, text: String(parts[3]), line: Array(line))
    }
  }

  /// Writes those entries to a file as a list for `pg_restore --use-list`.
  package func writeList(to path: FilePath, where isWanted: (Entry) -> Bool) throws {
    try Folder.write(Array(entries.filter(isWanted).map(\.line).joined(separator: [0x0A])) + [0x0A], to: path)
  }

  /// Where the archive sets its sequences to; nil for those never used.
  /// - Parameter scratch: a folder for passing files.
  package func sequenceValues(scratch: FilePath) throws -> [QualifiedName: Int64?] {
    guard entries.contains(where: { $0.text.hasPrefix("SEQUENCE SET ") }) else { return [:] }
    let list = scratch.appending("sequences.list")
    try writeList(to: list) { $0.text.hasPrefix("SEQUENCE SET ") }
    let sql = try Self.output(of: ["--use-list", list.string, "--file=-", folder.string], tools)
    // It says so among its first lines.
    let head = String(decoding: sql.prefix(4096), as: UTF8.self).split(separator: "\n")
    let encoding = head.first { $0.hasPrefix("SET client_encoding") }.map { ArchiveEncoding(statement: $0) } ?? .utf8
    return Self.sequenceValues(inScript: encoding.text(sql))
  }

  /// Reads statements of the form `SELECT pg_catalog.setval('schema."a name"', 12, true);`.
  package static func sequenceValues(inScript sql: String) -> [QualifiedName: Int64?] {
    var values: [QualifiedName: Int64?] = [:]
    let call = Array("\nSELECT pg_catalog.setval(".utf8)
    let bytes = [0x0A] + Array(sql.utf8)
    var rest = bytes[...]
    // At a line's beginning only: a comment before it tells the name, which may look like such a call.
    while let start = rest.firstRange(of: call) {
      rest = rest[start.upperBound...]
      // A literal with a backslash in it is written E'…', backslashes doubled.
      let isEscaped = rest.first == UInt8(ascii: "E")
      rest = rest.dropFirst(isEscaped ? 2 : 1)
      var literal: [UInt8] = []
      while let byte = rest.popFirst() {
        if byte == UInt8(ascii: "'") {
          guard rest.first == byte else { break }
          rest = rest.dropFirst()
        } else if isEscaped && byte == UInt8(ascii: "\\") {
          rest = rest.dropFirst()
        }
        literal.append(byte)
      }
      let arguments = String(decoding: rest.prefix { $0 != UInt8(ascii: ")") }, as: UTF8.self).split(separator: ",")
        .map { $0.trimmingCharacters(in: .whitespaces) }
      guard arguments.count == 2, let value = Int64(arguments[0]),
        let name = QualifiedName(quoted: String(decoding: literal, as: UTF8.self))
      else { continue }
      values[name] = .some(arguments[1] == "true" ? value : nil)
    }
    return values
  }

  private static func output(of arguments: [String], _ tools: ServerTools) throws -> [UInt8] {
    let messages = ToolMessages(tool: "pg_restore")
    let result = try ProgramResult.run(tools.path("pg_restore"), arguments, environment: ToolAccess.environment)
    result.errors.forEach(messages.add)
    guard result.exitCode == 0 else {
      throw PostgresError.toolFailed(tool: "pg_restore", exitCode: result.exitCode, messages: messages.errors)
    }
    return result.output
  }
}

/// The name of a relation in its schema. Equal where the bytes are: PostgreSQL tells `é` and `e` with an accent apart.
package struct QualifiedName: Hashable, Sendable {
  package let schema: String
  package let name: String

  package init(schema: String, name: String) {
    self.schema = schema
    self.name = name
  }

  package static func == (left: Self, right: Self) -> Bool { left.schema.isSame(as: right.schema) && left.name.isSame(as: right.name) }

  package func hash(into hasher: inout Hasher) {
    for byte in schema.utf8 { hasher.combine(byte) }
    hasher.combine(0 as UInt8)
    for byte in name.utf8 { hasher.combine(byte) }
  }

  /// From `schema.name` as SQL writes it, with quotes where they are needed; else nil.
  package init?(quoted text: String) {
    var parts = [String.UnicodeScalarView()]
    var isQuoted = false
    var rest = text[...].unicodeScalars
    while let scalar = rest.popFirst() {
      if scalar == "\"" {
        if isQuoted && rest.first == "\"" {
          rest.removeFirst()
          parts[parts.count - 1].append("\"")
        } else {
          isQuoted.toggle()
        }
      } else if scalar == "." && !isQuoted {
        parts.append(.init())
      } else {
        parts[parts.count - 1].append(scalar)
      }
    }
    guard parts.count == 2, !isQuoted else { return nil }
    self.init(schema: String(parts[0]), name: String(parts[1]))
  }
}
