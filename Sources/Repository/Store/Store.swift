internal import Platform
package import SystemPackage

/// A name in a store: folders separated by `/`, relative to the root. It never begins with `/` and never contains `..`.
package typealias StoreKey = String

/// A file in a listing of a store.
package struct StoreEntry: Sendable, Equatable {
  package let key: StoreKey
  package let size: Int64
  /// Seconds since 1970, by the store's clock.
  package let modified: Double
  /// False for anything that is no regular file, such as a symbolic link.
  package let isFile: Bool

  package init(key: StoreKey, size: Int64, modified: Double, isFile: Bool = true) {
    self.key = key
    self.size = size
    self.modified = modified
    self.isFile = isFile
  }
}

/// When a write survives a power cut.
package enum Durability: Sendable {
  /// After the next `flush()`.
  case deferred
  /// Before the call returns, and before the name is visible.
  case immediate
}

/// A place for files under keys. All calls block, and may be made from several threads.
///
/// Every driver guarantees: a key is visible with all its bytes or not at all; a write replaces the previous file;
/// a listing after a write shows it; writes are durable once `flush()` has returned.
/// Errors are `StoreError`s.
package protocol Store: Sendable {
  /// The location of the store, for users.
  var location: String { get }
  /// How many requests a caller should send at once: 1 if each is answered immediately.
  var requestsAtOnce: Int { get }
  /// Whether a visible file of the right size is durable, whichever process wrote it.
  var isDurableWhenVisible: Bool { get }

  /// All bytes of a file of at most `limit` bytes.
  func read(_ key: StoreKey, limit: Int) throws -> [UInt8]
  /// `count` bytes from `offset` on. Fewer bytes are an error.
  func read(_ key: StoreKey, from offset: Int64, count: Int) throws -> [UInt8]
  func write(_ bytes: [UInt8], to key: StoreKey, durability: Durability) throws
  /// Stores a local file of any size.
  func write(contentsOf file: FilePath, to key: StoreKey) throws
  /// Writes durably, only if the key is free.
  /// - Returns: false if the key is taken.
  func create(_ bytes: [UInt8], at key: StoreKey) throws -> Bool
  /// Updates the modification time of an existing file: writes it again if there is no better way.
  /// - Parameter bytes: contents that it may have from now on.
  func refresh(_ key: StoreKey, with bytes: [UInt8]) throws
  /// Lists every file whose key begins with `prefix`. There may be millions. Folder by folder, each in the order of names.
  /// `prefix` is empty or ends in `/`.
  func list(_ prefix: String, _ body: (StoreEntry) throws -> Void) throws
  /// The size of a file; nil if there is none.
  func size(of key: StoreKey) throws -> Int64?
  /// Renames a file or folder, durably, and replaces the target. It happens in one step, or the file is visible under both keys for a
  /// moment. It is never missing under both.
  /// - Returns: false if the key does not exist.
  @discardableResult func rename(_ key: StoreKey, as aside: StoreKey) throws -> Bool
  /// Deletes files. A missing file is no error. If the store refuses some, the others are deleted, and `StoreError.locked` lists them.
  /// - Parameter mayGoOn: throws if no more may be deleted. Called before the first files, repeatedly, and before a request is
  ///   repeated.
  func delete(_ keys: [StoreKey], _ mayGoOn: @escaping @Sendable () throws -> Void) throws
  func flush() throws
  /// Removes files of interrupted writes. Call it only while no other process writes.
  func removeLeftovers() throws
  /// Removes files of interrupted writes of dead processes of this machine, while others may write.
  func clearDeadWrites(under prefix: String)
}

extension Store {
  /// Checks that an offset lies within a file, for servers without empty ranges.
  /// - Throws: `StoreError.missing`, `StoreError.truncated`.
  func requirePlace(_ offset: Int64, in key: StoreKey) throws {
    guard let size = try size(of: key) else { throw StoreError.missing(key) }
    guard size >= offset else { throw StoreError.truncated(key) }
  }

  /// Every file whose key begins with `prefix`, folder by folder, each in the order of names.
  package func list(_ prefix: String) throws -> [StoreEntry] {
    var entries: [StoreEntry] = []
    try list(prefix) { entries.append($0) }
    return entries
  }

  /// Reads a whole file in pieces.
  /// - Returns: its length.
  @discardableResult func readPieces(of key: StoreKey, _ body: ([UInt8]) throws -> Void) throws -> Int64 {
    guard let size = try size(of: key) else { throw StoreError.missing(key) }
    for start in stride(from: 0, to: size, by: 8 << 20) { try body(try read(key, from: start, count: Int(min(size - start, 8 << 20)))) }
    return size
  }

  package func delete(_ keys: [StoreKey]) throws { try delete(keys) {} }
  package func clearDeadWrites(under prefix: String) {}
  package func refresh(_ key: StoreKey, with bytes: [UInt8]) throws { try write(bytes, to: key, durability: .deferred) }
  package var requestsAtOnce: Int { 1 }
  package var isDurableWhenVisible: Bool { false }
}
