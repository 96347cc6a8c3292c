internal import Platform
internal import Postgres

/// What was found of a restore that was killed, or cut off, in words.
package struct RestoreRest: Sendable {
  package let text: String
  /// Whether somebody has to do something.
  package let wantsAttention: Bool
  /// The database that is gone, where one is.
  let lost: String?

  private init(_ text: String, wantsAttention: Bool = false, lost: String? = nil) {
    self.text = text
    self.wantsAttention = wantsAttention
    self.lost = lost
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
        return RestoreRest("database \(name) is of a restore on \(owner.place): drop it if none is running there")
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
      try server.dropDatabase(name)
      return RestoreRest("dropped \(name), which a restore that was killed had left")
    }
    let mark = try owner.state == .mark ? name : emptied(name, owner, server)
    return RestoreRest(
      "\(loss). This is told until it is there, or somebody says DROP DATABASE \(Connection.identifier(mark))", wantsAttention: true,
      lost: owner.target)
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
      try server.dropDatabase(mark)
      return name
    }
    try server.dropDatabase(name)
    return mark
  }

  /// Drops what dead runs of this machine left for a database that is there now, and what had told of that.
  static func clear(for target: String, on server: Connection) throws {
    for (name, owner) in try UnfinishedDatabase.all(on: server) {
      guard let owner, owner.isAlive == false, owner.target.map({ $0.isSame(as: target) }) ?? false else { continue }
      try server.dropDatabase(name)
    }
  }
}
