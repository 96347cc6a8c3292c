package import Foundation

/// Removes snapshots, and then what no snapshot names. Wants the exclusive lock.
package struct GarbageCollector: Sendable {
  package struct Outcome: Sendable, Equatable {
    package var objects = 0
    package var bytes: Int64 = 0
  }

  private let store: any Store
  private let catalog: Catalog
  private let now: Date

  /// Objects older than this, where no snapshot is, are not the rest of a first one that failed: rather are the snapshots out of sight.
  private static let longestRun: TimeInterval = 2 * 86400

  package init(store: any Store, now: Date = Date()) {
    self.store = store
    self.now = now
    catalog = Catalog(store: store)
  }

  /// The bytes that would be freed if `removed` went, as sharing has it.
  package func freedBytes(removing removed: [SnapshotPlace]) throws -> Int64 {
    let gone = Set(removed)
    var kept = Set<ObjectName>()
    for place in try catalog.snapshots() where !gone.contains(place) { kept.formUnion(try catalog.checksums(of: place).objects) }
    var freed: Int64 = 0
    for place in removed { freed += try store.list(place.prefix).reduce(0) { $0 + $1.size } }
    for entry in try store.list(ObjectName.root) {
      if let name = ObjectName(key: entry.key), !kept.contains(name) { freed += entry.size }
    }
    return freed
  }

  /// Takes snapshots out of the list, newest first, and then deletes their files.
  package func remove(_ places: [SnapshotPlace]) throws {
    for place in places.sorted(by: { $0.id > $1.id }) {
      // Its checksums make it a snapshot: without them it is not listed, whatever happens next.
      try store.delete([place.checksums])
      try store.flush()
      try store.delete(try store.list(place.prefix).map(\.key))
    }
  }

  /// Deletes what cut-off runs left, and every object that no snapshot names.
  package func collect() throws -> Outcome {
    try store.removeLeftovers()
    // Every list of checksums must be read before anything is deleted: one that can't be read stops the collection, and so does
    // what may lead to lists that we don't see.
    var referenced = Set<ObjectName>()
    let files = try store.list(SnapshotPlace.root)
    if let strange = files.first(where: { !$0.isFile }) { throw StoreError.notAFile(strange.key) }
    let committed = catalog.snapshots(in: files)
    for place in committed { referenced.formUnion(try catalog.checksums(of: place).objects) }

    let places = Set(committed)
    let unlisted = files.filter { entry in SnapshotPlace(key: entry.key).map { !places.contains($0) } ?? false }
    try store.delete(unlisted.map(\.key))

    let objects = try store.list(ObjectName.root)
    if committed.isEmpty, objects.contains(where: { now.timeIntervalSince1970 - $0.modified > Self.longestRun }) { return Outcome() }
    var outcome = Outcome()
    for entry in objects {
      guard entry.isFile, let name = ObjectName(key: entry.key), !referenced.contains(name) else { continue }
      try store.delete([entry.key])
      outcome.objects += 1
      outcome.bytes += entry.size
    }
    try store.flush()
    return outcome
  }
}
