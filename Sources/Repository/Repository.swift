package import Encryption
internal import Foundation

/// A store with a repository in it.
package struct Repository: Sendable {
  package let store: any Store
  package let format: RepositoryFormat
  /// Reads what lies in it.
  package let contents: StoredContents
  /// Nil if nothing is encrypted.
  private let keys: KeyRing?

  /// Opens an existing repository.
  /// - Parameter identities: returns the identities of an encrypted one, called when the first file is opened; nil
  ///   if there are none.
  /// - Throws: `RepositoryError.noRepository`, `.newerFormat`, `.malformed`, and errors of the store.
  package init(opening store: any Store, identities: (@Sendable () throws -> [AgeIdentity])? = nil) throws {
    let bytes: [UInt8]
    do {
      bytes = try store.read(RepositoryFormat.key, limit: 1 << 20)
    } catch StoreError.missing {
      throw RepositoryError.noRepository(location: store.location)
    }
    self.init(store, try RepositoryFormat(parsing: bytes, location: store.location), identities)
  }

  private init(_ store: any Store, _ format: RepositoryFormat, _ identities: (@Sendable () throws -> [AgeIdentity])?) {
    self.store = store
    self.format = format
    keys = format.isEncrypted ? KeyRing(recipients: format.recipients, load: identities) : nil
    contents = StoredContents(store, keys: keys)
  }

  /// Creates a repository.
  /// - Throws: `RepositoryError.alreadyExists` if there is one.
  package init(
    creatingIn store: any Store, format: RepositoryFormat, identities: (@Sendable () throws -> [AgeIdentity])? = nil
  ) throws {
    self.init(store, format, identities)
    guard try store.create(try JSON.bytes(format), at: RepositoryFormat.key) else {
      throw RepositoryError.alreadyExists(location: store.location)
    }
    try RepositoryLock.makeReserve(in: store)
  }

  /// Whether a new repository lies among other files. A folder that can't be listed counts as empty.
  package var isAmongFiles: Bool {
    struct Found: Error {}
    do {
      try store.list("") { entry in if entry.key != RepositoryFormat.key && entry.key != RepositoryLock.reserve { throw Found() } }
    } catch { return error is Found }
    return false
  }

  package var catalog: Catalog { Catalog(contents) }

  /// Whether what lies in it can be read: it is not encrypted, or there are identities, be they the right ones or not.
  package var hasReadableContents: Bool { keys?.hasIdentities ?? true }

  /// The manifest of a snapshot; nil if no identity opens it.
  /// - Throws: errors of `Catalog.manifest(of:)`.
  package func readableManifest(of place: SnapshotPath) throws -> Manifest? {
    guard hasReadableContents else { return nil }
    do { return try catalog.manifest(of: place) } catch RepositoryError.wrongIdentity { return nil }
  }

  /// The tables of a snapshot that may hold old rows, by what later snapshots found.
  package func doubts(about manifest: Manifest) throws -> [Manifest.Doubt] {
    guard manifest.tables.contains(where: { $0.readIn != nil }) else { return [] }
    return manifest.doubtful(of: try doubts(source: manifest.source, database: manifest.database, after: manifest.id))
  }

  /// The tables of snapshots that may hold old rows, as far as manifests can be read. Snapshots without any are not in it.
  package func doubts(about places: [SnapshotPath]) throws -> [SnapshotPath: [Manifest.Doubt]] {
    var found: [SnapshotPath: [Manifest.Doubt]] = [:]
    for (_, places) in Dictionary(grouping: places, by: \.folder) {
      guard let oldest = places.min(by: { $0.id < $1.id }) else { continue }
      let known = try doubts(source: oldest.source, database: oldest.database, after: oldest.id)
      for place in places where known.contains(where: { $0.concerns(place.id) }) {
        let doubtful = (try? readableManifest(of: place))?.doubtful(of: known) ?? []
        if !doubtful.isEmpty { found[place] = doubtful }
      }
    }
    return found
  }

  private func doubts(source: String, database: String, after id: SnapshotID) throws -> [Manifest.Doubt] {
    var found: [Manifest.Doubt] = []
    for newer in try catalog.snapshots(source: source, database: database).reversed() where newer.id > id {
      guard let manifest = try? readableManifest(of: newer) else { continue }
      found += (manifest.doubts ?? []).filter { !found.contains($0) }
      // A snapshot carries what its parent knew.
      if manifest.parent != nil, manifest.kind != Manifest.safetyKind { break }
    }
    return found
  }

  package func files(of place: SnapshotPath) -> SnapshotFiles { contents.files(of: place) }
}
