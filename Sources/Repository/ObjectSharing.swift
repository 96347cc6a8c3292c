package import Digests
internal import Platform
internal import Synchronization

/// Which snapshots need which objects, and what goes with some of them.
///
/// A store may have millions of objects: their sizes are looked at when they are asked for.
package final class ObjectSharing: Sendable {
  private let store: any Store
  private let objects: ObjectTable
  /// How many snapshots name each.
  private let references: [Int32]
  private let named: [SnapshotPlace: [UInt32]]
  private let ownBytes: [SnapshotPlace: Int64]
  /// Nil for those not yet looked at.
  private let sizes: Mutex<[Int64?]>
  private let threads: Int

  /// Why lists of checksums can't be read: what these snapshots name can't be told.
  package let unreadable: [SnapshotPlace: RepositoryError]
  /// The digests of manifests, by their snapshots' lists.
  package let manifests: [SnapshotPlace: SHA256Digest]

  /// Reads every list of checksums.
  /// - Throws: what the store throws, and `Interruption`.
  package init(of store: any Store, _ snapshots: [ListedSnapshot], threads: Int = processorCount) throws {
    let catalog = Catalog(store: store)
    var objects = ObjectTable()
    var references: [Int32] = []
    var named: [SnapshotPlace: [UInt32]] = [:]
    var unreadable: [SnapshotPlace: RepositoryError] = [:]
    var manifests: [SnapshotPlace: SHA256Digest] = [:]
    // A few at a time: all lists together are much longer than the store has objects.
    for start in stride(from: 0, to: snapshots.count, by: 64) {
      let lists = Monitor<[SnapshotPlace: Result<(objects: [ObjectName], manifest: SHA256Digest?), RepositoryError>]>([:])
      let places = snapshots[start..<min(start + 64, snapshots.count)].map(\.place)
      try forEachInParallel(places, thread: "lists", threads: threads) { place in
        let list: Result<(objects: [ObjectName], manifest: SHA256Digest?), RepositoryError>
        do {
          let contents = try catalog.contents(of: place)
          list = .success((contents.objects, contents.files[place.manifest]))
        } catch let error as RepositoryError { list = .failure(error) }
        lists.update { $0[place] = list }
      }
      let read = lists.current
      for place in places {
        switch read[place] {
        case .failure(let error): unreadable[place] = error
        case .success(let list):
          manifests[place] = list.manifest
          named[place] = list.objects.map { name in
            let number = objects.insert(name)
            if number == references.count { references.append(1) } else { references[number] += 1 }
            return UInt32(number)
          }
        case nil: break
        }
      }
    }
    self.store = store
    self.threads = threads
    self.objects = objects
    self.references = references
    self.named = named
    self.unreadable = unreadable
    self.manifests = manifests
    ownBytes = Dictionary(snapshots.map { ($0.place, $0.ownBytes) }, uniquingKeysWith: { first, _ in first })
    sizes = Mutex([Int64?](repeating: nil, count: references.count))
  }

  /// Bytes that go with all of `places` together: their own files, and objects that no other snapshot names.
  package func freed(removing places: [SnapshotPlace]) throws -> Int64 {
    var removed: [UInt32: Int32] = [:]
    var gone: [UInt32] = []
    for place in places {
      for number in named[place] ?? [] {
        if places.count > 1 { removed[number, default: 0] += 1 }
        if (places.count > 1 ? removed[number] : 1) == references[Int(number)] { gone.append(number) }
      }
    }
    return try places.reduce(0) { $0 + (ownBytes[$1] ?? 0) } + total(gone)
  }

  /// Bytes of what `places` need together.
  package func bytes(of places: some Sequence<SnapshotPlace>) throws -> Int64 {
    var seen = [Bool](repeating: false, count: references.count)
    var needed: [UInt32] = []
    var bytes: Int64 = 0
    for place in places {
      bytes += ownBytes[place] ?? 0
      for number in named[place] ?? [] where !seen[Int(number)] {
        seen[Int(number)] = true
        needed.append(number)
      }
    }
    return try bytes + total(needed)
  }

  /// Stored bytes of objects; those that are gone count for none.
  private func total(_ numbers: [UInt32]) throws -> Int64 {
    let unknown = sizes.withLock { sizes in numbers.filter { sizes[Int($0)] == nil } }
    if unknown.isEmpty {
    } else if unknown.count * 4 > references.count {
      sizes.withLock { sizes in for number in sizes.indices { sizes[number] = sizes[number] ?? 0 } }
      try store.list(ObjectName.root) { entry in
        guard let number = ObjectName(key: entry.key).flatMap(objects.number) else { return }
        sizes.withLock { $0[number] = entry.size }
      }
    } else {
      let parts = stride(from: 0, to: unknown.count, by: 256).map { unknown[$0..<min($0 + 256, unknown.count)] }
      try forEachInParallel(parts, thread: "sizes", threads: threads) { [self] part in
        let found = try part.map { ($0, try store.size(of: objects[Int($0)].key) ?? 0) }
        sizes.withLock { sizes in for (number, size) in found { sizes[Int(number)] = size } }
      }
    }
    return sizes.withLock { sizes in numbers.reduce(0) { $0 + (sizes[Int($1)] ?? 0) } }
  }
}
