/// What a listing shows of one snapshot's folder, be it committed or not.
struct SnapshotFolder: Sendable {
  enum Part: Sendable {
    case checksums, manifest, check, other
    /// A file or folder with the name of the hold.
    case hold
    /// Marks of a snapshot that is being made, or removed: without a list, it was not lost then.
    case unfinished, removed

    fileprivate init(_ name: String) {
      self =
        switch name {
        case SnapshotPath.checksumsName: .checksums
        case SnapshotFiles.manifestName, SnapshotFiles.manifestName + SnapshotFiles.encryptedSuffix: .manifest
        case SnapshotPath.removedName: .removed
        case _ where name.hasPrefix(SnapshotPath.unfinishedName): .unfinished
        case _ where name.hasPrefix(SnapshotPath.checksFolder): .check
        case _ where name == SnapshotPath.holdName || name.hasPrefix(SnapshotPath.holdName + "/"): .hold
        default: .other
        }
    }

    var isMark: Bool { self == .unfinished || self == .removed }
  }

  let place: SnapshotPath
  private let prefix: StoreKey
  private(set) var files: [(part: Part, entry: StoreEntry)] = []

  private init?(of entry: StoreEntry) {
    guard let place = SnapshotPath(key: entry.key) else { return nil }
    self.place = place
    prefix = place.prefix
  }

  private mutating func add(_ entry: StoreEntry) {
    files.append((Part(String(decoding: entry.key.utf8.dropFirst(prefix.utf8.count), as: UTF8.self)), entry))
  }

  func entries(_ part: Part) -> [StoreEntry] { files.filter { $0.part == part }.map(\.entry) }
  var checksums: StoreEntry? { files.first { $0.part == .checksums }?.entry }
  var manifest: StoreEntry? { files.first { $0.part == .manifest }?.entry }
  var bytes: Int64 { files.reduce(0) { $0 + $1.entry.size } }

  /// Whether it has the files that its list names, and none of the objects that are damaged.
  func isWhole(by list: ChecksumFile, without damaged: Set<ObjectName>) -> Bool {
    let keys = Set(files.map(\.entry.key))
    return list.files.keys.allSatisfy(keys.contains) && (damaged.isEmpty || list.objects.allSatisfy { !damaged.contains($0) })
  }

  /// A snapshot that is no longer listed because its list is missing, although it was not removed. Only a listed
  /// snapshot has results of verifications beside its own files. A result alone may come from a verification that
  /// ended after the snapshot was removed.
  var hasLostItsList: Bool {
    guard checksums == nil, !files.contains(where: { $0.part.isMark }) else { return false }
    return manifest != nil || files.contains { $0.part == .check } && files.contains { $0.part == .other }
  }

  /// Calls `body` for every folder in a listing of `prefix`, in the order of keys.
  /// - Parameter strange: called for files that belong to no snapshot.
  static func forEach(
    in store: any Store, under prefix: StoreKey = SnapshotPath.root, _ body: (SnapshotFolder) throws -> Void,
    strange: (StoreEntry) throws -> Void = { _ in }
  ) throws {
    var folder: SnapshotFolder?
    var closed: Set<StoreKey> = []
    // In key order what lies in one folder comes together.
    try store.list(prefix) { entry in
      if let open = folder, !entry.key.hasPrefix(open.prefix) {
        try body(open)
        closed.insert(open.prefix)
        folder = nil
      }
      if folder == nil { folder = SnapshotFolder(of: entry) }
      // A part of a folder would pass for a folder that lacks the rest.
      if let folder, closed.contains(folder.prefix) {
        throw StoreError.unreachable(location: store.location, reason: "\(store.location) does not list folder by folder")
      }
      if folder == nil && !SourceRecord.isKey(entry.key) { try strange(entry) }
      folder?.add(entry)
    }
    if let folder { try body(folder) }
  }
}
