import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository
import SystemPackage

/// `--table` into the live database, `--data-only`, and `--export`.
struct PartialRestores {
  let command: FirnRestore
  let context: CommandContext

  func restoreTables(of place: SnapshotPath, in repository: Repository) throws -> ExitStatus {
    let start = ContinuousClock.now
    let scope = try command.parts.scope()
    let database = command.newName ?? place.database
    let settings = try context.connectionSettings(command.server.connection, database: database)
    let destination = command.parts.dataOnly ? TableRestore.Destination.emptyTables : .newSchema(at: Date())
    let outcome = try context.withProgress { progress in
      try TableRestore(
        repository: repository, place: place, settings: settings, patterns: scope.tables, searchPath: scope.searchPath, progress: progress
      ).run(into: destination)
    }
    let target = outcome.schema ?? database
    let rows = outcome.tables.reduce(0) { $0 + $1.rows }
    let seconds = (ContinuousClock.now - start).inSeconds
    if command.common.json {
      try context.output(
        json: Report(
          id: place.id.description, database: place.database, restoredAs: target, seconds: seconds, tables: outcome.tables.count,
          rows: rows, objectsRead: outcome.objectsRead, objectsOfSnapshot: outcome.objectsOfSnapshot))
      return .done
    }
    for note in outcome.notes { context.tell("note: \(note)") }
    context.output(target)
    for table in outcome.tables { context.tell("  \(outcome.schema.map { "\($0)." } ?? "")\(table.name): \(Quantity.rows(table.rows))") }
    let destinationName = "\(outcome.schema.map { "new schema \($0)" } ?? "the empty tables") of \(database)"
    context.tell("restored from \(place.id) into \(destinationName), each table counted, in \(Quantity.span(seconds)); nothing else was changed")
    if let schema = outcome.schema { context.tell("the tables have no indexes and no keys; when done with them: DROP SCHEMA \(schema) CASCADE") }
    return .done
  }

  func export(_ place: SnapshotPath, in repository: Repository, to path: String) throws -> ExitStatus {
    let start = ContinuousClock.now
    var folder = FilePath(path)
    if folder.isRelative { folder = FilePath(FileManager.default.currentDirectoryPath).pushing(folder) }
    let target = folder.lexicallyNormalized()
    try context.refuseInsideStore(target, option: "--export")
    let scope = try command.parts.scope()
    let outcome = try context.withProgress { progress in
      try ArchiveExport(repository: repository, place: place, scope: scope, progress: progress).run(to: target)
    }
    let seconds = (ContinuousClock.now - start).inSeconds
    if command.common.json {
      try context.output(
        json: Report(
          id: place.id.description, database: place.database, restoredAs: target.string, seconds: seconds, tables: outcome.tables, rows: outcome.rows,
          objectsRead: outcome.objectsRead, objectsOfSnapshot: outcome.objectsOfSnapshot, warnings: outcome.leftOut))
      return outcome.leftOut.isEmpty ? .done : .doneWithWarnings
    }
    for line in outcome.leftOut { context.warn("left out: \(line)") }
    context.output(target.string)
    context.tell(
      "wrote \(place.id) as an archive: \(Quantity.count(outcome.files, "file")), \(Quantity.size(outcome.bytes)), every byte checked, in \(Quantity.span(seconds))"
    )
    let list = outcome.list.map { " --use-list='\($0)'" } ?? ""
    context.tell("restore it with: pg_restore --exit-on-error --jobs=2\(list) -d DATABASE '\(target)'")
    return outcome.leftOut.isEmpty ? .done : .doneWithWarnings
  }

  private struct Report: Encodable {
    let id: String
    let database: String
    let restoredAs: String
    var keptAs = Nullable<String>(nil)
    let seconds: Double
    var downtimeSeconds = 0.0
    let tables: Int
    let rows: Int64
    let objectsRead: Int
    let objectsOfSnapshot: Int
    var warnings: [String] = []
  }
}
