internal import Platform
package import SystemPackage

/// A name in a store: folders separated by `/`, from the store's root. Never begins with `/` or holds `..`.
package typealias StoreKey = String

/// A file in a store, as a listing tells of it.
package struct StoreEntry: Sendable, Equatable {
  package let key: StoreKey
  package let size: Int64
  /// Seconds since 1970, by the store's clock.
  package let modified: Double
  /// False for what stands where files stand and is none, such as a symbolic link.
  package let isFile: Bool

  package init(key: StoreKey, size: Int64, modified: Double, isFile: Bool = true) {
    self.key = key
    self.size = size
    self.modified = modified
    self.isFile = isFile
  }
}

/// When what was written survives a power cut.
package enum Durability: Sendable {
  /// After the next `flush()`.
  case deferred
  /// Before the call returns, and before the name is visible.
  case immediate
}

/// A place for files under keys. All calls block, and may be made from several threads at once.
///
/// What must hold for every driver: a key is visible with all its bytes or not at all; a write replaces what was there;
/// a listing after a write shows it; what was written is durable once `flush()` has returned.
/// Errors are `StoreError`s.
package protocol Store: Sendable {
  /// The store as a user names it.
  var location: String { get }
  /// How many requests a caller who has many should have under way: 1 where each is answered at once.
  var requestsAtOnce: Int { get }
  /// Whether a file that is seen, with the size it should have, is durable whoever wrote it.
  var keepsWrites: Bool { get }

  /// All bytes of a file of at most `limit` bytes.
  func read(_ key: StoreKey, limit: Int) throws -> [UInt8]
  /// `count` bytes from `offset` on; fewer is an error.
  func read(_ key: StoreKey, from offset: Int64, count: Int) throws -> [UInt8]
  func write(_ bytes: [UInt8], to key: StoreKey, durability: Durability) throws
  /// Stores a file of this machine, of any size.
  func write(contentsOf file: FilePath, to key: StoreKey) throws
  /// Writes only where the key is free, durably.
  /// - Returns: false where it is taken.
  func create(_ bytes: [UInt8], at key: StoreKey) throws -> Bool
  /// Makes a file that is there young again: writes it, where nothing better can be done.
  /// - Parameter bytes: what it may hold from now on.
  func refresh(_ key: StoreKey, with bytes: [UInt8]) throws
  /// Gives every file whose key begins with `prefix`, of which there may be millions; folder by folder, each in the order of names.
  /// `prefix` is empty or ends in `/`.
  func list(_ prefix: String, _ body: (StoreEntry) throws -> Void) throws
  /// The size of a file, or nil where there is none.
  func size(of key: StoreKey) throws -> Int64?
  /// Gives whatever stands under a key another one, durably, in place of what that had; in one step, or so that for a moment it is
  /// seen under both. It never is under neither.
  /// - Returns: false where nothing stands there.
  @discardableResult func setAside(_ key: StoreKey, as aside: StoreKey) throws -> Bool
  /// Deletes files; one that is missing is no error. Where the store keeps some, the others go, and `StoreError.locked` tells.
  /// - Parameter mayGoOn: throws where no more may be deleted: asked before the first files, and now and then, also before a server is
  ///   asked once more.
  func delete(_ keys: [StoreKey], _ mayGoOn: @escaping @Sendable () throws -> Void) throws
  func flush() throws
  /// Removes what cut-off writes left. To be called only while nobody else writes.
  func removeLeftovers() throws
  /// Removes what writes of processes of this machine left that are dead, whoever else writes.
  func clearDeadWrites(under prefix: String)
}

extension Store {
  /// What a read of no bytes comes to, for stores whose servers know no empty range.
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

  /// Hands out all of a file in pieces.
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
  package var keepsWrites: Bool { false }
}

/// What can go wrong in a store, as far as callers tell it apart.
package enum StoreError: Error, Equatable {
  case missing(StoreKey)
  case truncated(StoreKey)
  case tooLarge(StoreKey)
  /// Something that is no ordinary file stands where one is expected.
  case notAFile(StoreKey)
  /// It is there, and its bytes can't be had: a bad sector.
  case unreadable(StoreKey, reason: String)
  case full(location: String)
  /// Writing is not allowed there.
  case readOnly(location: String, reason: String)
  case unreachable(location: String, reason: String)
  /// The server does not let us in, or there is nothing where it should be.
  case refused(location: String, reason: String, hint: String?)
  /// No store can be named so.
  case badLocation(location: String, reason: String)
  /// The store keeps files that were to be deleted.
  case locked([StoreKey], reason: String)

  /// Whether one file is damaged or gone, and the store may be well.
  package var isOfOneFile: Bool {
    switch self {
    case .missing, .truncated, .tooLarge, .notAFile, .unreadable: true
    case .full, .readOnly, .unreachable, .refused, .badLocation, .locked: false
    }
  }
}
