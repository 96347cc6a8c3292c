import Digests
import FirnCore
import Foundation
import Platform
import Repository
import Retention
import TestSupport

/// The actions of processes on stores, made of the same parts as the commands. A database is a few cells; each
/// state of one is an object. Two files of two cells each have lists of their objects, which snapshots share, and are taken over from the
/// parent if they are unchanged.
struct SimulatedCommands {
  private struct NotConfirmed: Error {}

  let world: SimulatedWorld
  let disk: SimulatedDisk
  private let database: Database

  /// Shared by the processes of a world.
  private final class Database: @unchecked Sendable {
    // Sound: as `SimulatedWorld`, whose threads alone use it.
    var cells: [Int]
    /// Snapshots whose commands ended well.
    var acknowledged: Set<SnapshotPath> = []
    /// Those that a plan was to remove.
    var released: Set<SnapshotPath> = []
    init(cells: Int) { self.cells = [Int](repeating: 0, count: cells) }
  }

  init(world: SimulatedWorld, disk: SimulatedDisk) throws {
    self.world = world
    self.disk = disk
    database = Database(cells: 5)
    var random = SystemRandomNumberGenerator()
    world.isQuiet = true
    defer { world.isQuiet = false }
    let store = SimulatedStore(disk: disk, process: world.start(host: "here"))
    let format = RepositoryFormat(repositoryID: "test", createdAt: Date(timeIntervalSince1970: 1_700_000_000), random: &random)
    _ = try Repository(creatingIn: store, format: format)
    try store.flush()
  }

  private func store(_ process: SimulatedProcess) -> SimulatedStore { SimulatedStore(disk: disk, process: process) }

  private static func bytes(cell: Int, state: Int) -> [UInt8] { Array("cell \(cell) in state \(state)".utf8) }

  // MARK: Snapshot

  func snapshot(_ process: SimulatedProcess) throws {
    let repository = try Repository(opening: store(process))
    // Few states: what was stored before and is garbage comes again.
    for cell in database.cells.indices where world.chance(0.3) { database.cells[cell] = world.pick(below: 4) }
    let maintenance = StoreHousekeeping(store: repository.store, owner: process.owner)
    let lock = try maintenance.sharedLock(purpose: "snapshot")
    defer { lock.release() }
    do {
      database.acknowledged.insert(try take(repository, process, lock))
    } catch {
      lock.release()
      maintenance.collectIfAlone()
      throw error
    }
  }

  private func take(_ repository: Repository, _ process: SimulatedProcess, _ lock: RepositoryLock) throws -> SnapshotPath {
    let (store, catalog) = (repository.store, repository.catalog)
    let earlier = try catalog.snapshots(source: "s", database: "app")
    var random = world.random
    let place = SnapshotPath(source: "s", database: "app", id: SnapshotID(startedAt: process.now, after: earlier.last?.id, random: &random))
    let parent = Set(try earlier.last.map { try catalog.checksums(of: $0).objects } ?? [])
    let parentLists = try earlier.last.map { try Self.lists(in: store.read($0.chunkTable, limit: 1 << 20)) } ?? []
    var objects: Set<ObjectName> = []
    var checksums: [StoreKey: SHA256Digest] = [:]
    var reused: [StoreKey: Int64] = [:]
    var written: [StoreKey: Int64] = [:]
    @discardableResult func add(_ bytes: [UInt8]) throws -> ObjectName {
      let object = ObjectName(SHA256Digest(of: bytes))
      objects.insert(object)
      if parent.contains(object), try store.size(of: object.key) == Int64(bytes.count) {
        reused[object.key] = Int64(bytes.count)
      } else {
        try store.write(bytes, to: object.key, durability: .deferred)
        written[object.key] = Int64(bytes.count)
      }
      return object
    }
    var lists: [ObjectName] = []
    // Others change them meanwhile.
    let cells = database.cells
    for file in Self.listedFiles {
      let list = Self.list(of: file.map { Self.bytes(cell: $0, state: cells[$0]) })
      let name = ObjectName(SHA256Digest(of: list))
      if parentLists.contains(name), let taken = try takeOver(name, parent, store) {
        // Nothing of it is read.
        for (object, size) in taken {
          objects.insert(object)
          reused[object.key] = size
        }
      } else {
        for cell in file { try add(Self.bytes(cell: cell, state: cells[cell])) }
        try add(list)
      }
      lists.append(name)
    }
    for cell in cells.indices.dropFirst(4) { try add(Self.bytes(cell: cell, state: cells[cell])) }
    var manifest = Manifest(
      place: place, kind: "nightly", startedAt: process.now, finishedAt: process.now,
      versions: .init(firn: "test", pgDump: "none", server: "15.0", serverNumber: 150000),
      properties: DatabaseProperties(
        owner: "o", encoding: "UTF8", localeProvider: "c", collate: "C", ctype: "C", tablespace: "pg_default", connectionLimit: -1),
      chunkTable: .init(headBytes: 0, bytes: 0))
    manifest.parent = earlier.last?.id
    let table = Array(lists.map { "\($0.digest)\n" }.joined().utf8)
    try store.write(table, to: place.chunkTable, durability: .deferred)
    checksums[place.chunkTable] = SHA256Digest(of: table)
    try catalog.begin(place, holding: lock)
    for (key, bytes) in [(place.manifest, try JSON.bytes(manifest)), (place.globals, [2]), (place.recoverScript, [3])] {
      try store.write(bytes, to: key, durability: .deferred)
      checksums[key] = SHA256Digest(of: bytes)
    }
    try catalog.commit(ChecksumFile(objects: objects, files: checksums), of: place, reused: reused, written: written, holding: lock)
    return place
  }

