internal import Digests
internal import Foundation
internal import Platform
package import SystemPackage

/// Remembers on this machine what the newest snapshots of an encrypted repository consist of: who makes snapshots can't open them.
///
/// It holds the manifest and the chunk table of one snapshot of each database, readable for this user alone. Whoever lost it stores
/// everything once more, and is otherwise right.
package struct ParentCache: Sendable {
  /// The facts remembered about a snapshot besides its files.
  private struct Mark: Codable {
    /// The digest of its list of checksums.
    let checksums: String
    /// To whom its objects are encrypted.
    let recipients: [String]
  }

  private let store: LocalStore
  private let recipients: [String]
  private static let markName = "mark.json"
  /// The folder with the lists of its chunk table.
  private static let listsName = "lists/"

  /// - Parameter root: where the caches of all repositories are.
  package init(root: FilePath, of repository: Repository) {
    store = LocalStore(root: root.appending(repository.format.repositoryID.keyComponent))
    recipients = repository.format.recipients.sorted()
  }

  /// The newest known snapshot among the listed ones, if all of it is encrypted to the current recipients: a
  /// recipient added since must be able to open all of the next snapshot.
  package func parent(among places: [SnapshotPath], in catalog: Catalog) -> ParentSnapshot? {
    for place in places.reversed() {
      let files = place.files(areEncrypted: false)
      guard let bytes = try? store.read(place.prefix + Self.markName, limit: 1 << 20),
        let mark = try? JSON.decoder.decode(Mark.self, from: Data(bytes)), mark.recipients == recipients,
        let stored = try? store.read(files.manifest, limit: Manifest.sizeLimit),
        let manifest = try? Manifest(parsing: stored, of: place, key: files.manifest),
        (try? catalog.checksums(of: place))?.digest.description == mark.checksums
      else { continue }
      var parent = manifest
      // Here it lies unencrypted.
      parent.chunkTable.sealedBytes = nil
      return ParentSnapshot(
        manifest: parent, contents: StoredContents(store), chunkTable: files.chunkTable, lists: place.prefix + Self.listsName)
    }
    return nil
  }

  /// Remembers a committed snapshot and removes the earlier ones from the cache.
  package func save(_ manifest: Manifest, _ checksums: ChecksumFile, _ table: ChunkTableWriter.Outcome) throws {
    let place = manifest.place
    let files = place.files(areEncrypted: false)
    let folder = String(place.prefix.dropLast(place.id.description.utf8.count + 1))
    let old = try store.list(folder).map(\.key).filter { !$0.hasPrefix(place.prefix) }
    for list in table.lists {
      let name = "\(list.name.digest)"
      if let file = list.file {
        try store.write(contentsOf: file, to: place.prefix + Self.listsName + name)
      } else if let known = old.first(where: { $0.hasSuffix("/\(Self.listsName)\(name)") }) {
        // If it is not there, what it lists is stored once more.
        try store.write(try store.read(known, limit: 1 << 31), to: place.prefix + Self.listsName + name, durability: .deferred)
      }
    }
    try store.write(contentsOf: table.file, to: files.chunkTable)
    try store.write(try JSON.bytes(manifest), to: files.manifest, durability: .deferred)
    try store.flush()
    // Last: without it the rest is not looked at.
    try store.write(
      try JSON.bytes(Mark(checksums: checksums.digest.description, recipients: recipients)), to: place.prefix + Self.markName, durability: .immediate)
    try store.delete(old)
  }
}
