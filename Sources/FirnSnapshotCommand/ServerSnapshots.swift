import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// `--all`: a snapshot of every database of a server. Each commits by itself, and a failure of one does not stop the others.
struct ServerSnapshots {
  let command: FirnSnapshot
  let context: CommandContext
  let repository: Repository
  let copies: SnapshotCopies

  private struct Failed: Encodable {
    let database: String
    let error: String
    let hint: String?
    let exitCode: Int32
  }

  /// The JSON of the run. Its keys are fixed.
  private struct Report: Encodable {
    struct LeftOut: Encodable {
      let database: String
      let reason: String
    }
    let snapshots: [SnapshotReport]
    let failures: [Failed]
    let leftOut: [LeftOut]
  }

  func run() throws -> ExitStatus {
    let start = ContinuousClock.now
    let connection = command.server.connection
    // The list of databases is the same in each of them.
    let settings = try context.connectionSettings(connection, database: context.namesNoDatabase(connection) ? "postgres" : nil)
    let databases = try ServerDatabases(on: ServerConnection.open(settings), excluding: command.excludedDatabases)
    for (name, reason) in databases.leftOut { context.tell("left out: \(name): \(reason)") }

    var reports: [SnapshotReport] = []
    var failures: [Failed] = []
    var areAllSound = true
    for name in databases.names {
      try Interruption.check()
      do {
        let taken = try command.take(of: name, in: repository, copies, context)
        reports.append(taken.report)
        areAllSound = areAllSound && taken.isSound
      } catch let interruption as Interruption { throw interruption } catch {
        let report = FailureReport(error)
        failures.append(Failed(database: name, error: report.message, hint: report.hint, exitCode: report.status.rawValue))
        context.warn("\(name): no snapshot: \(report.message)")
      }
    }
    context.record.note { $0.database = nil }
    try context.result(
      Report(snapshots: reports, failures: failures, leftOut: databases.leftOut.map { .init(database: $0.name, reason: $0.reason) }))
    show(reports, failures, ContinuousClock.now - start)
    if failures.isEmpty { return areAllSound ? .done : .doneWithWarnings }
    return reports.isEmpty ? ExitStatus(rawValue: failures[0].exitCode) ?? .failed : .doneWithWarnings
  }

  private func show(_ reports: [SnapshotReport], _ failures: [Failed], _ elapsed: Duration) {
    if !command.common.json {
      let stored = reports.reduce(0) { $0 + $1.storedBytes }
      context.tell(
        "\(Quantity.count(reports.count, "snapshot")) of \(Quantity.count(reports.count + failures.count, "database")) in \(Quantity.span(elapsed.inSeconds)), "
          + "\(Quantity.size(stored)) stored")
    }
    guard !failures.isEmpty else { return }
    context.fail(
      "no new snapshot of \(FailureReport.some(failures.map(\.database)))",
      hint: failures.count == 1 ? failures[0].hint ?? "see the warning above" : "see the warnings above; the other databases have new snapshots")
  }
}
