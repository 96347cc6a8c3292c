internal import Foundation
internal import Platform
internal import Postgres
internal import Repository
internal import SystemPackage

/// Compares the schema of a restored database with the archive's.
///
/// The text of a schema changes by being restored: the server then prints some expressions differently and orders the columns of
/// children in another way. So if the texts differ, the schema is compared with a second database, which pg_restore alone creates from
/// the same archive.
struct SchemaProof {
  let build: DatabaseBuild
  /// The part of the snapshot that was restored.
  let selection: RestoreSelection
  let database: UnfinishedDatabase
  let settings: ConnectionSettings

  /// - Returns: what differs.
  /// - Throws: `PostgresError`, where the schemas can't be compared.
  func differences() throws -> [String] {
    let folder = try WorkFolder(in: build.work.path, prefix: "schema-")
    defer { folder.remove() }
    let restored = folder.path.appending("restored")
    let connection = try Connection(settings, applicationName: "firn-restore")
    let found = try SchemaDump.take(of: connection, tools: build.tools, into: restored)
    if build.tools.major == selection.manifest.versions.serverMajor {
      let original = folder.path.appending("original")
      try Folder.make(original)
      try Folder.write(selection.expectedContents, to: original.appending(ArchiveFile.contents))
      let list = folder.path.appending("original.list")
      try Folder.write(entries.restoreList, to: list)
      if try sql(of: original, ["--use-list", list.string]) == sql(of: restored, []) { return [] }
    }
    let expected = try referenceSchema(folder)
    let differences = Self.compare(expected, found)
    return differences.isEmpty ? [] : ["the schema differs"] + differences
  }

  private var entries: [ArchiveDirectory.Entry] {
    build.source.directory.entries.filter { !selection.excluded.contains($0.dumpID) && !["TABLE DATA", "BLOBS"].contains($0.kind) }
  }

  /// The schema of an archive as SQL, without what differs from run to run.
  private func sql(of folder: FilePath, _ options: [String]) throws -> [String] {
    let messages = ToolMessages(tool: "pg_restore")
    let result = try ProgramResult.run(
      build.tools.path("pg_restore"),
      ["--schema-only", "--no-subscriptions", "--file=-"] + options + selection.flags.filter { $0 == "--no-privileges" } + [folder.string],
      environment: ToolAccess.environment)
    result.errors.forEach(messages.add)
    guard result.exitCode == 0 else {
      throw PostgresError.toolFailed(tool: "pg_restore", exitCode: result.exitCode, messages: messages.errors)
    }
    // Versions and names of objects aside, comments say nothing.
    return withoutColumnVersions(String(decoding: result.output, as: UTF8.self)).split(separator: "\n").map(String.init).filter {
      !$0.hasPrefix("\\restrict ") && !$0.hasPrefix("\\unrestrict ") && !$0.hasPrefix("-- Dumped")
        && !["SET standard_conforming_strings", "SELECT pg_catalog.set_config('search_path'"]
          .contains(where: $0.hasPrefix)
    }
  }

  /// The schema that pg_restore creates from the archive on this server.
  private func referenceSchema(_ folder: WorkFolder) throws -> ArchiveDirectory {
    build.progress.begin("comparing the schema with one that pg_restore creates")
    let reference = try database.makeReference(on: build.server, snapshot: selection.manifest.id)
    defer { try? Interruption.putOff { try build.server.dropDatabase(reference.name) } }
    let connection = try Connection(settings.with(database: reference.name), applicationName: "firn-restore")
    let archive = folder.path.appending("archive")
    try Folder.make(archive)
    try Folder.write(selection.contents, to: archive.appending(ArchiveFile.contents))
    let list = folder.path.appending("reference.list")
    try Folder.write(entries.filter { !["SEQUENCE SET", "MATERIALIZED VIEW DATA"].contains($0.kind) }.restoreList, to: list)
    // Several sessions of pg_restore may lock each other out. There are no rows, so one is fast enough.
    var tool = RestoreTool(
      tools: build.tools, access: try ToolAccess(as: connection, folder: folder.path), database: reference.name, jobs: 1,
      settings: RestoreSettings.usual(jobs: 1, sharedBuffers: 0, serverMajor: connection.serverMajor))
    tool.flags = selection.flags
    let messages = ToolMessages(tool: "pg_restore")
    let code = try tool.start(of: archive, list: list, messages: messages).wait(checking: Interruption.check)
    // A signal to all processes of a service ends the child first.
    try Interruption.check()
    guard code == 0 else { throw PostgresError.toolFailed(tool: "pg_restore", exitCode: code, messages: messages.errors) }
    return try SchemaDump.take(of: connection, tools: build.tools, into: folder.path.appending("reference"))
  }

  /// Entry by entry. The numbers of entries mean nothing.
  static func compare(_ expected: ArchiveDirectory, _ found: ArchiveDirectory) -> [String] {
    func byTitle(_ archive: ArchiveDirectory) -> [String: [String]] {
      let entries = archive.entries.filter {
        !["ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE", "DATABASE PROPERTIES"].contains($0.kind) && !$0.tag.hasPrefix("DATABASE ")
      }
      return Dictionary(grouping: entries, by: \.title)
        .mapValues { $0.map { "\($0.restored(searchPath: nil))\n\($0.owner)\n\($0.tablespace)\n\($0.accessMethod)" }.sorted() }
    }
    let (expected, found) = (byTitle(expected), byTitle(found))
    let missing = expected.keys.filter { found[$0] == nil }.sorted().map { "missing: \($0)" }
    let added = found.keys.filter { expected[$0] == nil }.sorted().map { "not in the snapshot: \($0)" }
    let changed = expected.keys.filter { found[$0] != nil && found[$0] != expected[$0] }.sorted().flatMap { title -> [String] in
      func lines(_ texts: [String]?) -> [String] { (texts ?? []).flatMap { $0.split(separator: "\n").map(String.init) } }
      let (before, after) = (lines(expected[title]), lines(found[title]))
      let removed = Set(before).subtracting(after).sorted().prefix(5).map { "- \($0)" }
      return ["differs: \(title)"] + removed + Set(after).subtracting(before).sorted().prefix(5).map { "+ \($0)" }
    }
    return missing + added + changed
  }
}
