/// SHA-256 of bytes that may be divided into ranges. Then it is the SHA-256 of the ranges' SHA-256 values, 32 bytes each, one after another:
/// so it is known also if some ranges are not read.
package struct RangedHasher: Sendable {
  private let lengths: [Int64]
  private var digests: [SHA256Digest] = []
  private var hasher = SHA256Hasher()
  /// Bytes of the range under way.
  private var length: Int64 = 0

  /// - Parameter ranges: their lengths in bytes. Any bytes after them belong to the last one. Empty if the bytes are not divided.
  package init(ranges: [Int64] = []) { lengths = ranges }

  package mutating func update(_ bytes: Span<UInt8>) {
    var start = 0
    while digests.count + 1 < lengths.count, lengths[digests.count] - length <= Int64(bytes.count - start) {
      let end = start + Int(max(0, lengths[digests.count] - length))
      hasher.update(bytes.extracting(start..<end))
      digests.append(hasher.finalize())
      hasher = SHA256Hasher()
      (start, length) = (end, 0)
    }
    hasher.update(bytes.extracting(start..<bytes.count))
    length += Int64(bytes.count - start)
  }

  package func finalize() -> SHA256Digest { lengths.isEmpty ? hasher.finalize() : Self.digest(of: digests + [hasher.finalize()]) }

  /// The digest of a file from those of its ranges.
  package static func digest(of ranges: [SHA256Digest]) -> SHA256Digest {
    SHA256Digest(of: ranges.flatMap { $0.lanes }.flatMap { lane in (0..<8).map { UInt8(truncatingIfNeeded: lane >> (56 - 8 * $0)) } })
  }
}
