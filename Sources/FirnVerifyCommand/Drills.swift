import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository
import SystemPackage

/// `--drill`.
struct Drills {
  let command: FirnVerify
  let context: CommandContext

  func run(on places: [SnapshotPath], in repository: Repository) throws -> ExitStatus {
    let start = ContinuousClock.now
    let request = try request()
    let outcomes = try context.withProgress { progress in
      try DrillOperation(repository: repository, request: request, progress: progress).run(on: places)
    }
    let obstacle = outcomes.lazy.compactMap(\.obstacle).first
    if let obstacle, outcomes.count == 1 { throw obstacle }
    let isSound = outcomes.allSatisfy { $0.problems.isEmpty && $0.failure == nil }
    let unrecorded = outcomes.lazy.compactMap(\.unrecorded).first
    if let unrecorded {
      context.warn("the result could not be written to the store: it will not count as a proof (\(FailureReport(unrecorded).message))")
    }
    for outcome in outcomes where !outcome.notRestored.isEmpty {
      context.warn("\(outcome.place.id): not restored here, and only read: \(FailureReport.some(outcome.notRestored))")
    }
    for outcome in outcomes {
      for text in outcome.reservations { context.warn("\(outcome.place.id): \(text)") }
    }
    let sound: ExitStatus = unrecorded == nil && outcomes.allSatisfy(\.incomparable.isEmpty) ? .done : .doneWithWarnings
    try context.result(Report(outcomes, seconds: (ContinuousClock.now - start).inSeconds))
    if !command.common.json {
      for outcome in outcomes { tell(outcome, assertions: request.assertions.count) }
    }
    // A finding is more severe than something that could not be checked.
    if isSound, let obstacle { throw obstacle }
    if command.common.json { return isSound ? sound : .verificationFailed }
    if outcomes.contains(where: { $0.failure != nil }) {
      context.fail(
        "a snapshot could not be restored",
        hint: "the server's message above is the reason, such as a constraint that the rows violate; if it does not find a function or table, give "
          + "its schema with --search-path; firn-verify --read shows whether the stored bytes are intact")
    } else if outcomes.allSatisfy(\.differences.isEmpty), !isSound {
      context.fail(
        "an assertion does not hold in what was restored",
        hint: "the snapshot is what was dumped: look at the database it was taken of, or at assertions in firn.yaml")
    } else if !isSound {
      context.fail(
        "what was restored is not what was dumped",
        hint: "run firn-verify --read to see whether the store is damaged; keep an earlier snapshot until this is explained")
    }
    return isSound ? sound : .verificationFailed
  }

  private func tell(_ outcome: DrillOutcome, assertions: Int) {
    let name = "\(outcome.place.database) \(outcome.place.id)"
    if let obstacle = outcome.obstacle {
      context.output("\(name)  not drilled: \(FailureReport(obstacle).message)")
    } else if let failure = outcome.failure {
      context.output("\(name)  COULD NOT BE RESTORED")
      for line in failure.split(separator: "\n") { context.output("    \(line)") }
    } else if outcome.problems.isEmpty {
      let schema = outcome.schemaCompared ? " and the schema" : ""
      let rest = outcome.incomparable.isEmpty ? "" : "; not all could be compared (see the warnings)"
      context.output(
        "\(name)  restored in \(Quantity.span(outcome.restoreSeconds)); \(Quantity.tables(outcome.tablesCompared))\(schema) as dumped\(rest)")
    } else {
      context.output("\(name)  \(outcome.differences.isEmpty ? "restored as it was dumped, and not as it should be" : "DIFFERS")")
      for difference in outcome.problems { context.output("  \(difference)") }
    }
    for note in outcome.notes { context.tell("  note: \(note)") }
    if outcome.assertionsMet > 0 { context.tell("  \(outcome.assertionsMet) of \(assertions) assertions hold") }
  }

  private func request() throws -> DrillRequest {
    var request = DrillRequest()
    request.server = try command.drillServer.map { try ConnectionSettings($0) }
    request.jobs = context.jobs(command.jobs)
    request.allowsUnconfined = command.unconfined
    request.searchPath = command.searchPath
    request.assertions = context.configuration.assertions
    request.toolFolders = context.toolFolders(command.toolFolders)
    request.workRoot = context.spoolRoot(command.spool)
    return request
  }

  /// The JSON of drills. Its keys are fixed; those of a single drill stand at the top, too.
  private struct Report: Encodable {
    struct Snapshot: Encodable {
      let id: String
      let level = "drill"
      let ok: Bool
      /// `verified`, `damaged`, `incomparable` (a reason outside the snapshot), `failed` (could not be restored or drilled).
      let verdict: String
      let problems: [Problem]
      /// Differences and missing comparisons with a reason outside the snapshot.
      let reservations: [String]
      let notes: [String]
      let restoreSeconds: Double
      let tablesCompared: Int
      let schemaEqual: Bool?
      let assertionsMet: Int
    }
    struct Problem: Encodable { let reason: String }
    let snapshots: [Snapshot]
    var objectsChecked = 0
    var bytesChecked = 0
    let seconds: Double
    let restoreSeconds: Double
    let tablesCompared: Int
    let schemaEqual: Bool?

    init(_ outcomes: [DrillOutcome], seconds: Double) {
      func schema(_ outcome: DrillOutcome) -> Bool? {
        outcome.schemaCompared ? !outcome.differences.contains("the schema differs") : nil
      }
      snapshots = outcomes.map { outcome in
        let obstacle = outcome.obstacle.map { "not drilled: \(FailureReport($0).message)" }
        let problems = outcome.problems + [outcome.failure.map { "pg_restore: \($0)" }, obstacle].compactMap(\.self)
        let reservations = outcome.incomparable
        let verdict =
          !outcome.differences.isEmpty
          ? "damaged" : !problems.isEmpty ? "failed" : reservations.isEmpty ? "verified" : "incomparable"
        return Snapshot(
          id: outcome.place.id.description, ok: problems.isEmpty, verdict: verdict, problems: problems.map { Problem(reason: $0) },
          reservations: reservations, notes: outcome.notes, restoreSeconds: outcome.restoreSeconds, tablesCompared: outcome.tablesCompared,
          schemaEqual: schema(outcome),
          assertionsMet: outcome.assertionsMet)
      }
      self.seconds = seconds
      restoreSeconds = outcomes.reduce(0) { $0 + $1.restoreSeconds }
      tablesCompared = outcomes.reduce(0) { $0 + $1.tablesCompared }
      let schemas = outcomes.map(schema)
      schemaEqual = schemas.contains { $0 == false } ? false : schemas.allSatisfy { $0 == true } ? true : nil
    }
  }
}
