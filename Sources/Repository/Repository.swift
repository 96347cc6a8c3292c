internal import Foundation

/// A store with a repository in it.
package struct Repository: Sendable {
  package let store: any Store
  package let format: RepositoryFormat

  /// Opens a repository that exists.
  /// - Throws: `RepositoryError.noRepository`, `.newerFormat`, `.malformed`, or what the store throws.
  package init(opening store: any Store) throws {
    self.store = store
    let bytes: [UInt8]
    do {
      bytes = try store.read(RepositoryFormat.key, limit: 1 << 20)
    } catch StoreError.missing {
      throw RepositoryError.noRepository(location: store.location)
    }
    format = try RepositoryFormat(parsing: bytes, location: store.location)
  }

  /// Makes a repository.
  /// - Throws: `RepositoryError.alreadyExists` where there is one.
  package init(creatingIn store: any Store, format: RepositoryFormat) throws {
    self.store = store
    self.format = format
    guard try store.create(try JSON.bytes(format), at: RepositoryFormat.key) else {
      throw RepositoryError.alreadyExists(location: store.location)
    }
    try RepositoryLock.makeReserve(in: store)
  }

  package var catalog: Catalog { Catalog(store: store) }
}
