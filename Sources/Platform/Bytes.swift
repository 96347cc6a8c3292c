internal import Glibc

extension Array<UInt8> {
  /// Appends the bytes of a span.
  package mutating func append(_ bytes: Span<UInt8>) {
    unsafe bytes.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
  }
}

extension Span<UInt8> {
  /// How many of the bytes are `byte`. The C library's search uses the widest registers there are.
  package func count(of byte: UInt8) -> Int {
    unsafe withUnsafeBytes { buffer in
      var total = 0
      guard var place = buffer.baseAddress else { return 0 }
      let end = unsafe place + buffer.count
      while let found = unsafe memchr(place, Int32(byte), end - place) {
        total += 1
        unsafe place = UnsafeRawPointer(found) + 1
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
