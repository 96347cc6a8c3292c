internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// The database a restore builds: under a passing name until it is whole, so that nobody takes it for finished.
///
/// Its name is like no other's, so that dropping it can't meet anything else. Its comment tells whose it is. The next restore drops those of dead runs of the same machine.
struct UnfinishedDatabase {
  private static let prefix = "firn_unfinished_"

  let name: String
  private let finalName: String
  private let builder: DatabaseBuilder

  init(for finalName: String, builder: DatabaseBuilder) {
    self.finalName = finalName
    self.builder = builder
    name = Self.prefix + UUID().uuidString.prefix(13).lowercased().replacing("-", with: "_")
  }

  /// Makes the database.
  /// - Throws: `FirnError.refused` where the server can't make one with these properties.
  func make(on server: Connection, snapshot: SnapshotID) throws {
    do {
      try server.execute(builder.createStatement(name: name))
      let owner = Owner(host: Host.name, process: Host.processID, start: Host.startTime(of: Host.processID) ?? 0, boot: Host.bootID)
      let mark = "restore of \(snapshot) by firn, not finished: \(String(decoding: try JSONEncoder().encode(owner), as: UTF8.self))"
      try server.execute("COMMENT ON DATABASE \(Connection.identifier(name)) IS \(Connection.literal(mark))")
    } catch PostgresError.statementFailed(let message, let state) where !state.hasPrefix("57") {
      throw FirnError.refused(reasons: ["the server cannot make the database: \(message)"])
    }
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
        try server.endSessions(in: name)
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
      guard let comment = database.comment, let brace = comment.firstIndex(of: "{"),
        let owner = try? JSONDecoder().decode(Owner.self, from: Data(comment[brace...].utf8))
      else { return "database \(database.name) looks like the rest of a restore, and doesn't tell whose: drop it if no restore is running" }
      guard owner.host == Host.name else {
        return "database \(database.name) is of a restore on \(owner.host): drop it if none is running there"
      }
      if owner.boot == Host.bootID && Host.startTime(of: owner.process) == owner.start { return nil }
      do {
        try server.dropDatabase(database.name)
        return "dropped \(database.name), which a restore that was killed had left"
      } catch PostgresError.statementFailed(let message, _) {
        return "database \(database.name) was left by a restore that was killed, and can't be dropped: \(message)"
      }
    }
  }

  private struct Owner: Codable {
    let host: String
    let process: Int32
    let start: UInt64
    let boot: String
  }
}
