internal import Digests
package import Foundation
package import Platform
package import Postgres
package import Repository

/// The outcome of a migration, successful or not.
package struct MigrationOutcome: Sendable {
  /// The outcome of going back.
  package enum Answered: Sendable {
    /// The snapshot is in the database's place.
    case restored(String)
    /// The rollback command succeeded. It does not bring back rows that the migrations removed or changed.
    case rolledBack(String)
    case nothingToDo(String)
    case notPossible(String)
    case failed(String)

    package var text: String {
      switch self {
      case .restored(let text), .rolledBack(let text), .nothingToDo(let text), .notPossible(let text), .failed(let text): text
      }
    }

    /// Whether the database is what it was before.
    package var isBack: Bool { if case .restored = self { true } else { false } }

    package var isRolledBack: Bool { if case .rolledBack = self { true } else { false } }

    /// Whether anything was tried.
    package var wasBegun: Bool {
      switch self {
      case .restored, .rolledBack, .failed: true
      case .nothingToDo, .notPossible: false
      }
    }
  }

  package let survey: MigrationSurvey
  package let snapshot: Manifest
  package let startedAt: Date
  package let log: MigrationLog
  package let command: [String]
  package var revision: String?
  package var stoppedAt: Date?
  package var commandStartedAt: Date?
  package var commandEndedAt: Date?
  package var commandExitCode: Int32?
  package var interruption: Interruption?
  package var restartedAt: Date?
  package var finishedAt: Date?
  /// The migrations applied afterwards; nil if unknown.
  package var after: AppliedMigrations?
  /// Nil if there is no health check.
  package var isHealthy: Bool?
  package var startFailures: [String] = []
  package var problems: [String] = []
  package var answer: Answered?
  package var observations = MigrationObserver.Observations()

  package init(survey: MigrationSurvey, snapshot: Manifest, startedAt: Date, log: MigrationLog, command: [String]) {
    self.survey = survey
    self.snapshot = snapshot
    self.startedAt = startedAt
    self.log = log
    self.command = command
  }

  /// The change of `schema_migrations`; nil if unknown.
  package var change: AppliedChange? {
    after.map { AppliedChange(before: Set(survey.applied.versions), after: Set($0.versions)) }
  }

  package var changeInWords: String { change.map { $0.isNone ? "as it was" : $0.words } ?? "not known" }

  /// Whether what was applied are the newest versions of all: of these alone the last so many can be rolled back.
  package var addedAreNewest: Bool {
    guard let change, let after else { return false }
    func number(_ version: String) -> (Int, String) {
      let digits = version.drop { $0 == "0" }
      return (digits.count, String(digits))
    }
    let newest = after.versions.sorted { number($0) > number($1) }.prefix(change.added.count)
    return Set(newest) == Set(change.added)
  }

  package var succeeded: Bool { problems.isEmpty && startFailures.isEmpty && commandExitCode == 0 }

  /// In one line.
  package var verdict: String {
    if succeeded { return "migrated: \(change?.isNone == false ? changeInWords : "schema_migrations is \(changeInWords)")" }
    var parts = problems
    if !startFailures.isEmpty { parts.append("NOT STARTED: \(startFailures.joined(separator: "; "))") }
    if let answer { parts.append(answer.text) }
    return parts.joined(separator: "; ")
  }

  /// A command as it may be logged: passwords in addresses are left out.
  package static func shown(_ command: [String]) -> String {
    command.map { word in word.replacing(/:\/\/([^\/@:\s]*):[^\/@\s]*@/) { "://\($0.output.1):…@" } }.joined(separator: " ")
  }

  func commandFailure(_ result: MigratingCommand.Outcome?) -> String {
    guard let result else { return "the command could not be run" }
    if let interruption = result.interruption { return "the command was interrupted by \(interruption.signal.signalName)" }
    if result.ranOutOfTime { return "the command took longer than it may" }
    switch result.exitCode {
    case 127: return "the command was not found (exit code 127)"
    case 126: return "the command may not be run (exit code 126)"
    case 129...: return "the command was ended by signal \(result.exitCode - 128)"
    default: return "the command failed with exit code \(result.exitCode)"
    }
  }

  /// The SHA-256 of all applied versions in order, each with a line feed: two databases with one of it are migrated alike.
  static func digest(of versions: [String]) -> String { SHA256Digest(of: Array(versions.map { "\($0)\n" }.joined().utf8)).description }
}
