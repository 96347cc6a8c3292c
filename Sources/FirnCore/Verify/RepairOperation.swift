internal import Digests
package import Foundation
internal import Platform
package import Repository

/// Restores damaged or missing files of a store from other stores. Existing files are renamed, never overwritten.
package struct RepairOperation {
  package struct Mended: Sendable, Equatable {
    package let key: StoreKey
    /// The store it came from.
    package let from: String
  }

  package struct Outcome: Sendable {
    package var mended: [Mended] = []
    /// The files that no other store has intact.
    package var unrepaired: [StoreKey] = []
    /// The folder of the store in which lies what was put aside.
    package let quarantine: StoreKey
    /// Whether anything lies there.
    package var keepsWhatStoodThere = false
  }

  private let repository: Repository
  private let donors: [any Store]
  private let progress: WorkProgress
  private let quarantine: StoreKey

  /// - Parameter donors: stores to take from, the first that has a thing intact.
  package init(repository: Repository, donors: [any Store], progress: WorkProgress, now: Date = Date()) {
    self.repository = repository
    self.donors = donors
    self.progress = progress
    quarantine = "quarantine/\(SnapshotID.stamp(now))/"
  }

  /// Repairs snapshots as far as their own lists of checksums, or those of other stores, describe them.
  /// - Parameter damaged: objects known to be damaged.
  /// - Throws: errors of writing to the store. If reading from another store fails, files stay unrepaired.
  package func run(on places: [SnapshotPath], damaged: Set<ObjectName>) throws -> Outcome {
    let lock = try StoreHousekeeping(store: repository.store).sharedLock(purpose: "firn-verify --repair")
    defer { lock.release() }
    try lock.requireWritten()
    progress.begin("repairing")
    var outcome = Outcome(quarantine: quarantine)
    for place in places { try mend(place, &outcome, lock) }
    for object in damaged.sorted(by: { $0.key < $1.key }) { try bring(object.key, wanted: object.digest, &outcome, lock) }
    try repository.store.flush()
    return outcome
  }

  private func mend(_ place: SnapshotPath, _ outcome: inout Outcome, _ lock: RepositoryLock) throws {
    let unrepairedBefore = outcome.unrepaired.count
    let own = try? repository.catalog.checksums(of: place)
    let isOwnSound = own.map { isSound($0, place, in: repository.store) } ?? false
    // Its own list is used if it fits its own files, otherwise the list of a store where it does.
    let donor = donors.lazy.compactMap { store -> (store: any Store, list: ChecksumFile)? in
      guard let list = try? Catalog(store: store).checksums(of: place), isSound(list, place, in: store) else { return nil }
      return (store, list)
    }.first
    guard let list = isOwnSound ? own : donor?.list ?? own else { return outcome.unrepaired.append(place.checksums) }
    for key in list.files.keys.sorted() {
      guard let wanted = list.files[key], try ownDigest(of: key) != wanted else { continue }
      try bring(key, wanted: wanted, &outcome, lock)
    }
    for object in list.objects where (try? repository.store.size(of: object.key)) ?? nil == nil {
      try bring(object.key, wanted: object.digest, &outcome, lock)
    }
    // Last: with it the snapshot is listed.
    guard own?.digest != list.digest else { return }
    guard outcome.unrepaired.count == unrepairedBefore else { return outcome.unrepaired.append(place.checksums) }
    try bring(place.checksums, wanted: list.digest, &outcome, lock)
  }

  private func isSound(_ list: ChecksumFile, _ place: SnapshotPath, in store: any Store) -> Bool {
    list.files.allSatisfy { key, wanted in digest(of: key, in: store) == wanted }
  }

  private func digest(of key: StoreKey, in store: any Store) -> SHA256Digest? {
    try? SHA256Digest(of: key, in: store)
  }

  /// Nil for a damaged file. A file that is temporarily unreadable is not damaged.
  private func ownDigest(of key: StoreKey) throws -> SHA256Digest? {
    do { return try SHA256Digest(of: key, in: repository.store) } catch let error as StoreError where error.isOfOneFile { return nil }
  }

  private func bring(_ key: StoreKey, wanted: SHA256Digest, _ outcome: inout Outcome, _ lock: RepositoryLock) throws {
    try Interruption.check()
    guard !outcome.mended.contains(where: { $0.key == key }), try ownDigest(of: key) != wanted else { return }
    progress.show(item: key)
    for donor in donors {
      guard let bytes = try? donor.read(key, limit: 1 << 31), SHA256Digest(of: bytes) == wanted else { continue }
      // A snapshot that was pruned in the meantime must not come back in part.
      try lock.check()
      let wasThere = try repository.store.rename(key, as: quarantine + key)
      do { try repository.store.write(bytes, to: key, durability: .immediate) } catch {
        // Some of what is damaged may still be of use.
        if wasThere { _ = try? repository.store.rename(quarantine + key, as: key) }
        throw error
      }
      outcome.keepsWhatStoodThere = outcome.keepsWhatStoodThere || wasThere
      return outcome.mended.append(Mended(key: key, from: donor.location))
    }
    outcome.unrepaired.append(key)
  }
}
