import CommandSupport
import FirnCore
import Platform
import Repository

/// The JSON of a restore. Its keys are fixed.
struct RestoreReport: Encodable {
  let id: String
  let database: String
  let restoredAs: String
  let keptAs: Nullable<String>
  let safetySnapshot: Nullable<String>
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
    keptAs = Nullable(result.keptAs)
    safetySnapshot = Nullable(result.safetySnapshot?.description)
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
}