  private static let listedFiles = [[0, 1], [2, 3]]

  /// Names its objects, and does not depend on the snapshot.
  private static func list(of objects: [[UInt8]]) -> [UInt8] {
    Array("list\n".utf8) + objects.flatMap { Array("\(SHA256Digest(of: $0)) \($0.count)\n".utf8) }
  }

  private static func lists(in table: [UInt8]) -> [ObjectName] {
    String(decoding: table, as: UTF8.self).split(separator: "\n").compactMap { SHA256Digest(hexadecimal: $0).map { ObjectName($0) } }
  }

  /// The objects that a list names, with their sizes; nil if it is none.
  private static func objects(in list: [UInt8]) -> [(ObjectName, Int64)]? {
    let lines = String(decoding: list, as: UTF8.self).split(separator: "\n")
    guard lines.first == "list" else { return nil }
    return lines.dropFirst().compactMap { line in
      let words = line.split(separator: " ")
      return SHA256Digest(hexadecimal: words[0]).map { (ObjectName($0), Int64(words[1]) ?? 0) }
    }
  }

  /// A list of the parent and the objects that it names, with their sizes; nil if one of them can't be used.
  private func takeOver(_ list: ObjectName, _ parent: Set<ObjectName>, _ store: any Store) throws -> [(ObjectName, Int64)]? {
    guard let bytes = try? store.read(list.key, limit: 1 << 20), ObjectName(SHA256Digest(of: bytes)) == list,
      let named = Self.objects(in: bytes), named.allSatisfy({ parent.contains($0.0) }),
      try named.allSatisfy({ try store.size(of: $0.0.key) == $0.1 })
    else { return nil }
    return named + [(list, Int64(bytes.count))]
  }

  // MARK: The others

  func prune(_ process: SimulatedProcess) throws {
    let repository = try Repository(opening: store(process))
    let policy = RetentionPolicy(RetentionRules(last: 1 + world.pick(below: 3)))
    // As --max-rate: much may happen between two batches.
    let pace = DeletionPace(batch: 1) { [world] _ in if !world.isQuiet, world.chance(world.faults.standstills * 5) { try world.standStill(process) } }
    let operation = PruneOperation(
      repository: repository, policy: policy, now: process.now, progress: WorkProgress(), deletions: pace, owner: process.owner, threads: 1)
    if world.chance(0.3) {
      _ = try operation.collect(apply: true)
      return
    }
    var shown: [SnapshotPath] = []
    // However it ends: what is gone of these was to go.
    defer { database.released.formUnion(shown.filter { disk.files[$0.checksums] == nil }) }
    _ = try operation.run(on: try repository.catalog.snapshots(), apply: true) { plan in
      if plan.phrase != nil, world.chance(0.5) { throw NotConfirmed() }
      shown = plan.removed
      return plan
    }
  }

  /// Verifications and drills ask the store for the same things, in this order.
  func verify(_ process: SimulatedProcess) throws {
    let store = store(process)
    let catalog = Catalog(store: store)
    // Chosen before the lock is held, as commands do: a prune may come first.
    let chosen = try catalog.snapshots()
    let lock = try StoreHousekeeping(store: store, owner: process.owner).sharedLock(purpose: "verify", onlyReads: true)
    defer { lock.release() }
    for place in try catalog.stillThere(chosen) {
      let faults = try faults(of: place, in: store)
      try lock.check()
      if try !faults.isEmpty && !catalog.wasRemoved(place) { world.violations.append("a verification found that \(faults[0])") }
      try catalog.record(
        CheckRecord(
          level: .read, ok: faults.isEmpty, damagedObjects: nil, checkedAt: process.now, seconds: 1, host: process.host, firn: "test"), of: place)
    }
  }

