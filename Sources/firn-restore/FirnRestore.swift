import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

@main struct Main {
  static func main() { Program.start(FirnRestore.self) }
}

/// Restores a snapshot into a new database.
struct FirnRestore: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "firn-restore", abstract: "Restore a snapshot into a new database.",
    discussion: "An existing database is never written to. Whatever fails, the new database is gone again.")

  @Argument(help: "The database, or SOURCE/DATABASE.") var database: String
  @Argument(help: "An id, the beginning of one, latest, latest:verified, latest:KIND, or before:TIME.") var snapshot = "latest"
  @Option(name: .customLong("as"), help: ArgumentHelp("The name of the new database.", valueName: "name")) var newName: String
  @Flag(help: "Dump the new database again and compare every table's bytes and the schema.") var prove = false
  @Option(name: .customLong("set"), help: ArgumentHelp("A server setting for the sessions that restore. May be repeated.", valueName: "name=value"))
  var settings: [String] = []
  @OptionGroup var server: ServerOptions
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    let places = try repository.catalog.database(named: database)
    let place = try SnapshotSelector(snapshot).choose(from: places, in: repository.catalog)
    var request = RestoreRequest(settings: try context.connectionSettings(server), place: place, newName: newName)
    request.jobs = context.jobs(server)
    request.proves = prove
    request.sessionSettings = try settings.map { setting in
      let parts = setting.split(separator: "=", maxSplits: 1)
      guard parts.count == 2 else { throw UsageError("--set takes NAME=VALUE, not \(setting)") }
      return (String(parts[0]), String(parts[1]))
    }
    request.toolFolders = context.toolFolders(server)
    request.workRoot = context.spoolRoot(server)
    context.tell("restoring \(place.database) of \(place.id) into a new database, \(newName)")
    let result = try context.withProgress { progress in
      try RestoreOperation(repository: repository, request: request, progress: progress).run()
    }
    if common.json {
      try context.output(json: RestoreReport(result))
    } else {
      for note in result.notes { context.tell("note: \(note)") }
      for warning in result.warnings { context.warn(warning) }
      context.output(result.database)
      context.tell(
        "restored \(place.id) as \(result.database): \(Quantity.count(Int64(result.tables))) tables, \(Quantity.count(result.rows)) rows, each table counted"
          + (result.proven ? ", every byte\(result.schemaCompared ? " and the schema" : "") compared" : "")
          + ", in \(Quantity.span(result.elapsed.inSeconds))")
    }
    return result.warnings.isEmpty ? .done : .doneWithWarnings
  }
}

/// The JSON of a restore. Its keys are fixed.
private struct RestoreReport: Encodable {
  let id: String
  let database: String
  let restoredAs: String
  let keptAs: String?
  let seconds: Double
  let downtimeSeconds: Double
  let tables: Int
  let rows: Int64
  let proven: Bool
  let schemaCompared: Bool
  let notes: [String]
  let warnings: [String]
  let peakMemoryBytes: Int64

  init(_ result: RestoreResult) {
    id = result.manifest.id.description
    database = result.manifest.database
    restoredAs = result.database
    keptAs = nil
    seconds = result.elapsed.inSeconds
    downtimeSeconds = 0
    tables = result.tables
    rows = result.rows
    proven = result.proven
    schemaCompared = result.schemaCompared
    notes = result.notes
    warnings = result.warnings
    peakMemoryBytes = Host.peakMemory
  }

  enum CodingKeys: String, CodingKey {
    case id, database, restoredAs, keptAs, seconds, downtimeSeconds, tables, rows, proven, schemaCompared, notes, warnings, peakMemoryBytes
  }

  // keptAs is there even where it says nothing.
  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(id, forKey: .id)
    try container.encode(database, forKey: .database)
    try container.encode(restoredAs, forKey: .restoredAs)
    try container.encode(keptAs, forKey: .keptAs)
    try container.encode(seconds, forKey: .seconds)
    try container.encode(downtimeSeconds, forKey: .downtimeSeconds)
    try container.encode(tables, forKey: .tables)
    try container.encode(rows, forKey: .rows)
    try container.encode(proven, forKey: .proven)
    try container.encode(schemaCompared, forKey: .schemaCompared)
    try container.encode(notes, forKey: .notes)
    try container.encode(warnings, forKey: .warnings)
    try container.encode(peakMemoryBytes, forKey: .peakMemoryBytes)
  }
}
