internal import Digests
internal import Platform

/// Copies snapshots to another store: what that lacks, and the list of checksums last. One that is cut off goes on where it was.
/// Wants the shared lock of both stores.
package struct SnapshotCopy {
  package struct Outcome: Sendable, Equatable {
    package var objects = 0
    package var bytes: Int64 = 0
  }

  private let source: any Store
  private let target: any Store
  private let lock: RepositoryLock

  /// - Parameter lock: the target's.
  package init(from source: any Store, to target: any Store, holding lock: RepositoryLock) {
    self.source = source
    self.target = target
    self.lock = lock
  }

  /// Every byte is compared with its checksum on the way.
  /// - Parameter each: is told of the bytes of each file that was written.
  /// - Returns: what was copied; nothing where the target has the snapshot.
  /// - Throws: `RepositoryError.damagedObject`, `.malformed` for what is damaged in the source, `Interruption`.
  package func run(_ place: SnapshotPlace, each: @escaping @Sendable (Int) -> Void = { _ in }) throws -> Outcome {
    let there = Catalog(store: target)
    // A list that can't be read is replaced.
    if (try? there.checksums(of: place)) != nil { return Outcome() }
    let list = try Catalog(store: source).checksums(of: place)
    // Where writes may be lost, only what a list names is known to be durable: what a copy left that was cut off may not be. Nor is
    // it safe from a collector that stood still, and comes back.
    let trusted =
      try target.keepsWrites && !RepositoryLock.wereBroken(in: target)
      ? nil : Set(try there.snapshots(source: place.source, database: place.database).flatMap { (try? there.objects(of: $0)) ?? [] })
    let found = trusted == nil ? try sizesThere(of: list.objects) : nil
    let done = Monitor((outcome: Outcome(), reused: [ObjectName: Int64]()))
    let threads = max(source.requestsAtOnce, target.requestsAtOnce)
    try forEachInParallel(list.objects.reversed(), thread: "copy", threads: threads) { [source, target] object in
      guard let size = try source.size(of: object.key) else { throw RepositoryError.damagedObject(name: "\(object.digest)", reason: "it is missing") }
      let isThere = try found.map { $0[object] == size } ?? (trusted?.contains(object) ?? true && target.size(of: object.key) == size)
      if isThere {
        done.update { $0.reused[object] = size }
        return
      }
      let bytes = try source.read(object.key, limit: Int(size))
      guard SHA256Digest(of: bytes) == object.digest else {
        throw RepositoryError.damagedObject(name: "\(object.digest)", reason: "its bytes are not what its name says")
      }
      try target.write(bytes, to: object.key, durability: .deferred)
      done.update {
        $0.outcome.objects += 1
        $0.outcome.bytes += size
      }
      each(bytes.count)
    }
    var outcome = done.current.outcome
    let reused = done.current.reused
    try there.begin(place, holding: lock)
    let own = Monitor<Int64>(0)
    try forEachInParallel(list.files.keys.sorted(), thread: "copy", threads: threads) { [source, target] key in
      let bytes = try source.read(key, limit: 1 << 31)
      guard list.files[key] == SHA256Digest(of: bytes) else {
        throw RepositoryError.malformed(key: key, reason: "its bytes are not what its checksum says")
      }
      try target.write(bytes, to: key, durability: .deferred)
      own.update { $0 += Int64(bytes.count) }
      each(bytes.count)
    }
    outcome.bytes += own.current
    try there.commit(list, of: place, reused: reused, holding: lock)
    return outcome
  }

  private struct TooMany: Error {}

  /// The sizes of objects that the target has, from a listing: a page of it tells as much as a thousand questions.
  /// - Returns: nil where it has so many others that asking for each is faster.
  private func sizesThere(of objects: [ObjectName]) throws -> [ObjectName: Int64]? {
    let wanted = Set(objects)
    let limit = 1000 * max(1, objects.count / target.requestsAtOnce)
    var sizes: [ObjectName: Int64] = [:]
    var count = 0
    do {
      try target.list(ObjectName.root) { entry in
        count += 1
        if count > limit { throw TooMany() }
        if let name = ObjectName(key: entry.key), wanted.contains(name) { sizes[name] = entry.size }
      }
    } catch is TooMany { return nil }
    return sizes
  }
}
