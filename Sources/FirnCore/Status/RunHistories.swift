package import Foundation
internal import Platform
package import Repository

/// The runs of commands, as far as a machine knows them: those it ran itself, and those that the store remembers.
package struct RunHistories: Sendable {
  /// A run, and whether it was killed: it is said to be at work, and its process is gone.
  package struct Known: Sendable {
    package let run: PastRun
    /// To the millisecond.
    package let startedAt: Date
    package let wasKilled: Bool

    /// Whether it is worth a look.
    package var isFailure: Bool { wasKilled || run.outcome == .failure || !(run.failures ?? []).isEmpty }
  }

  private struct Entry {
    let entry: RunHistory.Entry
    let history: RunHistory
  }

  /// This machine's own.
  package static var local: RunHistory { RunHistory(in: LocalStore(root: StateFolder.path)) }

  private let entries: [Entry]
  private let location: String

  /// - Parameter store: nil if the store can't be reached.
  package init(store: (any Store)?, location: String) {
    self.location = location
    // This machine's are first: in an encrypted store, records have no error messages.
    var seen: Set<String> = []
    var found: [Entry] = []
    for history in [Self.local] + [store.map { RunHistory(in: $0) }].compactMap(\.self) {
      let entries = (try? history.entries()) ?? []
      for entry in entries where !seen.contains(entry.id) { found.append(Entry(entry: entry, history: history)) }
      seen.formUnion(entries.filter { $0.outcome != .running }.map(\.id))
    }
    entries = found.filter { $0.entry.outcome != .running || !seen.contains($0.entry.id) }
      .sorted { ($0.entry.startedAt, $0.entry.id) > ($1.entry.startedAt, $1.entry.id) }
  }

  /// The runs about this store, the newest first, until `body` has enough.
  /// - Parameters:
  ///   - mayMatter: whether a run is to be read, by what a listing shows of it.
  ///   - body: returns whether it wants more.
  package func forEach(where mayMatter: (RunHistory.Entry) -> Bool = { _ in true }, _ body: (Known) throws -> Bool) throws {
    for known in entries where mayMatter(known.entry) {
      guard let run = known.history.run(known.entry), run.store == location else { continue }
      guard try body(Known(run: run, startedAt: known.entry.startedAt, wasKilled: run.process?.isDead ?? false)) else { return }
    }
  }

  /// Runs whose failure still matters: failed snapshots, and of each other job the last run if that failed.
  /// - Parameter newest: when the oldest of the databases' newest snapshots began.
  package func lastFailures(since newest: Date) -> [Known] {
    var found: [Known] = []
    var settled: Set<String> = []
    var count = 0
    let jobs: Set<String> = ["snapshot", "verify", "drill", "prune", "copy"]
    try? forEach { entry in
      jobs.contains(entry.job) && !settled.contains(entry.job) && (entry.job != "snapshot" || entry.startedAt >= newest)
        && !(entry.job == "snapshot" && entry.outcome == .success)
    } _: { known in
      count += 1
      let run = known.run
      if run.outcome == .running && !known.wasKilled {
        settled.insert(run.job)
      } else if run.outcome != .cancelled {
        if run.job != "snapshot" { settled.insert(run.job) }
        if known.isFailure { found.append(known) }
      }
      return count < 60
    }
    return found
  }
}

extension PastRun.Process: ProcessNote {
  var isDead: Bool { isOfDeadProcess }
}
