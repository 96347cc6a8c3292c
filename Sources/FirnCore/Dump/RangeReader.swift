internal import Digests
internal import Platform
internal import Postgres
internal import Repository

/// Reads very large tables in ranges of blocks, over several sessions, and stores what is new.
final class RangeReader: Sendable {
  /// The server refused what was asked of it: the tables can still be read by pg_dump.
  struct Refused: Error {
    let error: PostgresError
  }

  /// How the tables are read.
  struct Request: Sendable {
    var tables: [RangedTable]
    var sessions: Int
    /// Opens a session that reads the snapshot; called by the thread that uses it.
    var open: @Sendable () throws -> Connection
  }

  private struct Finished: Sendable {
    let chunks: [ChunkRecord]
    let range: Manifest.Table.BlockRange
  }

  /// A table under way: its ranges are put together in their order, whatever the order in which they were read.
  private struct Assembly: Sendable {
    var file: RangedFile
    var finished: [Int: Finished] = [:]
    /// The number of the first piece that has not been added.
    var next = 0
    var ranges: [Manifest.Table.BlockRange] = []
    var refutations: [Refutation] = []
    var result: RangedRows?
  }

  private let request: Request
  private let parent: ParentIndex?
  private let progress: WorkProgress
  private let failure: FirstFailure
  private let assemblies: [Monitor<Assembly>]
  /// The pieces that are read, by table and number; the next one last.
  private let waiting: Monitor<[(table: Int, piece: Int)]>
  private let makeStore: @Sendable () -> ChunkStore
  /// How many threads have not ended, and how many sessions were opened.
  private let threads: Monitor<Int>
  private let opened = Monitor(0)

  init(
    _ request: Request, cutter: Cutter, packer: ObjectPacker, table: ChunkTableWriter, parent: ParentIndex?, progress: WorkProgress,
    failure: FirstFailure
  ) {
    self.request = request
    self.parent = parent
    self.progress = progress
    self.failure = failure
    assemblies = request.tables.map { Monitor(Assembly(file: RangedFile($0.provisionalFile, writer: table))) }
    let pieces = request.tables.indices.flatMap { table in
      request.tables[table].pieces.indices.filter { request.tables[table].pieces[$0].isRead }.map { (table: table, piece: $0) }
    }
    waiting = Monitor(pieces.reversed())
    threads = Monitor(request.sessions)
    makeStore = { ChunkStore(cutter: cutter, packer: packer, parent: parent) }
  }

  /// Begins to read. Errors are recorded.
  func start() -> [WorkerThread] {
    (0..<request.sessions).map { _ in
      WorkerThread(name: "ranges") { [self] in
        failure.capture(work)
        threads.update { $0 -= 1 }
      }
    }
  }

  var isAtWork: Bool { threads.current > 0 }

  /// The tables' rows. Call it when the threads have ended and none has failed.
  var results: [RangedRows] { assemblies.compactMap { $0.current.result } }

  private func work() throws {
    var store = makeStore()
    do {
      guard let session = try open() else { return }
      session.check = { [failure] in
        try Interruption.check()
        try failure.check()
      }
      while let (table, piece) = waiting.update({ $0.popLast() }) {
        try session.check()
        try add(try read(piece, of: request.tables[table], session, &store), piece, to: table)
      }
    } catch let error as PostgresError { throw Refused(error: error) }
    try store.finish()
  }

  /// Nil if there is nothing left to read, or if another session can read it.
  private func open() throws -> Connection? {
    guard !waiting.current.isEmpty else { return nil }
    do {
      let session = try request.open()
      opened.update { $0 += 1 }
      return session
    } catch let error as PostgresError {
      if opened.current > 0 { return nil }
      throw error
    }
  }

