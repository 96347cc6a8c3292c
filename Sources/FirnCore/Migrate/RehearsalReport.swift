internal import Platform
package import Repository

/// What a rehearsed migration did.
package struct RehearsalReport: Sendable {
  /// A lock that keeps others from a table, in the words of PostgreSQL's documentation.
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

    /// What others can't do meanwhile.
    package var effect: String {
      self == .accessExclusive ? "nobody can read or write it" : self == .exclusive ? "nobody can write or lock it" : "nobody can write it"
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
    /// Whether somebody said that it is meant.
    package let isExpected: Bool
  }

  package let place: SnapshotPlace
  package let server: String
  package let exitCode: Int32
  package let elapsed: Duration
  /// The role it connected as.
  package let ranAs: String
  /// Whether the command ever connected to the copy: where it did not, it may have worked on another database.
  package let reachedCopy: Bool
  package var restoreSeconds = 0.0
  package var locks: [Lock] = []
  package var findings: [Finding] = []
  package var rowChanges: [Rows] = []
  package var schema: [SnapshotComparison.Change] = []
  /// What was not as in production.
  package var notes: [String] = []
}

/// What may make a rehearsal fail.
package enum RehearsalCriterion: Sendable, Equatable {
  case finding(RehearsalReport.Finding.Kind)
  /// A table nobody could write, or not even read, for longer.
  case exclusive(Duration)

  /// What of a report meets it, in words.
  package func hits(in report: RehearsalReport) -> [String] {
    switch self {
    case .finding(let kind): report.findings.filter { $0.kind == kind && !$0.isExpected }.map { "\(kind.rawValue): \($0.object)" }
    case .exclusive(let limit):
      report.locks.filter { $0.held > limit }.map { "exclusive: \($0.table) was held in \($0.mode.rawValue) for \($0.held.milliseconds) ms" }
    }
  }
}
