internal import Compression
internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
package import Repository
internal import SystemPackage

/// Keeps a store tidy around other work.
package struct StoreHousekeeping: Sendable {
  private let store: any Store
  private let owner: LockOwner

  package init(store: any Store, owner: LockOwner = .current) {
    self.store = store
    self.owner = owner
  }

  /// Takes the shared lock. Leftovers of dead runs are removed first, if no other process is at work.
  /// - Parameters:
  ///   - onlyReads: whether the holder only reads, so that late deletions of other processes cannot affect what it writes.
  ///   - grace: seconds that unnamed objects stay, so that an interrupted copy can continue.
  package func sharedLock(purpose: String, onlyReads: Bool = false, grace: Double = 0) throws -> RepositoryLock {
    let lock = try RepositoryLock(.shared, on: store, purpose: purpose, patience: .seconds(10), onlyReads: onlyReads, owner: owner)
    guard lock.foundDeadHolders else { return lock }
    lock.release()
    collectIfAlone(grace: grace)
    return try RepositoryLock(.shared, on: store, purpose: purpose, patience: .seconds(60), onlyReads: onlyReads, owner: owner)
  }

  package func collectIfAlone(grace: Double = 0) {
    guard let lock = try? RepositoryLock(.exclusive, on: store, purpose: "clearing up after a run that failed", owner: owner) else { return }
    defer { lock.release() }
    _ = try? GarbageCollector(store: store, holding: lock, now: owner.now()).collect(grace: grace)
  }
}
