package import Encryption
internal import Foundation

/// A store with a repository in it.
package struct Repository: Sendable {
  package let store: any Store
  package let format: RepositoryFormat
  /// Reads what lies in it.
  package let contents: StoredContents
  /// Nil where nothing is encrypted.
  private let keys: KeyRing?

  /// Opens a repository that exists.
  /// - Parameter identities: what opens an encrypted one, asked for when the first thing is to be opened; nil where there is nothing.
  /// - Throws: `RepositoryError.noRepository`, `.newerFormat`, `.malformed`, or what the store throws.
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
    keys = format.isSealed ? KeyRing(recipients: format.recipients, load: identities) : nil
    contents = StoredContents(store, keys: keys)
  }

  /// Makes a repository.
  /// - Throws: `RepositoryError.alreadyExists` where there is one.
  package init(
    creatingIn store: any Store, format: RepositoryFormat, identities: (@Sendable () throws -> [AgeIdentity])? = nil
  ) throws {
    self.init(store, format, identities)
    guard try store.create(try JSON.bytes(format), at: RepositoryFormat.key) else {
      throw RepositoryError.alreadyExists(location: store.location)
    }
    try RepositoryLock.makeReserve(in: store)
  }

  /// Whether anything else lies where one was just made. What can't be listed tells nothing.
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

  /// The manifest of a snapshot; nil where no identity opens it.
  /// - Throws: as `Catalog.manifest(of:)`.
  package func readableManifest(of place: SnapshotPlace) throws -> Manifest? {
    guard hasReadableContents else { return nil }
    do { return try catalog.manifest(of: place) } catch RepositoryError.wrongIdentity { return nil }
  }

  package func files(of place: SnapshotPlace) -> SnapshotFiles { contents.files(of: place) }
}
