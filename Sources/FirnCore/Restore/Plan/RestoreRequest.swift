package import Foundation
package import Postgres
package import Repository
package import SystemPackage

/// What is to be restored, and where to.
package struct RestoreRequest: Sendable {
  package enum Target: Sendable, Equatable {
    /// A database that doesn't exist yet.
    case new(String)
    /// In the place of a database that exists, which is kept under another name.
    case replacing(String)
    /// In the place of a database that is dropped before.
    case inPlace(String)
    /// Into a database that exists and is empty.
    case empty(String)

    /// The name that leads to the restored database in the end.
    package var name: String {
      switch self {
      case .new(let name), .replacing(let name), .inPlace(let name), .empty(let name): name
      }
    }

    /// Whether it takes the place of a database that has contents.
    package var isExisting: Bool {
      switch self {
      case .new, .empty: false
      case .replacing, .inPlace: true
      }
    }

    /// What has to be typed before.
    package var phrase: String { if case .inPlace(let name) = self { "destroy \(name)" } else { name } }
  }

  package var settings: ConnectionSettings
  package var place: SnapshotPlace
  package var target: Target
  package var scope = RestoreScope()
  package var jobs = 2
  /// Whether every table's bytes and the schema are compared with the snapshot afterwards.
  package var proves = false
  /// Whether a database may be dropped for a snapshot that no drill has restored.
  package var allowsUntested = false
  /// Whether a snapshot from which something was left out may take a database's place.
  package var allowsIncomplete = false
  /// How the database that is replaced is snapshotted before; nil where that was refused.
  package var safetySnapshot: SnapshotRequest?
  /// The name for the database that is replaced, as the operator was told it; nil for one by the time.
  package var keptName: String?
  /// The number of the database that the operator was shown; nil where nobody was shown any.
  package var replacedOID: UInt32?
  package var maintenance = Maintenance()
  /// Whether a failed health check takes the exchange back.
  package var undoesOnFailure = false
  /// Settings for the sessions that restore, after Firn's own.
  package var sessionSettings: [(name: String, value: String)] = []
  package var toolFolders: [FilePath] = []
  package var workRoot = WorkFolder.defaultRoot
  package var now: @Sendable () -> Date = { Date() }

  package init(settings: ConnectionSettings, place: SnapshotPlace, target: Target) {
    self.settings = settings
    self.place = place
    self.target = target
  }
}

/// What a restore would do, before anything is touched.
package struct RestorePlan: Sendable {
  package let manifest: Manifest
  package let target: RestoreRequest.Target
  /// What becomes of the database that is replaced.
  package let impact: ReplacementImpact?
  /// What will be done besides.
  package let notes: [String]
  package let warnings: [String]
}

package struct RestoreResult: Sendable {
  package let manifest: Manifest
  package let database: String
  /// The name under which the replaced database is kept.
  package var keptAs: String?
  package var safetySnapshot: SnapshotID?
  /// What was left out of that.
  package var leftOutOfSafety: [String] = []
  /// How long the name led nowhere.
  package var downtime: Duration = .zero
  package let tables: Int
  package let rows: Int64
  package var elapsed: Duration
  /// What the operator should know.
  package var notes: [String]
  /// What is not as it was, though nothing failed.
  package var warnings: [String]
  /// Objects of the store that were read, and those the snapshot has.
  package var objectsRead = 0
  package var objectsOfSnapshot = 0
  package let proven: Bool
  /// Whether the proof could compare the schemas.
  package let schemaCompared: Bool
}
