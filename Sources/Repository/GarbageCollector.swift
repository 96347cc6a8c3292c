package import Foundation
internal import Platform

/// How fast objects may be deleted.
package struct DeletionPace: Sendable {
  /// Nil for as fast as can be.
  private let perSecond: Int?
  package static let unlimited = DeletionPace(perSecond: nil)

  /// - Parameter perSecond: deletions a second.
  package init(perSecond: Int?) { self.perSecond = perSecond }

  /// How many go in one request.
  fileprivate var batch: Int { min(perSecond ?? 1000, 1000) }

  /// Waits as long as a batch has to take.
  /// - Throws: `Interruption`.
  fileprivate func pause(after count: Int) throws {
    try Interruption.sleep(until: ContinuousClock.now + .seconds(perSecond.map { Double(count) / Double($0) } ?? 0))
  }
}

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
  }

  private let store: any Store
  private let catalog: Catalog
  private let now: Date
  private let pace: DeletionPace

  /// Objects older than this, where no snapshot is, are not the rest of a first one that failed: rather are the snapshots out of sight.
  private static let longestRun: TimeInterval = 2 * 86400

  package init(store: any Store, now: Date = Date(), pace: DeletionPace = .unlimited) {
    self.store = store
    self.now = now
    self.pace = pace
    catalog = Catalog(store: store)
  }

  /// Takes snapshots out of the list, newest first, and then deletes their files.
  /// - Returns: the objects they named.
  @discardableResult package func remove(_ places: [SnapshotPlace]) throws -> Set<ObjectName> {
    var named = Set<ObjectName>()
    for place in places.sorted(by: { $0.id > $1.id }) {
      try Interruption.check()
      // One whose list can't be read may go as well: what it named goes when nobody names it.
      if let objects = try? catalog.checksums(of: place).objects { named.formUnion(objects) }
      // Its checksums make it a snapshot: without them it is not listed, whatever happens next.
      try store.delete([place.removed])
      try store.setAside(place.checksums, as: place.removed)
      try store.flush()
      // The mark goes last: what it stands beside was removed, and not lost.
      let files = try store.list(place.prefix).map(\.key)
      try store.delete(files.filter { $0 != place.removed })
      try store.delete([place.removed])
    }
    return named
  }

  private struct Survey {
    var committed: [SnapshotPlace]
    var referenced: Set<ObjectName>
    /// What runs that were cut off left under `snapshots/`.
    var leftovers: [StoreKey]
  }

  /// Reads every list of checksums, before anything is deleted: one that can't be read stops the collection, and so does what may
  /// belong to snapshots that we don't see.
  private func survey() throws -> Survey {
    let files = try store.list(SnapshotPlace.root)
    if let strange = files.first(where: { !$0.isFile }) { throw StoreError.notAFile(strange.key) }
    try refuseHidden(in: files)
    let committed = catalog.snapshots(in: files)
    var referenced = Set<ObjectName>()
    for place in committed { referenced.formUnion(try catalog.checksums(of: place).objects) }
    let places = Set(committed)
    let leftovers = files.filter { entry in
      SnapshotPlace(key: entry.key).map { !places.contains($0) || entry.key == $0.unfinished || entry.key == $0.removed } ?? false
    }
    return Survey(committed: committed, referenced: referenced, leftovers: leftovers.map(\.key))
  }

  /// Looks whether all snapshots are in sight, so that a collection can tell garbage from what is needed.
  package func check() throws { try refuseHidden(in: store.list(SnapshotPlace.root)) }

  /// - Throws: `RepositoryError.hiddenSnapshot`, `.listLost`.
  private func refuseHidden(in files: [StoreEntry]) throws {
    if let hidden = files.first(where: { SnapshotPlace(key: $0.key) == nil }) { throw RepositoryError.hiddenSnapshot(key: hidden.key) }
    if let lost = catalog.unlisted(in: files).first { throw RepositoryError.listLost(folder: lost.prefix) }
  }

  /// What a collection would delete, counted.
  package func garbage(grace: TimeInterval) throws -> Outcome {
    let (garbage, young) = try garbage(among: store.list(ObjectName.root), survey(), grace: grace, released: [])
    return Outcome(objects: garbage.count, bytes: garbage.reduce(0) { $0 + $1.size }, young: young)
  }

  private func garbage(
    among objects: [StoreEntry], _ survey: Survey, grace: TimeInterval, released: Set<ObjectName>
  ) -> (garbage: [StoreEntry], young: Int) {
    let unnamed = objects.filter { entry in entry.isFile && ObjectName(key: entry.key).map { !survey.referenced.contains($0) } ?? false }
    let garbage = unnamed.filter { entry in
      // A time far ahead is no sign of youth.
      grace <= 0 || abs(now.timeIntervalSince1970 - entry.modified) >= grace || ObjectName(key: entry.key).map(released.contains) ?? false
    }
    return (garbage, unnamed.count - garbage.count)
  }

  /// Deletes what cut-off runs left, and every object that no snapshot names.
  /// - Parameters:
  ///   - grace: objects younger than this stay, in seconds, for the case that somebody writes in spite of the lock.
  ///   - released: objects that snapshots named which were just removed: these go, however young.
  ///   - begin: is told how many bytes are to go, before any does.
  ///   - each: is told of the bytes of each batch that went.
  package func collect(
    grace: TimeInterval = 0, released: Set<ObjectName> = [], begin: (Int64) -> Void = { _ in }, each: (Int) -> Void = { _ in }
  ) throws -> Outcome {
    try store.removeLeftovers()
    let survey = try survey()
    let objects = try store.list(ObjectName.root)
    if survey.committed.isEmpty, objects.contains(where: { now.timeIntervalSince1970 - $0.modified > Self.longestRun }) { return Outcome() }
    try store.delete(survey.leftovers)
    let (garbage, young) = garbage(among: objects, survey, grace: grace, released: released)
    var outcome = Outcome(young: young)
    begin(garbage.reduce(0) { $0 + $1.size })
    for start in stride(from: 0, to: garbage.count, by: pace.batch) {
      let batch = garbage[start..<min(start + pace.batch, garbage.count)]
      try store.delete(batch.map(\.key))
      let bytes = batch.reduce(0) { $0 + $1.size }
      outcome.objects += batch.count
      outcome.bytes += bytes
      each(Int(bytes))
      try pace.pause(after: batch.count)
    }
    try store.flush()
    return outcome
  }
}
