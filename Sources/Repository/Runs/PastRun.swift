package import Foundation

/// The record of a run, in the store or on the machine that ran it.
package struct PastRun: Codable, Sendable {
  package enum Outcome: String, Codable, Sendable {
    /// Not ended: still at work, or killed.
    case running
    case success, warning, failure
    /// Nobody confirmed it.
    case cancelled
  }

  /// A database of which a run over several databases made nothing.
  package struct Failure: Codable, Sendable {
    /// The name of the source; nil if it is not known.
    package let source: String?
    /// `*` for all of a server's.
    package let database: String
    package let error: String
    package let hint: String?

    package init(source: String?, database: String, error: String, hint: String?) {
      self.source = source
      self.database = database
      self.error = error
      self.hint = hint
    }
  }

  /// The process that runs.
  package struct Process: Codable, Sendable {
    package let process: Int32
    package let processStart: UInt64
    package let boot: String

    package init(process: Int32, processStart: UInt64, boot: String) {
      self.process = process
      self.processStart = processStart
      self.boot = boot
    }
  }

  package let id: UUID
  /// Such as `snapshot`.
  package let job: String
  package let startedAt: Date
  package let host: String
  package let user: String
  /// The location of the store that it was about.
  package let store: String
  package let firn: String
  package var outcome: Outcome
  package var seconds: Double?
  package var exitCode: Int32?
  package var source: String?
  package var database: String?
  package var snapshot: String?
  /// The error, without rows of tables.
  package var error: String?
  package var hint: String?
  package var warnings: [String] = []
  /// The databases that a run over several succeeded with, and the others. Nil for a run on one database.
  package var succeeded: [String]?
  /// The names of the servers that such a run was over; empty for one that was named otherwise.
  package var servers: [String]?
  package var failures: [Failure]?
  /// While it runs.
  package var process: Process?

  package init(
    id: UUID, job: String, startedAt: Date, host: String, user: String, store: String, firn: String, outcome: Outcome
  ) {
    self.id = id
    self.job = job
    self.startedAt = startedAt
    self.host = host
    self.user = user
    self.store = store
    self.firn = firn
    self.outcome = outcome
  }

  /// The record for an encrypted store, without error messages, which may name tables.
  package var withoutWords: PastRun {
    var run = self
    (run.error, run.hint, run.warnings) = (nil, nil, [])
    run.failures = failures?.map { Failure(source: $0.source, database: $0.database, error: "", hint: nil) }
    return run
  }
}
