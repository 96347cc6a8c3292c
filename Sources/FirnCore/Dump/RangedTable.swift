internal import Digests
internal import Postgres
internal import Repository

/// A very large table whose rows are read in ranges of blocks, by sessions of Firn and not by pg_dump.
struct RangedTable: Sendable {
  enum Piece: Sendable, Equatable {
    /// A range that is taken over, by its number among those of the parent.
    case taken(Int)
    /// Blocks that are read, up to another, or to the table's end.
    /// - Parameter seemsUnchanged: the range of the parent that has the same rows if nothing is wrong.
    case read(first: Int64, end: Int64?, seemsUnchanged: Manifest.Table.BlockRange?)
  }

  let oid: UInt32
  let schema: String
  let name: String
  let target: CopyTarget
  /// The archive's statement for its rows.
  let copyStatement: String
  /// The table in the parent, whose ranges `taken` names.
  let parent: Manifest.Table?
  let pieces: [Piece]

  /// The file's name until the archive has one for it.
  var provisionalFile: String { "rows.\(oid)" }
  var displayName: String { "\(schema).\(name)" }

  /// Tables are read in ranges if they have more bytes than this on disk, and a quarter of those of all tables.
  static let smallest: Int64 = 256 << 20
  /// A range has as many bytes, or a 256th of its table if that is more.
  private static let smallestRange: Int64 = 16 << 20
  private static let mostRanges: Int64 = 256

  /// How many blocks a range has.
  /// - Parameters:
  ///   - blocks: of the table.
  ///   - bytes: of the table with its TOAST table.
  static func blocksPerRange(blocks: Int64, bytes: Int64) -> Int64 {
    let size = max(smallestRange, bytes / mostRanges)
    let count = Int64(Double(max(1, blocks)) * Double(size) / Double(max(1, bytes)))
    // A power of two, so that it is the same the next night.
    return count < 2 ? 1 : 1 << (63 - Int64(count.leadingZeroBitCount))
  }

  /// The pieces of a table that was changed in part. The parent's last range has no end: if it is read, it is divided again.
  static func pieces(_ partial: TakeoverPlan.Partial, blocks: Int64, length: Int64) -> [Piece] {
    let old = partial.table.ranges ?? []
    return old.indices.flatMap { number -> [Piece] in
      if partial.taken.contains(number) { return [.taken(number)] }
      let isLast = number + 1 == old.count
      if isLast, !partial.checked.contains(number) { return ranges(from: old[number].firstBlock, blocks: blocks, length: length) }
      return [
        .read(
          first: old[number].firstBlock, end: isLast ? nil : old[number + 1].firstBlock,
          seemsUnchanged: partial.checked.contains(number) ? old[number] : nil)
      ]
    }
  }

  /// The ranges from a block on, each of `length` blocks; the last one has no end.
  static func ranges(from first: Int64, blocks: Int64, length: Int64) -> [Piece] {
    let starts = Array(stride(from: first, to: max(first + 1, blocks), by: Int(length)))
    return starts.indices.map { .read(first: starts[$0], end: $0 + 1 < starts.count ? starts[$0 + 1] : nil, seemsUnchanged: nil) }
  }
}

/// The result of reading a table in ranges.
struct RangedRows: Sendable {
  let oid: UInt32
  let file: StreamedFile
  let ranges: [Manifest.Table.BlockRange]
  /// Ranges that seemed unchanged, and whose rows are others.
  let refutations: [Refutation]
}
