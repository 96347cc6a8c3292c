import Digests
import Foundation
import Platform
import Repository
import TestSupport
import Testing

@Suite struct `Copies of snapshots` {
  private let store = MemoryStore()
  private let snapshots: SyntheticSnapshots
  private let place: SnapshotPath

  init() throws {
    snapshots = try SyntheticSnapshots(in: store)
    try snapshots.take(["a.dat": (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }], night: 1)
    place = try #require(Catalog(store: store).snapshots().first)
  }

  private func makeTarget(isDurableWhenVisible: Bool = false) throws -> MemoryStore {
    let target = MemoryStore(isDurableWhenVisible: isDurableWhenVisible)
    try target.write(try store.read("firn.json", limit: 1 << 20), to: "firn.json", durability: .immediate)
    return target
  }

  @Test func `go by way of a file if they are large, as whole as others`() throws {
    let folder = try TemporaryFolder()
    let used = Monitor(0)
    let target = try makeTarget()
    func copy() throws -> SnapshotCopy.Outcome {
      let lock = try RepositoryLock(.shared, on: target, purpose: "a copy")
      defer { lock.release() }
      return try SnapshotCopy(of: [place], from: store, to: target, holding: lock, largest: 0) { body in
        let path = folder.path("scratch-\(UUID())")
        try Folder.make(path)
        used.update { $0 += 1 }
        try body(path)
      }.run(place)
    }
    // Damage on the way into the file is noticed.
    let manifest = try #require(store.list(place.prefix).map(\.key).first { $0.hasSuffix("manifest.json") })
    store.damage(manifest) { $0[0] ^= 1 }
    #expect(throws: SourceDamaged.self) { try copy() }
    #expect(try Catalog(store: target).snapshots().isEmpty)
    store.damage(manifest) { $0[0] ^= 1 }
    used.update { $0 = 0 }
    #expect(try copy().objects > 0)
    #expect(try used.current == store.list(place.prefix).count { $0.size > 0 && $0.key != place.checksums })
    for entry in try store.list(place.prefix) + store.list("objects/") {
      #expect(try target.read(entry.key, limit: 1 << 24) == store.read(entry.key, limit: 1 << 24), "\(entry.key)")
    }
  }

  /// More than a page of a listing shows, and more than are listed at all.
  @Test(arguments: [0, 998, 999, 1_000, 20_000]) func `send nothing that the target has, among however many others`(others: Int) throws {
    // Two nights, so that there is more than one object.
    try snapshots.take(["a.dat": (0..<600_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }], night: 2)
    let place = try #require(Catalog(store: store).snapshots().last)
    let target = try makeTarget(isDurableWhenVisible: true)
    let lock = try RepositoryLock(.shared, on: target, purpose: "a copy")
    defer { lock.release() }
    func copying() -> SnapshotCopy { SnapshotCopy(of: [self.place, place], from: store, to: target, holding: lock) }
    #expect(try copying().run(place).objects > 1)
    try target.delete(target.list(place.prefix).map(\.key))
    let one = try #require(target.list("objects/").first { $0.size > 0 }?.key)
    try target.delete([one])
    for number in 0..<others {
      let digest = SHA256Digest(of: Array("\(number)".utf8))
      try target.write([1], to: ObjectName(digest, isEncrypted: false).key, durability: .immediate)
    }
    #expect(try copying().run(place).objects == 1)
    #expect(try target.read(one, limit: 1 << 24) == store.read(one, limit: 1 << 24))
    #expect(try target.read(place.checksums, limit: 1 << 24) == store.read(place.checksums, limit: 1 << 24))
    // One that is there, and then one that is not: whatever was asked for ahead.
    #expect(try copying().run(place).bytes == 0)
    _ = try copying().run(self.place)
    try target.delete([one, place.checksums])
    let both = copying()
    #expect(try both.run(self.place).bytes == 0)
    #expect(try both.run(place).objects == 1)
    #expect(try target.size(of: one) == store.size(of: one))
  }

