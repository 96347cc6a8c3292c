import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres

/// Changes rows in batches.
struct BackfillCommand: MigrateCommand {
  static let configuration = CommandSupport.configuration(
    "backfill", abstract: "Change the rows of a large table in batches, without blocking other sessions.",
    discussion: """
      Each batch is a transaction, and batches follow the primary key. If a batch takes long, the next ones are smaller. The run waits for \
      replicas and for rows that other sessions have locked. To continue an interrupted run, repeat the same command as the same user on \
      the same machine; no row is changed twice. Exit code 3 if rows that meet --where were inserted in the meantime: run the same command again.
      """)
  @Option(help: ArgumentHelp("The table, as in SQL.", valueName: "name")) var table: String
  @Option(help: ArgumentHelp("Assignments, as after SQL's SET.", valueName: "assignments")) var set: String
  @Option(name: .customLong("where"), help: ArgumentHelp("Which rows, as after SQL's WHERE. Default: all.", valueName: "condition"))
  var condition: String?
  @Option(help: ArgumentHelp("Maximum number of rows in a batch.", valueName: "n")) var batch = 1000
  @Option(help: ArgumentHelp("Minimum pause between batches.", valueName: "duration")) var pause = "10ms"
  @Option(
    help: ArgumentHelp(
      "Make batches smaller if the server needs longer than this for one, or than 100ms while no other session is at work.", valueName: "duration"))
  var maxBatchTime = "3ms"
  @Option(help: ArgumentHelp("Pause while a replica is further behind than this.", valueName: "duration")) var maxReplicaDelay = "5s"
  @Flag(help: "Start at the first row, even if an interrupted run could be continued.") var startOver = false
  @OptionGroup var server: ConnectionOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if !(1...1_000_000).contains(batch) { throw ValidationError("--batch takes a number from 1 to 1000000") }
    if set.allSatisfy(\.isWhitespace) { throw ValidationError("--set says nothing") }
  }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    var request = Backfill.Request(settings: try context.connectionSettings(server), table: table, assignments: set)
    request.condition = condition
    request.batch = batch
    request.pause = try duration(pause, "--pause")
    request.longestBatch = try duration(maxBatchTime, "--max-batch-time")
    request.replicaDelay = try duration(maxReplicaDelay, "--max-replica-delay")
    request.startsOver = startOver
    let decided = request
    let outcome = try context.withProgress { progress in
      let start = ContinuousClock.now
      var first: Int64?
      return try Backfill(request: decided, progress: progress).run { found in
        let place = found.key.map { "after key \($0.joined(separator: ", "))" } ?? "at the first row"
        context.tell(
          "continuing \(place) the run of \(Quantity.time(found.startedAt)), which did \(Quantity.rows(found.rows)); --start-over begins again")
      } each: { step in
        let begun = first ?? step.rows
        first = begun
        let rate = Double(step.rows - begun) / max(0.001, (ContinuousClock.now - start).inSeconds)
        let left = rate > 0 ? ", \(Quantity.span(Double(max(0, step.total - step.rows)) / rate)) left" : ""
        progress.show(
          item:
            "\(Quantity.count(step.rows)) of \(Quantity.count(max(step.rows, step.total))) rows\(left), \(step.batch) a batch\(step.heldUpBy.map { ", waiting for \($0)" } ?? "")"
        )
      }
    }
    if common.json {
      try context.output(json: Report(outcome))
    } else {
      context.tell(
        "backfilled \(outcome.table): \(Quantity.count(outcome.rows)) rows in \(Quantity.count(Int64(outcome.batches))) batches, \(Quantity.span(outcome.elapsed.inSeconds))"
          + (outcome.isHeldBack && outcome.largestBatch < decided.batch
            ? "; batches had \(Quantity.rows(Int64(outcome.largestBatch))) at most, so that other sessions did not wait" : "")
          + (outcome.rowsBefore > 0 ? "; \(Quantity.count(outcome.rowsBefore)) rows were done before" : "")
          + (outcome.lockWaits > 0 ? "; waited \(outcome.lockWaits) times for rows that others held" : "")
          + (outcome.replicaWaits > 0 ? "; waited \(outcome.replicaWaits) times for replicas" : ""))
    }
    guard outcome.late > 0 else { return .done }
    context.warn("\(Quantity.rows(outcome.late)) came or moved meanwhile and meet --where: run it again for these")
    return .doneWithWarnings
  }

  private struct Report: Encodable {
    let table: String
    let rows: Int64
    let rowsBefore: Int64
    let rowsLate: Int64
    let batches: Int
    let seconds: Double
    let lockWaits: Int
    let replicaWaits: Int

    init(_ outcome: Backfill.Outcome) {
      table = outcome.table
      rows = outcome.rows
      rowsBefore = outcome.rowsBefore
      rowsLate = outcome.late
      batches = outcome.batches
      seconds = outcome.elapsed.inSeconds
      lockWaits = outcome.lockWaits
      replicaWaits = outcome.replicaWaits
    }
  }
}
