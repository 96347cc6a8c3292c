import Foundation
import Platform
import Repository
import TestSupport
import Testing

@Suite struct `Stored snapshots` {
  private func noise(_ count: Int, _ random: inout SeededRandom) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0x20...0x7E, using: &random) }
  }

  @Test func `give back what was stored, whatever its sizes`() throws {
    var random = SeededRandom(seed: 1)
    let snapshots = try SyntheticSnapshots(in: MemoryStore())
    var files: [String: [UInt8]] = ["empty.dat": [], "one.dat": [7]]
    for size in [63, 2047, 2048, 2049, 65535, 65536, 1 << 20, 3_000_001] { files["s\(size).dat"] = noise(size, &random) }
    files["zeroes.dat"] = [UInt8](repeating: 0, count: 2_000_000)
    for number in 0..<9000 { files["t\(number).dat"] = Array("\(number)".utf8) }
    let manifest = try snapshots.take(files, night: 1)
    #expect(try snapshots.files(of: manifest) == files)
  }

  @Test func `share what they have in common, and each stands alone`() throws {
    var random = SeededRandom(seed: 2)
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    var bytes = noise(6_000_000, &random)
    let first = try snapshots.take(["a.dat": bytes], night: 1)
    let before = bytes
    let stored = try snapshots.objectBytes()
    bytes.replaceSubrange(3_000_000..<3_000_010, with: noise(25, &random))
    bytes += noise(10_000, &random)
    let second = try snapshots.take(["a.dat": bytes], night: 2)
    #expect(try snapshots.objectBytes() - stored < 60_000)
    // A file that took another name is found again.
    let third = try snapshots.take(["b.dat": bytes], night: 3)
    #expect(third.storedBytes == 0)
    #expect(try snapshots.files(of: first) == ["a.dat": before])
    #expect(try snapshots.files(of: second) == ["a.dat": bytes])

    // Neither needs the others: all but one go, and what is left can be read.
    let collector = GarbageCollector(store: store)
    try collector.remove([first.place, third.place])
    _ = try collector.collect()
    #expect(try snapshots.repository.catalog.snapshots() == [second.place])
    #expect(try snapshots.files(of: second) == ["a.dat": bytes])
  }

  @Test func `find their parent's chunks where tables were written in another order`() throws {
    var random = SeededRandom(seed: 3)
    let snapshots = try SyntheticSnapshots(in: MemoryStore())
    let parts = (0..<40).map { _ in noise(200_000, &random) }
    try snapshots.take(["a.dat": Array(parts.joined())], night: 1)
    let stored = try snapshots.objectBytes()
    try snapshots.take(["a.dat": Array(parts.shuffled(using: &random).joined())], night: 2)
    // The part before the first sampled chunk, and the seams, are stored again.
    let ratio = Double(try snapshots.objectBytes()) / Double(stored)
    #expect(ratio < 1.25, "\(ratio)")
  }

  @Test func `go on being cut as their parent was when rows grow past the width that decides`() throws {
    var random = SeededRandom(seed: 8)
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    var rows = (0..<4000).map { _ in noise(Int.random(in: 900...1100, using: &random), &random) + [0x0A] }
    rows = rows.map { $0.count > 1020 ? Array($0.prefix(1000)) + [0x0A] : $0 }
    let first = try snapshots.take(["t.dat": Array(rows.joined())], night: 1)
    // Now the mean lies above it, for every twentieth row grew.
    for index in stride(from: 0, to: rows.count, by: 20) { rows[index] = noise(3000, &random) + [0x0A] }
    let second = try snapshots.take(["t.dat": Array(rows.joined())], night: 2)
    #expect(Double(second.storedBytes) < Double(first.storedBytes) * 0.85, "\(second.storedBytes) of \(first.storedBytes)")
    #expect(try snapshots.files(of: second) == ["t.dat": Array(rows.joined())])
  }

  @Test func `store what their parent has lost once more`() throws {
    var random = SeededRandom(seed: 4)
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    let bytes = noise(3_000_000, &random)
    try snapshots.take(["a.dat": bytes], night: 1)
    let lost = try #require(try store.list(ObjectName.root).first)
    try store.delete([lost.key])
    let second = try snapshots.take(["a.dat": bytes], night: 2)
    #expect(second.storedBytes > 0)
    #expect(try snapshots.files(of: second) == ["a.dat": bytes])
    // An object cut off by a crash has the right name and the wrong length.
    let other = try #require(try store.list(ObjectName.root).first)
    store.damage(other.key) { $0.removeLast(10) }
    let third = try snapshots.take(["a.dat": bytes], night: 3)
    #expect(try snapshots.files(of: third) == ["a.dat": bytes])
  }

  @Test func `take at most 1.5 times what those kept need, after 60 nights of churn and pruning`() throws {
    var random = SeededRandom(seed: 5)
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store, chunkAverage: 2048, frameBytes: 1 << 16, objectBytes: 1 << 18)
    // Rows of 100 bytes, of which every night some change and some come.
    var rows = (0..<30000).map { _ in noise(99, &random) + [0x0A] }
    var kept: [Manifest] = []
    for night in 1...60 {
      if night > 1 {
        for _ in 0..<(rows.count / 200) { rows[Int.random(in: 0..<rows.count, using: &random)] = noise(99, &random) + [0x0A] }
        for _ in 0..<(rows.count / 50) { rows.append(noise(99, &random) + [0x0A]) }
      }
      kept.append(try snapshots.take(["t.dat": Array(rows.joined())], night: night))
      // The last seven, one a week, one a month.
      let removed = kept.filter { manifest in
        let age = night - Int((manifest.startedAt.timeIntervalSince(SyntheticSnapshots.date(night: 0)) / 86400).rounded())
        return age >= 7 && (night - age) % 7 != 0 || age >= 28 && (night - age) % 28 != 0
      }
      if !removed.isEmpty {
        let collector = GarbageCollector(store: store)
        try collector.remove(removed.map(\.place))
        _ = try collector.collect()
        kept.removeAll { manifest in removed.contains { $0.id == manifest.id } }
      }
    }
    // The need of the kept ones: a store that holds only them, created one after the other.
    let fresh = try SyntheticSnapshots(in: MemoryStore(), chunkAverage: 2048, frameBytes: 1 << 16, objectBytes: 1 << 18)
    for (number, manifest) in kept.enumerated() { try fresh.take(try snapshots.files(of: manifest), night: number + 1) }
    let ratio = Double(try snapshots.objectBytes()) / Double(try fresh.objectBytes())
    #expect(ratio <= 1.5, "\(ratio)")
    #expect(try snapshots.files(of: try #require(kept.last)) == ["t.dat": Array(rows.joined())])
  }

  @Test func `whose chunk table is damaged in any way are refused, and trap nothing`() throws {
    var random = SeededRandom(seed: 6)
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    let files = ["a.dat": noise(400_000, &random), "b.dat": noise(10, &random)]
    let manifest = try snapshots.take(files, night: 1)
    let whole = try store.read(manifest.place.chunkTable, limit: 1 << 24)
    for _ in 0..<400 {
      store.damage(manifest.place.chunkTable) { bytes in
        bytes = whole
        switch Int.random(in: 0..<3, using: &random) {
        case 0: bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= UInt8(1 << Int.random(in: 0..<8, using: &random))
        case 1: bytes.removeLast(Int.random(in: 1...bytes.count, using: &random))
        default: bytes.swapAt(Int.random(in: 0..<bytes.count, using: &random), Int.random(in: 0..<bytes.count, using: &random))
        }
      }
      do {
        #expect(try snapshots.files(of: manifest) == files)
      } catch is RepositoryError {
      } catch is StoreError {
      }
    }
  }

  @Test func `whose objects are damaged are refused`() throws {
    var random = SeededRandom(seed: 7)
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    let manifest = try snapshots.take(["a.dat": noise(2_000_000, &random)], night: 1)
    for entry in try store.list(ObjectName.root) {
      let whole = try store.read(entry.key, limit: 1 << 24)
      for _ in 0..<20 {
        store.damage(entry.key) { bytes in
          bytes = whole
          bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 0x20
        }
        #expect { try snapshots.files(of: manifest) } throws: { ($0 as? RepositoryError)?.isDamage == true }
      }
      store.damage(entry.key) { $0 = whole }
    }
  }

  @Test func `share the lists of a large file, and after a change those of its other parts`() throws {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store, chunkAverage: 512)
    var random = SeededRandom(seed: 5)
    var rows = (0..<12_000_000).map { _ in UInt8.random(in: 33...126, using: &random) }
    for place in stride(from: 99, to: rows.count, by: 100) { rows[place] = 0x0A }
    func lists(_ manifest: Manifest) throws -> [ChunkList] {
      try SnapshotReader(snapshots.repository.contents, manifest: manifest).table.lists
    }
    let small = Array("1\n2\n".utf8)
    let first = try snapshots.take(["1.dat": rows, "2.dat": small], night: 0)
    let before = try lists(first)
    #expect(before.count >= 4 && before.allSatisfy { $0.file == "1.dat" })
    // Another name, and another order of files.
    let second = try snapshots.take(["7.dat": rows, "3.dat": small], night: 1)
    #expect(try lists(second).map(\.name) == before.map(\.name) && second.storedBytes < 10_000)
    #expect(try snapshots.files(of: second) == ["7.dat": rows, "3.dat": small])
    rows.replaceSubrange(2_000_000..<2_000_050, with: Array("changed\n".utf8))
    let third = try snapshots.take(["7.dat": rows], night: 2)
    let shared = Set(try lists(third).map(\.name)).intersection(before.map(\.name))
    #expect(shared.count >= before.count / 2 && shared.count < before.count)
    #expect(try snapshots.files(of: third) == ["7.dat": rows])
    // A list that is gone is stored again, with the chunks that it listed.
    try store.delete([before[1].name.key])
    #expect(throws: RepositoryError.damagedObject(name: "\(before[1].name.digest)", reason: "it is missing")) { try snapshots.files(of: second) }
    let fourth = try snapshots.take(["7.dat": rows], night: 3)
    #expect(try snapshots.files(of: fourth) == ["7.dat": rows])
  }
}
