internal import Foundation
internal import Postgres
package import Repository
internal import SystemPackage

/// The plan of a restore, made before anything is changed.
package struct RestorePlan: Sendable {
  package let manifest: Manifest
  package let target: RestoreRequest.Target
  /// The consequences for the replaced database.
  package let impact: ReplacementImpact?
  /// Additional steps.
  package let notes: [String]
  package let warnings: [String]
}
