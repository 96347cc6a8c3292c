internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// A second session, beside the one that exports the snapshot. It records which tables are being written, and asks the server's WAL
/// summaries what changed since an earlier snapshot.
///
/// The order of the steps matters. The log position and the writing transactions are recorded before the tables are locked, and the
/// writing transactions again between the locks and the snapshot. A transaction that wrote before that position and that the snapshot does
/// not see is in both lists, so its tables are marked as in flight. All other changes that the snapshot does not see come later in the log.
final class ChangeWatch {
  private let settings: ConnectionSettings
  private let database: UInt32
  private let serverStart: String
  private var session: Connection?
  /// The log's position before the tables were locked.
  private let begin: LogPosition
  private let timeline: String
  private let writersBefore: Set<RelationWriter>
  private var writersAtLocks: Set<RelationWriter> = []
  /// The log's position after the snapshot was exported.
  private var end: LogPosition?
  private var isCaughtUp = false

  private static let patience: Duration = .seconds(60)
  /// A checkpoint may have much to write.
  private static let longestStatement: Duration = .seconds(900)

  /// - Parameter exporting: the session that will export the snapshot, not yet in a transaction.
  /// - Throws: `PostgresError`.
  init(_ settings: ConnectionSettings, beside exporting: Connection) throws {
    self.settings = settings
    serverStart = try exporting.serverStart()
    guard let database = try exporting.databaseOID() else { throw PostgresError.connectionLost(reason: "the database's number is unknown") }
    self.database = database
    let session = try Self.open(settings, onServerStartedAt: serverStart)
    timeline = try session.timeline()
    guard let begin = try session.logInsertPosition() else {
      throw PostgresError.connectionLost(reason: "the position of the write-ahead log is unknown")
    }
    self.begin = begin
    self.session = session
    writersBefore = try session.relationWriters(in: database)
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
  private func connected() throws -> Connection {
    if let session { return session }
    let opened = try Self.open(settings, onServerStartedAt: serverStart)
    session = opened
    return opened
  }

  /// Closes the session: the sessions of pg_dump may be as many as the server or the role permits.
  func rest() { session = nil }

  /// Call it when the tables are locked and the snapshot is not yet taken.
  func noteLocks() throws { writersAtLocks = try connected().relationWriters(in: database) }

  /// Call it when the snapshot is exported.
  func noteSnapshot() throws {
    let connection = try connected()
    try connection.scatterLog()
    end = try connection.logInsertPosition()
  }

  /// Tables written to by transactions that the snapshot may not see.
  var inFlight: Set<UInt32> {
    let transactions = Set(writersBefore.map(\.transaction))
    return Set(writersAtLocks.filter { transactions.contains($0.transaction) }.map(\.relation))
  }

  /// Waits until the summaries cover everything up to the snapshot. They end at checkpoints.
  /// - Returns: whether they do.
  func catchUp(_ progress: WorkProgress) throws -> Bool {
    guard !isCaughtUp else { return true }
    guard let end else { return false }
    let connection = try connected()
    try connection.checkpoint()
    let deadline = ContinuousClock.now + Self.patience
    while try !connection.isSummarized(upTo: end) {
      guard ContinuousClock.now < deadline else {
        progress.note("the server's WAL summaries did not reach \(end) within \(Self.patience)")
        return false
      }
      try Interruption.sleep(until: .now + .milliseconds(20))
    }
    isCaughtUp = true
    return true
  }

  /// The facts that must be the same for tables to be taken over; nil if this role does not learn all of them.
  func surroundings(encoding: String, pgDump: String) throws -> ChangeBase.Surroundings? {
    let connection = try connected()
    guard let identifier = try connection.systemIdentifier() else { return nil }
    return try ChangeBase.Surroundings(
      database: database, systemIdentifier: identifier, timeline: timeline, server: connection.fullVersion(), pgDump: pgDump, encoding: encoding,
      settings: DumpTool.fixedOptions)
  }

  /// The record by which a later snapshot finds unchanged tables. Call it when `catchUp` has succeeded.
  func base(_ surroundings: ChangeBase.Surroundings) throws -> ChangeBase? {
    let connection = try connected()
    // A failover since then, or settings that were changed.
    guard isCaughtUp, let end, try connection.timeline() == timeline, try connection.obstaclesToIncremental().isEmpty,
      let witness = try witness(at: end)
    else { return nil }
    return ChangeBase(surroundings: surroundings, begin: begin.description, end: end.description, witness: witness)
  }

  private func witness(at position: LogPosition) throws -> ChangeBase.Witness? {
    let connection = try connected()
    guard let range = try connection.summaries(timeline: timeline, from: position, to: position).first,
      let digest = try connection.digest(ofSummary: range, timeline: timeline),
      let time = try connection.modificationTime(ofSummary: range, timeline: timeline)
    else { return nil }
    return ChangeBase.Witness(start: range.start.description, end: range.end.description, sha256: digest, modifiedAt: time)
  }

  /// The files that changed since an earlier snapshot. Call it when `catchUp` has succeeded.
  /// - Parameter ranges: the first blocks of the ranges of files, by the files' numbers.
  /// - Throws: `Unusable` if the summaries can't be used.
  func touchedFiles(since base: ChangeBase, ranges: [UInt32: [Int64]]) throws -> TouchedFiles {
    let connection = try connected()
    guard isCaughtUp, let end, let start = LogPosition(base.begin), let parentEnd = LogPosition(base.end) else {
      throw Unusable(reason: "its place in the write-ahead log can't be read")
    }
    guard try connection.obstaclesToIncremental().isEmpty else { throw Unusable(reason: "the server's settings were changed") }
    let (touched, ranges) = try connection.touchedFiles(of: database, timeline: timeline, from: start, to: end, ranges: ranges)
    guard Self.cover(ranges, from: start, to: end) else { throw Unusable(reason: "WAL summaries are missing between \(start) and \(end)") }
    if touched.isAll { throw Unusable(reason: "the whole database was moved or copied") }
    guard let range = ranges.first(where: { $0.start.description == base.witness.start && $0.end.description == base.witness.end }),
      range.start <= parentEnd, range.end >= parentEnd, try connection.digest(ofSummary: range, timeline: timeline) == base.witness.sha256
    else { throw Unusable(reason: "the WAL summary at \(base.end) is not the one that the parent recorded") }
    guard try connection.modificationTime(ofSummary: range, timeline: timeline) == base.witness.modifiedAt else {
      throw Unusable(
        reason: "the WAL summary at \(base.end) was written again"
          + (connection.serverMajor < 18 ? ", or the server was started since: PostgreSQL \(connection.serverMajor) does not show which" : ""))
    }
    return touched
  }

  /// Why nothing can be taken over from the parent.
  struct Unusable: Error {
    let reason: String
  }

  /// Whether ranges, sorted by their starts, cover everything from `start` to `end`.
  static func cover(_ ranges: [SummarizedRange], from start: LogPosition, to end: LogPosition) -> Bool {
    guard let first = ranges.first, first.start <= start else { return false }
    var reached = first.end
    for range in ranges where range.end > reached {
      guard range.start <= reached else { return false }
      reached = range.end
    }
    return reached >= end
  }
}
