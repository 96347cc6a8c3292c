internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// What was found of a restore that was killed, in words.
package struct RestoreRest: Sendable {
  package let text: String
  /// Whether somebody has to do something: it had dropped a database, and there is none of that name, or it could not be taken away.
  package let wantsAttention: Bool
  /// What was dropped told of a database that is gone, and is told by nothing else now.
  let told: UnfinishedDatabase.InPlace?

  init(_ text: String, wantsAttention: Bool = false, told: UnfinishedDatabase.InPlace? = nil) {
    self.text = text
    self.wantsAttention = wantsAttention
    self.told = told
  }
}

/// The database a restore builds: under a passing name until it is whole, so that nobody takes it for finished.
///
/// Its name is like no other's, so that dropping it can't meet anything else. Its comment tells whose it is, and what it is to become.
/// The next restore drops those of dead runs of the same machine.
struct UnfinishedDatabase {
  private static let prefix = "firn_unfinished_"

  let name: String
  private let finalName: String
  private let builder: DatabaseBuilder

  init(for finalName: String, builder: DatabaseBuilder) {
    self.finalName = finalName
    self.builder = builder
    // It tells whose it is before the comment does.
    let run = "\(Self.place)_\(Self.tag(Host.bootID))_\(Host.processID)_\(Host.startTime(of: Host.processID) ?? 0)"
    name = "\(Self.prefix)\(run)_\(UInt16.random(in: 0 ... .max))"
  }

  private static func tag(_ text: String) -> String { String("\(SHA256Digest(of: Array(text.utf8)))".prefix(8)) }

  /// Within which process ids mean something: names of hosts are not their own.
  private static var place: String { tag("\(Host.name) \(Host.machineID) \(Host.processSpace)") }

  /// Whether a database that has no comment yet is of a run on this machine that ended.
  private static func isOfDeadRun(_ name: String) -> Bool {
    let parts = name.dropFirst(prefix.count).split(separator: "_")
    guard parts.count == 5, parts[0] == place, let process = Int32(parts[2]), let start = UInt64(parts[3]) else { return false }
    return parts[1] != tag(Host.bootID) || Host.startTime(of: process) != start
  }

  /// Makes the database.
  /// - Parameters:
  ///   - snapshot: what it is filled from.
  ///   - inPlace: where a database is dropped before it is filled.
  /// - Throws: `FirnError.refused` where the server can't make one with these properties, `RepositoryError.locked` where another
  ///   restore is building one for the same name.
  func make(on server: Connection, snapshot: SnapshotID, inPlace: InPlace? = nil) throws {
    do {
      try server.execute(builder.createStatement(name: name))
      let owner = Owner(target: finalName, snapshot: snapshot, inPlace: inPlace)
      let mark = "restore of \(snapshot) by firn, not finished: \(String(decoding: try JSONEncoder().encode(owner), as: UTF8.self))"
      try server.executeTogether([Connection.commentStatement(name, mark)] + builder.earlyGrantStatements(name: name))
    } catch PostgresError.statementFailed(let message, let state) where !state.hasPrefix("57") {
      throw FirnError.refused(reasons: ["the server cannot make the database: \(message)"])
    }
    try refuseRivals(server)
  }

  /// Gives it the settings it is to have.
  func applySettings(on server: Connection) throws { try server.executeTogether(builder.settingStatements(name: name)) }

  /// Gives it the last of its properties and its own name, in one step.
  func finish(on server: Connection) throws {
    let statements =
      builder.finishingStatements(name: name)
      + ["ALTER DATABASE \(Connection.identifier(name)) RENAME TO \(Connection.identifier(finalName))"]
    for attempt in 1...20 {
      do {
        return try server.executeTogether(statements)
      } catch PostgresError.statementFailed(_, "55006") where attempt < 20 {
        // Whoever looks into a database that isn't there yet (a monitor does) must let go of it.
        try server.endSessions(in: [name])
        Thread.sleep(forTimeInterval: 0.2)
      } catch PostgresError.statementFailed(_, "42P04") {
        throw FirnError.refused(reasons: ["database \(finalName) was made by someone else meanwhile"])
      }
    }
  }

