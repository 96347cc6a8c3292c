import FirnCore
import Platform
import Repository

/// The JSON of a restore. Its keys are fixed.
struct RestoreReport: Encodable {
  let id: String
  let database: String
  let restoredAs: String
  let keptAs: String?
  let safetySnapshot: String?
  let seconds: Double
  let downtimeSeconds: Double
  let tables: Int
  let rows: Int64
  let proven: Bool
  let schemaCompared: Bool
  let notes: [String]
  let warnings: [String]
  let objectsRead: Int
  let objectsOfSnapshot: Int
  let peakMemoryBytes: Int64

  init(_ result: RestoreResult) {
    id = result.manifest.id.description
    database = result.manifest.database
    restoredAs = result.database
    keptAs = result.keptAs
    safetySnapshot = result.safetySnapshot?.description
    seconds = result.elapsed.inSeconds
    downtimeSeconds = result.downtime.inSeconds
    tables = result.tables
    rows = result.rows
    proven = result.proven
    schemaCompared = result.schemaCompared
    notes = result.notes
    warnings = result.warnings
    objectsRead = result.objectsRead
    objectsOfSnapshot = result.objectsOfSnapshot
    peakMemoryBytes = Host.peakMemory
  }

  enum CodingKeys: String, CodingKey {
    case id, database, restoredAs, keptAs, safetySnapshot, seconds, downtimeSeconds, tables, rows, proven, schemaCompared, notes, warnings
    case objectsRead, objectsOfSnapshot, peakMemoryBytes
  }

  // keptAs and safetySnapshot are there even where they say nothing.
  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(id, forKey: .id)
    try container.encode(database, forKey: .database)
    try container.encode(restoredAs, forKey: .restoredAs)
    try container.encode(keptAs, forKey: .keptAs)
    try container.encode(safetySnapshot, forKey: .safetySnapshot)
    try container.encode(seconds, forKey: .seconds)
    try container.encode(downtimeSeconds, forKey: .downtimeSeconds)
    try container.encode(tables, forKey: .tables)
    try container.encode(rows, forKey: .rows)
    try container.encode(proven, forKey: .proven)
    try container.encode(schemaCompared, forKey: .schemaCompared)
    try container.encode(notes, forKey: .notes)
    try container.encode(warnings, forKey: .warnings)
    try container.encode(objectsRead, forKey: .objectsRead)
    try container.encode(objectsOfSnapshot, forKey: .objectsOfSnapshot)
    try container.encode(peakMemoryBytes, forKey: .peakMemoryBytes)
  }
}
