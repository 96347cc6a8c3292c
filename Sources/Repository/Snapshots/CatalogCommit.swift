internal import Foundation
internal import Platform

/// Committing snapshots, and the marks that show that a store has had some.
extension Catalog {
  /// Begins a commit. Call it before the manifest is written.
  /// - Parameter checksums: the list, if it is known already. The mark then holds it, and the commit does not write it.
  package func begin(_ place: SnapshotPath, with checksums: ChecksumFile? = nil, holding lock: RepositoryLock) throws {
    try store.write(checksums?.bytes ?? [], to: place.unfinished(lock.name), durability: .immediate)
  }

  /// A mark for each database that has had a snapshot: `had-snapshots/SOURCE/DATABASE`. It is written once the
  /// first snapshot is listed, and deleted only before the last one is removed. If a database has a mark but no
  /// snapshot, its snapshots are lost, and no object counts as garbage.
  package static let firstSnapshotMarks: StoreKey = "had-snapshots/"
  /// A mark that the store has had a snapshot, beside the folder of the others, which may be lost together with `snapshots/`.
  package static let anySnapshotMark: StoreKey = "had-a-snapshot"
  private static let firstSnapshotText = "There were snapshots here. While none of them is there, firn deletes no objects in this store.\n"

  private static func mark(of place: SnapshotPath) -> StoreKey {
    firstSnapshotMarks + SnapshotPath.root(source: place.source, database: place.database).dropFirst(SnapshotPath.root.count).dropLast()
  }

  /// A database that has had snapshots and has no folder of one.
  /// - Parameter seen: all folders of snapshots, whatever their state.
  /// - Returns: where its snapshots were, and its mark; nil if there is none.
  func lostDatabase(seen: Set<SnapshotPath>) throws -> (folder: StoreKey, mark: StoreKey)? {
    let marks = Set(seen.map(Self.mark))
    return try store.list(Self.firstSnapshotMarks).map(\.key).first { !marks.contains($0) }.map { mark in
      (SnapshotPath.root + mark.dropFirst(Self.firstSnapshotMarks.count), mark)
    }
  }

  /// Deletes the marks of databases whose last snapshots are about to be removed, so that they do not count as
  /// lost.
  func forgetDatabases(without places: [SnapshotPath]) throws {
    for (mark, places) in Dictionary(grouping: places, by: Self.mark) {
      guard let first = places.first, try Set(snapshots(source: first.source, database: first.database)).isSubset(of: places) else { continue }
      try store.delete([mark])
    }
    if try !places.isEmpty && Set(snapshots()).isSubset(of: places) { try store.delete([Self.anySnapshotMark]) }
  }

  /// Shows that a commit found all earlier snapshots gone. While it is there nothing is collected; only an operator deletes it.
  package static let missingSnapshotsMark: StoreKey = "snapshots-missing"
  private static let missingSnapshotsText =
    "A snapshot was taken while none of the earlier ones of its database was listed. firn deletes no objects here until you put the folder\n"
    + "snapshots/ back, or decide that it is gone for good, and then delete this file.\n"

  /// Whether commits found all earlier snapshots gone.
  package func lacksSnapshots() throws -> Bool { try store.size(of: Self.missingSnapshotsMark) != nil }

  /// Called before a snapshot is listed that may be the only one. If earlier snapshots are missing, this writes the
  /// file that stops garbage collection, because their objects would look like garbage.
  private func noteMissingSnapshots(beside place: SnapshotPath) throws {
    let isDatabaseLost = try store.size(of: Self.mark(of: place)) != nil && snapshots(source: place.source, database: place.database).isEmpty
    guard try isDatabaseLost || store.size(of: Self.anySnapshotMark) != nil && snapshots().isEmpty else { return }
    _ = try store.create(Array(Self.missingSnapshotsText.utf8), at: Self.missingSnapshotsMark)
  }

  /// Whether the store records that it never had a snapshot. Stores created by older versions of Firn do not record
  /// this.
  func neverHadSnapshots() throws -> Bool {
    let format: RepositoryFormat
    do { format = try RepositoryFormat(parsing: try store.read(RepositoryFormat.key, limit: 1 << 20), location: store.location) } catch {
      if let error = error as? StoreError, !error.isOfOneFile { throw error }
      return false
    }
    return try format.marksFirstSnapshot == true && store.list(Self.firstSnapshotMarks).isEmpty && store.size(of: Self.anySnapshotMark) == nil
  }

  /// Commits a snapshot. All of its files are written by now.
  ///
  /// If this process was taken for dead, a collection may run at the same time. It breaks the lock, then renames every `unfinished` mark,
  /// then reads the lists. So one of three things happens: we see that the lock is broken, or there is no mark left to rename, or the
  /// collection reads our list. The same holds for stores that copy and delete instead of renaming, because the copy is visible before
  /// the mark is gone.
  /// - Parameters:
  ///   - reused: stored bytes of the objects of other snapshots that this one needs too.
  ///   - written: stored bytes of the files written for this snapshot. A server is asked for these as well, because a faulty one may
  ///     confirm writes and store nothing.
  ///   - mayBeFirst: whether no other snapshot of this database was found.
  ///   - isInMark: whether the commit began with this list.
  /// - Throws: `RepositoryError.lockLost`, `StoreError.missing` for a file that is not there, `.truncated` for one of another size.
  package func commit(
    _ checksums: ChecksumFile, of place: SnapshotPath, reused: [StoreKey: Int64], written: [StoreKey: Int64], holding lock: RepositoryLock,
    mayBeFirst: Bool = true, isInMark: Bool = false
  ) throws {
    try store.flush()
    let unfinished = place.unfinished(lock.name)
    if !isInMark { try store.write(checksums.bytes, to: unfinished, durability: .immediate) }
    try lock.check()
    let needed = store.requestsAtOnce > 1 ? reused.merging(written) { $1 } : reused
    try forEachInParallel([nil] + needed.sorted { $0.key < $1.key }, thread: "look", threads: store.requestsAtOnce) { [self] file in
      guard let (key, bytes) = file else {
        if mayBeFirst { try noteMissingSnapshots(beside: place) }
        return
      }
      guard let size = try store.size(of: key) else { throw StoreError.missing(key) }
      guard size == bytes else { throw StoreError.truncated(key) }
    }
    do {
      if try !store.rename(unfinished, as: place.checksums), try store.size(of: place.checksums) == nil { throw RepositoryError.lockLost }
    } catch let error as StoreError {
      // A mark that can't be deleted is harmless beside a durable list.
      guard store.isDurableWhenVisible, (try? store.size(of: place.checksums)) == Int64(checksums.bytes.count) else { throw error }
    }
    // A faulty server may have confirmed the last step, too.
    if store.requestsAtOnce > 1 {
      guard let size = try store.size(of: place.checksums) else { throw StoreError.missing(place.checksums) }
      guard size == checksums.bytes.count else { throw StoreError.truncated(place.checksums) }
    }
    // The snapshot is listed now, even if this mark can't be written.
    guard mayBeFirst else { return }
    for mark in [Self.mark(of: place), Self.anySnapshotMark] { _ = try? store.create(Array(Self.firstSnapshotText.utf8), at: mark) }
  }
}
