internal import Platform
package import Repository

/// The report of a rehearsed migration.
package struct RehearsalReport: Sendable {
  /// A table lock that blocks other sessions, by its name in PostgreSQL's documentation.
  package enum Mode: String, Sendable, CaseIterable {
    case share = "SHARE"
    case shareRowExclusive = "SHARE ROW EXCLUSIVE"
    case exclusive = "EXCLUSIVE"
    case accessExclusive = "ACCESS EXCLUSIVE"

    init(_ mode: String) {
      switch mode {
      case "ShareLock": self = .share
      case "ShareRowExclusiveLock": self = .shareRowExclusive
      case "ExclusiveLock": self = .exclusive
      default: self = .accessExclusive
      }
    }

    /// The effect on other sessions.
    package var effect: String {
      self == .accessExclusive
        ? "all reads and writes are blocked" : self == .exclusive ? "all writes and locks are blocked" : "all writes are blocked"
    }
  }

  package struct Lock: Sendable {
    package let table: String
    package let mode: Mode
    /// The longest that it was held in one transaction, as far as it was seen.
    package let held: Duration
  }

  package struct Rows: Sendable, Encodable {
    package let table: String
    package let inserted: Int64
    package let updated: Int64
    package let deleted: Int64
  }

  /// Something that would hurt a busy database, and how it is done otherwise.
  package struct Finding: Sendable {
    package enum Kind: String, Sendable, CaseIterable {
      case rewrite, index, validation, notNull = "not-null", columnDefault = "default", drop, rename, rows

      /// Whether it hurts however fast it was.
      package var isWarning: Bool { self != .columnDefault }
    }

    package let kind: Kind
    package let object: String
    package let text: String
    /// The safer way.
    package let advice: String
    /// Whether the operator declared it as intended.
    package let isExpected: Bool
  }

  package let place: SnapshotPath
  package let server: String
  package let exitCode: Int32
  package let elapsed: Duration
  /// The role it connected as.
  package let ranAs: String
  /// Whether the command ever connected to the copy; if not, it may have worked on another database.
  package let reachedCopy: Bool
  package var restoreSeconds = 0.0
  package var locks: [Lock] = []
  package var findings: [Finding] = []
  package var rowChanges: [Rows] = []
  package var schema: [SnapshotComparison.Change] = []
  /// Differences from production.
  package var notes: [String] = []
}

/// A reason for a rehearsal to fail.
package enum RehearsalCriterion: Sendable, Equatable {
  case finding(RehearsalReport.Finding.Kind)
  /// A table whose writes, or even reads, were blocked for longer.
  case exclusive(Duration)

  /// The parts of a report that meet the criterion, in words.
  package func hits(in report: RehearsalReport) -> [String] {
    switch self {
    case .finding(let kind): report.findings.filter { $0.kind == kind && !$0.isExpected }.map { "\(kind.rawValue): \($0.object)" }
    case .exclusive(let limit):
      report.locks.filter { $0.held > limit }.map { "exclusive: \($0.table) was held in \($0.mode.rawValue) for \($0.held.milliseconds) ms" }
    }
  }
}
