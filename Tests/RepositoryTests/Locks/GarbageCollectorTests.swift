import Digests
import Foundation
import Platform
import Repository
import SystemPackage
import TestSupport
import Testing

@Suite struct `A collection` {
  @Test func `collects nothing while a snapshot may be out of sight, and leaves what is on the way out`() throws {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    let manifests = try (1...2).map { try snapshots.take(["a.dat": Array("some rows \($0)".utf8)], night: $0) }
    let place = manifests[1].place
    let all = try store.list("")
    let list = try store.read(place.checksums, limit: 1 << 20)
    func expectRefusal(_ error: RepositoryError) throws {
      let before = try store.list("").map(\.key)
      #expect(throws: error) { try GarbageCollector(store: store).collect() }
      #expect(throws: error) { try GarbageCollector(store: store).check() }
      #expect(try store.list("").map(\.key) == before)
    }
    // The list was lost.
    try store.delete([place.checksums])
    try expectRefusal(.listLost(folder: place.prefix))
    try store.write(list, to: place.checksums, durability: .immediate)
    // The folder was moved aside.
    try store.write(list, to: "snapshots/s/app/\(place.id).bak/SHA256SUMS", durability: .immediate)
    try expectRefusal(.hiddenSnapshot(key: "snapshots/s/app/\(place.id).bak/SHA256SUMS"))
    try store.delete(["snapshots/s/app/\(place.id).bak/SHA256SUMS"])
    // The list of another snapshot, and one that lost its end.
    for wrong in [try store.read(manifests[0].place.checksums, limit: 1 << 20), Array(list[..<list.dropLast().lastIndex(of: 0x0A)!]) + [0x0A]] {
      try store.write(wrong, to: place.checksums, durability: .immediate)
      #expect { try GarbageCollector(store: store).collect() } throws: { ($0 as? RepositoryError)?.isDamage == true }
    }
    try store.write(list, to: place.checksums, durability: .immediate)
    #expect(try store.list("").map(\.key) == all.map(\.key))
    #expect(try GarbageCollector(store: store).collect().objects == 0)
    // A removal that was cut off is not a loss.
    #expect(try store.rename(place.checksums, as: place.removed))
    #expect(try snapshots.repository.catalog.unlisted(at: Date(timeIntervalSinceNow: 9e6)).isEmpty)
    #expect(try GarbageCollector(store: store).collect().objects == 1)
    #expect(try store.list(place.prefix).isEmpty)
    #expect(try snapshots.files(of: manifests[0]) == ["a.dat": Array("some rows 1".utf8)])
  }

  @Test func `collects nothing while a list of checksums can't be read`() throws {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    let manifest = try snapshots.take(["a.dat": Array("some rows".utf8)], night: 1)
    let objects = try store.list(ObjectName.root)
    store.damage(manifest.place.checksums) { $0.removeLast(5) }
    #expect { try GarbageCollector(store: store).collect() } throws: { ($0 as? RepositoryError)?.isDamage == true }
    #expect(try store.list(ObjectName.root).map(\.key) == objects.map(\.key))
  }

  @Test func `collects nothing while something may hide snapshots from it`() throws {
    let folder = try TemporaryFolder()
    let snapshots = try SyntheticSnapshots(in: LocalStore(root: folder.path("store")))
    let store = snapshots.repository.store
    let manifest = try snapshots.take(["a.dat": Array("some rows".utf8)], night: 1)
    let objects = try store.list(ObjectName.root).map(\.key)
    let hidden = folder.path("store/snapshots/s")
    try Folder.rename(hidden, to: folder.path("elsewhere"))
    try FileManager.default.createSymbolicLink(atPath: hidden.string, withDestinationPath: folder.path("elsewhere").string)
    #expect(throws: StoreError.notAFile("snapshots/s")) { try GarbageCollector(store: store).collect() }
    try Folder.removeFile(hidden)
    // Nothing to see at all, and objects of days ago.
    #expect(try GarbageCollector(store: store, now: Date(timeIntervalSinceNow: 3 * 86400)).collect().objects == 0)
    #expect(try store.list(ObjectName.root).map(\.key) == objects)
    try Folder.rename(folder.path("elsewhere"), to: hidden)
    #expect(try snapshots.files(of: manifest) == ["a.dat": Array("some rows".utf8)])
  }

