internal import Foundation
internal import Postgres
internal import Repository

/// Finds changed tables by the times of their files, on servers without WAL summaries.
///
/// The files are looked at before the tables are locked, and again after the snapshot and a checkpoint. A table whose files are the same
/// both times, were last changed some seconds before, and had no writer, can be the base of a later snapshot: that one takes it over if its
/// files are still the same after its own checkpoint. Every change of a table is written to its files by a checkpoint, and changes their
/// times.
final class FileTimes: ChangeSignal {
  static let name = "file-times"

  let session: WatchSession
  private let before: [UInt32: TableFiles]
  private let writers: Set<UInt32>
  private var after: [UInt32: TableFiles]?

  /// - Parameter exporting: the session that will export the snapshot, not yet in a transaction.
  /// - Throws: `PostgresError`.
  init(_ settings: ConnectionSettings, beside exporting: Connection) throws {
    session = try WatchSession(settings, beside: exporting)
    let connection = try session.connected()
    // In this order: a transaction that wrote before its file was looked at is listed, or has ended and is in the snapshot.
    before = try connection.tableFiles()
    writers = Set(try connection.relationWriters(in: session.database).map(\.relation))
  }

  func noteLocks() {}
  func noteSnapshot() {}

  var inFlight: Set<UInt32> {
    let after = after ?? [:]
    return writers.union(before.filter { !$0.value.areOld || after[$0.key]?.text != $0.value.text }.keys).union(
      Set(after.keys).subtracting(before.keys))
  }

  func catchUp() throws {
    guard after == nil else { return }
    let connection = try session.connected()
    try connection.checkpoint()
    after = try connection.tableFiles()
  }

  func base(_ surroundings: ChangeBase.Surroundings) throws -> ChangeBase? {
    guard after != nil, try session.connected().timeline() == session.timeline else { return nil }
    return ChangeBase(surroundings: surroundings, signal: Self.name)
  }

  func fileTimes(of table: UInt32) -> String? { after?[table]?.text }

  func touchedFiles(since base: ChangeBase, _ parent: Manifest) throws -> TouchedFiles {
    guard base.signal == Self.name, let after else { throw Unusable(reason: "it was taken with WAL summaries") }
    var touched = TouchedFiles()
    for table in parent.tables {
      guard let state = table.state else { continue }
      if let then = state.fileTimes, after[state.oid]?.text == then { continue }
      touched.filenodes.insert(state.filenode)
      // Times do not show which blocks changed.
      if let ranges = table.ranges { touched.ranges[state.filenode] = Set(ranges.indices) }
    }
    return touched
  }
}
