package import Foundation
internal import Platform

/// Removes snapshots, and then what no snapshot names. Wants the exclusive lock.
///
/// What must hold whenever it is cut off: no listed snapshot lacks anything. So a snapshot leaves the list before anything of it goes,
/// and an object goes only after all lists were read. The next collection takes what was left.
package struct GarbageCollector: Sendable {
  package struct Outcome: Sendable, Equatable {
    package var objects = 0
    package var bytes: Int64 = 0
    /// Unnamed objects that are left because they are young.
    package var young = 0
    /// Files that the store would not delete, by a lock of its own.
    package var locked = 0
    /// Whether there are objects and no snapshot, though the store has had some: they may be out of sight, so nothing is garbage for certain.
    package var isInDoubt = false
  }

  private let store: any Store
  private let catalog: Catalog
  private let now: Date
  private let pace: DeletionPace
  private let stillAlone: @Sendable () throws -> Void
  private let asks: @Sendable (_ isUnanswered: Bool) -> Void
  private let locked = Monitor<Set<StoreKey>>([])

  /// Seconds. Objects older than this, if no snapshot is listed, are not what a failed first one left: the snapshots are out of sight.
  private static let longestRun: TimeInterval = 2 * 86400

  /// - Parameters:
  ///   - stillAlone: throws where the exclusive lock is lost.
  ///   - asks: is told when the store is asked to delete something, and when it has answered.
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

  /// Of who holds the exclusive lock.
  package init(store: any Store, holding lock: RepositoryLock, now: Date, pace: DeletionPace = .unlimited) {
    self.init(store: store, now: now, pace: pace, stillAlone: lock.check, asks: lock.note)
  }

  /// Takes snapshots out of the list, newest first, and then deletes their files.
  /// - Returns: the objects they named.
  @discardableResult package func remove(_ places: [SnapshotPlace]) throws -> ObjectTable {
    var named = ObjectTable()
    let places = places.sorted { $0.id > $1.id }
    // Who comes back after its lock was broken may be about to list one of them once more.
    if try RepositoryLock.wereBroken(in: store) {
      for place in places { try setAsideMarks(under: place.prefix) }
    }
    try stillAlone()
    try catalog.forgetDatabases(without: places)
    for place in places {
      try Interruption.check()
      try stillAlone()
      // One whose list can't be read may go as well: what it named goes when nobody names it.
      for object in (try? catalog.objects(of: place)) ?? [] { named.insert(object) }
      // Its checksums make it a snapshot: without them it is not listed, whatever happens next.
      try keepingLocked { try store.setAside(place.checksums, as: place.removed) }
    }
    var leftovers = Leftovers()
    for place in places {
      try SnapshotFolder.forEach(in: store, under: place.prefix) { folder in
        // Unless it was copied here again.
        if folder.checksums == nil { leftovers.add(folder) }
      }
    }
    try clear(leftovers)
    return named
  }

  /// Takes from those who make snapshots what they need to commit: should their lock have been broken, they can't any more.
  private func setAsideMarks(under prefix: StoreKey = SnapshotPlace.root, where isMeant: (SnapshotFolder) -> Bool = { _ in true }) throws {
    var marks: [(key: StoreKey, place: SnapshotPlace)] = []
    try SnapshotFolder.forEach(in: store, under: prefix) { folder in
      if isMeant(folder) { marks += folder.entries(.unfinished).map { ($0.key, folder.place) } }
    }
    for mark in marks {
      try stillAlone()
      try store.setAside(mark.key, as: mark.place.removed)
    }
  }

  /// Deletes, as long as nobody else is at work.
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

  /// Runs what deletes. What the store keeps stays, and is counted.
  /// - Returns: the files it keeps.
  @discardableResult private func keepingLocked(_ body: () throws -> Void) throws -> Set<StoreKey> {
    do { try body() } catch StoreError.locked(let keys, _) {
      locked.update { $0.formUnion(keys) }
      return Set(keys)
    }
    return []
  }

  /// What is to go of `snapshots/`.
  private struct Leftovers {
    /// Files of snapshots that are not listed.
    var files: [StoreKey] = []
    var manifests: Set<StoreKey> = []
    /// Marks of snapshots that are not listed: removed, or unfinished.
    var marks: [StoreKey] = []
    /// Marks beside snapshots that are listed.
    var idleMarks: [StoreKey] = []

    /// Takes what is no part of a listed snapshot.
    mutating func add(_ folder: SnapshotFolder) {
      let isListed = folder.checksums != nil
      for (part, file) in folder.files {
        switch (part.isMark, isListed) {
        case (true, true): idleMarks.append(file.key)
        case (true, false):
          marks.append(file.key)
          manifests.formUnion(folder.place.possibleFiles.map(\.manifest))
        case (false, true): break
        case (false, false): files.append(file.key)
        }
      }
    }
  }

  /// Deletes files of snapshots that are not listed. Their marks go last: what they stand beside was removed, and not lost.
  private func clear(_ leftovers: Leftovers) throws {
    // Who comes back after its lock was broken may still write a manifest before it looks, even a mark of its own while we are here.
    let mayComeBack = try RepositoryLock.wereBroken(in: store)
    try stillAlone()
    // After a power cut some of what was deleted may be there again: also what another began to clear, so the manifest in any case.
    let kept = try keepingLocked { try delete(leftovers.files + leftovers.manifests.subtracting(leftovers.files).sorted()) }
    let keepers = Set(kept.compactMap { SnapshotPlace(key: $0) })
    try store.flush()
    try stillAlone()
    // A manifest without a mark beside it would pass for a snapshot that lost its list.
    let idle = mayComeBack ? [] : leftovers.marks.filter { mark in SnapshotPlace(key: mark).map { !keepers.contains($0) } ?? true }
    try keepingLocked { try delete(idle + leftovers.idleMarks) }
  }

  private struct Survey {
    var committed: [SnapshotPlace] = []
    var referenced = ObjectTable()
    /// What runs that were cut off left under `snapshots/`.
    var leftovers = Leftovers()
  }

  /// Reads every list of checksums, before anything is deleted: one that can't be read stops the collection, and so does what may
  /// belong to snapshots that we don't see.
  private func survey() throws -> Survey {
    var survey = Survey()
    try forEachFolder { folder in
      if let strange = folder.files.first(where: { !$0.entry.isFile }) { throw StoreError.notAFile(strange.entry.key) }
      if folder.checksums != nil { survey.committed.append(folder.place) }
      survey.leftovers.add(folder)
    }
    for place in survey.committed {
      for object in try catalog.objects(of: place) { survey.referenced.insert(object) }
    }
    return survey
  }

  /// Looks whether all snapshots are in sight, so that a collection can tell garbage from what is needed.
  package func check() throws { try forEachFolder { _ in } }

  /// - Throws: `RepositoryError.hiddenSnapshot`, `.listLost`, `.databaseLost`.
  private func forEachFolder(_ body: (SnapshotFolder) throws -> Void) throws {
    var lost: SnapshotPlace?
    var seen: Set<SnapshotPlace> = []
    try SnapshotFolder.forEach(in: store) { folder in
      seen.insert(folder.place)
      if folder.hasLostItsList { lost = lost ?? folder.place }
      try body(folder)
    } strange: { entry in
      throw entry.isFile ? RepositoryError.hiddenSnapshot(key: entry.key) : StoreError.notAFile(entry.key)
    }
    if let lost { throw RepositoryError.listLost(folder: lost.prefix) }
    // Without any it is in doubt by another rule.
    guard !seen.isEmpty, let gone = try catalog.lostDatabase(seen: seen) else { return }
    throw RepositoryError.databaseLost(folder: gone.folder, mark: gone.mark)
  }

  /// What a collection would delete, counted.
  package func garbage(grace: TimeInterval) throws -> Outcome {
    let survey = try survey()
    let garbage = try garbage(survey, grace: grace, released: ObjectTable())
    if try isInDoubt(survey, garbage) { return Outcome(isInDoubt: true) }
    return Outcome(objects: garbage.objects.count, bytes: garbage.bytes, young: garbage.young)
  }

  /// Whether snapshots that need the objects may be out of sight: none is listed, and the store has had some, or can't say; or none was
  /// when the oldest that are listed were taken.
  private func isInDoubt(_ survey: Survey, _ garbage: Garbage) throws -> Bool {
    if try catalog.lacksSnapshots() { return true }
    guard survey.committed.isEmpty, !garbage.objects.isEmpty || garbage.young > 0 else { return false }
    return try garbage.hasOld || !catalog.neverHadSnapshots()
  }

  private struct Garbage {
    var objects: [(name: ObjectName, size: Int64)] = []
    var young = 0
    /// Whether any object is older than a run takes.
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
      // A time far ahead is no sign of youth.
      if grace <= 0 || abs(age) >= grace || released.contains(name) { garbage.objects.append((name, entry.size)) } else { garbage.young += 1 }
    }
    return garbage
  }

  /// Deletes what cut-off runs left, and every object that no snapshot names.
  /// - Parameters:
  ///   - grace: objects younger than this stay, in seconds, for the case that somebody writes in spite of the lock.
  ///   - released: objects that snapshots named which were just removed: these go, however young.
  ///   - begin: is told how many bytes are to go, before any does.
  ///   - each: is told of the bytes of each batch that went.
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
