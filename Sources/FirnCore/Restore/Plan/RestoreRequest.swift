package import Foundation
package import Postgres
package import Repository
package import SystemPackage

/// A snapshot to restore, and its destination.
package struct RestoreRequest: Sendable {
  package enum Target: Sendable, Equatable {
    /// A database that doesn't exist yet.
    case new(String)
    /// Replaces an existing database, which is kept under another name.
    case replacing(String)
    /// Replaces a database that is dropped first.
    case inPlace(String)
    /// Into a database that exists and is empty.
    case empty(String)

    /// The name of the restored database in the end.
    package var name: String {
      switch self {
      case .new(let name), .replacing(let name), .inPlace(let name), .empty(let name): name
      }
    }

    /// Whether it replaces a database with contents.
    package var isExisting: Bool {
      switch self {
      case .new, .empty: false
      case .replacing, .inPlace: true
      }
    }

    /// The confirmation phrase.
    package var phrase: String { if case .inPlace(let name) = self { "destroy \(name)" } else { name } }
  }

  package var settings: ConnectionSettings
  package var place: SnapshotPath
  package var target: Target
  package var scope = RestoreScope()
  package var jobs = 2
  /// Whether every table's bytes and the schema are compared with the snapshot afterwards.
  package var proves = false
  /// Whether a database may be dropped for a snapshot that no drill has restored.
  package var allowsUntested = false
  /// Whether an incomplete snapshot may replace a database.
  package var allowsIncomplete = false
  /// The snapshot to take of the replaced database; nil if the operator declined it.
  package var safetySnapshot: SnapshotRequest?
  /// The name for the replaced database, as it was shown to the operator; nil for one made from the time.
  package var keptName: String?
  /// The OID of the database that was shown to the operator; nil if none was shown.
  package var replacedOID: UInt32?
  package var maintenance = ApplicationControl()
  /// Whether a failed health check undoes the swap.
  package var undoesOnFailure = false
  /// Settings for the sessions that restore, after Firn's own.
  package var sessionSettings: [(name: String, value: String)] = []
  /// SQL to run in the new database before it gets its name.
  package var scripts: [FilePath] = []
  package var toolFolders: [FilePath] = []
  package var workRoot = WorkFolder.defaultRoot
  package var now: @Sendable () -> Date = { Date() }

  package init(settings: ConnectionSettings, place: SnapshotPath, target: Target) {
    self.settings = settings
    self.place = place
    self.target = target
  }
}
