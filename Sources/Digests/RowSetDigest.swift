/// A digest of a set of lines that doesn't depend on their order: the sum of each line's SHA-256, in four lanes of 64 bits.
package struct RowSetDigest: Equatable, Sendable {
  private var sum: [UInt64] = [0, 0, 0, 0]
  private var lines = 0
  private var unfinished: [UInt8] = []

  package init() {}

  /// Adds the lines of a piece of a file; one that is cut off goes on in the next piece.
  package mutating func add(_ piece: Span<UInt8>) {
    var start = 0
    for place in 0..<piece.count where piece[place] == 0x0A {
      for index in start..<place { unfinished.append(piece[index]) }
      addLine()
      start = place + 1
    }
    for index in start..<piece.count { unfinished.append(piece[index]) }
  }

  /// Says that the next piece is of another file.
  package mutating func endFile() {
    if !unfinished.isEmpty { addLine() }
  }

  package mutating func add(_ other: RowSetDigest) {
    for lane in sum.indices { sum[lane] &+= other.sum[lane] }
    lines += other.lines
  }

  private mutating func addLine() {
    let digest = SHA256Digest(of: unfinished).lanes
    for lane in sum.indices { sum[lane] &+= digest[lane] }
    lines += 1
    unfinished.removeAll(keepingCapacity: true)
  }
}
