internal import Platform
internal import Synchronization

/// The objects that go with some snapshots, and the ones that other snapshots need.
///
/// A store may have millions of objects. Only the objects of the snapshots in question are kept in memory, and their
/// sizes are read on demand.
package final class ObjectSharing: Sendable {
  private let store: any Store
  private let objects: ObjectTable
  /// How many snapshots of the store name each.
  private let references: [Int32]
  private let named: [SnapshotPath: [UInt32]]
  private let ownBytes: [SnapshotPath: Int64]
  /// Nil for those not yet looked at.
  private let sizes: Mutex<[Int64?]>
  private let threads: Int
  /// More sizes than this are taken from a listing of all objects.
  private static let fewSizes = 300_000

  /// The snapshots whose lists of checksums can't be read, with the reason: the objects they name are unknown.
  package let unreadable: [SnapshotPath: RepositoryError]

  /// Reads every list of checksums.
  /// - Parameters:
  ///   - snapshots: all of the store.
  ///   - questioned: those that may be asked about.
  /// - Throws: what the store throws, and `Interruption`.
  package init(of store: any Store, _ snapshots: [ListedSnapshot], questioned: Set<SnapshotPath>, threads: Int = processorCount) throws {
    let catalog = Catalog(store: store)
    let unreadable = Monitor<[SnapshotPath: RepositoryError]>([:])
    @Sendable func read(_ place: SnapshotPath) throws -> [ObjectName] {
      do { return try catalog.objects(of: place) } catch let error as RepositoryError {
        unreadable.update { $0[place] = error }
        return []
      }
    }
    var objects = ObjectTable()
    var references: [Int32] = []
    var named: [SnapshotPath: [UInt32]] = [:]
    let asked = snapshots.map(\.place).filter(questioned.contains)
    // A few at a time: all lists together may be much longer than the store has objects.
    for start in stride(from: 0, to: asked.count, by: 64) {
      let lists = Monitor<[SnapshotPath: [ObjectName]]>([:])
      let places = Array(asked[start..<min(start + 64, asked.count)])
      try forEachInParallel(places, thread: "lists", threads: threads) { place in
        let list = try read(place)
        lists.update { $0[place] = list }
      }
      let found = lists.current
      for place in places {
        named[place] = found[place]?.map { name in
          let number = objects.insert(name)
          if number == references.count { references.append(1) } else { references[number] += 1 }
          return UInt32(number)
        }
      }
    }
    let table = objects
    let counts = Mutex(references)
    try forEachInParallel(snapshots.map(\.place).filter { !questioned.contains($0) }, thread: "lists", threads: threads) { place in
      let shared = try read(place).compactMap(table.number)
      counts.withLock { counts in for number in shared { counts[number] += 1 } }
    }
    self.store = store
    self.threads = threads
    self.objects = table
    self.references = counts.withLock { $0 }
    self.named = named
    self.unreadable = unreadable.current
    ownBytes = Dictionary(snapshots.map { ($0.place, $0.ownBytes) }, uniquingKeysWith: { first, _ in first })
    sizes = Mutex([Int64?](repeating: nil, count: references.count))
  }

  /// Bytes that go with all of `places` together: their own files, and objects that no other snapshot names.
  package func freed(removing places: [SnapshotPath]) throws -> Int64 {
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
  package func bytes(of places: some Sequence<SnapshotPath>) throws -> Int64 {
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
    } else if unknown.count > Self.fewSizes {
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