  @Test(arguments: [true, false]) func `bring again what was found damaged there, or is missing`(isDurableWhenVisible: Bool) throws {
    let target = try makeTarget(isDurableWhenVisible: isDurableWhenVisible)
    let there = Catalog(store: target)
    func copy() throws -> SnapshotCopy.Outcome {
      let lock = try RepositoryLock(.shared, on: target, purpose: "a copy")
      defer { lock.release() }
      return try SnapshotCopy(of: [place], from: store, to: target, holding: lock).run(place)
    }
    func isWhole() throws -> Bool {
      try (store.list(place.prefix) + store.list("objects/")).allSatisfy {
        try target.read($0.key, limit: 1 << 24) == store.read($0.key, limit: 1 << 24)
      }
    }
    _ = try copy()
    // Of the same size and not read yet, it passes as unchanged.
    let object = try #require(target.list("objects/").first { $0.size > 0 })
    target.damage(object.key) { $0[0] ^= 1 }
    #expect(try copy().objects == 0 && !isWhole())
    let digest = try #require(ObjectName(key: object.key)).digest
    try there.record(
      CheckRecord(level: .read, ok: false, damagedObjects: ["\(digest)"], checkedAt: Date(), seconds: 1, host: "h", firn: "test"), of: place)
    #expect(try copy().objects == 1)
    #expect(try isWhole())
    // A list that is no list any more, though as long as it was.
    target.damage(place.checksums) { for index in $0.indices { $0[index] = 0 } }
    #expect(try copy().bytes > 0)
    #expect(try isWhole())
    for file in try store.list(place.prefix) where file.key != place.checksums {
      try target.delete([file.key])
      #expect(try copy().bytes > 0)
      #expect(try isWhole() && there.snapshots() == [place], "\(file.key)")
    }
  }

  @Test func `have the hold of the two that lasts longer, whatever an attempt left that was cut off`() throws {
    func copy(to target: MemoryStore) throws {
      let lock = try RepositoryLock(.shared, on: target, purpose: "a copy")
      defer { lock.release() }
      _ = try SnapshotCopy(of: [place], from: store, to: target, holding: lock).run(place)
    }
    let catalog = Catalog(store: store)
    func hold(_ reason: String, days: Double?) -> SnapshotHold {
      SnapshotHold(until: days.map { Date(timeIntervalSinceNow: $0 * 86400) }, reason: reason, placedAt: Date(), host: "here")
    }
    for (here, there, wanted) in [
      (nil, 1, "there"), (2, 1, "here"), (1, 2, "there"), (.infinity, 1, "here"), (1, .infinity, "there"), (2, nil, "here"),
    ]
      as [(Double?, Double?, String)]
    {
      let target = try makeTarget()
      func days(_ number: Double) -> Double? { number.isInfinite ? nil : number }
      if let there { try target.write(JSON.bytes(hold("there", days: days(there))), to: place.hold, durability: .immediate) }
      try store.delete([place.hold])
      if let here { try catalog.place(hold("here", days: days(here)), on: place) }
      try copy(to: target)
      #expect(try Catalog(store: target).hold(of: place)?.reason == wanted, "\(String(describing: here)) \(String(describing: there))")
      // Once it is listed there, it is that store's own affair.
      try catalog.place(hold("another", days: nil), on: place)
      try copy(to: target)
      #expect(try Catalog(store: target).hold(of: place)?.reason == wanted)
    }
  }

  @Test func `leave the hold of a snapshot that only lost its list as it is`() throws {
    let target = try makeTarget()
    let lock = try RepositoryLock(.shared, on: target, purpose: "a copy")
    defer { lock.release() }
    func copy() throws { _ = try SnapshotCopy(of: [place], from: store, to: target, holding: lock).run(place) }
    try copy()
    let there = Catalog(store: target)
    try there.place(SnapshotHold(until: nil, reason: "an audit there", placedAt: Date(), host: "there"), on: place)
    try target.delete([place.checksums])
    for operation in 1...500 {
      // Cut off anywhere, it stays what it is.
      target.fail(at: target.operations + operation, with: .unreachable(location: "memory", reason: "a test"))
      let outcome = Result { try copy() }
      target.mend()
      #expect(try there.hold(of: place)?.reason == "an audit there", "cut off at operation \(operation)")
      if case .success = outcome { return }
    }
    Issue.record("no copy ended")
  }

  @Test func `are on hold as soon as they are listed, wherever they are cut off`() throws {
    try Catalog(store: store).place(SnapshotHold(until: nil, reason: "an audit", placedAt: Date(), host: "here"), on: place)
    var wasCutOff = false
    for operation in 1...500 {
      let target = try makeTarget()
      let lock = try RepositoryLock(.shared, on: target, purpose: "a copy")
      target.fail(at: target.operations + operation, with: .unreachable(location: "memory", reason: "a test"))
      let outcome = Result { try SnapshotCopy(of: [place], from: store, to: target, holding: lock).run(place) }
      target.mend()
      lock.release()
      let isListed = try Catalog(store: target).snapshots().contains(place)
      #expect(try !isListed || target.size(of: place.hold) != nil, "cut off at operation \(operation)")
      if case .success = outcome {
        #expect(isListed && wasCutOff)
        return
      }
      wasCutOff = true
    }
    Issue.record("no copy ended")
  }
}
