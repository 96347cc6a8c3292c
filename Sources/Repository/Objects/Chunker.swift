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

  static let maximumFactor = 8

  /// - Parameter average: bytes of a chunk, a power of two.
  package init(average: Int, gearSeed: UInt64) {
    var state = gearSeed
    gear = (0..<256).map { _ in
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
    self.average = average
    minimum = average / 4
    maximum = average * Self.maximumFactor
    // The high bits of the hash depend on the most bytes.
    let bits = UInt64(average.trailingZeroBitCount)
    strictMask = ~0 << (64 - (bits + 2))
    laxMask = ~0 << (64 - (bits - 2))
  }

  package init(_ parameters: RepositoryFormat.Chunking) { self.init(average: parameters.average, gearSeed: parameters.gearSeed) }

  /// Where the chunk that begins at `start` ends, or nil where more bytes must be seen first.
  /// - Parameter isLast: whether the stream ends with `bytes`.
  package func boundary(in bytes: Span<UInt8>, from start: Int, isLast: Bool) -> Int? {
    let available = bytes.count - start
    if available < maximum && !isLast { return nil }
    if available <= minimum { return available > 0 ? bytes.count : nil }
    let end = start + min(available, maximum)
    let middle = start + min(available, average)
    var hash: UInt64 = 0
    return scan(bytes, (start + minimum)..<middle, strictMask, &hash) ?? scan(bytes, middle..<end, laxMask, &hash) ?? end
  }

  /// The first place in `range` behind which a chunk ends by `mask`. Two bytes a step: each byte of the hash waits for the one before.
  @inline(__always)
  private func scan(_ bytes: Span<UInt8>, _ range: Range<Int>, _ mask: UInt64, _ hash: inout UInt64) -> Int? {
    let gear = gear.span
    var place = range.lowerBound
    while place &+ 1 < range.upperBound {
      let first = gear[Int(bytes[place])]
      let second = gear[Int(bytes[place &+ 1])]
      let between = (hash << 1) &+ first
      hash = (hash << 2) &+ ((first << 1) &+ second)
      if between & mask == 0 { return place + 1 }
      if hash & mask == 0 { return place + 2 }
      place &+= 2
    }
    guard place < range.upperBound else { return nil }
    hash = (hash << 1) &+ gear[Int(bytes[place])]
    return hash & mask == 0 ? place + 1 : nil
  }
}
