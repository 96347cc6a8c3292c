internal import Digests

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
  /// - Returns: what was copied; nothing where the target has the snapshot.
  /// - Throws: `RepositoryError.damagedObject`, `.malformed` for what is damaged in the source.
  package func run(_ place: SnapshotPlace) throws -> Outcome {
    let there = Catalog(store: target)
    // A list that can't be read is replaced.
    if (try? there.checksums(of: place)) != nil { return Outcome() }
    let list = try Catalog(store: source).checksums(of: place)
    // Only what a list names is known to be durable: what a copy left that was cut off may not be.
    let trusted = Set(try there.snapshots(source: place.source, database: place.database).flatMap { (try? there.objects(of: $0)) ?? [] })
    var outcome = Outcome()
    var reused: [ObjectName: Int64] = [:]
    for object in list.objects {
      guard let size = try source.size(of: object.key) else { throw RepositoryError.damagedObject(name: "\(object.digest)", reason: "it is missing") }
      if trusted.contains(object), try target.size(of: object.key) == size {
        reused[object] = size
        continue
      }
      let bytes = try source.read(object.key, limit: Int(size))
      guard SHA256Digest(of: bytes) == object.digest else {
        throw RepositoryError.damagedObject(name: "\(object.digest)", reason: "its bytes are not what its name says")
      }
      try target.write(bytes, to: object.key, durability: .deferred)
      outcome.objects += 1
      outcome.bytes += size
    }
    try there.begin(place, holding: lock)
    for key in place.ownFiles {
      let bytes = try source.read(key, limit: 1 << 31)
      guard list.files[key] == SHA256Digest(of: bytes) else {
        throw RepositoryError.malformed(key: key, reason: "its bytes are not what its checksum says")
      }
      try target.write(bytes, to: key, durability: .deferred)
      outcome.bytes += Int64(bytes.count)
    }
    try there.commit(list, of: place, reused: reused, holding: lock)
    return outcome
  }
}
