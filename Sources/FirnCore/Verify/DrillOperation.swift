internal import Digests
package import Foundation
internal import Platform
package import Repository

/// Drills snapshots one after the other, and records what came of it beside each.
package struct DrillOperation {
  private let repository: Repository
  private let request: DrillRequest
  private let progress: WorkProgress
  private let now: @Sendable () -> Date

  package init(repository: Repository, request: DrillRequest, progress: WorkProgress, now: @escaping @Sendable () -> Date = { Date() }) {
    self.repository = repository
    self.request = request
    self.progress = progress
    self.now = now
  }

  /// - Throws: `RepositoryError.locked`, and interruptions. Findings of a drill, and obstacles to it, are in its
  ///   outcome.
  package func run(on places: [SnapshotPath]) throws -> [DrillOutcome] {
    let lock = try StoreHousekeeping(store: repository.store).sharedLock(purpose: "firn-verify --drill", onlyReads: true)
    defer { lock.release() }
    return try repository.catalog.stillThere(places).map { place in
      let start = ContinuousClock.now
      var outcome = DrillOutcome(place: place)
      var damaged: [String]?
      do {
        outcome = try Drill(repository: repository, request: request, progress: progress).run(on: place)
      } catch let error as SnapshotDamaged {
        let problem = SnapshotCheck.problem(error.cause)
        damaged = problem.object.map { [$0] }
        outcome.differences = error.tables.map { "\($0): damaged" } + [[problem.object, problem.reason].compactMap(\.self).joined(separator: ": ")]
      } catch RepositoryError.malformed(let key, let reason) {
        outcome.differences = ["\(key): \(reason)"]
      } catch FirnError.restoredCopyDiffers(let differences) {
        outcome.differences = differences
      } catch let failed as Drill.Failure {
        outcome.failure = failed.message
      } catch let error where !(error is Interruption) {
        // The next may be another matter.
        outcome.obstacle = error
        return outcome
      }
      if !outcome.differences.isEmpty {
        // Findings made while another process deleted are not reliable.
        do {
          try lock.checkIfWritten()
          _ = try repository.catalog.stillThere([place])
        } catch let error where !(error is Interruption) {
          outcome = DrillOutcome(place: place)
          outcome.obstacle = error
          return outcome
        }
      }
      // Files that were only read count as verified by reading. If nothing could be restored, nothing is verified.
      let isWhole = outcome.notRestored.isEmpty || outcome.lacksOnlyJobs
      let level: CheckRecord.Level = outcome.failure != nil ? .quick : isWhole ? .drill : .read
      var record = CheckRecord(
        level: level, ok: outcome.differences.isEmpty, damagedObjects: damaged, checkedAt: now(), seconds: (ContinuousClock.now - start).inSeconds,
        host: Host.name, firn: Firn.version)
      // Its words may hold rows.
      record.failedDrill = outcome.failure.map { repository.format.isEncrypted ? "pg_restore could not restore it" : $0 }
      record.restoreSeconds = outcome.restoreSeconds > 0 ? outcome.restoreSeconds : nil
      record.tool = outcome.tool
      record.checksums = (try? repository.catalog.checksums(of: place))?.digest.description
      // The snapshot equals what was dumped: unmet expectations about its content are separate.
      // Findings may contain rows and are stored unencrypted.
      // These name objects of the database, like a list of its tables.
      let incomparable = outcome.incomparable
      record.reservations = incomparable.isEmpty ? nil : repository.format.isEncrypted ? ["\(incomparable.count) not shown here"] : incomparable
      record.unfilledViews = outcome.unfilledViews.isEmpty || repository.format.isEncrypted ? nil : outcome.unfilledViews
      let unmet = repository.format.isEncrypted ? outcome.unmetAssertions.map { _ in "an assertion does not hold" } : outcome.unmetAssertions
      record.unmetAssertions = unmet.isEmpty ? nil : unmet
      do { try repository.catalog.record(record, of: place) } catch { outcome.unrecorded = error }
      return outcome
    }
  }
}