  /// Drops what dead runs of this machine left. What stands for a database that is gone stays until that is made again: it is what
  /// tells, and others than those who lost it may be the first to look.
  /// - Parameter returning: the name of a database that is made now.
  static func clear(on server: Connection, returning: String? = nil) throws -> [RestoreRest] {
    try server.databases(namedWith: prefix).compactMap { database in
      let owner = Owner(comment: database.comment)
      guard owner != nil || isOfDeadRun(database.name) else {
        return RestoreRest("database \(database.name) looks like the rest of a restore, and doesn't tell whose: drop it if no restore is running")
      }
      let isAlive = owner.map(\.isAlive) ?? false
      if isAlive == nil, let owner {
        return RestoreRest("database \(database.name) is of a restore on \(owner.place): drop it if none is running there")
      }
      if isAlive == true { return nil }
      let loss = try owner?.loss(on: server)
      let isReturning = returning.map { owner?.target?.isSame(as: $0) ?? false } ?? false
      if let loss, !isReturning {
        return RestoreRest("\(loss). What it had filled is \(database.name), which goes with that restore", wantsAttention: true)
      }
      do {
        try server.dropDatabase(database.name)
        let dropped = "dropped \(database.name), which a restore that was killed had left"
        guard let loss else { return RestoreRest(dropped) }
        return RestoreRest("\(dropped). \(loss)", wantsAttention: true, told: owner?.inPlace)
      } catch PostgresError.statementFailed(let message, _) {
        return RestoreRest("database \(database.name) was left by a restore that was killed, and can't be dropped: \(message)", wantsAttention: true)
      }
    }
  }

  /// Two that build for the same name see each other, however they come: each has made its own before it looks.
  private func refuseRivals(_ server: Connection) throws {
    for database in try server.databases(namedWith: Self.prefix) where database.name != name {
      guard let owner = Owner(comment: database.comment), owner.target == finalName, owner.isAlive != false else { continue }
      throw RepositoryError.locked(holder: "another restore of \(finalName), process \(owner.process) on \(owner.place)")
    }
  }

  /// What whoever finds the rest of a restore in place has to be told.
  struct InPlace: Codable, Sendable {
    /// Of the database that is dropped.
    let safetySnapshot: String?
  }

  private struct Owner: Codable {
    let host: String
    let machine: String
    let space: String
    let process: Int32
    let start: UInt64
    let boot: String
    /// The name it is to get.
    let target: String?
    let snapshot: String?
    let inPlace: InPlace?

    /// Whether its process lives; nil for one of another machine, or of another container of this.
    var isAlive: Bool? {
      LockOwner.current.tellsAlive(host: host, machine: machine, boot: boot, space: space, process: process, start: start)
    }

    /// Where it is at work, in words.
    var place: String { host == Host.name ? "another machine or container called \(host)" : host }

    init?(comment: String?) {
      guard let comment, let brace = comment.firstIndex(of: "{"),
        let owner = try? JSONDecoder().decode(Owner.self, from: Data(comment[brace...].utf8))
      else { return nil }
      self = owner
    }

    /// That a database is gone, and how to have one again; nil where none was to be dropped, or it is still there.
    func loss(on server: Connection) throws -> String? {
      guard let inPlace, let target, let snapshot, try !server.databaseExists(target) || server.isHalfDropped(target) else { return nil }
      let before = inPlace.safetySnapshot.map { "; the database as it was: firn-restore \(target) \($0)" } ?? ""
      return "\(target) IS GONE: it was dropped to be replaced in place. To go on: firn-restore \(target) \(snapshot)\(before)"
    }

    /// This process.
    init(target: String, snapshot: SnapshotID, inPlace: InPlace?) {
      host = Host.name
      machine = Host.machineID
      space = Host.processSpace
      process = Host.processID
      start = Host.startTime(of: process) ?? 0
      boot = Host.bootID
      self.target = target
      self.snapshot = snapshot.description
      self.inPlace = inPlace
    }
  }
}
