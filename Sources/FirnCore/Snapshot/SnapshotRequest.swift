package import Foundation
package import Repository
package import Postgres
package import SystemPackage

/// The request for a snapshot.
package struct SnapshotRequest: Sendable {
  package var settings: ConnectionSettings
  /// The name of the source; nil for the server's system identifier.
  package var source: String?
  /// Whether the source may be taken back from a server that took this one's place in it.
  package var takesSourceBack = false
  package var kind = "manual"
  package var tags: [String: String] = [:]
  package var jobs = 2
  /// Patterns as pg_dump takes them.
  package var excludedTableData: [String] = []
  /// Whether a pattern that matches no table is refused; else it is a warning.
  package var requiresMatches = true
  /// The `search_path` that restores will need; nil for an empty one.
  package var searchPath: String?
  package var lockWait: Duration = .seconds(30)
  /// The share of its rows, or of all bytes, whose loss since the parent is worth a warning.
  package var anomaly = 0.5
  package var incremental = Incremental.auto
  /// Whether to read every table, whatever the parent has.
  package var readsAll = false
  /// How long after the last snapshot that read all tables the next one does; nil if never.
  package var fullEvery: Duration?
  /// Seconds in which an incremental snapshot reads every table once.
  package var rereadPeriod = TakeoverPlan.usualPeriod
  package var toolFolders: [FilePath] = []
  /// Bytes.
  package static let usualSpoolCap: Int64 = 512 << 20
  package var spoolRoot = WorkFolder.defaultRoot
  package var spoolCap = Self.usualSpoolCap
  /// Where to remember what snapshots of encrypted repositories consist of; nil for nowhere.
  package var cacheRoot: FilePath?
  /// Roles and tablespaces of the run over several databases that this belongs to.
  package var globals: SharedGlobals?
  package var now: @Sendable () -> Date = { Date() }

  package init(settings: ConnectionSettings) { self.settings = settings }
}

package struct SnapshotResult: Sendable {
  package let manifest: Manifest
  /// Requests that could not be met, though the snapshot is complete.
  package let warnings: [String]
  /// Notes about this machine rather than about the snapshot.
  package let notes: [String]
  package let elapsed: Duration
}
