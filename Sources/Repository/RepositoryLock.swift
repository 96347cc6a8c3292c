package import Foundation
internal import Platform
internal import Synchronization

/// A lock on a repository: snapshots and verifications share it, whoever deletes holds it alone.
///
/// A file per holder under `locks/`. Each writes its own, then looks for others that conflict, and withdraws where there is
/// one: of two that come at once at least one sees the other. A lock of this machine counts while its process lives
/// (told apart by start time and boot); a lock of another machine while it is refreshed.
package final class RepositoryLock: Sendable {
  package enum Mode: String, Codable, Sendable { case shared, exclusive }

  private struct Record: Codable, Sendable {
    var mode: Mode
    var host: String
    var process: Int32
    var processStart: UInt64
    var boot: String
    var purpose: String
    var createdAt: Date
    var refreshedAt: Date
  }

  private static let root = "locks/"
  /// Room for a lock on a disk that is full: without a lock nothing could be removed.
  private static let reserve: StoreKey = "reserve"
  private static let reserveBytes = [UInt8](repeating: 0x20, count: 64 << 10)
  /// A lock of another machine that is not refreshed for this long is of a dead process.
  private static let expiry: TimeInterval = 30 * 60
  private static let refreshInterval: Duration = .seconds(300)

  private let store: any Store
  private let mode: Mode
  private let key: StoreKey
  /// Whether locks of dead processes were found: what these left may be cleared away.
  package let foundDeadHolders: Bool
  private let released = Monitor(false)
  private let refresher = Mutex<WorkerThread?>(nil)

  /// Takes the lock, waiting up to `patience` for those who hold it.
  /// - Throws: `RepositoryError.locked`.
  package init(
    _ mode: Mode, on store: any Store, purpose: String, patience: Duration = .seconds(0), now: @escaping @Sendable () -> Date = { Date() }
  ) throws {
    self.store = store
    self.mode = mode
    key = "\(Self.root)\(mode.rawValue)-\(UUID().uuidString.lowercased()).json"
    let record = Record(
      mode: mode, host: Host.name, process: Host.processID, processStart: Host.startTime(of: Host.processID) ?? 0,
      boot: Host.bootID, purpose: purpose, createdAt: now(), refreshedAt: now())
    // Of one that another machine is writing: it writes it again.
    store.clearDeadWrites(under: Self.root)
    let deadline = ContinuousClock.now + patience
    var dead = 0
    var isWritten: Bool
    while true {
      isWritten = try Self.write(try JSON.bytes(record), to: key, in: store, mode)
      guard let holder = try Self.conflict(with: mode, except: key, in: store, now: now(), dead: &dead) else { break }
      try store.delete([key])
      guard ContinuousClock.now < deadline else { throw RepositoryError.locked(holder: holder) }
      try Interruption.check()
      Thread.sleep(forTimeInterval: Double.random(in: 0.1...0.5))
    }
    foundDeadHolders = dead > 0
    guard isWritten else { return }
    let thread = WorkerThread(name: "lock") { [store, key, released] in
      while !released.wait(atMost: Self.refreshInterval, until: { $0 }) {
        var refreshed = record
        refreshed.refreshedAt = now()
        if let bytes = try? JSON.bytes(refreshed) { try? store.write(bytes, to: key, durability: .deferred) }
      }
    }
    refresher.withLock { $0 = thread }
  }

  /// Writes a lock file; on a full disk, in the room kept for it.
  /// - Returns: false where nothing can be written: who only reads goes on, and finds out should what it reads go away.
  private static func write(_ bytes: [UInt8], to key: StoreKey, in store: any Store, _ mode: Mode) throws -> Bool {
    do {
      // Who holds the store alone clears away what is half written, this too: then once more.
      for _ in 0..<5 {
        do { try store.write(bytes, to: key, durability: .immediate) } catch StoreError.missing { continue }
        return true
      }
      throw StoreError.missing(key)
    } catch StoreError.full(let location) {
      guard mode == .exclusive else { return false }
      try store.delete([reserve])
      do { try store.write(bytes, to: key, durability: .immediate) } catch { throw StoreError.full(location: location) }
      return true
    } catch StoreError.readOnly(let location, let reason) {
      guard mode == .shared else { throw StoreError.readOnly(location: location, reason: reason) }
      return false
    }
  }

  /// Keeps room for a lock, where there is none yet.
  static func makeReserve(in store: any Store) throws { _ = try store.create(reserveBytes, at: reserve) }

  /// - Throws: `RepositoryError.lockLost` where it is no longer there: somebody took this process for dead.
  package func check() throws {
    if try store.size(of: key) == nil { throw RepositoryError.lockLost }
  }

  /// Gives the lock back. Further calls do nothing.
  package func release() {
    let thread = refresher.withLock { thread in
      defer { thread = nil }
      return thread
    }
    guard let thread else { return }
    released.update { $0 = true }
    thread.join()
    try? store.delete([key])
    // Where a full disk has taken it.
    if mode == .exclusive, (try? store.size(of: RepositoryFormat.key)) != nil { try? Self.makeReserve(in: store) }
  }

  /// Who holds a lock that excludes one of `mode`, in words. Locks of dead processes are cleared away.
  private static func conflict(with mode: Mode, except own: StoreKey, in store: any Store, now: Date, dead: inout Int) throws -> String? {
    for entry in try store.list(root) where entry.key != own {
      let bytes: [UInt8]
      // One that is gone was given back; one that can't be read, as another user's, is held.
      do { bytes = try store.read(entry.key, limit: 1 << 16) } catch StoreError.missing { continue } catch {
        return "a lock that can't be read, \(entry.key)"
      }
      guard let record = try? JSON.decoder.decode(Record.self, from: Data(bytes)) else {
        // Whose it is can't be told: it counts until it is old.
        if now.timeIntervalSince1970 - entry.modified > expiry {
          try store.delete([entry.key])
          continue
        }
        return "an unreadable lock, \(entry.key)"
      }
      guard isAlive(record, now: now) else {
        try store.delete([entry.key])
        dead += 1
        continue
      }
      if mode == .exclusive || record.mode == .exclusive {
        return "\(record.purpose), process \(record.process) on \(record.host)"
      }
    }
    return nil
  }

  /// A lock as it stands in a store.
  package struct Holder: Sendable {
    package let key: StoreKey
    package let mode: Mode?
    /// Who holds it, in words.
    package let words: String
    package let createdAt: Date
    package let refreshedAt: Date
    /// Whether its process lives, or, on another machine, may live; nil where that can't be told.
    package let isAlive: Bool?
  }

  /// All locks of a store, dead ones too.
  package static func holders(in store: any Store, now: Date = Date()) throws -> [Holder] {
    try store.list(root).map { entry in
      let modified = Date(timeIntervalSince1970: entry.modified)
      guard let bytes = try? store.read(entry.key, limit: 1 << 16), let record = try? JSON.decoder.decode(Record.self, from: Data(bytes)) else {
        return Holder(key: entry.key, mode: nil, words: "one that can't be read", createdAt: modified, refreshedAt: modified, isAlive: nil)
      }
      let isHere = record.host == Host.name
      return Holder(
        key: entry.key, mode: record.mode, words: "\(record.purpose), process \(record.process) on \(record.host)", createdAt: record.createdAt,
        refreshedAt: record.refreshedAt, isAlive: isHere || !isAlive(record, now: now) ? isAlive(record, now: now) : nil)
    }
  }

  private static func isAlive(_ record: Record, now: Date) -> Bool {
    guard record.host == Host.name else { return now.timeIntervalSince(record.refreshedAt) < expiry }
    return record.boot == Host.bootID && Host.startTime(of: record.process) == record.processStart
  }
}
