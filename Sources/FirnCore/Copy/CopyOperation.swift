internal import Foundation
internal import Platform
package import Repository

/// Copies missing snapshots from one store to others, and creates repositories there if needed. The copies are independent: a failed
/// one does not stop the others.
package struct CopyOperation: Sendable {
  /// The result for one store.
  package struct Outcome: Sendable {
    package let location: String
    package var objects = 0
    package var bytes: Int64 = 0
    package var failure: (any Error)?
    /// How many snapshots exist there, and how many should.
    package var snapshots = 0
    package var wanted = 0
    /// How many of these should have been copied before.
    package var missed = 0
    /// Whether its repository was created.
    package var isNew = false
    /// Whether other files were there before.
    package var isAmongFiles = false
    /// Its recipients.
    package var recipients: [String]?
  }

  private let source: Repository
  private let progress: WorkProgress
  private let known: Set<String>

  /// - Parameter known: locations that had a repository before. If it is gone, none is created: a disk that is not
  ///   mounted would get one below its mount point.
  package init(from source: Repository, known: Set<String> = [], progress: WorkProgress) {
    self.source = source
    self.known = known
    self.progress = progress
  }

  /// Copies to all stores at once. Each failure is in its outcome, an interruption too.
  /// - Parameter catchingUp: locations to which missed snapshots of these databases are copied as well.
  package func run(_ places: [SnapshotPath], to targets: [any Store], catchingUp: Set<String> = []) -> [Outcome] {
    progress.begin("copying")
    let outcomes = Monitor<[Int: Outcome]>([:])
    let threads = targets.enumerated().map { number, target in
      WorkerThread(name: "copy") {
        let outcome = copy(places, catchingUp.contains(target.location), to: target)
        outcomes.update { $0[number] = outcome }
      }
    }
    for thread in threads { thread.join() }
    let all = outcomes.current
    return targets.indices.compactMap { all[$0] }
  }

  private func copy(_ places: [SnapshotPath], _ catchingUp: Bool, to target: any Store) -> Outcome {
    var outcome = Outcome(location: target.location)
    outcome.wanted = places.count
    do {
      let purpose = "a copy to \(target.location)"
      let from = try StoreHousekeeping(store: source.store).sharedLock(purpose: purpose, onlyReads: true)
      defer { from.release() }
      let places = try source.catalog.stillThere(places)
      let repository = try openOrMake(in: target, &outcome)
      try Self.requireCopy(repository, of: source.format)
      outcome.recipients = repository.format.recipients
      let maintenance = StoreHousekeeping(store: target)
      let lock = try maintenance.sharedLock(purpose: purpose, grace: 7 * 86400)
      defer { lock.release() }
      try lock.requireWritten()
      let missed = catchingUp ? try missed(beside: places, in: repository.catalog) : []
      let copy = SnapshotCopy(of: missed + places, from: source.store, to: target, holding: lock) { body in
        let work = try WorkFolder.forRun(in: WorkFolder.defaultRoot)
        defer { work.remove() }
        try body(work.path)
      }
      outcome.wanted = places.count + missed.count
      outcome.missed = missed.count
      // The oldest first, so that an interrupted copy continues where it stopped.
      for place in (missed + places).sorted(by: { $0.id < $1.id }) {
        try Interruption.check()
        let done: SnapshotCopy.Outcome
        do { done = try copy.run(place) { [progress] in progress.advance(by: $0) } } catch let error as SourceDamaged {
          // Other processes may have deleted files in the meantime.
          try from.checkIfWritten()
          if try source.catalog.wasRemoved(place) {
            progress.note("\(place.database) \(place.id) was removed meanwhile, and not copied")
            continue
          }
          // A damaged snapshot does not stop the others.
          outcome.failure = outcome.failure ?? error.cause
          progress.note("\(place.database) \(place.id) is damaged, and not copied")
          continue
        }
        outcome.snapshots += 1
        guard done.bytes > 0 else { continue }
        outcome.objects += done.objects
        outcome.bytes += done.bytes
        progress.note("\(place.database) \(place.id): \(done.objects) objects copied to \(target.location)")
      }
      // Snapshots are whole without them.
      try? source.catalog.copySourceRecords(of: places, to: repository.catalog)
    } catch {
      outcome.failure = outcome.failure ?? error
    }
    return outcome
  }

  /// - Throws: `FirnError.sameStore`, `.differentlyEncrypted`.
  static func requireCopy(_ repository: Repository, of original: RepositoryFormat) throws {
    let location = repository.store.location
    guard repository.format.repositoryID != original.repositoryID else { throw FirnError.sameStore(location: location) }
    guard Set(repository.format.recipients) == Set(original.recipients) else { throw FirnError.differentlyEncrypted(location: location) }
  }

  /// Snapshots after the newest common one. A copy without any of a database begins with the new one.
  private func missed(beside places: [SnapshotPath], in catalog: Catalog) throws -> [SnapshotPath] {
    var missed: Set<SnapshotPath> = []
    for place in places {
      let there = try catalog.snapshots(source: place.source, database: place.database)
      if there.isEmpty { continue }
      missed.formUnion(CopyComparison(try source.catalog.snapshots(source: place.source, database: place.database), there).missing)
    }
    return missed.filter { !places.contains($0) && !source.catalog.isSafetySnapshot($0) }
  }

  private func openOrMake(in store: any Store, _ outcome: inout Outcome) throws -> Repository {
    do { return try Repository(opening: store) } catch RepositoryError.noRepository {
      guard !known.contains(store.location) else { throw FirnError.copyGone(location: store.location) }
      // The same chunking as the original, so that direct snapshots find the chunks of copies.
      var format = source.format
      format.repositoryID = UUID().uuidString.lowercased()
      format.createdAt = Date()
      do {
        let made = try Repository(creatingIn: store, format: format)
        outcome.isAmongFiles = made.isAmongFiles
        outcome.isNew = true
        return made
      } catch RepositoryError.alreadyExists {
        // Another copy was faster.
        return try Repository(opening: store)
      }
    }
  }
}
