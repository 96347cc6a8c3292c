package import Digests
internal import Foundation
internal import Platform
internal import Repository
internal import SystemPackage

/// Facts about one file of the archive, collected while it was read.
package struct StreamedFile: Sendable {
  package let name: String
  package let bytes: Int64
  package let digest: SHA256Digest
  package let lines: Int64
  /// Whether it ends as pg_dump ends the rows of a table.
  package let endsAsTable: Bool

  /// Rows of a table: its lines without those that end it.
  package var rows: Int64 { lines - Int64(Self.tableEnd.count { $0 == 0x0A }) }

  /// pg_dump writes this after the last row (pg_dump.c, dumpTableData_copy).
  static let tableEnd = Array("\\.\n\n\n".utf8)
}

extension StreamedFile {
  /// A table's rows that were read earlier.
  init(rows: Int64, bytes: Int64, digest: SHA256Digest, name: String) {
    self.init(name: name, bytes: bytes, digest: digest, lines: rows + Int64(Self.tableEnd.count { $0 == 0x0A }), endsAsTable: true)
  }
}

/// Counts, hashes and keeps the end of a stream of COPY text.
package struct StreamTally {
  private var hasher: RangedHasher
  private var bytes: Int64 = 0
  private var lines: Int64 = 0
  private var tail: [UInt8] = []

  /// - Parameter ranges: the lengths of the ranges in which the table was dumped, in bytes; empty if it was dumped in one piece.
  package init(ranges: [Int64] = []) { hasher = RangedHasher(ranges: ranges) }

  package mutating func add(_ piece: Span<UInt8>) {
    hasher.update(piece)
    bytes += Int64(piece.count)
    lines += Int64(piece.count(of: 0x0A))
    let kept = StreamedFile.tableEnd.count
    tail.append(piece.extracting(last: kept))
    if tail.count > kept { tail.removeFirst(tail.count - kept) }
  }

  package var byteCount: Int64 { bytes }

  package func finish(name: String) -> StreamedFile {
    StreamedFile(name: name, bytes: bytes, digest: hasher.finalize(), lines: lines, endsAsTable: tail == StreamedFile.tableEnd)
  }
}

/// One thread of the streaming engine: reads a growing file to its end, cuts, hashes, finds what is known, stores what is new,
/// and gives the disk back behind itself.
struct FileStream {
  private let follower: SpoolFollower
  private var store: ChunkStore
  private var segments: SegmentBuilder
  private var chunks: [ChunkRecord] = []
  private let progress: WorkProgress
  private let failure: FirstFailure
  private var buffer: [UInt8]
  private(set) var cannotPunchHoles = false

  /// Read at once: a size that stays in the second-level cache while it is hashed twice, cut and copied.
  private static let readSize = 256 << 10
  /// After a file of this size, the next one is assumed to hold a different kind of data.
  private static let largeFile: Int64 = 16 << 20

  init(
    follower: SpoolFollower, cutter: Cutter, packer: ObjectPacker, table: ChunkTableWriter, parent: ParentIndex?, progress: WorkProgress,
    failure: FirstFailure
  ) {
    self.follower = follower
    self.progress = progress
    self.failure = failure
    store = ChunkStore(cutter: cutter, packer: packer, parent: parent)
    segments = SegmentBuilder(writer: table)
    buffer = [UInt8](repeating: 0, count: max(cutter.longestChunk, Cutter.sampleSize) + Self.readSize)
  }

  /// Streams one file to its end, as soon as pg_dump has closed it.
  mutating func stream(_ name: String) throws -> StreamedFile {
    var file = try GrowingFile(name, follower: follower, failure: failure)
    var tally = StreamTally()
    var buffer = buffer
    self.buffer = []
    defer { self.buffer = buffer }
    var held = 0
    segments.beginFile(name)
    // The sample doesn't depend on how the bytes come in, so that the next night cuts alike.
    while held < Cutter.sampleSize, case let got = try file.read(into: &buffer, at: held, count: Cutter.sampleSize - held), got > 0 {
      tally.add(buffer.span.extracting(held..<(held + got)))
      held += got
    }
    progress.advance(by: held)
    let chunker = try store.chunker(for: name, beginning: buffer.span.extracting(first: held))
    while case let got = try file.read(into: &buffer, at: held, count: Self.readSize), got > 0 {
      tally.add(buffer.span.extracting(held..<(held + got)))
      progress.advance(by: got)
      let end = held + got
      let cutTo = try cut(buffer.span.extracting(first: end), with: chunker, isLast: false)
      buffer.moveToFront(cutTo..<end)
      held = end - cutTo
    }
    _ = try cut(buffer.span.extracting(first: held), with: chunker, isLast: true)
    let streamed = tally.finish(name: name)
    try segments.endFile(digest: streamed.digest)
    if streamed.bytes >= Self.largeFile { try store.startNewStream() }
    cannotPunchHoles = cannotPunchHoles || file.cannotPunchHoles
    try file.finish()
    return streamed
  }

  /// Stores the chunks that `bytes` begins with.
  /// - Returns: where the last of them ends.
  private mutating func cut(_ bytes: Span<UInt8>, with chunker: Chunker, isLast: Bool) throws -> Int {
    chunks.removeAll(keepingCapacity: true)
    let end = try store.store(bytes, with: chunker, isLast: isLast, into: &chunks)
    for chunk in chunks { try segments.add(chunk.digest, at: chunk.location) }
    return end
  }

  /// Hands over what is not yet full. Nothing may be streamed after it.
  mutating func finish() throws {
    try store.finish()
    try segments.flush()
  }
}
