internal import Digests
package import Foundation
package import Platform
package import Postgres
package import Repository

/// What a migration did, whatever became of it.
package struct MigrationOutcome: Sendable {
  /// What came of the way back.
  package enum Answered: Sendable {
    case done(String)
    case nothingToDo(String)
    case notPossible(String)
    case failed(String)

    package var text: String {
      switch self {
      case .done(let text), .nothingToDo(let text), .notPossible(let text), .failed(let text): text
      }
    }

    /// Whether the database is what it was before.
    package var isBack: Bool {
      switch self {
      case .done, .nothingToDo: true
      case .notPossible, .failed: false
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
  /// What is applied now; nil where that can't be told.
  package var after: AppliedMigrations?
  /// Nil where nothing says how to see it.
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

  package var change: AppliedChange {
    AppliedChange(before: Set(survey.applied.versions), after: Set((after ?? survey.applied).versions))
  }

  package var succeeded: Bool { problems.isEmpty && startFailures.isEmpty && commandExitCode == 0 }

  /// In one line.
  package var verdict: String {
    if succeeded { return "migrated: \(change.isNone ? "schema_migrations is as it was" : change.words)" }
    var parts = problems
    if !startFailures.isEmpty { parts.append("NOT STARTED: \(startFailures.joined(separator: "; "))") }
    if let answer { parts.append(answer.text) }
    return parts.joined(separator: "; ")
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
