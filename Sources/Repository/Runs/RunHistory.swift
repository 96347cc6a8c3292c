package import Foundation
internal import Platform

/// The runs of commands, each a small file under `runs/`. Its key has what a listing needs, `STAMP-JOB-OUTCOME-ID.json`, where the stamp
/// is that of a snapshot's id with milliseconds. The job of a run over several databases ends in `.all`.
package struct RunHistory: Sendable {
  /// A run in a listing.
  package struct Entry: Sendable {
    let key: StoreKey
    package let startedAt: Date
    package let job: String
    /// Whether it was one over several databases that came to its end.
    package let isOfSeveral: Bool
    package let outcome: PastRun.Outcome
    package let id: String

    init?(_ key: StoreKey) {
      let parts = key.dropFirst(RunHistory.folder.count).split(separator: "-", maxSplits: 3)
      guard key.hasPrefix(RunHistory.folder), key.hasSuffix(".json"), parts.count == 4, let outcome = PastRun.Outcome(rawValue: String(parts[2]))
      else { return nil }
      guard let start = SnapshotSelector.time(String(parts[0].prefix(15))), let milliseconds = Double(parts[0].dropFirst(15).prefix(3)) else {
        return nil
      }
      self.key = key
      startedAt = start + milliseconds / 1000
      isOfSeveral = parts[1].hasSuffix(RunHistory.ofSeveral)
      job = String(isOfSeveral ? parts[1].dropLast(RunHistory.ofSeveral.count) : parts[1])
      self.outcome = outcome
      id = String(parts[3].dropLast(5))
    }
  }

  static let folder = "runs/"
  fileprivate static let ofSeveral = ".all"
  private static let sizeLimit = 1 << 20

  private let store: any Store
  private let limit: Int

  /// - Parameter limit: the number of runs that are kept.
  package init(in store: any Store, limit: Int = 1000) {
    self.store = store
    self.limit = limit
  }

  private static func key(_ run: PastRun) -> StoreKey {
    "\(folder)\(stamp(run.startedAt))-\(run.job)\(run.succeeded == nil ? "" : ofSeveral)-\(run.outcome.rawValue)-\(run.id.uuidString.lowercased()).json"
  }

  private static func stamp(_ date: Date) -> String {
    let milliseconds = Int((date.timeIntervalSince1970 * 1000).rounded(.down)) % 1000
    return "\(SnapshotID.stamp(date).dropLast())\(String(milliseconds + 1000).dropFirst())Z"
  }

  /// Remembers a run. One that is written twice, because it was running, is remembered as it was last.
  package func write(_ run: PastRun) throws {
    let key = Self.key(run)
    try store.write(try JSON.bytes(run), to: key, durability: .immediate)
    guard run.outcome != .running else { return }
    let known = try entries()
    let earlier = known.filter { $0.id == run.id.uuidString.lowercased() && $0.key != key }
    let forgotten = (earlier + known.dropFirst(limit)).map(\.key)
    if !forgotten.isEmpty { try store.delete(forgotten) }
  }

  /// All runs, the newest first.
  package func entries() throws -> [Entry] {
    var found: [Entry] = []
    try store.list(Self.folder) { entry in
      if entry.isFile, let run = Entry(entry.key) { found.append(run) }
    }
    return found.sorted { $0.key > $1.key }
  }

  /// Nil if it can't be read: other machines may be removing it, and nothing depends on it.
  package func run(_ entry: Entry) -> PastRun? {
    guard let bytes = try? store.read(entry.key, limit: Self.sizeLimit) else { return nil }
    return try? JSON.decoder.decode(PastRun.self, from: Data(bytes))
  }
}
