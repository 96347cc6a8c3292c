internal import Platform
internal import Postgres

/// What was found of a restore that was killed, or cut off, in words.
package struct RestoreRest: Sendable {
  package let text: String
  /// Whether somebody has to do something.
  package let wantsAttention: Bool
  /// The database that is gone, where one is, and the snapshots that are the ways to have one again.
  let loss: (target: String, ways: [String])?

  private static let limit: Duration = .seconds(600)

  private init(_ text: String, wantsAttention: Bool = false, loss: (target: String, ways: [String])? = nil) {
    self.text = text
    self.wantsAttention = wantsAttention
    self.loss = loss
  }

  /// Drops what dead runs of this machine left on a server. But what tells of a database that is gone stays until that is made again,
  /// whoever looks first; it is emptied, as the disk may have no room for it beside the next. What lacks its name alone stays as it is.
  static func clear(on server: Connection) throws -> [RestoreRest] {
    try UnfinishedDatabase.all(on: server).compactMap { name, owner in
      guard owner != nil || UnfinishedDatabase.isOfDeadRun(name) else {
        return RestoreRest("database \(name) looks like the rest of a restore, and doesn't tell whose: drop it if no restore is running")
      }
      let isAlive = owner.map(\.isAlive) ?? false
      if isAlive == nil, let owner {
        let loss = try owner.loss(on: server)
        return RestoreRest(
          "database \(name) is of a restore on \(owner.place)"
            + (loss.map { ", by which \($0). If none is running there, then drop it" } ?? ": drop it if none is running there"),
          wantsAttention: loss != nil)
      }
      if isAlive == true { return nil }
      do { return try cleared(name, owner, server) } catch PostgresError.statementFailed(let message, _) {
        return RestoreRest("database \(name) was left by a restore that was killed, and can't be dropped: \(message)", wantsAttention: true)
      }
    }
  }

  private static func cleared(_ name: String, _ owner: UnfinishedDatabaseOwner?, _ server: Connection) throws -> RestoreRest {
    if let owner, owner.state == .whole {
      let (target, snapshot) = (owner.target ?? "", owner.snapshot ?? "")
      return RestoreRest(
        "database \(name) is what snapshot \(snapshot) holds of \(target), whole and counted, and lacks its name alone: once nothing else has that, "
          + "ALTER DATABASE \(Connection.identifier(name)) RENAME TO \(Connection.identifier(target)); or drop it if nobody wants it",
        wantsAttention: true)
    }
    guard let owner, let loss = try owner.loss(on: server) else {
      try server.dropDatabase(name, within: limit)
      return RestoreRest("dropped \(name), which a restore that was killed had left")
    }
    let mark = try owner.state == .mark ? name : emptied(name, owner, server)
    return RestoreRest(
      "\(loss). This is told until it is restored, or somebody says DROP DATABASE \(Connection.identifier(mark))", wantsAttention: true,
      loss: (owner.target ?? "", [owner.snapshot, owner.inPlace?.safetySnapshot].compactMap(\.self)))
  }

  /// Has an empty one say what a database says, and drops that.
  /// - Returns: the one there is then: where there is no room for another it stays.
  private static func emptied(_ name: String, _ owner: UnfinishedDatabaseOwner, _ server: Connection) throws -> String {
    let mark = UnfinishedDatabase.passingName()
    var owner = owner
    owner.state = .mark
    do {
      try server.execute("CREATE DATABASE \(Connection.identifier(mark)) TEMPLATE template0")
      try server.execute(owner.commentStatement(for: mark))
    } catch PostgresError.statementFailed {
      try server.dropDatabase(mark, within: limit)
      return name
    }
    try server.dropDatabase(name, within: limit)
    return mark
  }

  /// What is told of databases that are gone, where nothing is to be changed.
  static func losses(on server: Connection) throws -> [String] {
    try UnfinishedDatabase.all(on: server).compactMap { _, owner in
      guard let owner, owner.isAlive != true else { return nil }
      return try owner.loss(on: server)
    }
  }

  /// Drops what dead runs of this machine left for a database that is there now, and what had told of that.
  static func clear(for target: String, on server: Connection) throws {
    for (name, owner) in try UnfinishedDatabase.all(on: server) {
      guard let owner, owner.isAlive == false, owner.target.map({ $0.isSame(as: target) }) ?? false else { continue }
      try server.dropDatabase(name, within: limit)
    }
  }
}
