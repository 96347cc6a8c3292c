/// Cuts a stream where its content says, so that an insertion moves few boundaries.
///
/// FastCDC (Xia et al., USENIX ATC 2016) with a gear hash over the last 64 bytes and normalised chunking of level 2:
/// before the average length a boundary is four times rarer, after it four times more frequent.
package struct Chunker: Sendable {
  private let gear: [UInt64]
  private let minimum: Int
  private let average: Int
  package let maximum: Int
  private let strictMask: UInt64
  private let laxMask: UInt64

  package init(_ parameters: RepositoryFormat.Chunking) {
    var state = parameters.gearSeed
    gear = (0..<256).map { _ in
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
    minimum = parameters.minimum
    average = parameters.average
    maximum = parameters.maximum
    // The high bits of the hash depend on the most bytes.
    let bits = UInt64(parameters.average.trailingZeroBitCount)
    strictMask = ~0 << (64 - (bits + 2))
    laxMask = ~0 << (64 - (bits - 2))
  }

  /// Where the chunk that begins at `start` ends, or nil where more bytes must be seen first.
  /// - Parameter isLast: whether the stream ends with `bytes`.
  package func boundary(in bytes: Span<UInt8>, from start: Int, isLast: Bool) -> Int? {
    let available = bytes.count - start
    if available < maximum && !isLast { return nil }
    if available <= minimum { return available > 0 ? bytes.count : nil }
    let end = start + min(available, maximum)
    let middle = start + min(available, average)
    let gear = gear.span
    var hash: UInt64 = 0
    var place = start + minimum
    while place < middle {
      hash = (hash << 1) &+ gear[Int(bytes[place])]
      place += 1
      if hash & strictMask == 0 { return place }
    }
    while place < end {
      hash = (hash << 1) &+ gear[Int(bytes[place])]
      place += 1
      if hash & laxMask == 0 { return place }
    }
    return end
  }
}
