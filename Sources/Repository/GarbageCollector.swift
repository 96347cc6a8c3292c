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
    try Interruption.check()
    guard let perSecond else { return }
    let end = ContinuousClock.now + .seconds(Double(count) / Double(perSecond))
    while ContinuousClock.now < end {
      Thread.sleep(forTimeInterval: 0.05)
      try Interruption.check()
    }
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

  package func sharing() throws -> ObjectSharing { try ObjectSharing(of: store, catalog: catalog) }

  /// Takes snapshots out of the list, newest first, and then deletes their files.
  /// - Returns: the objects they named.
  @discardableResult package func remove(_ places: [SnapshotPlace]) throws -> Set<ObjectName> {
    var named = Set<ObjectName>()
    for place in places.sorted(by: { $0.id > $1.id }) {
      try Interruption.check()
      // One whose list can't be read may go as well: what it named goes when nobody names it.
      if let objects = try? catalog.checksums(of: place).objects { named.formUnion(objects) }
      // Its checksums make it a snapshot: without them it is not listed, whatever happens next.
      try store.delete([place.checksums])
      try store.flush()
      try store.delete(try store.list(place.prefix).map(\.key))
    }
    return named
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
    // Every list of checksums must be read before anything is deleted: one that can't be read stops the collection, and so does
    // what may lead to lists that we don't see.
    var referenced = Set<ObjectName>()
    let files = try store.list(SnapshotPlace.root)
    if let strange = files.first(where: { !$0.isFile }) { throw StoreError.notAFile(strange.key) }
    let committed = catalog.snapshots(in: files)
    for place in committed { referenced.formUnion(try catalog.checksums(of: place).objects) }

    let places = Set(committed)
    let unlisted = files.filter { entry in SnapshotPlace(key: entry.key).map { !places.contains($0) } ?? false }
    try store.delete(unlisted.map(\.key))

    let objects = try store.list(ObjectName.root)
    if committed.isEmpty, objects.contains(where: { now.timeIntervalSince1970 - $0.modified > Self.longestRun }) { return Outcome() }
    var outcome = Outcome()
    let unnamed = objects.filter { entry in entry.isFile && ObjectName(key: entry.key).map { !referenced.contains($0) } ?? false }
    let garbage = unnamed.filter { entry in
      grace <= 0 || now.timeIntervalSince1970 - entry.modified >= grace || ObjectName(key: entry.key).map(released.contains) ?? false
    }
    outcome.young = unnamed.count - garbage.count
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
