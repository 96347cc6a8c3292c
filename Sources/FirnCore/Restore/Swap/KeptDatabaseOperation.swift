package import Foundation
internal import Platform
package import Postgres

/// Undoes a swap, or drops databases that swaps have kept.
package struct KeptDatabaseOperation {
  /// The consequences of an undo.
  package struct UndoPlan: Sendable {
    package let database: String
    package let server: String
    /// The database that gets its name back.
    package let kept: KeptDatabase
    /// Other kept databases of this name, the newest first.
    package let others: [KeptDatabase]
    /// The new name of the current database; nil if there is none.
    package let presentBecomes: String?
    fileprivate let presentOID: UInt32?
    /// Bytes on disk.
    package let presentSize: Int64?
    package let applications: [ConnectedApplication]
    /// When it was planned: the names depend on it.
    package let time: Date
  }

  private let settings: ConnectionSettings
  private let database: String
  private let progress: WorkProgress

  package init(settings: ConnectionSettings, database: String, progress: WorkProgress) {
    self.settings = settings
    self.database = database
    self.progress = progress
  }

  /// - Parameter name: the kept database to bring back; nil for the one that was replaced last.
  /// - Throws: `FirnError.noKeptDatabase`, `.refused`.
  package func planUndo(bringingBack name: String?, at time: Date) throws -> UndoPlan {
    let server = try ServerConnection.open(settings, except: database)
    let all = try KeptDatabase.all(on: server, of: database)
    guard let kept = name.map({ name in all.first { $0.name == name } }) ?? all.first else {
      throw FirnError.noKeptDatabase(name: name ?? database)
    }
    let present = try server.databaseEntries().first { $0.name.isSame(as: database) }
    // There is no current database to compare the owner with.
    if present == nil, name == nil, Set(all.map(\.owner)).count > 1 {
      throw FirnError.refused(
        reasons: ["databases of several owners were kept as \(database): check which one you want, and name it with --kept"]
          + all.map { "\($0.name) belongs to \($0.owner)" })
    }
    var reasons = try SwapPreflight(server: server, database: kept.name).reasons()
    if let present {
      reasons = try SwapPreflight(server: server, database: database).reasons() + reasons
      // Any role that may create databases can write such a comment.
      if kept.owner != present.owner {
        reasons.append("\(kept.name) belongs to \(kept.owner), \(database) to \(present.owner): check that it really is the previous database")
      }
    }
    if !kept.isUsable {
      reasons.append(
        "\(kept.name) does not accept connections: run ALTER DATABASE … ALLOW_CONNECTIONS true; if a DROP DATABASE was interrupted, it cannot be brought back"
      )
    }
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
    let swap = try DatabaseSwap(bringingBack: kept, on: server, at: time)
    return UndoPlan(
      database: database, server: server.target, kept: kept, others: all.filter { $0.oid != kept.oid },
      presentBecomes: present.map { _ in swap.keptName }, presentOID: present?.oid,
      presentSize: try present.flatMap { _ in try server.diskSize(of: database) },
      applications: try server.connectedApplications(of: database) + server.connectedApplications(of: kept.name),
      time: time)
  }

  /// - Returns: the new name of the current database, and the downtime.
  /// - Throws: `FirnError.refused` if these are other databases than in the plan.
  package func undo(_ plan: UndoPlan, maintenance: ApplicationControl, now: @Sendable () -> Date) throws -> (
    keptAs: String?, downtime: Duration, warnings: [String]
  ) {
    let server = try ServerConnection.open(settings, except: database)
    let entries = try server.databaseEntries()
    guard entries.first(where: { $0.name.isSame(as: database) })?.oid == plan.presentOID,
      entries.first(where: { $0.name.isSame(as: plan.kept.name) })?.oid == plan.kept.oid
    else { throw FirnError.replacedMeanwhile(database) }
    let swap = try DatabaseSwap(bringingBack: plan.kept, on: server, at: plan.time)
    let outcome = try SwapWithApplicationStopped(swap: swap, maintenance: maintenance, undoesOnFailure: false, progress: progress).run(now: now)
    return (plan.presentBecomes.map { _ in swap.keptName }, outcome.downtime, outcome.warnings)
  }

  /// The kept databases of this name, the newest first.
  package func kept() throws -> [KeptDatabase] {
    try KeptDatabase.all(on: try ServerConnection.open(settings, except: database), of: database)
  }

  /// The sessions in a kept database.
  package func applications(in kept: KeptDatabase) throws -> [ConnectedApplication] {
    try ServerConnection.open(settings, except: kept.name).connectedApplications(of: kept.name)
  }

  /// Drops a kept database, and ends its sessions.
  /// - Throws: `FirnError.noKeptDatabase` if it is no kept database any more.
  package func forget(_ kept: KeptDatabase) throws {
    let server = try ServerConnection.open(settings, except: kept.name)
    // Checked again: the name may belong to another database by now.
    guard try KeptDatabase.all(on: server, of: database).contains(where: { $0.name == kept.name && $0.oid == kept.oid }) else {
      throw FirnError.noKeptDatabase(name: kept.name)
    }
    try server.dropDatabase(kept.name)
  }
}
