internal import Foundation
internal import Platform
internal import Postgres

/// A failure after the swap: both databases are complete.
package protocol AfterSwap: Error {}

/// The application is not healthy after the swap, which stays.
package struct ApplicationUnwell: AfterSwap {
  package let database: String
  /// Nil if there was no previous database.
  package let keptAs: String?
  package let healthCheck: String
  package let startFailures: [String]
}

/// The application was not healthy after the swap, which was undone.
package struct SwapUndone: AfterSwap {
  package let database: String
  /// The current name of the restored database.
  package let keptAs: String
  package let healthCheck: String
  package let startFailures: [String]
}

/// The application was not healthy after the swap, and the swap could not be undone.
package struct UndoFailed: AfterSwap {
  package let database: String
  package let keptAs: String
  package let healthCheck: String
  package let cause: any Error
  package let startFailures: [String]
}

/// Nothing was swapped, and not every stopped service was started again.
package struct ApplicationNotStarted: Error {
  package let cause: any Error
  package let startFailures: [String]
}

/// A swap with the application stopped before it and started after it, however it ends.
struct SwapWithApplicationStopped {
  struct Outcome {
    let downtime: Duration
    let warnings: [String]
  }

  let swap: DatabaseSwap
  let maintenance: ApplicationControl
  let undoesOnFailure: Bool
  let progress: WorkProgress

  /// - Throws: errors of stopping or swapping if nothing was swapped; otherwise an `AfterSwap`.
  func run(now: () -> Date) throws -> Outcome {
    let swapped = try whileStopped(swap)
    guard let check = maintenance.healthCheck, !maintenance.isHealthy(progress) else {
      return Outcome(downtime: swapped.downtime, warnings: swapped.startFailures)
    }
    guard undoesOnFailure else {
      throw ApplicationUnwell(
        database: swap.live, keptAs: swap.replaced.map { _ in swap.keptName }, healthCheck: check, startFailures: swapped.startFailures)
    }
    progress.begin("undoing the swap")
    // After an interruption of the health check the undo is still completed.
    Interruption.clear()
    do {
      let back = try undo(now())
      let undone = try whileStopped(back)
      throw SwapUndone(database: swap.live, keptAs: back.keptName, healthCheck: check, startFailures: undone.startFailures)
    } catch let undone as SwapUndone {
      throw undone
    } catch {
      let (cause, failures) = (error as? ApplicationNotStarted).map { ($0.cause, $0.startFailures) } ?? (error, [])
      throw UndoFailed(database: swap.live, keptAs: swap.keptName, healthCheck: check, cause: cause, startFailures: failures)
    }
  }

  /// Swaps while the application is stopped. It is started again in any case: by this process, or by the next run if this one is
  /// killed or a part does not start.
  private func whileStopped(_ swap: DatabaseSwap) throws -> (downtime: Duration, startFailures: [String]) {
    try Interruption.check()
    let mark = try maintenance.stop.isEmpty ? nil : StoppedApplication(database: swap.live, start: maintenance.start)
    let downtime: Duration
    do {
      try maintenance.stopAll(progress)
      progress.begin("swapping the databases")
      downtime = try swap.run()
    } catch {
      let failures = StoppedApplication.start(maintenance, noted: mark, progress)
      throw failures.isEmpty ? error : ApplicationNotStarted(cause: error, startFailures: failures)
    }
    return (downtime, StoppedApplication.start(maintenance, noted: mark, progress))
  }

  private func undo(_ time: Date) throws -> DatabaseSwap {
    let server = try ServerConnection.open(swap.settings, except: swap.live)
    guard let kept = try KeptDatabase.all(on: server, of: swap.live).first(where: { $0.name == swap.keptName }) else {
      throw FirnError.noKeptDatabase(name: swap.live)
    }
    return try DatabaseSwap(bringingBack: kept, on: server, at: time)
  }
}

extension DatabaseSwap {
  /// Gives a kept database its name back. The current one, if any, is kept in turn.
  init(bringingBack kept: KeptDatabase, on server: Connection, at time: Date) throws {
    let live = kept.record.database
    let entries = try server.databaseEntries()
    let name = KeptDatabase.name(for: live, "undone", at: time, taken: Set(entries.map(\.name)))
    let present = entries.first { $0.name.isSame(as: live) }
    self.init(
      settings: server.settings, live: live, replaced: present.map { Side(name: live, oid: $0.oid) },
      replacement: Side(name: kept.name, oid: kept.oid), keptName: name,
      record: .init(database: live, name: name, keptAt: time, snapshot: nil, comment: KeptDatabase.original(present?.comment)),
      finishing: [Connection.commentStatement(live, kept.record.comment)])
  }
}
