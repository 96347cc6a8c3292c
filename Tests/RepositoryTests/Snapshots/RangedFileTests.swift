import Digests
import Platform
import Repository
import TestSupport
import Testing

/// Files of which ranges are taken over from the parent.
@Suite struct `A file in ranges` {
  private static func noise(_ count: Int, _ random: inout SeededRandom) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0x20...0x7E, using: &random) }
  }

  @Test(arguments: 1...3) func `is what its ranges are, night after night, and when older snapshots are gone`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed))
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store, chunkAverage: 256, frameBytes: 1 << 16, objectBytes: 1 << 18)
    // About 20,000 chunks: several lists.
    var ranges = (0..<20).map { _ in Self.noise(Int.random(in: 100_000...400_000, using: &random), &random) }
    var manifests = [try snapshots.take(["toc.dat": [1]], divided: ["1.dat": ranges.map { .read($0) }], night: 1)]
    #expect(try snapshots.files(of: manifests[0])["1.dat"] == Array(ranges.joined()))
    for night in 2...12 {
      var divided: [SyntheticSnapshots.FileRange] = []
      var start: Int64 = 0
      var next: [[UInt8]] = []
      for range in ranges {
        let end = start + Int64(range.count)
        if Int.random(in: 0..<8, using: &random) == 0 {
          next.append(Self.noise(Int.random(in: 1...300_000, using: &random), &random))
          divided.append(.read(next[next.count - 1]))
        } else {
          next.append(range)
          divided.append(.taken(start..<end))
        }
        start = end
      }
      for _ in 0..<Int.random(in: 0...2, using: &random) {
        next.append(Self.noise(50_000, &random))
        divided.append(.read(next[next.count - 1]))
      }
      ranges = next
      let manifest = try snapshots.take(["toc.dat": [1]], divided: ["1.dat": divided], night: night)
      #expect(try snapshots.files(of: manifest)["1.dat"] == Array(ranges.joined()), "night \(night)")
      let reader = try SnapshotReader(snapshots.repository.contents, manifest: manifest)
      #expect(try reader.files()["1.dat"]?.ranges == ranges.map { Int64($0.count) }, "night \(night)")
      manifests.append(manifest)
    }
    let collector = GarbageCollector(store: store)
    try collector.remove(manifests.dropLast().map(\.place))
    _ = try collector.collect()
    #expect(try snapshots.files(of: manifests[manifests.count - 1])["1.dat"] == Array(ranges.joined()))
  }

  @Test func `of which all but the last range is taken over, shares its lists`() throws {
    var random = SeededRandom(seed: 4)
    let snapshots = try SyntheticSnapshots(in: MemoryStore(), chunkAverage: 256, frameBytes: 1 << 16, objectBytes: 1 << 18)
    let ranges = (0..<50).map { _ in Self.noise(200_000, &random) }
    let first = try snapshots.take(["toc.dat": [1]], divided: ["1.dat": ranges.map { .read($0) }], night: 1)
    let divided = (0..<49).map { SyntheticSnapshots.FileRange.taken(Int64($0) * 200_000..<Int64($0 + 1) * 200_000) }
    let second = try snapshots.take(["toc.dat": [1]], divided: ["1.dat": divided + [.read(Self.noise(1000, &random))]], night: 2)
    func lists(_ manifest: Manifest) throws -> [ObjectName] {
      try SnapshotReader(snapshots.repository.contents, manifest: manifest).table.lists.map(\.name)
    }
    let (old, new) = (try lists(first), try lists(second))
    #expect(old.count >= 2 && new.count >= 2)
    #expect(Set(new).subtracting(old).count == 1, "\(old), \(new)")
  }

  @Test func `of which some ranges are read again, and none has changed, stores nothing again`() throws {
    var random = SeededRandom(seed: 5)
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store, chunkAverage: 256, frameBytes: 1 << 16, objectBytes: 1 << 18)
    let ranges = (0..<50).map { _ in Self.noise(200_000, &random) }
    _ = try snapshots.take(["toc.dat": [1]], divided: ["1.dat": ranges.map { .read($0) }], night: 1)
    func objects() throws -> Set<StoreKey> { Set(try store.list("objects/").map(\.key)) }
    let before = try objects()
    for (night, read) in [(2, [10, 25, 26, 49]), (3, [0, 48, 49]), (4, Array(0..<50))] {
      let divided = ranges.enumerated().map { number, bytes in
        read.contains(number) ? SyntheticSnapshots.FileRange.read(bytes) : .taken(Int64(number) * 200_000..<Int64(number + 1) * 200_000)
      }
      let manifest = try snapshots.take(["toc.dat": [1]], divided: ["1.dat": divided], night: night)
      #expect(try objects() == before, "night \(night)")
      #expect(try snapshots.files(of: manifest)["1.dat"] == Array(ranges.joined()), "night \(night)")
    }
  }

  @Test func `has the digest of its ranges' digests, whatever the pieces in which it is read`() {
    var random = SeededRandom(seed: 5)
    for _ in 0..<200 {
      let lengths = (0..<Int.random(in: 1...6, using: &random)).map { _ in Int.random(in: 1...50, using: &random) }
      let ranges = lengths.map { Self.noise($0, &random) }
      let expected = RangedHasher.digest(of: ranges.map { SHA256Digest(of: $0) })
      var hasher = RangedHasher(ranges: lengths.map(Int64.init))
      var rest = Array(ranges.joined())[...]
      while !rest.isEmpty {
        let piece = rest.prefix(Int.random(in: 0...30, using: &random))
        hasher.update(Array(piece).span)
        rest = rest.dropFirst(piece.count)
      }
      #expect(hasher.finalize() == expected, "\(lengths)")
      // Bytes that are missing, changed, or too many.
      for wrong in [Array(ranges.joined().dropLast()), Array(ranges.joined()) + [1], [7] + Array(ranges.joined().dropFirst())] {
        var hasher = RangedHasher(ranges: lengths.map(Int64.init))
        hasher.update(wrong.span)
        #expect(hasher.finalize() != expected, "\(lengths)")
      }
    }
  }

  @Test func `in a manifest that contradicts itself makes the manifest unreadable`() throws {
    var manifest = try SyntheticSnapshots(in: MemoryStore()).take(["1.dat": [1]], night: 1)
    let digests = [SHA256Digest(of: [1]), SHA256Digest(of: [2])]
    manifest.tables = [
      Manifest.Table(
        schema: "s", name: "t", file: "1.dat", rows: 30, bytes: 300, sha256: RangedHasher.digest(of: digests).description)
    ]
    let ranges = digests.enumerated().map { number, digest in
      Manifest.Table.BlockRange(
        firstBlock: Int64(number * 2048), rows: 15, bytes: 150, sha256: digest.description, readIn: nil)
    }
    func isReadable(_ change: (inout [Manifest.Table.BlockRange]) -> Void) -> Bool {
      var changed = manifest
      var some = ranges
      change(&some)
      changed.tables[0].ranges = some
      return (try? Manifest(parsing: JSON.bytes(changed), of: manifest.place, key: manifest.place.manifest)) != nil
    }
    #expect(isReadable { _ in })
    #expect(!isReadable { $0[1].firstBlock = .max })
    #expect(!isReadable { $0[1].firstBlock = 0 })
    #expect(!isReadable { $0[0].firstBlock = 1 })
    #expect(!isReadable { $0[0].rows = .max - 5 })
    #expect(!isReadable { ($0[0].rows, $0[1].rows) = (14, 15) })
    #expect(!isReadable { ($0[0].bytes, $0[1].bytes) = (-150, 450) })
    #expect(!isReadable { $0[0].sha256 = "zz" })
    #expect(!isReadable { $0.swapAt(0, 1) })
    #expect(!isReadable { $0 = [] })
  }
}
