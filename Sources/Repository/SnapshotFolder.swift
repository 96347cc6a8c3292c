/// What a listing shows of one snapshot's folder, be it committed or not.
struct SnapshotFolder: Sendable {
  let place: SnapshotPlace
  private let prefix: StoreKey
  private(set) var files: [StoreEntry] = []

  private init?(of entry: StoreEntry) {
    guard let place = SnapshotPlace(key: entry.key) else { return nil }
    self.place = place
    prefix = place.prefix
  }

  /// The name of a file from the folder on.
  private func name(of file: StoreEntry) -> Substring { file.key.dropFirst(prefix.count) }
  private func file(_ name: String) -> StoreEntry? { files.first { self.name(of: $0) == name } }

  var checksums: StoreEntry? { file(SnapshotPlace.checksumsName) }
  var manifest: StoreEntry? { file(SnapshotPlace.manifestName) }
  var checks: [StoreEntry] { files.filter { name(of: $0).hasPrefix(SnapshotPlace.checksFolder) } }
  /// Something stands where an order to keep it does.
  var isOnHold: Bool { files.contains { name(of: $0) == SnapshotPlace.holdName || name(of: $0).hasPrefix(SnapshotPlace.holdName + "/") } }
  var bytes: Int64 { files.reduce(0) { $0 + $1.size } }

  func isUnfinished(_ file: StoreEntry) -> Bool { name(of: file).hasPrefix(SnapshotPlace.unfinishedName) }
  /// Whether a file tells of a snapshot that is being made or removed: without a list, it was not lost then.
  func isMark(_ file: StoreEntry) -> Bool { isUnfinished(file) || name(of: file) == SnapshotPlace.removedName }

  /// A snapshot that is no longer listed because its list is gone, and nobody removed it.
  var hasLostItsList: Bool { manifest != nil && checksums == nil && !files.contains(where: isMark) }

  /// Gives every folder that a listing of `prefix` shows, in the order of keys.
  /// - Parameter strange: is told of files that belong to no snapshot.
  static func forEach(
    in store: any Store, under prefix: StoreKey = SnapshotPlace.root, _ body: (SnapshotFolder) throws -> Void,
    strange: (StoreEntry) throws -> Void = { _ in }
  ) throws {
    var folder: SnapshotFolder?
    // In key order what lies in one folder comes together.
    try store.list(prefix) { entry in
      if let open = folder, !entry.key.hasPrefix(open.prefix) {
        try body(open)
        folder = nil
      }
      if folder == nil { folder = SnapshotFolder(of: entry) }
      if folder == nil { try strange(entry) }
      folder?.files.append(entry)
    }
    if let folder { try body(folder) }
  }
}
