internal import Digests
package import Foundation
internal import Platform
package import Repository

/// How much of a store is looked at.
package enum VerifyExtent: Sendable, Equatable {
  /// Every object there, of the right size.
  case quick
  /// Every object read once, and the tables of each snapshot that were not proven before.
  case read
  /// As `quick`, and this share of all objects read, from 0 to 1: others each time, until all were.
  case sample(Double)

}

/// Looks whether snapshots are what they were when they were made.
package struct VerifyOperation {
  /// A damage, named as precisely as it can be.
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
    package let place: SnapshotPlace
    package let problems: [Problem]
    /// What was looked at.
    package let level: CheckRecord.Level
    /// Whether the identities at hand do not open it.
    package var isClosed = false
    /// What an earlier verification found, and this one did not look at closely enough to say that it is mended; in words.
    package var standingFinding: String?
    package var isSound: Bool { problems.isEmpty && standingFinding == nil }
  }

  package struct Outcome: Sendable {
    package var snapshots: [SnapshotOutcome] = []
    package var objectsChecked = 0
    package var bytesChecked: Int64 = 0
    package var elapsed: Duration = .zero
    /// Snapshots whose tables an earlier run had read, from the very bytes that were found again.
    package var provenBefore = 0
    /// Why results could not be recorded beside their snapshots: whoever looks later does not know of them.
    package var unrecorded: (any Error)?
    /// Where a sample ended.
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

  /// Checks snapshots and records the result beside each.
  package func run(on places: [SnapshotPlace]) throws -> Outcome {
    let clock = ContinuousClock.now
    let lock = try StoreMaintenance(store: repository.store).sharedLock(purpose: "firn-verify", onlyReads: true)
    defer { lock.release() }
    let places = try repository.catalog.stillThere(places)
    progress.begin("reading what the snapshots consist of")
    var outcome = Outcome()
    var checksums: [SnapshotPlace: Result<ChecksumFile, any Error>] = [:]
    for place in places { checksums[place] = Result { try repository.catalog.checksums(of: place) } }
    let readable = checksums.compactMapValues { try? $0.get() }
    let readsTables = extent == .read && repository.hasReadableContents
    let proven = extent == .read ? Set(readable.filter { isProven($0.key, $0.value) }.keys) : []
    outcome.provenBefore = proven.count
    // What tables are read from is decoded by that.
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
          // It is another's: what can be told without an identity is told.
          snapshot = .init(place: place, problems: try check.run(checksums[place]!.get(), opens: false), level: min(level, .scrub), isClosed: true)
        } else if SnapshotCheck.isFinding(error) {
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
    // An identity that opens nothing is the wrong one.
    if let wrongIdentity, outcome.isSound, outcome.snapshots.allSatisfy(\.isClosed) { throw wrongIdentity }
    outcome.elapsed = ContinuousClock.now - clock
    // What was found while others deleted says nothing.
    try lock.checkIfWritten()
    // A store that can't be written has no lock that others would see.
    try outcome.snapshots.removeAll { try !$0.problems.isEmpty && repository.catalog.wasRemoved($0.place) }
    for snapshot in outcome.snapshots {
      // What is not listed is no snapshot to say anything of.
      if case .failure(StoreError.missing) = checksums[snapshot.place]! { continue }
      do { try record(snapshot, readable[snapshot.place], outcome.elapsed) } catch { outcome.unrecorded = error }
    }
    note(outcome.lastSampled)
    return outcome
  }

  private func addStandingFindings(to outcome: inout Outcome) throws {
    // Who reads every byte says what counts from now on.
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

  /// Whether its tables were read whole by an earlier run, and it consists of the same bytes as then.
  private func isProven(_ place: SnapshotPlace, _ checksums: ChecksumFile) -> Bool {
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
    let chosen = ScrubCursor.load(from: repository.store, objectsAreSealed: repository.format.isSealed).next(share: share, of: objects) {
      sizes[$0] ?? 0
    }
    progress.begin("checking objects", expected: bytes(chosen))
    // In parts, so that a run that is cut off has done what it did.
    for start in stride(from: 0, to: chosen.count, by: ScrubCursor.step) {
      let part = chosen[start..<min(chosen.count, start + ScrubCursor.step)]
      damaged.merge(try check.run(on: Set(part))) { first, _ in first }
      outcome.objectsChecked += part.count
      outcome.bytesChecked += bytes(part)
      // A finding is recorded before what it was found in counts as read.
      if damaged.isEmpty { note(part.last) }
    }
    outcome.lastSampled = chosen.last
    return damaged
  }

  /// What a run without findings proves. Without an identity tables can't be read.
  private var level: CheckRecord.Level {
    switch extent {
    case .read: repository.hasReadableContents ? .read : .scrub
    case .quick, .sample: .quick
    }
  }

  /// Notes how far the reading of samples has come.
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
