internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

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
    let run = "\(Self.tag(Host.name))_\(Self.tag(Host.bootID))_\(Host.processID)_\(Host.startTime(of: Host.processID) ?? 0)"
    name = "\(Self.prefix)\(run)_\(UInt16.random(in: 0 ... .max))"
  }

  private static func tag(_ text: String) -> String { String("\(SHA256Digest(of: Array(text.utf8)))".prefix(8)) }

  /// Whether a database that has no comment yet is of a run on this machine that ended.
  private static func isOfDeadRun(_ name: String) -> Bool {
    let parts = name.dropFirst(prefix.count).split(separator: "_")
    guard parts.count == 5, parts[0] == tag(Host.name), let process = Int32(parts[2]), let start = UInt64(parts[3]) else { return false }
    return parts[1] != tag(Host.bootID) || Host.startTime(of: process) != start
  }

  /// Makes the database.
  /// - Throws: `FirnError.refused` where the server can't make one with these properties, `RepositoryError.locked` where another
  ///   restore is building one for the same name.
  func make(on server: Connection, snapshot: SnapshotID) throws {
    do {
      try server.execute(builder.createStatement(name: name))
      let owner = Owner(
        host: Host.name, process: Host.processID, start: Host.startTime(of: Host.processID) ?? 0, boot: Host.bootID, target: finalName)
      let mark = "restore of \(snapshot) by firn, not finished: \(String(decoding: try JSONEncoder().encode(owner), as: UTF8.self))"
      try server.execute(Connection.commentStatement(name, mark))
    } catch PostgresError.statementFailed(let message, let state) where !state.hasPrefix("57") {
      throw FirnError.refused(reasons: ["the server cannot make the database: \(message)"])
    }
    try refuseRivals(server)
  }

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

  /// Drops what dead runs of this machine left.
  /// - Returns: what was found, in words.
  static func clear(on server: Connection) throws -> [String] {
    try server.databases(namedWith: prefix).compactMap { database in
      let owner = Owner(comment: database.comment)
      guard owner != nil || isOfDeadRun(database.name) else {
        return "database \(database.name) looks like the rest of a restore, and doesn't tell whose: drop it if no restore is running"
      }
      if let owner, owner.host != Host.name {
        return "database \(database.name) is of a restore on \(owner.host): drop it if none is running there"
      }
      if owner?.isAlive == true { return nil }
      do {
        try server.dropDatabase(database.name)
        return "dropped \(database.name), which a restore that was killed had left"
      } catch PostgresError.statementFailed(let message, _) {
        return "database \(database.name) was left by a restore that was killed, and can't be dropped: \(message)"
      }
    }
  }

  /// Two that build for the same name see each other, however they come: each has made its own before it looks.
  private func refuseRivals(_ server: Connection) throws {
    for database in try server.databases(namedWith: Self.prefix) where database.name != name {
      guard let owner = Owner(comment: database.comment), owner.target == finalName, owner.host != Host.name || owner.isAlive else { continue }
      throw RepositoryError.locked(holder: "another restore of \(finalName), process \(owner.process) on \(owner.host)")
    }
  }

  private struct Owner: Codable {
    let host: String
    let process: Int32
    let start: UInt64
    let boot: String
    /// The name it is to get.
    let target: String?

    var isAlive: Bool { boot == Host.bootID && Host.startTime(of: process) == start }

    init?(comment: String?) {
      guard let comment, let brace = comment.firstIndex(of: "{"),
        let owner = try? JSONDecoder().decode(Owner.self, from: Data(comment[brace...].utf8))
      else { return nil }
      self = owner
    }

    init(host: String, process: Int32, start: UInt64, boot: String, target: String) {
      self.host = host
      self.process = process
      self.start = start
      self.boot = boot
      self.target = target
    }
  }
}
