package import Digests
internal import Platform

/// The way a repository cuts files into chunks and identifies them.
package struct Cutter: Sendable {
  private let wide: Chunker
  private let narrow: Chunker
  private let wideRow: Int
  package let hasher: ChunkHasher

  /// Bytes of a file's beginning that decide how it is cut.
  package static let sampleSize = 64 << 10

  package init(_ format: RepositoryFormat) {
    wide = Chunker(average: format.chunking.average, gearSeed: format.chunking.gearSeed)
    narrow = Chunker(average: format.chunking.narrowAverage, gearSeed: format.chunking.gearSeed)
    wideRow = format.chunking.wideRow
    hasher = format.chunkHasher
  }

  package var longestChunk: Int { max(wide.maximum, narrow.maximum) }

  /// The chunker for a file: by the width of its rows, unless the earlier snapshot has its beginning cut the other way. So a table
  /// whose rows grow a little isn't stored once more.
  /// - Parameter beginning: the file's first `sampleSize` bytes, or all of it.
  package func chunker(for file: String, beginning: Span<UInt8>, parent: inout ParentCursor?) throws -> Chunker {
    let rows = max(1, beginning.count(of: 0x0A))
    // Large objects have no rows.
    let isNarrow = beginning.count / rows < wideRow && !ArchiveFile.concernsLargeObjects(file)
    let (usual, other) = isNarrow ? (narrow, wide) : (wide, narrow)
    guard parent != nil else { return usual }
    if try !knows(beginning, cutBy: usual, &parent), try knows(beginning, cutBy: other, &parent) { return other }
    return usual
  }

  private func knows(_ beginning: Span<UInt8>, cutBy chunker: Chunker, _ parent: inout ParentCursor?) throws -> Bool {
    var start = 0
    while let end = chunker.boundary(in: beginning, from: start, isLast: false) {
      if try parent?.knows(hasher.digest(of: beginning.extracting(start..<end))) == true { return true }
      start = end
    }
    return false
  }
}
