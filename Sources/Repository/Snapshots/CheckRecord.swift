package import Foundation

/// The result of a verification.
package struct CheckRecord: Codable, Sendable {
  package enum Level: String, Codable, Sendable, Comparable {
    case quick
    /// Every stored byte is what it was when it was written; what it means was not looked at, for want of an identity.
    case scrub
    case read, drill

    package static func < (left: Self, right: Self) -> Bool { left.rank < right.rank }
    private var rank: Int {
      switch self {
      case .quick: 0
      case .scrub: 1
      case .read: 2
      case .drill: 3
      }
    }
  }

  package static let sizeLimit = 1 << 24

  package let level: Level
  package let ok: Bool
  /// Objects found damaged, by their digests.
  package let damagedObjects: [String]?
  package let checkedAt: Date
  package let seconds: Double
  package let host: String
  package let firn: String
  /// How long a drill took to restore it: the measured time of recovery.
  package var restoreSeconds: Double?
  /// The SHA-256 of the `SHA256SUMS` whose tables were read or restored.
  package var checksums: String?
  /// Assertions of a drill that do not hold, although the copy equals the snapshot.
  package var unmetAssertions: [String]?
  /// Differences and missing comparisons of a drill with a reason outside the snapshot, whose value they do not
  /// change.
  package var reservations: [String]?
  /// Materialized views that a drill could not fill.
  package var unfilledViews: [String]?
  /// Why pg_restore could not restore it in a drill: its bytes may be what they were.
  package var failedDrill: String?
  /// The version of pg_restore.
  package var tool: String?

  package init(level: Level, ok: Bool, damagedObjects: [String]?, checkedAt: Date, seconds: Double, host: String, firn: String) {
    self.level = level
    self.ok = ok
    self.damagedObjects = damagedObjects
    self.checkedAt = checkedAt
    self.seconds = seconds
    self.host = host
    self.firn = firn
  }

  /// Whether this check shows that the damage another found is repaired: it is later and at least as thorough.
  func isProof(after finding: CheckRecord) -> Bool {
    ok && level >= .scrub && level >= min(finding.level, .read) && checkedAt > finding.checkedAt
  }
}
