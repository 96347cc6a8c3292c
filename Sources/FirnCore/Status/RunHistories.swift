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

    /// The same with those failures alone whose sources fit.
    fileprivate func keepingFailures(where fits: (String?) -> Bool) -> Known {
      var run = run
      run.failures = run.failures?.filter { fits($0.source) }
      return Known(run: run, startedAt: startedAt, wasKilled: wasKilled)
    }

    /// Whether it is worth a look.
    package var isFailure: Bool { wasKilled || run.outcome == .failure || !(run.failures ?? []).isEmpty }
  }

  private struct Entry {
    let entry: RunHistory.Entry
    let history: RunHistory
    let isLocal: Bool
  }

  /// This machine's own.
  package static var local: RunHistory { RunHistory(in: LocalStore(root: StateFolder.path)) }

  private let entries: [Entry]
  private let location: String

  /// - Parameter store: nil if the store can't be reached.
  package init(store: (any Store)?, location: String) {
    self.location = location
    var found: [Entry] = []
    for (history, isLocal) in [(Self.local, true)] + [store.map { (RunHistory(in: $0), false) }].compactMap(\.self) {
      found += ((try? history.entries()) ?? []).map { Entry(entry: $0, history: history, isLocal: isLocal) }
    }
    // This machine's come first: in an encrypted store, records have no error messages. A run that ended is no longer running.
    let ended = Set(found.filter { $0.entry.outcome != .running }.map(\.entry.id))
    entries = found.filter { $0.entry.outcome != .running || !ended.contains($0.entry.id) }.sorted {
      ($0.entry.startedAt, $0.entry.id, $0.isLocal ? 1 : 0) > ($1.entry.startedAt, $1.entry.id, $1.isLocal ? 1 : 0)
    }
  }

  /// The runs about this store, the newest first, until `body` has enough.
  /// - Parameters:
  ///   - mayMatter: whether a run is to be read, by what a listing shows of it.
  ///   - body: returns whether it wants more.
  package func forEach(where mayMatter: (RunHistory.Entry) -> Bool = { _ in true }, _ body: (Known) throws -> Bool) throws {
    var seen: Set<String> = []
    for known in entries where mayMatter(known.entry) && !seen.contains(known.entry.id) {
      // The records in a store are about that store, even if it was reached by another path.
      guard let run = known.history.run(known.entry), !known.isLocal || run.store == location else { continue }
      seen.insert(known.entry.id)
      guard try body(Known(run: run, startedAt: known.entry.startedAt, wasKilled: run.process?.isDead ?? false)) else { return }
    }
  }

  /// Exit codes that say nothing about backups: wrong usage, and a mistyped name.
  private static func isMistake(_ run: PastRun) -> Bool {
    run.exitCode.map { $0 == 64 || $0 == 10 && run.job != "snapshot" } ?? false
  }

  /// Runs whose failure still matters: failed snapshots, and of each other job the last run if that failed. Damage that a verification
  /// found is a problem of the snapshot.
  /// - Parameter newest: when the oldest of the databases' newest snapshots began.
  package func lastFailures(since newest: Date) -> [Known] {
    var found: [Known] = []
    var settled: Set<String> = []
    // Servers of which a later run over all their databases came to its end. Machines may share a store, and names.
    var settledServers: Set<String> = []
    let jobs: Set<String> = ["snapshot", "verify", "drill", "prune", "copy"]
    var count = 0
    try? forEach { entry in
      guard jobs.contains(entry.job), !settled.contains(entry.job) else { return false }
      if entry.job != "snapshot" { return true }
      return entry.isOfSeveral || entry.outcome != .success && entry.startedAt >= newest
    } _: { known in
      count += 1
      let run = known.run
      if run.outcome == .cancelled || Self.isMistake(run) { return count < Self.mostRead }
      if run.outcome == .running && !known.wasKilled {
        if run.job != "snapshot" { settled.insert(run.job) }
      } else if run.job != "snapshot" {
        settled.insert(run.job)
        if known.isFailure && !(run.exitCode == 4 && ["verify", "drill"].contains(run.job)) { found.append(known) }
      } else if run.database == nil {
        let servers = Set((run.servers ?? []).isEmpty ? [""] : run.servers ?? [])
        let open = servers.filter { !settledServers.contains("\(run.host)/\($0)") }
        if known.isFailure && !open.isEmpty { found.append(known.keepingFailures { open.contains($0 ?? "") || run.servers == nil }) }
        settledServers.formUnion(servers.map { "\(run.host)/\($0)" })
      } else if known.isFailure {
        found.append(known)
      }
      return count < Self.mostRead
    }
    return found
  }

  private static let mostRead = 200
}

extension PastRun.Process: ProcessNote {
  var isDead: Bool { isOfDeadProcess }
}
