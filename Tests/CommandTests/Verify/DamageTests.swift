import Digests
import FirnCore
import Foundation
import Platform
import Repository
import SystemPackage
import TestSupport
import Testing

/// Any damage to a file of a store is found, named, attributed correctly, and repaired from another store.
@Suite struct `Damage to a store` {
  /// A store of three nights in a folder, and what is true of it.
  private struct Subject {
    let folder = try! TemporaryFolder()
    let store: LocalStore
    let donor: MemoryStore
    let repository: Repository
    /// Files of objects and of the snapshots.
    let files: [StoreKey: [UInt8]]
    let places: [SnapshotPath]
    /// The snapshots that consist of a file.
    let users: [StoreKey: Set<SnapshotID>]
    /// The tables that hold bytes of an object, by snapshot.
    let tables: [StoreKey: [SnapshotID: Set<String>]]

    init(seed: UInt64) throws {
      var random = SeededRandom(seed: seed)
      store = LocalStore(root: folder.path("store"))
      donor = MemoryStore()
      let synthetic = try SyntheticSnapshots(in: store, chunkAverage: 512, frameBytes: 1 << 14, objectBytes: 1 << 14)
      func rows(_ count: Int) -> [UInt8] {
        Array(
          (0..<count).map { "\($0)\t\(UInt64.random(in: 0 ... .max, using: &random))\t\(UInt64.random(in: 0...99, using: &random))\n" }.joined().utf8)
      }
      let end = Array("\\.\n\n\n".utf8)
      // The second is listed by itself.
      var kept = ["1.dat": rows(1500), "2.dat": rows(8000), "3.dat": rows(60)]
      for night in 0..<3 {
        var files = kept.mapValues { $0 + end }
        files["toc.dat"] = Array("contents of night \(night)".utf8)
        try synthetic.take(files, night: night)
        kept["2.dat"]! += rows(300)
        kept["3.dat"] = rows(60 + night)
      }
      repository = synthetic.repository
      places = try repository.catalog.snapshots()
      var files: [StoreKey: [UInt8]] = [:]
      for entry in try store.list("objects/") + store.list("snapshots/") { files[entry.key] = try store.read(entry.key, limit: 1 << 24) }
      var users: [StoreKey: Set<SnapshotID>] = [:]
      var tables: [StoreKey: [SnapshotID: Set<String>]] = [:]
      for place in places {
        users[place.checksums, default: []].insert(place.id)
        let list = try repository.catalog.checksums(of: place)
        for key in list.objects.map(\.key) + list.files.keys { users[key, default: []].insert(place.id) }
        let reader = try SnapshotReader(repository.contents, manifest: try repository.catalog.manifest(of: place))
        for file in try reader.files().values {
          let name = file.name == "toc.dat" ? file.name : "public.\(file.name.dropLast(4))"
          for object in try reader.objects(of: file) { tables[object.key, default: [:]][place.id, default: []].insert(name) }
        }
      }
      (self.files, self.users, self.tables) = (files, users, tables)
      for (key, bytes) in files { try donor.write(bytes, to: key, durability: .immediate) }
    }

    func path(_ key: StoreKey) -> FilePath { store.root.appending(key) }

    /// Puts everything back, and says when it was written: a while ago.
    func reset(_ keys: [StoreKey]) throws {
      for key in keys {
        try? Folder.removeTree(path(key))
        try Folder.write(files[key]!, to: path(key))
      }
      for place in places { try? Folder.removeTree(path(place.prefix + "checks")) }
      try? Folder.removeTree(path("quarantine"))
    }

    func verify(_ extent: VerifyExtent = .read) throws -> VerifyOperation.Outcome {
      // An hour later: lists of checksums that are not there won't come.
      let all = try repository.catalog.snapshots() + repository.catalog.unlisted(at: Date(timeIntervalSinceNow: 3600))
      return try VerifyOperation(repository: repository, extent: extent, progress: WorkProgress()).run(on: all)
    }
  }

  private enum Kind: CaseIterable { case flip, truncate, delete, swap, append, empty, symlink, folder, otherFrame }

