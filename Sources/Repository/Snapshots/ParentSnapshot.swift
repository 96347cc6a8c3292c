internal import Digests
internal import Foundation
internal import Platform
internal import SystemPackage

/// The snapshot that a new one is deduplicated against.
package struct ParentSnapshot: Sendable {
  package let manifest: Manifest
  /// Where its chunk table lies.
  package let contents: StoredContents
  package let chunkTable: StoreKey

  /// The folder of the table's lists; nil if they lie beside the other objects.
  private let lists: StoreKey?

  package init(manifest: Manifest, contents: StoredContents, chunkTable: StoreKey, lists: StoreKey? = nil) {
    self.lists = lists
    self.manifest = manifest
    self.contents = contents
    self.chunkTable = chunkTable
  }

  /// Finds its chunks.
  /// - Parameters:
  ///   - objectsAreEncrypted: whether its objects are encrypted.
  ///   - suspects: objects that were found damaged once.
  package func index(
    objectsIn store: any Store, objectsAreEncrypted: Bool, registry: ObjectRegistry, suspects: Set<ObjectName> = []
  ) throws -> ParentIndex {
    let table = try ChunkTable(contents, key: chunkTable, place: manifest.chunkTable, objectsAreEncrypted: objectsAreEncrypted, listsIn: lists)
    return ParentIndex(table: table, in: contents, objectsIn: store, registry: registry, suspects: suspects)
  }
}
