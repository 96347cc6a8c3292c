package import Foundation
internal import Platform

/// Removes snapshots, and objects that no snapshot names. It needs the exclusive lock.
///
/// At every moment, also if it is interrupted, every listed snapshot must be complete. So a snapshot leaves the list before any of its
/// files is deleted, and an object is deleted only after all lists were read. The next collection deletes what remained.
package struct GarbageCollector: Sendable {
  package struct Outcome: Sendable, Equatable {
    package var objects = 0
    package var bytes: Int64 = 0
    /// Objects that no snapshot names, and that stay because they are young.
    package var young = 0
    /// Files that the store refused to delete because of an object lock.
    package var locked = 0
    /// Whether snapshots may be hidden. Then it is not certain that any object is garbage, and nothing is deleted.
    package var isInDoubt = false
  }

  private let store: any Store
  private let catalog: Catalog
  private let now: Date
  private let pace: DeletionPace
  private let stillAlone: @Sendable () throws -> Void
  private let asks: @Sendable (_ isUnanswered: Bool) -> Void
  private let locked = Monitor<Set<StoreKey>>([])

  /// Seconds. If no snapshot is listed, objects older than this cannot come from an interrupted first snapshot: the
  /// snapshots that need them must be hidden.
  private static let longestRun: TimeInterval = 2 * 86400

  /// - Parameters:
  ///   - stillAlone: throws if the exclusive lock is lost.
  ///   - asks: called before a request to delete, and after the answer.
  package init(
    store: any Store, now: Date = Date(), pace: DeletionPace = .unlimited, stillAlone: @escaping @Sendable () throws -> Void = {},
    asks: @escaping @Sendable (_ isUnanswered: Bool) -> Void = { _ in }
  ) {
    self.stillAlone = stillAlone
    self.asks = asks
    self.store = store
    self.now = now
    self.pace = pace
    catalog = Catalog(store: store)
  }

  /// For the holder of the exclusive lock.
  package init(store: any Store, holding lock: RepositoryLock, now: Date, pace: DeletionPace = .unlimited) {
    self.init(store: store, now: now, pace: pace, stillAlone: lock.check, asks: lock.note)
  }

  /// Removes snapshots from the list, newest first, then deletes their files.
  /// - Returns: the objects that they named.
  @discardableResult package func remove(_ places: [SnapshotPath]) throws -> ObjectTable {
    var named = ObjectTable()
    let places = places.sorted { $0.id > $1.id }
    // A process whose lock was broken may be about to list one of them again.
    if try RepositoryLock.wereBroken(in: store) {
      for place in places { try setAsideMarks(under: place.prefix) }
    }
    try stillAlone()
    try keepingLocked { try catalog.forgetDatabases(without: places) }
    for place in places {
      try Interruption.check()
      try stillAlone()
      // A snapshot with an unreadable list may be removed too: its objects are deleted once no list names them.
      for object in (try? catalog.objects(of: place)) ?? [] { named.insert(object) }
      // Without its list it is no snapshot any more, whatever happens next.
      try keepingLocked { try store.rename(place.checksums, as: place.removed) }
    }
    var leftovers = Leftovers()
    for place in places {
      try SnapshotFolder.forEach(in: store, under: place.prefix) { folder in
        // It may have been copied here again.
        if folder.checksums == nil { leftovers.add(folder) }
      }
    }
    try clear(leftovers)
    return named
  }

  /// Renames the marks that snapshots in progress need for their commit, so that processes whose locks were broken cannot commit.
  private func setAsideMarks(under prefix: StoreKey = SnapshotPath.root, where isMeant: (SnapshotFolder) -> Bool = { _ in true }) throws {
    var marks: [(key: StoreKey, place: SnapshotPath)] = []
    try SnapshotFolder.forEach(in: store, under: prefix) { folder in
      if isMeant(folder) { marks += folder.entries(.unfinished).map { ($0.key, folder.place) } }
    }
    for mark in marks {
      try stillAlone()
      try store.rename(mark.key, as: mark.place.removed)
    }
  }

  /// Deletes files while the exclusive lock is held.
  private func delete(_ keys: [StoreKey]) throws {
    asks(true)
    do { try store.delete(keys, stillAlone) } catch let error as StoreError {
      switch error {
      case .locked, .readOnly: asks(false)
      default: break
      }
      throw error
    }
    asks(false)
  }

  /// Runs a body that deletes, and counts files that the store refuses to delete.
  /// - Returns: these files.
  @discardableResult private func keepingLocked(_ body: () throws -> Void) throws -> Set<StoreKey> {
    do { try body() } catch StoreError.locked(let keys, _) {
      locked.update { $0.formUnion(keys) }
      return Set(keys)
    }
    return []
  }

  /// Files under `snapshots/` that will be deleted.
  private struct Leftovers {
    /// Files of snapshots that are not listed.
    var files: [StoreKey] = []
    var manifests: Set<StoreKey> = []
    /// Marks of snapshots that are not listed: removed, or unfinished.
    var marks: [StoreKey] = []
    /// Marks beside snapshots that are listed.
    var idleMarks: [StoreKey] = []

    /// Adds the files of a folder that belong to no listed snapshot.
    mutating func add(_ folder: SnapshotFolder) {
      let isListed = folder.checksums != nil
      for (part, file) in folder.files {
        switch (part.isMark, isListed) {
        case (true, true): idleMarks.append(file.key)
        case (true, false):
          marks.append(file.key)
          manifests.formUnion(folder.place.possibleFiles.map(\.manifest))
        case (false, true): break
        case (false, false): if file.isFile { files.append(file.key) }
        }
      }
    }
  }

  /// Deletes files of snapshots that are not listed. Marks are deleted last: they show that a snapshot was removed and not lost.
  private func clear(_ leftovers: Leftovers) throws {
    // A process whose lock was broken may still write a manifest or a mark before it notices.
    let mayComeBack = try RepositoryLock.wereBroken(in: store)
    try stillAlone()
    // After a power cut, deleted files may exist again, even those of an earlier collection. So the manifest is
    // always deleted.
    let kept = try keepingLocked { try delete(leftovers.files + leftovers.manifests.subtracting(leftovers.files).sorted()) }
    let keepers = Set(kept.compactMap { SnapshotPath(key: $0) })
    try store.flush()
    try stillAlone()
    // A manifest without a mark would look like a snapshot that lost its list.
    let idle = mayComeBack ? [] : leftovers.marks.filter { mark in SnapshotPath(key: mark).map { !keepers.contains($0) } ?? true }
    try keepingLocked { try delete(idle + leftovers.idleMarks) }
  }

  private struct Survey {
    var committed: [SnapshotPath] = []
    var referenced = ObjectTable()
    /// Files of interrupted runs under `snapshots/`.
    var leftovers = Leftovers()
  }

  /// Reads every list of checksums before anything is deleted. An unreadable list stops the collection, and so do files that may belong to
  /// hidden snapshots.
  private func survey() throws -> Survey {
    var survey = Survey()
    try forEachFolder { folder in
      // A hold counts whatever it is.
      if let strange = folder.files.first(where: { !$0.entry.isFile && $0.part != .hold }) { throw StoreError.notAFile(strange.entry.key) }
      if folder.checksums != nil { survey.committed.append(folder.place) }
      survey.leftovers.add(folder)
    }
    for place in survey.committed {
      for object in try catalog.objects(of: place) { survey.referenced.insert(object) }
    }
    return survey
  }

  /// Checks that no snapshot is hidden, because the objects of a hidden snapshot look like garbage.
  package func check() throws { try forEachFolder { _ in } }

  /// - Throws: `RepositoryError.hiddenSnapshot`, `.listLost`, `.databaseLost`.
  private func forEachFolder(_ body: (SnapshotFolder) throws -> Void) throws {
    var lost: SnapshotPath?
    var seen: Set<SnapshotPath> = []
    try SnapshotFolder.forEach(in: store) { folder in
      seen.insert(folder.place)
      if folder.hasLostItsList { lost = lost ?? folder.place }
      try body(folder)
    } strange: { entry in
      throw entry.isFile ? RepositoryError.hiddenSnapshot(key: entry.key) : StoreError.notAFile(entry.key)
    }
    if let lost { throw RepositoryError.listLost(folder: lost.prefix) }
    // If there is no folder at all, `isInDoubt` decides.
    guard !seen.isEmpty, let gone = try catalog.lostDatabase(seen: seen) else { return }
    throw RepositoryError.databaseLost(folder: gone.folder, mark: gone.mark)
  }

  /// Counts what a collection would delete.
  package func garbage(grace: TimeInterval) throws -> Outcome {
    let survey = try survey()
    let garbage = try garbage(survey, grace: grace, released: ObjectTable())
    if try isInDoubt(survey, garbage) { return Outcome(isInDoubt: true) }
    return Outcome(objects: garbage.objects.count, bytes: garbage.bytes, young: garbage.young)
  }

  /// Whether snapshots that need the objects may be hidden. This is so if a commit found all earlier snapshots
  /// missing. It is also so if objects exist but no snapshot is listed, and the store had some earlier or does not
  /// record it.
  private func isInDoubt(_ survey: Survey, _ garbage: Garbage) throws -> Bool {
    if try catalog.lacksSnapshots() { return true }
    guard survey.committed.isEmpty, !garbage.objects.isEmpty || garbage.young > 0 else { return false }
    return try garbage.hasOld || !catalog.neverHadSnapshots()
  }

  private struct Garbage {
    var objects: [(name: ObjectName, size: Int64)] = []
    var young = 0
    /// Whether any object is older than the longest run.
    var hasOld = false
    var bytes: Int64 { objects.reduce(0) { $0 + $1.size } }
  }

  private func garbage(_ survey: Survey, grace: TimeInterval, released: ObjectTable) throws -> Garbage {
    var garbage = Garbage()
    try store.list(ObjectName.root) { entry in
      let age = now.timeIntervalSince1970 - entry.modified
      if age > Self.longestRun { garbage.hasOld = true }
      guard entry.isFile else { throw StoreError.notAFile(entry.key) }
      guard let name = ObjectName(key: entry.key), !survey.referenced.contains(name) else { return }
      // An object that is dated far in the future is not young.
      if grace <= 0 || abs(age) >= grace || released.contains(name) { garbage.objects.append((name, entry.size)) } else { garbage.young += 1 }
    }
    return garbage
  }

  /// Deletes files of interrupted runs, and every object that no snapshot names.
  /// - Parameters:
  ///   - grace: seconds. Younger objects stay, in case a process writes in spite of the lock.
  ///   - released: objects of snapshots that were just removed: these are deleted even if they are young.
  ///   - begin: called with the number of bytes, before anything is deleted.
  ///   - each: called with the bytes of each deleted batch.
  package func collect(
    grace: TimeInterval = 0, released: ObjectTable = ObjectTable(), begin: (Int64) -> Void = { _ in }, each: (Int) -> Void = { _ in }
  ) throws -> Outcome {
    try store.removeLeftovers()
    try setAsideMarks { $0.checksums == nil }
    let survey = try survey()
    let garbage = try garbage(survey, grace: grace, released: released)
    if try isInDoubt(survey, garbage) { return Outcome(isInDoubt: true) }
    try clear(survey.leftovers)
    var outcome = Outcome(young: garbage.young)
    begin(garbage.bytes)
    for start in stride(from: 0, to: garbage.objects.count, by: pace.batch) {
      let batch = garbage.objects[start..<min(start + pace.batch, garbage.objects.count)]
      let kept = try keepingLocked { try delete(batch.map(\.name.key)) }
      let deleted = kept.isEmpty ? batch : batch.filter { !kept.contains($0.name.key) }[...]
      let bytes = deleted.reduce(0) { $0 + $1.size }
      outcome.objects += deleted.count
      outcome.bytes += bytes
      each(Int(bytes))
      try pace.pause(batch.count)
    }
    try store.flush()
    outcome.locked = locked.current.count
    return outcome
  }
}
