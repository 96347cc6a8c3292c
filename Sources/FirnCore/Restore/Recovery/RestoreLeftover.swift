internal import Platform
internal import Postgres
internal import Repository

/// A leftover of a restore that was killed or interrupted, described for the operator.
package struct RestoreLeftover: Sendable {
  package let text: String
  /// Whether the operator has to act.
  package let wantsAttention: Bool
  /// The database that was lost, if any, and the snapshots that can restore it.
  let loss: (target: String, ways: [String])?

  private init(_ text: String, wantsAttention: Bool = false, loss: (target: String, ways: [String])? = nil) {
    self.text = text
    self.wantsAttention = wantsAttention
    self.loss = loss
  }

  /// Drops databases that dead runs of this machine left on a server. The marker of a lost database stays until
  /// that database is restored. Its partial data is dropped, because the disk may not have room for it and the next
  /// restore. A complete database that only needs to be renamed stays.
  static func clear(on server: Connection) throws -> [RestoreLeftover] {
    let all = try UnfinishedDatabase.all(on: server)
    return try all.compactMap { name, owner in
      guard let owner else {
        guard UnfinishedDatabase.isOfDeadRun(name) else {
          return RestoreLeftover(
            "database \(name) looks like a leftover of a restore, but does not say of which one: drop it if no restore is running")
        }
        return try dropped(name, server)
      }
      let liveness = owner.liveness
      if liveness == .alive { return nil }
      guard let loss = try loss(name, owner, server) else {
        return liveness == .unknown
          ? RestoreLeftover("database \(name) belongs to a restore on \(owner.place): drop it if no restore is running there")
          : try dropped(name, server)
      }
      let ways = (target: owner.target ?? "", ways: [owner.snapshot, owner.inPlace?.safetySnapshot].compactMap(\.self))
      if liveness == .unknown && owner.state != .mark {
        return RestoreLeftover("unless a restore is running on \(owner.place): \(loss)", wantsAttention: true, loss: ways)
      }
      if owner.state == .whole { return RestoreLeftover(loss, wantsAttention: true, loss: ways) }
      let mark = try owner.state == .mark ? name : emptied(name, owner, all, server)
      return RestoreLeftover(
        "\(loss). This is shown until one of these snapshots is restored, or until you run DROP DATABASE \(Connection.identifier(mark))",
        wantsAttention: true, loss: ways)
    }
  }

  private static let limit: Duration = .seconds(600)

  private static func dropped(_ name: String, _ server: Connection) throws -> RestoreLeftover {
    do { try server.dropDatabase(name, within: limit) } catch PostgresError.statementFailed(let message, _) {
      return RestoreLeftover("database \(name), a leftover of a killed restore, can't be dropped: \(message)", wantsAttention: true)
    }
    return RestoreLeftover("dropped \(name), a leftover of a killed restore")
  }

  /// Describes a lost database, and the ways to restore it.
  private static func loss(_ name: String, _ owner: RestoreMarker, _ server: Connection) throws -> String? {
    guard owner.state == .whole else { return try owner.loss(on: server) }
    let target = owner.target ?? ""
    return
      "database \(name) holds snapshot \(owner.snapshot ?? "") of \(target), complete and counted, and only has to be renamed. Once the name "
      + "is free: \(Connection.renameStatement(name, to: target)), and \(Connection.commentStatement(target, nil)); or drop it if it is not needed"
  }

  /// Replaces a database by an empty one with the same marker.
  /// - Returns: the database with the marker. If there is no room for a second one, or the first can't be dropped, the first one stays.
  private static func emptied(
    _ name: String, _ owner: RestoreMarker, _ all: [(name: String, owner: RestoreMarker?)], _ server: Connection
  ) throws -> String {
    // An empty database with the same marker, from an earlier attempt.
    let former = all.first { $0.owner?.state == .mark && $0.owner?.target == owner.target && $0.owner?.snapshot == owner.snapshot }?.name
    let mark = former ?? UnfinishedDatabase.passingName()
    do {
      if former == nil {
        var owner = owner
        owner.state = .mark
        try server.execute("CREATE DATABASE \(Connection.identifier(mark)) TEMPLATE template0")
        try server.execute(owner.commentStatement(for: mark))
      }
      try server.dropDatabase(name, within: limit)
      return mark
    } catch PostgresError.statementFailed {
      if former == nil { try server.dropDatabase(mark, within: limit) }
      return name
    }
  }

  /// A leftover that was only looked at.
  enum Finding {
    /// A lost database; not certain if a restore on another machine may be running.
    case loss(String, isCertain: Bool)
    /// An unfinished database of a dead run of this machine, which `clear` would drop.
    case unfinished(String)
  }

  /// Looks for leftovers without changing anything.
  static func findings(on server: Connection) throws -> [Finding] {
    try UnfinishedDatabase.all(on: server).compactMap { name, owner in
      guard let owner else { return UnfinishedDatabase.isOfDeadRun(name) ? .unfinished(name) : nil }
      let liveness = owner.liveness
      if liveness == .alive { return nil }
      guard let loss = try loss(name, owner, server) else { return liveness == .dead ? .unfinished(name) : nil }
      let isCertain = liveness == .dead || owner.state == .mark
      return .loss(isCertain ? loss : "unless a restore is running on \(owner.place): \(loss)", isCertain: isCertain)
    }
  }

  /// Drops markers of a database that exists again, and complete databases of the same snapshot that only need to
  /// be renamed.
  /// - Parameter snapshot: the restored snapshot. It clears a marker only if the marker names it.
  static func clear(for target: String, restoredFrom snapshot: SnapshotID, on server: Connection) throws {
    for (name, owner) in try UnfinishedDatabase.all(on: server) {
      guard let owner, owner.target.map({ $0.isSame(as: target) }) ?? false, owner.liveness == .dead || owner.state == .mark else { continue }
      let isWayBack = owner.snapshot == snapshot.description || owner.state != .whole && owner.inPlace?.safetySnapshot == snapshot.description
      if isWayBack { try server.dropDatabase(name, within: limit) }
    }
  }
}
