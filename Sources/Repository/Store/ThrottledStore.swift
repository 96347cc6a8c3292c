internal import Platform
package import SystemPackage

/// A store with limited bandwidth, shared by all its users.
package struct ThrottledStore: Store {
  private let store: any Store
  /// Bytes a second.
  private let rate: Int64
  private let next = Monitor(ContinuousClock.now)

  package init(_ store: any Store, rate: Int64) {
    self.store = store
    self.rate = rate
  }

  /// Waits for the turn of what was just read, or is about to be written.
  /// - Throws: `Interruption`.
  private func spend(_ bytes: Int) throws {
    let cost = Duration.seconds(Double(bytes) / Double(rate))
    let due = next.update { next in
      next = max(next, ContinuousClock.now) + cost
      return next
    }
    try Interruption.sleep(until: due)
  }

  package var location: String { store.location }
  package var requestsAtOnce: Int { store.requestsAtOnce }
  package var isDurableWhenVisible: Bool { store.isDurableWhenVisible }

  package func read(_ key: StoreKey, limit: Int) throws -> [UInt8] {
    let bytes = try store.read(key, limit: limit)
    try spend(bytes.count)
    return bytes
  }

  package func read(_ key: StoreKey, from offset: Int64, count: Int) throws -> [UInt8] {
    let bytes = try store.read(key, from: offset, count: count)
    try spend(bytes.count)
    return bytes
  }

  package func write(_ bytes: [UInt8], to key: StoreKey, durability: Durability) throws {
    try spend(bytes.count)
    try store.write(bytes, to: key, durability: durability)
  }

  package func refresh(_ key: StoreKey, with bytes: [UInt8]) throws { try store.refresh(key, with: bytes) }

  package func write(contentsOf file: FilePath, to key: StoreKey) throws {
    try spend(Int(Folder.status(of: file, followingLinks: true)?.size ?? 0))
    try store.write(contentsOf: file, to: key)
  }

  package func create(_ bytes: [UInt8], at key: StoreKey) throws -> Bool { try store.create(bytes, at: key) }
  package func list(_ prefix: String, _ body: (StoreEntry) throws -> Void) throws { try store.list(prefix, body) }
  package func size(of key: StoreKey) throws -> Int64? { try store.size(of: key) }
  package func rename(_ key: StoreKey, as aside: StoreKey) throws -> Bool { try store.rename(key, as: aside) }
  package func delete(_ keys: [StoreKey], _ mayGoOn: @escaping @Sendable () throws -> Void) throws { try store.delete(keys, mayGoOn) }
  package func flush() throws { try store.flush() }
  package func removeLeftovers() throws { try store.removeLeftovers() }
  package func clearDeadWrites(under prefix: String) { store.clearDeadWrites(under: prefix) }
}
