internal import Digests
package import Foundation
internal import Platform
package import Repository

/// How much of a store is checked.
package enum VerifyExtent: Sendable, Equatable {
  /// Existence and size of every object.
  case quick
  /// Every object is read once, and the tables of snapshots that were not read before.
  case read
  /// As `quick`, and a share of all objects is read, from 0 to 1: the next ones each time.
  case sample(Double)

}

/// Checks that snapshots are unchanged.
package struct VerifyOperation {
  /// A finding, as precise as possible.
  package struct Problem: Sendable, Equatable {
    package let table: String?
    package let object: String?
    package let reason: String

    package init(table: String? = nil, object: String? = nil, reason: String) {
      self.table = table
      self.object = object
      self.reason = reason
    }
  }

  package struct SnapshotOutcome: Sendable {
    package let place: SnapshotPath
    package let problems: [Problem]
    /// How closely it was checked.
    package let level: CheckRecord.Level
    /// Whether the available identities do not open it.
    package var isClosed = false
    /// Whether it has a newer format, so that only its bytes were checked.
    package var isNewer = false
    /// A finding of an earlier verification that this one did not check closely enough to clear.
    package var standingFinding: String?
    package var isSound: Bool { problems.isEmpty && standingFinding == nil }
  }

  package struct Outcome: Sendable {
    package var snapshots: [SnapshotOutcome] = []
    package var objectsChecked = 0
    package var bytesChecked: Int64 = 0
    package var elapsed: Duration = .zero
    /// Snapshots whose tables an earlier run had read from the same bytes.
    package var provenBefore = 0
    /// Why results could not be recorded: later runs will not know of them.
    package var unrecorded: (any Error)?
    /// The last object of a sample.
    var lastSampled: ObjectName?

    package var isSound: Bool { snapshots.allSatisfy(\.isSound) }
  }

  private let repository: Repository
  private let extent: VerifyExtent
  private let progress: WorkProgress
  private let now: @Sendable () -> Date

  package init(repository: Repository, extent: VerifyExtent, progress: WorkProgress, now: @escaping @Sendable () -> Date = { Date() }) {
    self.repository = repository
    self.extent = extent
    self.progress = progress
    self.now = now
  }

  /// Checks snapshots and records the results.
  package func run(on places: [SnapshotPath]) throws -> Outcome {
    let clock = ContinuousClock.now
    let lock = try StoreHousekeeping(store: repository.store).sharedLock(purpose: "firn-verify", onlyReads: true)
    defer { lock.release() }
    let places = try repository.catalog.stillThere(places)
    progress.begin("reading what the snapshots consist of")
    var outcome = Outcome()
    var checksums: [SnapshotPath: Result<ChecksumFile, any Error>] = [:]
    for place in places { checksums[place] = Result { try repository.catalog.checksums(of: place) } }
    let readable = checksums.compactMapValues { try? $0.get() }
    let readsTables = extent == .read && repository.hasReadableContents
    let proven = extent == .read ? Set(readable.filter { isProven($0.key, $0.value) }.keys) : []
    outcome.provenBefore = proven.count
    // Objects that tables are read from are decoded there.
    let decodedLater = Set(readable.filter { !proven.contains($0.key) }.values.flatMap(\.objects))
    let damaged = try checkObjects(Set(readable.values.flatMap(\.objects)), decodedLater: extent == .read ? decodedLater : [], &outcome)
    var wrongIdentity: RepositoryError?
    for place in places {
      try Interruption.check()
      let check = SnapshotCheck(
        repository: repository, place: place, readsTables: readsTables && !proven.contains(place), damaged: damaged, progress: progress)
      var snapshot: SnapshotOutcome
      do {
        snapshot = .init(place: place, problems: try check.run(checksums[place]!.get()), level: level)
      } catch let error as RepositoryError {
        if case .wrongIdentity = error {
          wrongIdentity = error
          // It is encrypted to others: check what is possible without an identity.
          snapshot = .init(place: place, problems: try check.run(checksums[place]!.get(), opens: false), level: min(level, .scrub), isClosed: true)
        } else if case .newerFormat = error {
          // Its list of checksums is enough to check its bytes.
          snapshot = .init(place: place, problems: try check.run(checksums[place]!.get(), opens: false), level: min(level, .scrub))
          snapshot.isNewer = true
        } else if error.isDamage {
          snapshot = .init(place: place, problems: [SnapshotCheck.problem(error)], level: level)
        } else {
          throw error
        }
      } catch let error as StoreError where error.isOfOneFile {
        snapshot = .init(place: place, problems: [SnapshotCheck.problem(error)], level: level)
      }
      if extent == .quick { outcome.objectsChecked += check.objectsChecked }
      outcome.snapshots.append(snapshot)
    }
    try addStandingFindings(to: &outcome)
    // If the identity opened nothing, it is the wrong one.
    if let wrongIdentity, outcome.isSound, outcome.snapshots.allSatisfy(\.isClosed) { throw wrongIdentity }
    outcome.elapsed = ContinuousClock.now - clock
    // Findings made while other processes deleted are meaningless.
    try lock.checkIfWritten()
    // A read-only store has no lock that other processes would see.
    try outcome.snapshots.removeAll { try !$0.problems.isEmpty && repository.catalog.wasRemoved($0.place) }
    for snapshot in outcome.snapshots {
      // Nothing is recorded for a snapshot that is not listed.
      if case .failure(StoreError.missing) = checksums[snapshot.place]! { continue }
      do { try record(snapshot, readable[snapshot.place], outcome.elapsed) } catch { outcome.unrecorded = error }
    }
    note(outcome.lastSampled)
    return outcome
  }

  private func addStandingFindings(to outcome: inout Outcome) throws {
    // A complete reading replaces earlier findings.
    guard level < .scrub else { return }
    let catalog = repository.catalog
    let listed = try catalog.listing()
    let verdicts = try Dictionary(listed.map { ($0.place, try catalog.verdict(of: $0.checks, now: now())) }, uniquingKeysWith: { first, _ in first })
      .compactMapValues { $0 }
    let findings = DamageFindings(verdicts)
    for index in outcome.snapshots.indices where outcome.snapshots[index].problems.isEmpty {
      let place = outcome.snapshots[index].place
      if let verdict = verdicts[place], !verdict.ok {
        outcome.snapshots[index].standingFinding =
          "it was found damaged on \(verdict.checkedAt.formatted(.iso8601)): that stands until it is read whole"
      } else if try catalog.shares(findings, place) {
        outcome.snapshots[index].standingFinding =
          "it shares an object with one that was found damaged: that stands until it is read whole"
      }
    }
  }

  /// Whether its tables were read by an earlier run, and its list of checksums is unchanged.
  private func isProven(_ place: SnapshotPath, _ checksums: ChecksumFile) -> Bool {
    guard repository.hasReadableContents, let check = try? repository.catalog.lastCheck(of: place, atLeast: .read) else { return false }
    return check.ok && check.checksums == checksums.digest.description
  }

  private func checkObjects(_ objects: Set<ObjectName>, decodedLater: Set<ObjectName>, _ outcome: inout Outcome) throws -> [ObjectName: String] {
    guard extent != .quick else { return [:] }
    let sizes = try Dictionary(
      repository.store.list(ObjectName.root).compactMap { entry in ObjectName(key: entry.key).map { ($0, entry.size) } },
      uniquingKeysWith: { first, _ in first })
    func bytes(_ some: some Sequence<ObjectName>) -> Int64 { some.reduce(0) { $0 + (sizes[$1] ?? 0) } }
    let check = ObjectCheck(store: repository.store, decodedLater: decodedLater, progress: progress)
    guard case .sample(let share) = extent else {
      progress.begin("checking objects", expected: bytes(objects))
      outcome.objectsChecked = objects.count
      outcome.bytesChecked = bytes(objects)
      return try check.run(on: objects)
    }
    var damaged: [ObjectName: String] = [:]
    let chosen = ScrubCursor.load(from: repository.store, objectsAreEncrypted: repository.format.isEncrypted).next(share: share, of: objects) {
      sizes[$0] ?? 0
    }
    progress.begin("checking objects", expected: bytes(chosen))
    // In parts, so that an interrupted run keeps its progress.
    for start in stride(from: 0, to: chosen.count, by: ScrubCursor.step) {
      let part = chosen[start..<min(chosen.count, start + ScrubCursor.step)]
      damaged.merge(try check.run(on: Set(part))) { first, _ in first }
      outcome.objectsChecked += part.count
      outcome.bytesChecked += bytes(part)
      // Findings are recorded before the objects count as read.
      if damaged.isEmpty { note(part.last) }
    }
    outcome.lastSampled = chosen.last
    return damaged
  }

  /// The level that a run without findings proves. Tables need an identity.
  private var level: CheckRecord.Level {
    switch extent {
    case .read: repository.hasReadableContents ? .read : .scrub
    case .quick, .sample: .quick
    }
  }

  /// Records the position of the sample.
  private func note(_ last: ObjectName?) {
    guard let last else { return }
    do { try ScrubCursor(after: last).save(in: repository.store) } catch { progress.note("where to go on could not be noted: \(error)") }
  }

  private func record(_ snapshot: SnapshotOutcome, _ checksums: ChecksumFile?, _ elapsed: Duration) throws {
    var record = CheckRecord(
      level: snapshot.level, ok: snapshot.problems.isEmpty,
      damagedObjects: snapshot.problems.isEmpty ? nil : Set(snapshot.problems.compactMap(\.object)).sorted(),
      checkedAt: now(), seconds: elapsed.inSeconds, host: Host.name, firn: Firn.version)
    if snapshot.level == .read { record.checksums = checksums?.digest.description }
    try repository.catalog.record(record, of: snapshot.place)
  }
}
