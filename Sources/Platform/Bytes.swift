extension Array<UInt8> {
  /// Appends the bytes of a span.
  package mutating func append(_ bytes: Span<UInt8>) {
    unsafe bytes.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
  }
}

extension Span<UInt8> {
  /// How many of the bytes are `byte`.
  package func count(of byte: UInt8) -> Int {
    unsafe withUnsafeBufferPointer { buffer in
      var total = 0
      var place = 0
      // Whole vectors first; a lane can count to 255.
      let pattern = SIMD32<UInt8>(repeating: byte)
      let one = SIMD32<UInt8>(repeating: 1)
      while place + 32 <= buffer.count {
        var lanes = SIMD32<UInt8>()
        let end = Swift.min(place + 255 * 32, buffer.count)
        while place + 32 <= end {
          let vector = unsafe UnsafeRawPointer(buffer.baseAddress! + place).loadUnaligned(as: SIMD32<UInt8>.self)
          lanes = lanes &+ one.replacing(with: 0, where: vector .!= pattern)
          place += 32
        }
        for lane in 0..<32 { total += Int(lanes[lane]) }
      }
      while place < buffer.count {
        if unsafe buffer[place] == byte { total += 1 }
        place += 1
      }
      return total
    }
  }
}

extension Array<UInt8> {
  /// Copies the bytes of `range` to the beginning; the length stays.
  package mutating func moveToFront(_ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    guard range.lowerBound > 0, !range.isEmpty else { return }
    unsafe withUnsafeMutableBytes { bytes in
      unsafe bytes.baseAddress!.copyMemory(from: bytes.baseAddress! + range.lowerBound, byteCount: range.count)
    }
  }
}
