internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository
internal import SystemPackage

/// Dumps a restored database again, stores nothing, and compares it with the snapshot: every table's bytes, and the schema.
struct RestoreProof {
  let source: RestoreSource
  let selection: RestoreSelection
  let tools: ServerTools
  let settings: ConnectionSettings
  let work: WorkFolder
  let jobs: Int
  let progress: WorkProgress

  private var manifest: Manifest { selection.manifest }
  private var files: [String: SnapshotReader.FileEntry] { selection.files }

  /// Whether the whole schema was restored, and both are written by pg_dump of one major version: another writes the same otherwise.
  var comparesSchema: Bool { selection.isWhole && tools.major == manifest.versions.serverMajor }

  /// - Returns: what could not be compared.
  /// - Throws: `FirnError.restoredCopyDiffers`.
  func run() throws -> [String] {
    let connection = try Connection(settings, applicationName: "firn-restore")
    let transaction = try ExportTransaction.begin(on: connection, lockWait: .seconds(30), progress: progress)
    defer { try? transaction.end() }
    let folder = work.path.appending("proof")
    let access = try ToolAccess(as: connection, folder: work.path)
    let dump = try DumpTool(
      tools: tools, access: access, database: connection.database, encoding: connection.serverEncoding(), jobs: jobs, snapshot: transaction.snapshot,
      lockWait: .seconds(30),
      excludedTableData: [])
    let seen = try DumpReader(spool: folder, progress: progress).run(dump)
    let contents = try ArchiveContents(of: folder, tools: tools)
    var differences = try compare(contents, seen, transaction.tables) + comparePartitions(dump)
    var notes: [String] = []
    if comparesSchema {
      differences += try compareSchemas(with: folder)
    } else if selection.isWhole {
      notes.append("the schemas were not compared: PostgreSQL \(manifest.versions.serverMajor) and \(tools.major) write them differently")
    }
    if !differences.isEmpty { throw FirnError.restoredCopyDiffers(differences: differences) }
    return notes
  }

  private func compare(
    _ contents: ArchiveContents, _ seen: [String: StreamedFile], _ tables: [UInt32: DumpedTable]
  ) throws -> [String] {
    var restored: [QualifiedName: StreamedFile] = [:]
    for entry in contents.entries where entry.isTableData {
      if let table = tables[entry.oid] { restored[QualifiedName(schema: table.schema, name: table.name)] = seen[entry.file] }
    }
    var differences: [String] = []
    for table in manifest.tables {
      let found = restored.removeValue(forKey: QualifiedName(schema: table.schema, name: table.name))
      if table.loadedThrough != nil && found != nil { continue }
      if found?.digest.description != table.sha256 { differences.append("\(table.displayName): its bytes differ") }
    }
    // Whose rows were not wanted, or are not in the snapshot, is empty, and no surprise.
    for entry in source.directory.entries where entry.kind == "TABLE" {
      let name = QualifiedName(schema: entry.schema, name: entry.tag)
      if restored[name]?.rows == 0 { restored.removeValue(forKey: name) }
    }
    differences += restored.keys.map { "\($0.schema).\($0.name): not in the snapshot" }.sorted()
    return differences + largeObjectDifferences(seen)
  }

  /// The file of a large object is named for its id, which a restore keeps.
  private func largeObjectDifferences(_ seen: [String: StreamedFile]) -> [String] {
    let before = files.values.filter { $0.name.hasPrefix("blob_") }
    var differences = before.filter { seen[$0.name]?.digest != $0.digest }.map {
      "large object \($0.name.dropFirst(5).dropLast(4)): its bytes differ"
    }
    let added = Set(seen.keys.filter { $0.hasPrefix("blob_") }).subtracting(before.map(\.name))
    differences += added.map { "large object \($0.dropFirst(5).dropLast(4)): not in the snapshot" }
    return differences.sorted()
  }

  /// Partitions among which a restore may have moved rows: all rows of all partitions together, in any order.
  private func comparePartitions(_ dump: DumpTool) throws -> [String] {
    let groups = Dictionary(grouping: manifest.tables.filter { $0.loadedThrough != nil }) { $0.loadedThrough }
    return try groups.compactMap { root, tables -> String? in
      guard let root else { return nil }
      var before = RowSetDigest()
      for table in tables {
        guard let file = files[table.file] else { continue }
        try source.reader.read(file) { before.add($0) }
        before.endFile()
      }
      var again = dump
      again.onlyTables = tables.map { "\(Connection.identifier($0.schema)).\(Connection.identifier($0.name))" }
      let folder = work.path.appending("partitions")
      let after = try DumpReader(spool: folder, progress: progress).rowSet(again)
      try? Folder.removeTree(folder)
      return before == after ? nil : "\(root.schema).\(root.name): its rows differ"
    }
  }

  private func compareSchemas(with folder: FilePath) throws -> [String] {
    let original = work.path.appending("original")
    try Folder.make(original)
    try Folder.write(selection.expectedContents, to: original.appending("toc.dat"))
    let before = try schema(of: original)
    let after = try schema(of: folder)
    guard before != after else { return [] }
    func only(_ mine: [String], _ others: [String]) -> ArraySlice<String> {
      let lines = Set(mine).subtracting(others).sorted()
      // A heading beside what it heads says nothing more.
      let statements = lines.filter { !$0.hasPrefix("-- ") }
      return (statements.isEmpty ? lines : statements).prefix(5)
    }
    let (removed, added) = (only(before, after), only(after, before))
    return ["the schema differs"] + removed.map { "- \($0)" } + added.map { "+ \($0)" }
  }

  /// The schema of an archive as SQL, without what differs from run to run.
  private func schema(of folder: FilePath) throws -> [String] {
    let messages = ToolMessages(tool: "pg_restore")
    let result = try ProgramResult.run(
      tools.path("pg_restore"),
      ["--schema-only", "--no-subscriptions", "--file=-"] + selection.flags.filter { $0 == "--no-privileges" } + [folder.string],
      environment: ToolAccess.environment)
    result.errors.forEach(messages.add)
    guard result.exitCode == 0 else {
      throw PostgresError.toolFailed(tool: "pg_restore", exitCode: result.exitCode, messages: messages.errors)
    }
    return String(decoding: result.output, as: UTF8.self).split(separator: "\n").map(String.init)
      .filter { !$0.hasPrefix("\\restrict ") && !$0.hasPrefix("\\unrestrict ") && !$0.hasPrefix("-- Dumped") }
  }
}
