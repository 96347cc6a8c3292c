internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// Finds changed tables by the server's WAL summaries, in a second session beside the one that exports the snapshot.
///
/// The order of the steps matters. The log position and the writing transactions are recorded before the tables are locked, and the
/// writing transactions again between the locks and the snapshot. A transaction that wrote before that position and that the snapshot does
/// not see is in both lists, so its tables are marked as in flight. All other changes that the snapshot does not see come later in the log.
final class ChangeWatch: ChangeSignal {
  let session: WatchSession
  /// The log's position before the tables were locked.
  private let begin: LogPosition
  private let writersBefore: Set<RelationWriter>
  private var writersAtLocks: Set<RelationWriter> = []
  /// The log's position after the snapshot was exported.
  private var end: LogPosition?
  private var isCaughtUp = false

  private static let patience: Duration = .seconds(60)

  /// - Parameter exporting: the session that will export the snapshot, not yet in a transaction.
  /// - Throws: `PostgresError`.
  init(_ settings: ConnectionSettings, beside exporting: Connection) throws {
    session = try WatchSession(settings, beside: exporting)
    let connection = try session.connected()
    guard let begin = try connection.logInsertPosition() else {
      throw PostgresError.connectionLost(reason: "the position of the write-ahead log is unknown")
    }
    self.begin = begin
    writersBefore = try connection.relationWriters(in: session.database)
  }

  func noteLocks() throws { writersAtLocks = try session.connected().relationWriters(in: session.database) }

  func noteSnapshot() throws {
    let connection = try session.connected()
    try connection.scatterLog()
    end = try connection.logInsertPosition()
  }

  var inFlight: Set<UInt32> {
    let transactions = Set(writersBefore.map(\.transaction))
    return Set(writersAtLocks.filter { transactions.contains($0.transaction) }.map(\.relation))
  }

  /// Summaries end at checkpoints.
  func catchUp() throws {
    guard !isCaughtUp else { return }
    guard let end else { throw Unusable(reason: "the position of the write-ahead log is unknown") }
    let connection = try session.connected()
    try connection.checkpoint()
    let deadline = ContinuousClock.now + Self.patience
    while try !connection.isSummarized(upTo: end) {
      guard ContinuousClock.now < deadline else {
        throw Unusable(reason: "the server's WAL summaries did not reach \(end) within \(Self.patience)")
      }
      try Interruption.sleep(until: .now + .milliseconds(20))
    }
    isCaughtUp = true
  }

  func base(_ surroundings: ChangeBase.Surroundings) throws -> ChangeBase? {
    let connection = try session.connected()
    // A failover since then, or settings that were changed.
    guard isCaughtUp, let end, try connection.timeline() == session.timeline, try connection.obstaclesToIncremental().isEmpty,
      let witness = try witness(at: end)
    else { return nil }
    return ChangeBase(surroundings: surroundings, begin: begin.description, end: end.description, witness: witness)
  }

  private func witness(at position: LogPosition) throws -> ChangeBase.Witness? {
    let connection = try session.connected()
    guard let range = try connection.summaries(timeline: session.timeline, from: position, to: position).first,
      let digest = try connection.digest(ofSummary: range, timeline: session.timeline),
      let time = try connection.modificationTime(ofSummary: range, timeline: session.timeline)
    else { return nil }
    return ChangeBase.Witness(start: range.start.description, end: range.end.description, sha256: digest, modifiedAt: time)
  }

  func fileTimes(of table: UInt32) -> String? { nil }

  func touchedFiles(since base: ChangeBase, _ parent: Manifest) throws -> TouchedFiles {
    guard base.signal == nil else { throw Unusable(reason: "it was taken by the times of files") }
    let connection = try session.connected()
    guard isCaughtUp, let end, let start = LogPosition(base.begin), let parentEnd = LogPosition(base.end) else {
      throw Unusable(reason: "its place in the write-ahead log can't be read")
    }
    guard try connection.obstaclesToIncremental().isEmpty else { throw Unusable(reason: "the server's settings were changed") }
    let (touched, ranges) = try connection.touchedFiles(
      of: session.database, timeline: session.timeline, from: start, to: end, ranges: parent.rangesByFile)
    guard Self.cover(ranges, from: start, to: end) else { throw Unusable(reason: "WAL summaries are missing between \(start) and \(end)") }
    if touched.isAll { throw Unusable(reason: "the database was created, moved or copied since the first of the summaries") }
    guard let range = ranges.first(where: { $0.start.description == base.witness.start && $0.end.description == base.witness.end }),
      range.start <= parentEnd, range.end >= parentEnd, try connection.digest(ofSummary: range, timeline: session.timeline) == base.witness.sha256
    else { throw Unusable(reason: "the WAL summary at \(base.end) is not the one that the parent recorded") }
    guard try connection.modificationTime(ofSummary: range, timeline: session.timeline) == base.witness.modifiedAt else {
      throw Unusable(
        reason: connection.serverMajor < 18
          ? "the server was started since, and PostgreSQL \(connection.serverMajor) does not show whether it has other files: the next snapshot reads less"
          : "the WAL summary at \(base.end) was written again")
    }
    return touched
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
