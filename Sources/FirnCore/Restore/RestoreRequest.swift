internal import Foundation
package import Postgres
package import Repository
package import SystemPackage

/// What is to be restored, and where to.
package struct RestoreRequest: Sendable {
  package var settings: ConnectionSettings
  package var place: SnapshotPlace
  /// The name of the new database.
  package var newName: String
  package var jobs = 2
  /// Whether every table's bytes and the schema are compared with the snapshot afterwards.
  package var proves = false
  /// Settings for the sessions that restore, after Firn's own.
  package var sessionSettings: [(name: String, value: String)] = []
  package var toolFolders: [FilePath] = []
  package var workRoot = WorkFolder.defaultRoot

  package init(settings: ConnectionSettings, place: SnapshotPlace, newName: String) {
    self.settings = settings
    self.place = place
    self.newName = newName
  }
}

package struct RestoreResult: Sendable {
  package let manifest: Manifest
  package let database: String
  package let tables: Int
  package let rows: Int64
  package let elapsed: Duration
  /// What the operator should know.
  package let notes: [String]
  /// What is not as it was, though nothing failed.
  package let warnings: [String]
  package let proven: Bool
  /// Whether the proof could compare the schemas.
  package let schemaCompared: Bool
}
