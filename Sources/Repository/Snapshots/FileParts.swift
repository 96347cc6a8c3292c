internal import Digests

/// The parts of a file that were found in a chunk table.
struct FileParts {
  private var parts: [(offset: Int64, length: Int64, segment: Int32)] = []
  /// The file's end, if it was read.
  private(set) var end: SegmentPart.FileEnd?
  private var ranges: [SegmentPart.RangeEnd] = []
  /// Whether lists have parts of it, which were not read.
  private(set) var isListed = false

  /// - Parameter segment: the number of the segment that lists the part.
  mutating func add(_ part: SegmentPart, segment: Int = 0) {
    // A file may end at the beginning of a segment.
    if !part.chunks.isEmpty { parts.append((part.offset, part.bytes, Int32(segment))) }
    ranges += part.ranges
    if let end = part.end { self.end = end }
  }

  /// Adds what a list holds.
  mutating func add(offset: Int64, length: Int64) {
    if length > 0 { parts.append((offset, length, 0)) }
    isListed = true
  }

  /// The segments in the file's order; nil if a part is missing.
  func segments() -> (segments: [Int32], bytes: Int64)? {
    var place: Int64 = 0
    let sorted = parts.sorted { ($0.offset, $0.length) < ($1.offset, $1.length) }
    for part in sorted {
      guard part.offset == place else { return nil }
      place += part.length
    }
    return (sorted.map(\.segment), place)
  }

  /// The lengths of the ranges in the file's order, in bytes; empty if it is not divided.
  var rangeLengths: [Int64] { ranges.sorted { $0.end < $1.end }.map(\.length) }

  func isWhole(bytes: Int64) -> Bool { segments().map { $0.bytes == bytes } ?? false }
}
