internal import Platform
internal import Postgres
internal import Repository

/// The rows of one table, on their way into a database.
struct TableLoad: Sendable {
  let table: Manifest.Table
  let file: SnapshotReader.FileEntry
  let statement: CopyStatement
  /// The dump id of the table in the archive; nil if it has no entry.
  let tableID: Int?
  /// Whether the restore creates the table: then it is emptied in the transaction that fills it, so that its rows need no vacuuming.
  let isNew: Bool

  /// Bytes of rows that a trial sends at least, if the table has as many.
  private static let sampleSize = 64 << 10
  private struct SampleIsComplete: Error {}

  /// Loads the first rows and commits.
  func sendSample(over session: Connection, from reader: SnapshotReader) throws {
    var sample: [UInt8] = []
    do {
      try reader.read(file) { piece in
        sample.append(piece)
        if sample.count >= Self.sampleSize, sample.contains(0x0A) { throw SampleIsComplete() }
      }
      sample.removeLast(min(sample.count, StreamedFile.tableEnd.count))
    } catch is SampleIsComplete {}
    guard let end = sample.lastIndex(of: 0x0A) else { return }
    let before = Array("BEGIN; ".utf8) + (isNew ? statement.truncation + Array("; ".utf8) : [])
    _ = try session.copyIn(before + statement.loading(freezes: isNew), what: table.displayName) { send in
      try send(sample.span.extracting(first: end + 1))
    }
    try session.commit()
  }

  /// Sends the rows over a session that has the archive's settings (`Connection.useSettings`).
  /// - Parameters:
  ///   - before: SQL sent in the same message, ahead of the `COPY`.
  ///   - freezes: the transaction must have created or emptied the table.
  /// - Returns: how many rows the server stored.
  /// - Throws: `PostgresError.rowsRefused`, `FirnError.unsoundArchive`, what reading the snapshot throws, and what `check` throws.
  func send(
    over session: Connection, before: [UInt8] = [], freezes: Bool, from reader: SnapshotReader, progress: WorkProgress, check: () throws -> Void
  ) throws -> Int64 {
    progress.show(item: table.displayName)
    // The lines that end the rows are for psql.
    var left = file.bytes - Int64(StreamedFile.tableEnd.count)
    var end: [UInt8] = []
    return try session.copyIn(before + statement.loading(freezes: freezes), what: table.displayName) { send in
      try reader.read(file) { piece in
        try check()
        let rows = Int(max(0, min(left, Int64(piece.count))))
        if rows > 0 { try send(piece.extracting(first: rows)) }
        if rows < piece.count { end.append(piece.extracting(droppingFirst: rows)) }
        left -= Int64(rows)
        progress.advance(by: piece.count)
      }
      guard left == 0, end == StreamedFile.tableEnd else { throw FirnError.unsoundArchive(reason: "\(table.displayName) is cut off") }
    }
  }
}
