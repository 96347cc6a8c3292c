/// Which snapshots need which objects, and what goes with some of them.
package struct ObjectSharing: Sendable {
  /// By ordinal.
  private var sizes: [Int64] = []
  /// How many snapshots name each.
  private var references: [Int32] = []
  private var objects: [SnapshotPlace: [Int32]] = [:]
  private var ownFiles: [SnapshotPlace: Int64] = [:]

  /// Why lists of checksums can't be read: what these snapshots name can't be told.
  package private(set) var unreadable: [SnapshotPlace: RepositoryError] = [:]

  /// Reads every list of checksums of the store, and its listing.
  package init(of store: any Store) throws {
    let catalog = Catalog(store: store)
    var ordinals: [ObjectName: Int32] = [:]
    let files = try store.list(SnapshotPlace.root)
    for entry in files {
      if let place = SnapshotPlace(key: entry.key) { ownFiles[place, default: 0] += entry.size }
    }
    let places = catalog.snapshots(in: files)
    for place in places {
      let names: [ObjectName]
      do { names = try catalog.checksums(of: place).objects } catch let error as RepositoryError {
        unreadable[place] = error
        continue
      }
      objects[place] = names.map { name in
        if let known = ordinals[name] {
          references[Int(known)] += 1
          return known
        }
        let ordinal = Int32(references.count)
        ordinals[name] = ordinal
        references.append(1)
        return ordinal
      }
    }
    sizes = [Int64](repeating: 0, count: references.count)
    for entry in try store.list(ObjectName.root) {
      if let ordinal = ObjectName(key: entry.key).flatMap({ ordinals[$0] }) { sizes[Int(ordinal)] = entry.size }
    }
  }

  /// Bytes that go with all of `places` together: their own files, and objects that no other snapshot names.
  package func freed(removing places: [SnapshotPlace]) -> Int64 {
    var removed: [Int32: Int32] = [:]
    var freed: Int64 = 0
    for place in places {
      freed += ownFiles[place] ?? 0
      for ordinal in objects[place] ?? [] {
        removed[ordinal, default: 0] += 1
        if removed[ordinal] == references[Int(ordinal)] { freed += sizes[Int(ordinal)] }
      }
    }
    return freed
  }

  /// Bytes of what `places` need together.
  package func bytes(of places: some Sequence<SnapshotPlace>) -> Int64 {
    var seen = [Bool](repeating: false, count: sizes.count)
    var bytes: Int64 = 0
    for place in places {
      bytes += ownFiles[place] ?? 0
      for ordinal in objects[place] ?? [] where !seen[Int(ordinal)] {
        seen[Int(ordinal)] = true
        bytes += sizes[Int(ordinal)]
      }
    }
    return bytes
  }
}
