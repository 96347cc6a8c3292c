package import Foundation
internal import Platform
package import Repository

/// The report of a run, for programs and for people who did not watch it.
package struct RunReport: Sendable {
  package enum Event: String, Sendable {
    case start, success, warning, failure
    /// The operator did not confirm it, or mistyped it: nothing was done.
    case cancelled
  }

  package enum Job: String, Sendable, CaseIterable {
    case snapshot, verify, drill, prune, restore, copy, migrate
  }

  package struct DatabaseState: Sendable {
    package let source: String
    package let database: String
    package let newestAt: Date?
    package let provenAt: Date?
    package let problems: [String]

    package init(_ database: StoreStatus.Database) {
      source = database.source
      self.database = database.database
      newestAt = database.newest?.startedAt
      provenAt = database.proof?.checkedAt
      problems = database.problems
    }
  }

  /// The same for all reports of a run.
  package let run = UUID()
  package let job: Job
  package let startedAt: Date
  package var event = Event.start
  package var database: String?
  package var source: String?
  package var snapshot: String?
  package var elapsed: Duration = .zero
  package var exitCode: Int32?
  /// The error, and the next step.
  package var error: String?
  package var hint: String?
  package var warnings: [String] = []
  /// The databases that a run over several succeeded with, and the others.
  package var succeeded: [String]?
  package var servers: [String]?
  package var failures: [PastRun.Failure]?
  /// The JSON object that the command prints with `--json`.
  package var result: [UInt8] = []
  /// What `firn status` says; nil where the store could not be asked.
  package var states: [DatabaseState]?

  package init(job: Job, startedAt: Date) {
    self.job = job
    self.startedAt = startedAt
  }

  /// In one line that fits into an environment, as `snapshot of app on db1: failed (exit code 8): cannot connect`.
  package var summary: String { String(wholeSummary.prefix(2000)) }

  private var wholeSummary: String {
    let what = "\(job.rawValue)\(database.map { " of \($0)" } ?? "") on \(Host.name)"
    let problems = (states ?? []).flatMap { state in state.problems.map { "\(state.database): \($0)" } }
    let rest = warnings + problems
    switch event {
    case .start: return "\(what): started"
    case .success: return "\(what): done\(rest.isEmpty ? "" : "; \(rest.joined(separator: "; "))")"
    case .warning: return "\(what): done, with warnings\(rest.isEmpty ? "" : ": \(rest.joined(separator: "; "))")"
    case .failure: return "\(what): FAILED\(exitCode.map { " (exit code \($0))" } ?? "")\(error.map { ": \($0)" } ?? "")"
    case .cancelled: return "\(what): nothing was done\(error.map { ": \($0)" } ?? "")"
    }
  }

  /// As it is remembered.
  /// - Parameter store: the location of the run's store.
  package func remembered(as outcome: PastRun.Outcome, store: String) -> PastRun {
    var past = PastRun(
      id: run, job: job.rawValue, startedAt: startedAt, host: Host.name, user: Host.userName, store: store, firn: Firn.version, outcome: outcome)
    (past.source, past.database, past.snapshot) = (source, database, snapshot)
    if outcome == .running {
      past.process = .init(process: Host.processID, processStart: Host.startTime(of: Host.processID) ?? 0, boot: Host.bootID)
      return past
    }
    (past.seconds, past.exitCode, past.error, past.hint, past.warnings) = (elapsed.inSeconds, exitCode, error, hint, warnings)
    (past.succeeded, past.failures, past.servers) = (succeeded, failures, servers)
    return past
  }

  /// How the run ended, as it is remembered.
  package var outcome: PastRun.Outcome { PastRun.Outcome(rawValue: event.rawValue) ?? .running }

  /// One JSON object.
  package var json: [UInt8] {
    var object: [String: Any] = [
      "run": run.uuidString, "job": job.rawValue, "event": event.rawValue, "host": Host.name, "version": Firn.version,
      "startedAt": startedAt.formatted(.iso8601), "seconds": elapsed.inSeconds, "summary": summary, "warnings": warnings,
    ]
    object["database"] = database
    object["source"] = source
    object["snapshot"] = snapshot
    object["exitCode"] = exitCode
    object["error"] = error
    object["hint"] = hint
    object["result"] = try? JSONSerialization.jsonObject(with: Data(result))
    object["status"] = states.map { states in
      states.map { state in
        var entry: [String: Any] = [
          "source": state.source, "database": state.database, "ok": state.problems.isEmpty, "problems": state.problems,
        ]
        entry["newestAt"] = state.newestAt?.formatted(.iso8601)
        entry["provenAt"] = state.provenAt?.formatted(.iso8601)
        return entry
      }
    }
    // Texts and numbers can be encoded.
    return Array((try? JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes])) ?? Data("{}".utf8))
  }

  /// The same for a shell: `FIRN_EVENT`, `FIRN_JOB` and others.
  package var environment: [String: String] {
    let values = [
      "EVENT": event.rawValue, "JOB": job.rawValue, "DATABASE": database, "SOURCE": source, "SNAPSHOT": snapshot, "SUMMARY": summary,
      "EXIT_CODE": exitCode.map { "\($0)" }, "RUN": run.uuidString,
    ]
    // A null byte would end the value.
    return values.compactMapValues { $0?.replacing("\0", with: "") }.reduce(into: [:]) { $0["FIRN_\($1.key)"] = $1.value }
  }
}
