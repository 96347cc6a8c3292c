internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// How a server shows which tables changed since an earlier snapshot.
protocol ChangeSignal: AnyObject {
  var session: WatchSession { get }
  /// Call it when the tables are locked and the snapshot is not yet taken.
  func noteLocks() throws
  /// Call it when the snapshot is exported.
  func noteSnapshot() throws
  /// Tables that no later snapshot may take over from this one: transactions that it may not see had written to them.
  var inFlight: Set<UInt32> { get }
  /// Waits until the server shows everything up to the snapshot.
  /// - Throws: `Unusable` if it does not.
  func catchUp() throws
  /// The record by which a later snapshot finds unchanged tables. Call it when `catchUp` has succeeded.
  func base(_ surroundings: ChangeBase.Surroundings) throws -> ChangeBase?
  /// The times of a table's files, if they are the signal.
  func fileTimes(of table: UInt32) -> String?
  /// The files that changed since an earlier snapshot. Call it when `catchUp` has succeeded.
  /// - Throws: `Unusable` if the server does not show it.
  func touchedFiles(since base: ChangeBase, _ parent: Manifest) throws -> TouchedFiles
}

/// Why nothing can be taken over from the parent.
struct Unusable: Error {
  let reason: String
}

extension ChangeSignal {
  /// The facts that must be the same for tables to be taken over; nil if this role does not learn all of them.
  func surroundings(encoding: String, pgDump: String) throws -> ChangeBase.Surroundings? {
    let connection = try session.connected()
    guard let identifier = try connection.systemIdentifier() else { return nil }
    return try ChangeBase.Surroundings(
      database: session.database, systemIdentifier: identifier, timeline: session.timeline, server: connection.fullVersion(), pgDump: pgDump,
      encoding: encoding, settings: DumpTool.fixedOptions)
  }
}

/// A second session, beside the one that exports the snapshot.
final class WatchSession {
  private let settings: ConnectionSettings
  let database: UInt32
  let timeline: String
  private let serverStart: String
  private var connection: Connection?

  /// A checkpoint may have much to write.
  private static let longestStatement: Duration = .seconds(900)

  /// - Parameter exporting: the session that will export the snapshot, not yet in a transaction.
  /// - Throws: `PostgresError`.
  init(_ settings: ConnectionSettings, beside exporting: Connection) throws {
    self.settings = settings
    serverStart = try exporting.serverStart()
    guard let database = try exporting.databaseOID() else { throw PostgresError.connectionLost(reason: "the database's number is unknown") }
    self.database = database
    let opened = try Self.open(settings, onServerStartedAt: serverStart)
    timeline = try opened.timeline()
    connection = opened
  }

  private static func open(_ settings: ConnectionSettings, onServerStartedAt start: String) throws -> Connection {
    let session = try Connection(settings, applicationName: "firn-snapshot changes")
    try session.limitStatements(lockWait: .seconds(2), total: longestStatement)
    guard try session.serverStart() == start else {
      throw PostgresError.connectionLost(reason: "a second connection leads to another server, or the server was restarted")
    }
    return session
  }

  /// The session, opened again if it was closed.
  func connected() throws -> Connection {
    if let connection { return connection }
    let opened = try Self.open(settings, onServerStartedAt: serverStart)
    connection = opened
    return opened
  }

  /// Closes the session: the sessions of pg_dump may be as many as the server or the role permits.
  func rest() { connection = nil }
}
