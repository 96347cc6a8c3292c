internal import Foundation
internal import Platform
internal import Postgres

/// The application is not well after the exchange, which stays.
package struct ApplicationUnwell: Error {
  package let database: String
  package let keptAs: String
  package let healthCheck: String
}

/// The application was not well after the exchange, which was taken back.
package struct ExchangeUndone: Error {
  package let database: String
  /// The name of the restored database now.
  package let keptAs: String
  package let healthCheck: String
}

/// An exchange of databases, with the application stopped before it and started after it, however it ends.
struct SwapWithMaintenance {
  struct Outcome {
    let downtime: Duration
    let warnings: [String]
  }

  let swap: DatabaseSwap
  let maintenance: Maintenance
  let undoesOnFailure: Bool
  let progress: WorkProgress

  /// - Throws: what stopping or exchanging threw, then nothing was exchanged; `ApplicationUnwell`, `ExchangeUndone`.
  func run(now: () -> Date) throws -> Outcome {
    var warnings: [String] = []
    let downtime: Duration
    do {
      try Interruption.check()
      progress.begin("stopping the application")
      try maintenance.stopAll(progress)
      progress.begin("exchanging the databases")
      downtime = try swap.run()
    } catch {
      progress.begin("starting the application")
      for failure in maintenance.startAll(progress) { progress.tell(failure) }
      throw error
    }
    progress.begin("starting the application")
    warnings += maintenance.startAll(progress)
    guard let check = maintenance.healthCheck, !maintenance.isHealthy(progress) else { return Outcome(downtime: downtime, warnings: warnings) }
    guard undoesOnFailure else {
      throw ApplicationUnwell(database: swap.live, keptAs: swap.keptName, healthCheck: check)
    }
    progress.begin("taking the exchange back")
    let back = try undo(now())
    try? maintenance.stopAll(progress)
    defer { for failure in maintenance.startAll(progress) { progress.tell(failure) } }
    _ = try back.run()
    throw ExchangeUndone(database: swap.live, keptAs: back.keptName, healthCheck: check)
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
  /// Gives a kept database its name back; the one that has it now is kept in turn.
  init(bringingBack kept: KeptDatabase, on server: Connection, at time: Date) throws {
    let live = kept.record.database
    let taken = Set(try server.databaseEntries().map(\.name))
    self.init(
      settings: server.settings, live: live, replacement: kept.name, keptName: KeptDatabase.name(for: live, "undone", at: time, taken: taken),
      record: .init(database: live, keptAt: time, snapshot: nil, comment: try server.databaseFacts(of: live).comment),
      finishing: [Connection.commentStatement(live, kept.record.comment)])
  }
}
