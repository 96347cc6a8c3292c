import Platform
import Repository
import TestSupport
import Testing

@Suite struct `The chunker` {
  private let parameters = RepositoryFormat.Chunking(average: 8192)

  private func noise(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SeededRandom(seed: seed)
    return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) }
  }

  private func boundaries(of bytes: [UInt8]) -> [Int] {
    let chunker = Chunker(parameters)
    var found: [Int] = []
    var start = 0
    while start < bytes.count, let end = chunker.boundary(in: bytes.span, from: start, isLast: true) {
      found.append(end)
      start = end
    }
    return found
  }

  @Test func `keeps its bounds, and comes near its average`() {
    let ends = boundaries(of: noise(4_000_000, seed: 1))
    let lengths = zip([0] + ends, ends).map { $1 - $0 }
    #expect(ends.last == 4_000_000)
    #expect(lengths.dropLast().allSatisfy { $0 >= 2048 && $0 <= 65536 })
    let average = 4_000_000 / lengths.count
    #expect(average > 6000 && average < 12000, "\(average)")
  }

  @Test func `cuts a stream alike however it arrives`() {
    let bytes = noise(300_000, seed: 2)
    let whole = boundaries(of: bytes)
    let chunker = Chunker(parameters)
    var random = SeededRandom(seed: 3)
    var found: [Int] = []
    var start = 0
    var seen = 0
    while start < bytes.count {
      seen = min(bytes.count, seen + Int.random(in: 1...20000, using: &random))
      let known = Array(bytes[..<seen])
      while start < known.count, let end = chunker.boundary(in: known.span, from: start, isLast: seen == bytes.count) {
        found.append(end)
        start = end
      }
    }
    #expect(found == whole)
  }

  @Test func `moves few boundaries where bytes come in or go`() {
    let bytes = noise(1_000_000, seed: 4)
    let before = Set(boundaries(of: bytes))
    let longer = Array(bytes[..<400_000]) + [1, 2, 3, 4, 5] + bytes[400_000...]
    let after = Set(boundaries(of: longer).map { $0 > 400_000 ? $0 - 5 : $0 })
    #expect(before.subtracting(after).count <= 4)
  }

  @Test func `ends bytes without variety at its maximum`() {
    let ends = boundaries(of: [UInt8](repeating: 0, count: 500_000))
    #expect(ends.first == 65536 || ends.first == 2048)
    #expect(ends.last == 500_000)
  }

  @Test func `never changes: old stores must find their chunks again`() {
    #expect(boundaries(of: noise(100_000, seed: 5)).prefix(6).elementsEqual(Self.recorded))
  }

  /// Taken from the first version of the format.
  private static let recorded = [8893, 17560, 31155, 40134, 52539, 62953]
}