  /// - Returns: the files that are not what they were.
  private func damage(_ subject: Subject, _ kind: Kind, _ random: inout SeededRandom) throws -> [StoreKey] {
    let keys = subject.files.keys.sorted()
    let key = keys.randomElement(using: &random)!
    let path = subject.path(key)
    var bytes = subject.files[key]!
    switch kind {
    case .flip:
      guard let place = bytes.indices.randomElement(using: &random) else { return [] }
      bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case .truncate: bytes.removeLast(bytes.isEmpty ? 0 : Int.random(in: 1...bytes.count, using: &random))
    case .delete:
      try Folder.removeFile(path)
      return [key]
    case .swap:
      let other = keys.filter { $0.hasPrefix("objects/") == key.hasPrefix("objects/") }.randomElement(using: &random)!
      guard subject.files[other]! != bytes else { return [] }
      try Folder.write(bytes, to: subject.path(other))
      try Folder.write(subject.files[other]!, to: path)
      return [key, other]
    case .append: bytes += (0..<Int.random(in: 1...40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
    case .empty: bytes = []
    case .symlink:
      try Folder.removeFile(path)
      try FileManager.default.createSymbolicLink(atPath: path.string, withDestinationPath: "/etc/passwd")
      return [key]
    case .folder:
      try Folder.removeFile(path)
      try Folder.make(path)
      return [key]
    case .otherFrame:
      // Sound zstd, of something else.
      bytes = subject.files[keys.filter { $0.hasSuffix(".zst") && subject.files[$0]! != bytes }.randomElement(using: &random)!]!
    }
    guard bytes != subject.files[key]! else { return [] }
    try Folder.write(bytes, to: path)
    return [key]
  }

  @Test func `is found and named to the table in seeded cases, and repaired from a second store`() throws {
    let subject = try Subject(seed: 7)
    #expect(try subject.verify().isSound)
    var random = SeededRandom(seed: 11)
    var cases = 0
    var round = 0
    while cases < Thoroughness.count(600, thorough: 2000) {
      let kind = Kind.allCases[round % Kind.allCases.count]
      // Half of them in snapshots that were proven before, whose tables are not read again.
      if round % 2 == 1 { _ = try subject.verify() }
      let changed = try damage(subject, kind, &random)
      let outcome = try subject.verify()
      let what = "case \(round): \(kind) of \(changed)"
      let affected = changed.reduce(into: Set<SnapshotID>()) { $0.formUnion(subject.users[$1] ?? []) }
      let blamed = Set(outcome.snapshots.filter { !$0.problems.isEmpty }.map(\.place.id))
      #expect(blamed == affected, "\(what)")
      for snapshot in outcome.snapshots where affected.contains(snapshot.place.id) {
        // The readable parts of the snapshot show which tables an object affects.
        guard changed.allSatisfy({ $0.hasPrefix("objects/") }) else { continue }
        let expected = changed.reduce(into: Set<String>()) { $0.formUnion(subject.tables[$1]?[snapshot.place.id] ?? []) }
        #expect(Set(snapshot.problems.compactMap(\.table)) == expected, "\(what): \(snapshot.problems)")
      }
      cases += changed.isEmpty ? 0 : 1
      if !changed.isEmpty {
        let damaged = outcome.snapshots.filter { !$0.problems.isEmpty }
        let objects = Set(damaged.flatMap(\.problems).compactMap(\.object).compactMap { ObjectName(hexadecimal: $0) })
        let repair = try RepairOperation(repository: subject.repository, donors: [MemoryStore(), subject.donor], progress: WorkProgress()).run(
          on: damaged.map(\.place), damaged: objects)
        #expect(Set(repair.mended.map(\.key)) == Set(changed) && repair.unrepaired.isEmpty, "\(what): \(repair)")
        #expect(try subject.verify().isSound, "\(what)")
        for key in changed { #expect(try subject.store.read(key, limit: 1 << 24) == subject.files[key]!, "\(what)") }
        // The previous file is kept.
        if kind != .delete {
          #expect(changed.allSatisfy { (try? Folder.status(of: subject.path(repair.quarantine + $0))) ?? nil != nil }, "\(what)")
        }
      }
      try subject.reset(changed)
      round += 1
    }
  }

  @Test func `is not repaired by what is damaged, too`() throws {
    let subject = try Subject(seed: 3)
    let key = try #require(subject.files.keys.filter { $0.hasPrefix("objects/") }.sorted().first)
    var bytes = subject.files[key]!
    bytes[0] ^= 1
    try Folder.write(bytes, to: subject.path(key))
    subject.donor.damage(key) { $0.removeLast() }
    let objects = Set([try #require(ObjectName(key: key))])
    let repair = try RepairOperation(repository: subject.repository, donors: [subject.donor], progress: WorkProgress()).run(
      on: subject.places, damaged: objects)
    #expect(repair.mended.isEmpty && repair.unrepaired == [key])
    #expect(try subject.store.read(key, limit: 1 << 24) == bytes)
    #expect(try subject.store.list("quarantine/").isEmpty)
  }

  @Test func `stays where it was if its replacement can't be written`() throws {
    let (store, donor) = (MemoryStore(), MemoryStore())
    let synthetic = try SyntheticSnapshots(in: store)
    let repository = synthetic.repository
    try synthetic.take(["1.dat": Array("1\tone\n\\.\n\n\n".utf8)], night: 0)
    for entry in try store.list("") { try donor.write(try store.read(entry.key, limit: 1 << 24), to: entry.key, durability: .immediate) }
    let places = try repository.catalog.snapshots()
    let object = try #require(try repository.catalog.checksums(of: places[0]).objects.first)
    store.damage(object.key) { $0[0] ^= 1 }
    let damaged = try store.read(object.key, limit: 1 << 24)
    let now = Date()
    let aside = "quarantine/\(SnapshotID.stamp(now))/\(object.key)"
    let repair = RepairOperation(repository: repository, donors: [donor], progress: WorkProgress(), now: now)
    store.refuseWrites(with: .full(location: "memory"), untilDeleted: aside)
    #expect(throws: StoreError.full(location: "memory")) { try repair.run(on: places, damaged: [object]) }
    #expect(try store.size(of: aside) == nil && store.read(object.key, limit: 1 << 24) == damaged)
    store.refuseWrites(with: nil)
    #expect(try repair.run(on: places, damaged: [object]).mended.map(\.key) == [object.key])
    #expect(try store.read(object.key, limit: 1 << 24) == donor.read(object.key, limit: 1 << 24))
    #expect(try store.read(aside, limit: 1 << 24) == damaged)
  }

  @Test func `keeps a snapshot off the list whose repair lacks something`() throws {
    let subject = try Subject(seed: 21)
    let place = subject.places[0]
    let object = try #require(try subject.repository.catalog.checksums(of: place).objects.first).key
    try subject.store.delete([place.checksums, object])
    try subject.donor.delete([object])
    let repair = RepairOperation(repository: subject.repository, donors: [subject.donor], progress: WorkProgress())
    #expect(try repair.run(on: [place], damaged: []).unrepaired == [object, place.checksums])
    #expect(try !subject.repository.catalog.snapshots().contains(place))
    try subject.donor.write(subject.files[object]!, to: object, durability: .immediate)
    #expect(try repair.run(on: [place], damaged: []).unrepaired.isEmpty)
    #expect(try subject.repository.catalog.snapshots() == subject.places)
    try subject.reset([])
  }

  @Test func `is found by samples that go around the whole store, however often they are cut off`() throws {
    let subject = try Subject(seed: 5)
    let objects = subject.files.keys.filter { $0.hasPrefix("objects/") }.sorted()
    #expect(objects.count > 5)
    for key in objects {
      var bytes = subject.files[key]!
      bytes[bytes.count / 2] ^= 4
      try Folder.write(bytes, to: subject.path(key))
      var found = false
      var rounds = 0
      var checked = 0
      while !found && rounds < 30 {
        let outcome = try subject.verify(.sample(0.1))
        #expect(outcome.objectsChecked < objects.count)
        checked += outcome.objectsChecked
        found = !outcome.isSound
        rounds += 1
        if found { #expect(outcome.snapshots.flatMap(\.problems).contains { $0.object.map { key.contains($0) } ?? false && $0.table != nil }) }
      }
      // Once around is enough.
      #expect(found && checked <= objects.count + 2, "\(key): \(rounds) rounds, \(checked) objects")
      try subject.reset([key])
    }
  }

  @Test func `leaves a store of a newer format and foreign files alone`() throws {
    let subject = try Subject(seed: 9)
    for key in ["objects/readme.txt", "objects/zz/strange.zst", "notes.txt", "snapshots/readme"] {
      try Folder.make(subject.path(key).removingLastComponent())
      try Folder.write([1, 2, 3], to: subject.path(key))
    }
    #expect(try subject.verify().isSound)
    let place = subject.places[1]
    let text = String(decoding: subject.files[place.manifest]!, as: UTF8.self)
    let newer = Array(text.replacing("\"formatVersion\" : \(Manifest.usualVersion)", with: "\"formatVersion\" : 99").utf8)
    #expect(newer != subject.files[place.manifest]!)
    try Folder.write(newer, to: subject.path(place.manifest))
    let outcome = try subject.verify()
    // The list names other bytes, which is damage; the format is not.
    #expect(outcome.snapshots.filter(\.isNewer).map(\.place) == [place])
    #expect(outcome.snapshots.flatMap(\.problems).map(\.reason) == ["\(place.files(areEncrypted: false).manifest) was changed"])
  }

  @Test func `is not looked for twice in tables that were proven, and a read is no faster than it may be`() throws {
    let subject = try Subject(seed: 13)
    #expect(try subject.verify().provenBefore == 0)
    #expect(try subject.verify().provenBefore == 3)
    // Another list of checksums, though it fits: it was not what was proven.
    let place = subject.places[0]
    let list = try subject.repository.catalog.checksums(of: place)
    try Folder.write(list.bytes, to: subject.path(place.checksums))
    #expect(try subject.verify().provenBefore == 3)
    try Folder.write(ChecksumFile(objects: list.objects.dropFirst(), files: list.files).bytes, to: subject.path(place.checksums))
    let outcome = try subject.verify()
    #expect(outcome.provenBefore == 2 && !outcome.isSound)
    try subject.reset([place.checksums])
    let bytes = subject.files.filter { $0.key.hasPrefix("objects/") }.reduce(0) { $0 + $1.value.count }
    let slow = try Repository(opening: ThrottledStore(subject.store, rate: Int64(bytes)))
    let clock = ContinuousClock.now
    _ = try VerifyOperation(repository: slow, extent: .sample(1), progress: WorkProgress()).run(on: subject.places)
    #expect(ContinuousClock.now - clock > .milliseconds(900))
  }
}