  /// Copies what is here elsewhere.
  func copy(to other: SimulatedCommands, _ process: SimulatedProcess) throws {
    let (source, target) = (store(process), other.store(process))
    let chosen = try Catalog(store: source).snapshots()
    let from = try StoreHousekeeping(store: source, owner: process.owner).sharedLock(purpose: "copy", onlyReads: true)
    defer { from.release() }
    let maintenance = StoreHousekeeping(store: target, owner: process.owner)
    let lock = try maintenance.sharedLock(purpose: "copy", grace: 7 * 86400)
    defer { lock.release() }
    do {
      let places = try Catalog(store: source).stillThere(chosen).suffix(2)
      let copy = SnapshotCopy(of: Array(places), from: source, to: target, holding: lock)
      for place in places {
        // Taken again from the other store, it would be a new one there. It may be pruned as soon as it is there.
        let wasReleased = other.database.released.remove(place) != nil
        do { _ = try copy.run(place) } catch {
          if let damaged = error as? SourceDamaged {
            try from.check()
            if try !Catalog(store: source).wasRemoved(place) {
              world.violations.append("a copy found that \(place.id) is damaged: \(damaged.cause)")
            }
          }
          if wasReleased, other.disk.files[place.checksums] == nil { other.database.released.insert(place) }
          throw error
        }
        other.database.acknowledged.insert(place)
      }
    } catch {
      lock.release()
      maintenance.collectIfAlone()
      throw error
    }
  }

  // MARK: What must hold

  private static func isLeft(_ key: StoreKey, _ place: SnapshotPath, _ listed: [SnapshotPath]) -> Bool {
    place.isUnfinished(key) || key == place.removed || !listed.contains(place)
  }

  private func faults(of place: SnapshotPath, in store: any Store) throws -> [String] {
    let list: ChecksumFile
    do { list = try Catalog(store: store).checksums(of: place) } catch let error as RepositoryError { return ["\(place.id): \(error)"] }
    // The collection knows of no lists: a snapshot itself must name the objects of those that it shares.
    for name in Self.lists(in: (try? store.read(place.chunkTable, limit: 1 << 20)) ?? []) {
      guard let bytes = try? store.read(name.key, limit: 1 << 20), let named = Self.objects(in: bytes) else { continue }
      if !named.allSatisfy({ list.objects.contains($0.0) }) { return ["\(place.id): an object that a list names is not its own"] }
    }
    let expected = list.objects.map { ($0.key, $0.digest) } + list.files.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    return try expected.compactMap { key, digest in
      do {
        return SHA256Digest(of: try store.read(key, limit: 1 << 20)) == digest ? nil : "\(place.id): \(key) has other bytes"
      } catch StoreError.missing {
        return "\(place.id): \(key) is missing"
      }
    }
  }

  /// Looks at what is listed, and whether the next run works without help, and leaves nothing over.
  func findViolations() throws {
    let process = world.start(host: "operator")
    let store = store(process)
    let catalog = Catalog(store: store)
    func expectSound(_ when: String) throws {
      for place in try catalog.snapshots() {
        for fault in try faults(of: place, in: store) { world.violations.append("\(when), \(fault)") }
      }
    }
    try expectSound("after all")
    let listed = Set(try catalog.snapshots())
    for place in database.acknowledged where !listed.contains(place) && !database.released.contains(place) {
      world.violations.append("\(place.id) is gone, although it was not removed")
    }
    if let newest = database.acknowledged.map(\.id).max(), !listed.contains(where: { $0.id >= newest }) {
      world.violations.append("the newest snapshot is gone")
    }
    // The locks of the dead on other machines count for half an hour.
    world.clock += 3 * 86400
    try snapshot(process)
    for _ in 1...2 {
      world.clock += 2 * 86400
      let operation = PruneOperation(
        repository: try Repository(opening: store), policy: RetentionPolicy(), now: process.now, progress: WorkProgress(), owner: process.owner)
      _ = try operation.collect(apply: true)
    }
    try expectSound("after collecting")
    let remaining = try catalog.snapshots()
    let mayComeBack = disk.files.keys.contains { $0.hasPrefix("locks/broken/") }
    let named = Set(try remaining.flatMap { try catalog.checksums(of: $0).objects })
    for key in disk.files.keys.sorted() {
      if let object = ObjectName(key: key), !named.contains(object) { world.violations.append("\(key) is left, and nothing names it") }
      // A mark stays for those who may come back after their lock was broken.
      if let place = SnapshotPath(key: key), !(key == place.removed && mayComeBack), Self.isLeft(key, place, remaining) {
        world.violations.append("\(key) is left")
      }
      if key.hasPrefix("locks/"), !key.hasPrefix("locks/broken/") { world.violations.append("\(key) is left") }
    }
  }
}
