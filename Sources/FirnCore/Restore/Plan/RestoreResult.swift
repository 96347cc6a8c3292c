internal import Foundation
internal import Postgres
package import Repository
internal import SystemPackage

package struct RestoreResult: Sendable {
  package let manifest: Manifest
  package let database: String
  /// The name under which the replaced database is kept.
  package var keptAs: String?
  package var safetySnapshot: SnapshotID?
  /// The parts missing in the safety snapshot.
  package var leftOutOfSafety: [String] = []
  /// The downtime of the swap.
  package var downtime: Duration = .zero
  package let tables: Int
  package let rows: Int64
  package var elapsed: Duration
  /// Notes for the operator.
  package var notes: [String]
  /// Differences that are no failure.
  package var warnings: [String]
  /// Objects of the store that were read, and the number in the snapshot.
  package var objectsRead = 0
  package var objectsOfSnapshot = 0
  package let proven: Bool
  /// Whether the verification could compare the schemas.
  package let schemaCompared: Bool
}
