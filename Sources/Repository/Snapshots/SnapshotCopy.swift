package import Digests
internal import Platform
package import SystemPackage

/// Copies snapshots to another store: missing files first, the list of checksums last. An interrupted copy continues where it stopped.
/// It needs the shared locks of both stores.
package struct SnapshotCopy {
  package struct Outcome: Sendable, Equatable {
    package var objects = 0
    package var bytes: Int64 = 0
  }

  private let places: [SnapshotPath]
  private let source: any Store
  private let target: any Store
  private let lock: RepositoryLock
  private let withScratch: Scratch?
  private let largest: Int
  /// Whether the target lacked the previous snapshot: then it usually lacks the next as well.
  private let lacksNext = Monitor(true)
  /// The contents of the target; nil until they were listed.
  private let inventory = Monitor<Inventory?>(nil)

  /// Provides a temporary folder.
  package typealias Scratch = @Sendable (_ body: (FilePath) throws -> Void) throws -> Void

  /// - Parameters:
  ///   - places: the snapshots to copy.
  ///   - lock: the target's.
  ///   - largest: larger files of a snapshot are copied through a temporary file.
  ///   - withScratch: provides the folder for these; nil if there are none.
  package init(
    of places: [SnapshotPath], from source: any Store, to target: any Store, holding lock: RepositoryLock, largest: Int = 64 << 20,
    withScratch: Scratch? = nil
  ) {
    self.largest = largest
    self.withScratch = withScratch
    self.places = places
    self.source = source
    self.target = target
    self.lock = lock
  }

  /// Every byte is compared with its checksum on the way.
  /// - Parameter each: called with the bytes of each written file.
  /// - Returns: the copied bytes; none if the target has the snapshot.
  /// - Throws: `SourceDamaged`, what reading and writing the stores throws, `Interruption`.
  package func run(_ place: SnapshotPath, each: @escaping @Sendable (Int) -> Void = { _ in }) throws -> Outcome {
    let there = Catalog(store: target)
    let answers = Monitor((wereBroken: Bool?.none, firstObjects: [ObjectName: Int64]?.none))
    let questions = Question.allCases.filter { question in
      switch question {
      case .inventory: inventory.current == nil
      // These questions are needed only for snapshots that are missing. Usually none is, or all that follow.
      case .locks: lacksNext.current
      case .objects: lacksNext.current && target.isDurableWhenVisible
      }
    }
    try forEachInParallel(questions, thread: "copy", threads: target.requestsAtOnce) { [target, inventory, places] question in
      switch question {
      case .inventory:
        let found = try Inventory(of: target, for: places)
        inventory.update { $0 = found }
      case .locks:
        let wereBroken = try RepositoryLock.wereBroken(in: target)
        answers.update { $0.wereBroken = wereBroken }
      case .objects:
        // One page of a listing costs as much as one question.
        let sizes = try Self.objectSizes(in: target, atMost: 999) { _ in true }
        answers.update { $0.firstObjects = sizes }
      }
    }
    let (folder, damaged) = (inventory.current?.folders[place], inventory.current?.damaged ?? [])
    let isWhole = inventory.current?.whole.contains(place) ?? false
    lacksNext.update { $0 = !isWhole }
    if isWhole {
      try copyHold(of: place, isListed: true)
      return Outcome()
    }
    let list = try Self.ofSource { try Catalog(store: source).checksums(of: place) }
    // The folder there is the rest of an interrupted copy, or a snapshot that lost its list.
    let isRest = folder.map { $0.checksums == nil && !$0.hasLostItsList } ?? true
    // If writes may be lost, only listed files are known to be durable. Files of an interrupted copy may be lost, or deleted by a
    // collector that was suspended.
    let trusted =
      try target.isDurableWhenVisible && !(answers.current.wereBroken ?? RepositoryLock.wereBroken(in: target))
      ? nil : Set(there.snapshots(source: place.source, database: place.database).flatMap { (try? there.objects(of: $0)) ?? [] })
    let found = trusted == nil ? try answers.current.firstObjects ?? sizesThere(of: list.objects) : nil
    let done = Monitor((outcome: Outcome(), reused: [StoreKey: Int64](), written: [StoreKey: Int64]()))
    // More threads than a snapshot uses, because a copy only waits for answers.
    let usual = max(source.requestsAtOnce, target.requestsAtOnce)
    let threads = target.requestsAtOnce < 8 ? usual : usual * 3 / 2
    // The commit begins beside the last objects.
    try forEachInParallel((isRest ? [nil] : []) + list.objects.reversed(), thread: "copy", threads: threads) { [source, target, lock] object in
      guard let object else { return try there.begin(place, with: list, holding: lock) }
      let size = try Self.ofSource { () throws -> Int64 in
        guard let size = try source.size(of: object.key) else {
          throw RepositoryError.damagedObject(name: "\(object.digest)", reason: "it is missing")
        }
        return size
      }
      let isThere =
        try !damaged.contains(object)
        && (found.map { $0[object] == size } ?? (trusted?.contains(object) ?? true && target.size(of: object.key) == size))
      if isThere {
        done.update { $0.reused[object.key] = size }
        return
      }
      let bytes = try Self.ofSource { () throws -> [UInt8] in
        let bytes = try source.read(object.key, limit: Int(size))
        guard SHA256Digest(of: bytes) == object.digest else {
          throw RepositoryError.damagedObject(name: "\(object.digest)", reason: "its bytes are not what its name says")
        }
        return bytes
      }
      try target.write(bytes, to: object.key, durability: .deferred)
      done.update {
        $0.outcome.objects += 1
        $0.outcome.bytes += size
        $0.written[object.key] = size
      }
      each(bytes.count)
    }
    var outcome = done.current.outcome
    let reused = done.current.reused
    // A mark would make the existing snapshot look unfinished if this is interrupted.
    if !isRest { try there.begin(place, with: list, holding: lock) }
    let own = Monitor<[StoreKey: Int64]>([:])
    try forEachInParallel(list.files.sorted { $0.key < $1.key }, thread: "copy", threads: threads) { key, digest in
      let count = try copyFile(key, digest)
      own.update { $0[key] = count }
      each(Int(count))
    }
    outcome.bytes += own.current.values.reduce(0, +)
    let written = done.current.written.merging(own.current) { $1 }
    // Before it is listed: otherwise it could be pruned there in between.
    try copyHold(of: place, isListed: false)
    try there.commit(
      list, of: place, reused: reused, written: written, holding: lock, mayBeFirst: inventory.current?.folders.isEmpty ?? true, isInMark: true)
    return outcome
  }

  /// Copies the hold of a snapshot. An existing hold there stays, except in the rest of an interrupted copy: then the longer one is kept.
  private func copyHold(of place: SnapshotPath, isListed: Bool) throws {
    let bytes: [UInt8]
    do { bytes = try source.read(place.hold, limit: SnapshotHold.sizeLimit) } catch let error as StoreError where error.isOfOneFile { return }
    if try target.size(of: place.hold) != nil {
      guard !isListed, let own = try Catalog(store: source).hold(of: place), let other = try Catalog(store: target).hold(of: place),
        own.lasts(longerThan: other)
      else { return }
    }
    try target.write(bytes, to: place.hold, durability: .immediate)
  }

  /// One of a snapshot's own files.
  /// - Returns: its bytes.
  private func copyFile(_ key: StoreKey, _ wanted: SHA256Digest) throws -> Int64 {
    func require(_ digest: SHA256Digest) throws {
      guard digest == wanted else { throw RepositoryError.malformed(key: key, reason: "its bytes are not what its checksum says") }
    }
    let size = try Self.ofSource { try source.size(of: key) } ?? 0
    guard size > largest, let withScratch else {
      let bytes = try Self.ofSource { () throws -> [UInt8] in
        let bytes = try source.read(key, limit: 1 << 31)
        try require(SHA256Digest(of: bytes))
        return bytes
      }
      try target.write(bytes, to: key, durability: .deferred)
      return Int64(bytes.count)
    }
    try withScratch { folder in
      let path = folder.appending("\(wanted)")
      let file = try File(path, .create)
      var hasher = SHA256Hasher()
      // An error of the local disk is no damage of the source.
      try Self.ofSource {
        try source.readPieces(of: key) { piece in
          hasher.update(piece.span)
          try file.write(piece.span)
        }
        try require(hasher.finalize())
      }
      try target.write(contentsOf: path, to: key)
    }
    return size
  }

  /// Distinguishes damage of the source from failures of the target.
  private static func ofSource<Result>(_ body: () throws -> Result) throws -> Result {
    do { return try body() } catch let error as RepositoryError where error.isDamage {
      throw SourceDamaged(cause: error)
    } catch let error as StoreError where error.isOfOneFile {
      throw SourceDamaged(cause: error)
    }
  }

  /// Questions to the target.
  private enum Question: CaseIterable { case inventory, locks, objects }

  /// The contents of a store at one moment. While its lock is held nothing is deleted, and other copies add only the same files.
  private struct Inventory: Sendable {
    let folders: [SnapshotPath: SnapshotFolder]
    /// Objects that verifications found damaged.
    let damaged: Set<ObjectName>
    /// Listed snapshots with all files and without damaged objects.
    let whole: Set<SnapshotPath>

    init(of store: any Store, for places: [SnapshotPath]) throws {
      let catalog = Catalog(store: store)
      var folders: [SnapshotPath: SnapshotFolder] = [:]
      try SnapshotFolder.forEach(in: store) { folders[$0.place] = $0 }
      let damaged = try catalog.damagedObjects(folders.values.compactMap(ListedSnapshot.init))
      let whole = Monitor<Set<SnapshotPath>>([])
      let listed = Set(places).compactMap { folders[$0] }.filter { $0.checksums != nil }
      try forEachInParallel(listed, thread: "lists", threads: store.requestsAtOnce) { folder in
        // An unreadable list is replaced.
        guard let list = try? catalog.checksums(of: folder.place), folder.isWhole(by: list, without: damaged) else { return }
        whole.update { _ = $0.insert(folder.place) }
      }
      (self.folders, self.damaged, self.whole) = (folders, damaged, whole.current)
    }
  }

  private struct TooMany: Error {}

  /// The sizes of the target's objects, from a listing: one page answers a thousand questions.
  /// - Returns: nil if it has so many other objects that asking for each is faster.
  private func sizesThere(of objects: [ObjectName]) throws -> [ObjectName: Int64]? {
    let wanted = Set(objects)
    return try Self.objectSizes(in: target, atMost: 1000 * max(1, objects.count / target.requestsAtOnce), where: wanted.contains)
  }

  /// - Returns: nil if a store has more than `limit` objects.
  private static func objectSizes(in store: any Store, atMost limit: Int, where isWanted: (ObjectName) -> Bool) throws -> [ObjectName: Int64]? {
    var sizes: [ObjectName: Int64] = [:]
    var count = 0
    do {
      try store.list(ObjectName.root) { entry in
        count += 1
        if count > limit { throw TooMany() }
        if let name = ObjectName(key: entry.key), isWanted(name) { sizes[name] = entry.size }
      }
    } catch is TooMany { return nil }
    return sizes
  }
}

/// A snapshot is damaged in the store that it is copied from.
package struct SourceDamaged: Error {
  package let cause: any Error
}

extension SHA256Digest {
  /// The digest of a file in a store, read in pieces.
  package init(of key: StoreKey, in store: any Store) throws {
    var hasher = SHA256Hasher()
    try store.readPieces(of: key) { piece in
      try Interruption.check()
      hasher.update(piece.span)
    }
    self = hasher.finalize()
  }
}