  private func read(_ number: Int, of table: RangedTable, _ session: Connection, _ store: inout ChunkStore) throws -> Finished {
    guard case .read(let first, let end, _) = table.pieces[number] else { preconditionFailure("a range that is not read") }
    progress.show(item: table.displayName)
    var chunks: [ChunkRecord] = []
    var tally = StreamTally()
    var pending: [UInt8] = []
    var chunker: Chunker?
    func cut(isLast: Bool) throws {
      if chunker == nil { chunker = try store.chunker(for: "rows", beginning: pending.span.extracting(first: min(pending.count, Cutter.sampleSize))) }
      guard let chunker else { return }
      let done = try store.store(pending.span, with: chunker, isLast: isLast, into: &chunks)
      pending.removeFirst(done)
    }
    func add(_ piece: Span<UInt8>) throws {
      tally.add(piece)
      progress.advance(by: piece.count)
      pending.append(piece)
      if pending.count >= Self.cutSize { try cut(isLast: false) }
    }
    try session.releasingLocks {
      try session.copyOut(session.sessionText(table.target.reading(from: first, to: end)), what: table.displayName, add)
    }
    if number == table.pieces.count - 1 { try add(StreamedFile.tableEnd.span) }
    if !pending.isEmpty { try cut(isLast: true) }
    let streamed = tally.finish(name: table.provisionalFile)
    let rows = number == table.pieces.count - 1 ? streamed.rows : streamed.lines
    return Finished(
      chunks: chunks,
      range: .init(firstBlock: first, rows: rows, bytes: streamed.bytes, sha256: streamed.digest.description, readIn: nil))
  }

  /// Cut at once: enough for the longest chunk, and a size that stays in the cache.
  private static let cutSize = 512 << 10

  private func add(_ finished: Finished, _ piece: Int, to number: Int) throws {
    let table = request.tables[number]
    try assemblies[number].update { assembly in
      assembly.finished[piece] = finished
      while assembly.next < table.pieces.count {
        switch table.pieces[assembly.next] {
        case .taken: try takeOver(table, &assembly)
        case .read(_, _, let unchanged):
          guard let next = assembly.finished.removeValue(forKey: assembly.next) else { return }
          try add(next, unchanged, of: table, to: &assembly)
        }
      }
      try end(table, &assembly)
    }
  }

  private func add(
    _ finished: Finished, _ unchanged: Manifest.Table.BlockRange?, of table: RangedTable, to assembly: inout Assembly
  ) throws {
    assembly.next += 1
    // The plan gives each of the parent's ranges the snapshot that read it.
    if let unchanged, let readIn = unchanged.readIn, unchanged.sha256 != finished.range.sha256 {
      assembly.refutations.append(
        Refutation(
          schema: table.schema, name: table.name, firstBlock: unchanged.firstBlock, readIn: readIn, before: unchanged.sha256,
          now: finished.range.sha256))
    }
    // Blocks without rows belong to the range before them, or to the one after them.
    guard finished.range.bytes > 0 else { return }
    try assembly.file.add(finished.chunks)
    var range = finished.range
    if assembly.ranges.isEmpty { range.firstBlock = 0 }
    assembly.ranges.append(range)
  }

  /// Takes over all ranges up to the next one that is read.
  private func takeOver(_ table: RangedTable, _ assembly: inout Assembly) throws {
    guard let old = table.parent, let ranges = old.ranges, let parent else {
      throw IncrementalReading.Retreat(tables: [table.oid], reason: "the parent does not have its ranges")
    }
    guard case .taken(let first) = table.pieces[assembly.next] else { return }
    var last = first
    var taken: [Manifest.Table.BlockRange] = []
    while assembly.next < table.pieces.count, case .taken(let number) = table.pieces[assembly.next], number == first + taken.count {
      taken.append(ranges[number])
      last = number
      assembly.next += 1
    }
    let start = ranges[..<first].reduce(0) { $0 + $1.bytes }
    let end = ranges[...last].reduce(0) { $0 + $1.bytes }
    do { try assembly.file.takeOver(start..<end, of: old.file, from: parent) } catch let error
      where (error as? StoreError)?.isOfOneFile ?? (error is RepositoryError)
    {
      throw IncrementalReading.Retreat(tables: [table.oid], reason: "the parent's chunks can't be read: \(error)")
    }
    if assembly.ranges.isEmpty { taken[0].firstBlock = 0 }
    assembly.ranges += taken
  }

  private func end(_ table: RangedTable, _ assembly: inout Assembly) throws {
    let digest = RangedHasher.digest(of: assembly.ranges.compactMap { SHA256Digest(hexadecimal: $0.sha256) })
    try assembly.file.end(digest: digest)
    let rows = assembly.ranges.reduce(0) { $0 + $1.rows }
    let bytes = assembly.ranges.reduce(0) { $0 + $1.bytes }
    assembly.result = RangedRows(
      oid: table.oid, file: StreamedFile(rows: rows, bytes: bytes, digest: digest, name: table.provisionalFile), ranges: assembly.ranges,
      refutations: assembly.refutations)
  }
}

extension RangedTable.Piece {
  var isRead: Bool { if case .read = self { true } else { false } }
}