  @Test func `collects nothing if no snapshot is listed, however young its objects, unless the store never had one`() throws {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    func objects() throws -> [StoreKey] { try store.list(ObjectName.root).map(\.key) }
    let stray = ObjectName(SHA256Digest(of: [4]))
    try store.write([4], to: stray.key, durability: .immediate)
    // The files of a killed first run are garbage.
    #expect(try GarbageCollector(store: store).garbage(grace: 0).objects == 1)
    #expect(try GarbageCollector(store: store).collect().objects == 1)
    let manifest = try snapshots.take(["a.dat": Array("some rows".utf8)], night: 1)
    let whole = try objects()
    // Somebody moves the folder away.
    let moved = try store.list("snapshots/").map { ($0.key, try store.read($0.key, limit: 1 << 20)) }
    try store.delete(moved.map(\.0))
    func expectDoubt() throws {
      #expect(try GarbageCollector(store: store).garbage(grace: 0).isInDoubt)
      #expect(try GarbageCollector(store: store).collect().isInDoubt)
      #expect(try objects() == whole)
    }
    try expectDoubt()
    // A store of an older program says nothing of it.
    try store.delete(store.list(Catalog.firstSnapshotMarks).map(\.key))
    store.damage(RepositoryFormat.key) { bytes in
      bytes = Array(String(decoding: bytes, as: UTF8.self).replacing(#""marksFirstSnapshot" : true,"#, with: "").utf8)
    }
    #expect(try Repository(opening: store).format.marksFirstSnapshot == nil)
    try expectDoubt()
    try store.delete([RepositoryFormat.key])
    try expectDoubt()
    #expect(try store.create([], at: Catalog.firstSnapshotMarks + "s/app"))
    // A snapshot is taken before the loss is noticed: the loss of all others is still recorded.
    let after = try snapshots.take(["a.dat": Array("new rows".utf8)], night: 2)
    #expect(try GarbageCollector(store: store).collect().isInDoubt)
    #expect(try Set(objects()).isSuperset(of: whole))
    for (key, bytes) in moved { try store.write(bytes, to: key, durability: .immediate) }
    #expect(try snapshots.files(of: manifest) == ["a.dat": Array("some rows".utf8)])
    try store.delete([Catalog.missingSnapshotsMark])
    try GarbageCollector(store: store).remove([after.place])
    #expect(try !GarbageCollector(store: store).collect().isInDoubt)
    #expect(try objects() == whole)
  }

  @Test func `collects nothing after a snapshot that found neither earlier snapshots nor their folder of marks`() throws {
    let folder = try TemporaryFolder()
    let store = LocalStore(root: folder.path("store"))
    let snapshots = try SyntheticSnapshots(in: store)
    _ = try snapshots.take(["a.dat": Array("some rows".utf8)], night: 1)
    let whole = try store.list(ObjectName.root).map(\.key)
    for name in ["snapshots", "had-snapshots"] { try Folder.rename(folder.path("store").appending(name), to: folder.path(name)) }
    _ = try snapshots.take(["a.dat": Array("new rows".utf8)], night: 2)
    #expect(try store.size(of: Catalog.missingSnapshotsMark) != nil)
    #expect(try GarbageCollector(store: store).collect().isInDoubt)
    #expect(try Set(store.list(ObjectName.root).map(\.key)).isSuperset(of: whole))
    // A store whose last snapshot was removed has lost nothing.
    try store.delete([Catalog.missingSnapshotsMark])
    let last = try #require(snapshots.repository.catalog.snapshots().first)
    try GarbageCollector(store: store).remove([last])
    #expect(try store.size(of: Catalog.anySnapshotMark) == nil)
  }

  @Test func `collects nothing while the folder of a database is gone of which others are there`() throws {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    let place = try snapshots.take(["a.dat": Array("some rows".utf8)], night: 1).place
    let other = try snapshots.take(["a.dat": Array("other rows".utf8)], night: 1, database: "other").place
    let objects = try store.list(ObjectName.root).map(\.key)
    let moved = try store.list(place.prefix).map { ($0.key, try store.read($0.key, limit: 1 << 20)) }
    try store.delete(moved.map(\.0))
    let error = RepositoryError.databaseLost(folder: "snapshots/s/app", mark: "had-snapshots/s/app")
    #expect(throws: error) { try GarbageCollector(store: store).collect() }
    #expect(throws: error) { try GarbageCollector(store: store).check() }
    #expect(try store.list(ObjectName.root).map(\.key) == objects)
    for (key, bytes) in moved { try store.write(bytes, to: key, durability: .immediate) }
    // A removed snapshot is not lost.
    try GarbageCollector(store: store).remove([other])
    #expect(try GarbageCollector(store: store).collect().objects == 1)
    #expect(try snapshots.repository.catalog.snapshots() == [place])
  }

  @Test func `takes a folder without manifest and list for a loss if it was verified, and a late result for none`() throws {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    let places = try (1...2).map { try snapshots.take(["a.dat": Array("some rows \($0)".utf8)], night: $0).place }
    let check = CheckRecord(level: .read, ok: true, damagedObjects: nil, checkedAt: Date(), seconds: 1, host: "h", firn: "test")
    try snapshots.repository.catalog.record(check, of: places[1])
    let whole = try store.list("").map { ($0.key, try store.read($0.key, limit: 1 << 20)) }
    try store.delete([places[1].checksums, places[1].manifest])
    #expect(throws: RepositoryError.listLost(folder: places[1].prefix)) { try GarbageCollector(store: store).collect() }
    for (key, bytes) in whole { try store.write(bytes, to: key, durability: .immediate) }
    // A verification ends after its snapshot was removed.
    try GarbageCollector(store: store).remove([places[1]])
    try snapshots.repository.catalog.record(check, of: places[1])
    #expect(try GarbageCollector(store: store).collect().objects == 1)
    #expect(try store.list(places[1].prefix).isEmpty)
  }
}
