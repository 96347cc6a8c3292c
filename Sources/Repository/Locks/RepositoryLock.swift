package import Foundation
package import Platform
internal import Synchronization

/// A lock on a repository. Snapshots and verifications share it; a process that deletes holds it exclusively.
///
/// Each holder has a file under `locks/`. A process writes its file, then looks for conflicting ones, and deletes its
/// file again if there are any. Of two processes that start together, at least one sees the other. A lock of this
/// machine counts while its process is alive (identified by start time and boot). A lock of another machine counts
/// while it is refreshed, by the store's clock, so a wrong clock never makes a live process look dead. If a live
/// process is nevertheless taken for dead, for example after its machine was suspended, it finds a mark that its lock
/// was broken, and stops.
package final class RepositoryLock: Sendable {
  package enum Mode: String, Codable, Sendable { case shared, exclusive }

  private struct Record: Codable, Sendable {
    var mode: Mode
    var host: String
    var machine: String
    var boot: String
    var space: String
    var process: Int32
    var processStart: UInt64
    var purpose: String
    var createdAt: Date
    var refreshedAt: Date
  }

  package static let root = "locks/"
  /// Locks that others broke.
  private static let broken = "locks/broken/"
  /// Marks of processes that wait for the exclusive lock. New shared locks wait a short time, so that a prune gets
  /// its turn between frequent snapshots.
  private static let waiting = "locks/waiting/"
  /// The time that a new shared lock waits because of such a mark; shorter if it only reads. Then it is taken
  /// anyway, so that no backup fails because a prune waits.
  private static let courtesy: (writer: Duration, reader: Duration) = (.seconds(30), .seconds(5))
  /// Seconds after which a waiting mark no longer counts: it is longer than any exclusive lock waits.
  private static let waitingExpiry: TimeInterval = 120
  /// Seconds after which the mark of a broken lock is deleted: no process is expected to look for it any more.
  private static let longestAbsence: TimeInterval = 30 * 86400
  /// Reserved space for a lock on a full disk: without a lock nothing could be removed.
  static let reserve: StoreKey = "reserve"
  private static let reserveBytes = [UInt8](repeating: 0x20, count: 64 << 10)
  /// Seconds. A lock of another machine that was not refreshed for this long belongs to a dead process.
  private static let expiry: TimeInterval = 30 * 60
  /// Seconds that a server may take to carry out a request, counted from the last refresh of the lock of the process that sent it.
  private static let settling: TimeInterval = 180

  private static func mayAnswerLate(_ store: any Store) -> Bool { store.requestsAtOnce > 1 }

  private let store: any Store
  private let mode: Mode
  private let key: StoreKey
  private let record: Record
  private let owner: LockOwner
  /// Whether locks of dead processes were found. Their leftovers may be removed.
  package let foundDeadHolders: Bool
  /// Why the lock file could not be written; nil if it was.
  private let refusal: StoreError?
  private var isWritten: Bool { refusal == nil }
  /// Whether a request to delete is unanswered.
  private let hasUnanswered = Monitor(false)
  private let endRefreshing = Mutex<(@Sendable () -> Void)?>(nil)

  /// Takes the lock, and waits up to `patience` for conflicting holders.
  /// - Parameter onlyReads: whether the holder only reads, so that late deletions of other processes cannot affect what it writes.
  /// - Throws: `RepositoryError.locked`.
  package init(
    _ mode: Mode, on store: any Store, purpose: String, patience: Duration = .seconds(0), onlyReads: Bool = false, owner: LockOwner = .current
  ) throws {
    self.store = store
    self.mode = mode
    self.owner = owner
    key = "\(Self.root)\(mode.rawValue)-\(owner.newName()).json"
    let now = owner.now()
    record = Record(
      mode: mode, host: owner.process.host, machine: owner.process.machine, boot: owner.process.boot, space: owner.process.space,
      process: owner.process.process, processStart: owner.process.start, purpose: purpose, createdAt: now, refreshedAt: now)
    // If this removes a file that another machine is writing, that machine writes it again.
    store.clearDeadWrites(under: Self.root)
    let deadline = ContinuousClock.now + patience
    let courtesyEnd = ContinuousClock.now + (onlyReads ? Self.courtesy.reader : Self.courtesy.writer)
    let waitingMark = Self.waiting + key.dropFirst(Self.root.count)
    var isMarked = false
    defer { if isMarked { try? store.delete([waitingMark]) } }
    var holdsBack = mode == .shared
    var dead = 0
    var refusal: StoreError?
    while true {
      let conflict: Conflict?
      do {
        refusal = try Self.write(try JSON.bytes(record), to: key, in: store, mode)
        conflict = try Self.conflict(
          with: mode, except: key, in: store, owner, isWritten: refusal == nil, onlyReads: onlyReads, holdsBack: holdsBack, dead: &dead)
      } catch {
        // The file may exist in spite of the error.
        try? store.delete([key])
        throw error
      }
      guard let conflict else { break }
      // A process without the right to delete leaves its file, which counts as dead soon.
      do { try store.delete([key]) } catch StoreError.readOnly {} catch StoreError.locked {}
      switch conflict {
      case .waiting:
        // Wait without a lock file, which would block the waiting process.
        repeat { holdsBack = try owner.waits(courtesyEnd) } while try holdsBack && Self.isAwaited(in: store, owner)
      case .holder(let words):
        if mode == .exclusive, patience > .zero, !isMarked {
          isMarked = true
          try? store.write(JSON.bytes(record), to: waitingMark, durability: .deferred)
        }
        guard try owner.waits(deadline) else {
          if mode == .exclusive { try? Self.makeReserve(in: store) }
          throw RepositoryError.locked(holder: words)
        }
      }
    }
    foundDeadHolders = dead > 0
    self.refusal = refusal
    guard refusal == nil else { return }
    let end = owner.repeats { [self] in refresh() }
    endRefreshing.withLock { $0 = end }
  }

  /// Refreshes the lock file. A broken lock stays broken.
  private func refresh() {
    guard (try? check()) != nil else { return }
    var refreshed = record
    refreshed.refreshedAt = owner.now()
    if let bytes = try? JSON.bytes(refreshed) { try? store.refresh(key, with: bytes) }
  }

  /// Writes a lock file; on a full disk in the reserved space.
  /// - Returns: why it could not be written. A reader continues without a lock file, and notices if files disappear.
  private static func write(_ bytes: [UInt8], to key: StoreKey, in store: any Store, _ mode: Mode) throws -> StoreError? {
    do {
      // The holder of an exclusive lock removes unfinished writes, including this one. Then it is written again.
      for _ in 0..<5 {
        do { try store.write(bytes, to: key, durability: .immediate) } catch StoreError.missing { continue }
        return nil
      }
      throw StoreError.missing(key)
    } catch StoreError.full(let location) {
      guard mode == .exclusive else { return .full(location: location) }
      try store.delete([reserve])
      do { try store.write(bytes, to: key, durability: .immediate) } catch { throw StoreError.full(location: location) }
      return nil
    } catch StoreError.readOnly(let location, let reason) {
      guard mode == .shared else { throw StoreError.readOnly(location: location, reason: reason) }
      return .readOnly(location: location, reason: reason)
    }
  }

  /// Reserves space for a lock, if that is not done yet.
  static func makeReserve(in store: any Store) throws { _ = try store.create(reserveBytes, at: reserve) }

  /// - Throws: `RepositoryError.lockLost` if the lock file is gone: another process took this one for dead.
  package func check() throws {
    // This runs after an interruption too: cleaning up depends on it.
    let mark = Monitor<Result<Bool, any Error>?>(nil)
    @Sendable func lookForMark() { mark.update { [store, key] in $0 = Result { try store.size(of: Self.broken(key)) != nil } } }
    if store.requestsAtOnce > 1 {
      let thread = WorkerThread(name: "lock") { lookForMark() }
      defer { thread.join() }
      if try store.size(of: key) == nil { throw RepositoryError.lockLost }
    } else {
      if try store.size(of: key) == nil { throw RepositoryError.lockLost }
      lookForMark()
    }
    if try mark.current?.get() ?? false { throw RepositoryError.lockLost }
  }

  /// Whether locks were broken whose holders may still be alive.
  static func wereBroken(in store: any Store) throws -> Bool { try !store.list(broken).isEmpty }

  /// For operations that write.
  /// - Throws: `StoreError` if not even the lock file could be written.
  package func requireWritten() throws { if let refusal { throw refusal } }

  /// As `check()`, but passes if the lock file could not be written: for operations that only read.
  package func checkIfWritten() throws { if isWritten { try check() } }

  /// A name that no other lock has.
  var name: String { String(key.dropFirst(Self.root.count).dropLast(5)) }

  private static func broken(_ key: StoreKey) -> StoreKey { broken + key.dropFirst(root.count) }

  /// Breaks the lock of a holder that may be alive, and leaves the mark that it looks for.
  package static func takeAway(_ holder: Holder, in store: any Store) throws { try store.rename(holder.key, as: broken(holder.key)) }

  /// Records whether a request to delete is unanswered. A server may still carry it out, so the lock file stays, and the next process waits.
  package func note(isUnanswered: Bool) { hasUnanswered.update { $0 = isUnanswered } }

  /// Releases the lock. Further calls do nothing.
  /// - Returns: why the lock file could not be deleted; nil if it was.
  @discardableResult package func release() -> (any Error)? {
    let end = endRefreshing.withLock { end in
      defer { end = nil }
      return end
    }
    guard let end else { return nil }
    end()
    if hasUnanswered.current, Self.mayAnswerLate(store) { return nil }
    var failure: (any Error)?
    for _ in 0..<3 {
      do {
        try store.delete([key])
        failure = nil
        break
      } catch {
        failure = error
        // The store has already repeated the request.
        if case StoreError.unreachable = error { break }
      }
    }
    // The lock may have used the reserve.
    if mode == .exclusive, (try? store.size(of: RepositoryFormat.key)) != nil { try? Self.makeReserve(in: store) }
    return failure
  }

  /// A reason why a lock cannot be taken.
  private enum Conflict {
    /// A conflicting lock, with a description of its holder.
    case holder(String)
    /// An exclusive lock that waits for its turn.
    case waiting
  }

  /// Whether an exclusive lock waits for its turn.
  private static func isAwaited(in store: any Store, _ owner: LockOwner) throws -> Bool {
    try store.list(waiting).contains { isAwaited($0, in: store, owner, now: owner.now().timeIntervalSince1970) }
  }

  /// An unreadable mark is ignored: a mark is only a request to wait.
  private static func isAwaited(_ entry: StoreEntry, in store: any Store, _ owner: LockOwner, now: TimeInterval) -> Bool {
    guard abs(now - entry.modified) < waitingExpiry,
      let record = try? JSON.decoder.decode(Record.self, from: Data(store.read(entry.key, limit: 1 << 16)))
    else { return false }
    return liveness(of: record, owner) != .dead
  }

  /// Finds a lock that conflicts with `mode`. Locks of dead processes are removed.
  private static func conflict(
    with mode: Mode, except own: StoreKey, in store: any Store, _ owner: LockOwner, isWritten: Bool, onlyReads: Bool, holdsBack: Bool,
    dead: inout Int
  ) throws -> Conflict? {
    let entries = try store.list(root)
    // Our file was just written, so its time is the store's current time.
    let now = entries.first { $0.key == own }?.modified ?? owner.now().timeIntervalSince1970
    // On a read-only store no process can delete, so failures are ignored. If only deleting is refused, dead locks
    // stay and block no process.
    /// - Returns: whether it was done.
    func clear(_ body: () throws -> Void) throws -> Bool {
      do {
        try body()
        return true
      } catch let error as StoreError {
        switch error {
        case .readOnly where mode == .shared, .locked where mode == .shared: return false
        case _ where isWritten: throw error
        default: return false
        }
      }
    }
    /// Breaks the lock of a process that may be alive.
    /// - Returns: whether that process will notice; also true if nothing can be written, because then no process can go on deleting.
    func breakLock(_ key: StoreKey) throws -> Bool {
      let isBroken = try clear {
        do { try store.rename(key, as: broken(key)) } catch StoreError.full {
          // The mark may use the reserve. If that is gone as well, the lock file is deleted without a mark: the process
          /// notices, unless it is just writing the file again.
          if mode == .exclusive { try store.delete([reserve]) }
          do { try store.rename(key, as: broken(key)) } catch StoreError.full { try store.delete([key]) }
        }
      }
      // The mark may exist although the lock file could not be deleted.
      return try isBroken || !isWritten || store.size(of: broken(key)) != nil
    }
    var isAwaited = false
    for entry in entries where entry.key != own {
      if entry.key.hasPrefix(broken) {
        if now - entry.modified > longestAbsence { _ = try clear { try store.delete([entry.key]) } }
        continue
      }
      if entry.key.hasPrefix(waiting) {
        if Self.isAwaited(entry, in: store, owner, now: now) {
          isAwaited = true
        } else if now - entry.modified > waitingExpiry {
          _ = try clear { try store.delete([entry.key]) }
        }
        continue
      }
      let bytes: [UInt8]
      // A missing file was released. An unreadable one, such as another user's, counts as held.
      do { bytes = try store.read(entry.key, limit: 1 << 16) } catch StoreError.missing { continue } catch {
        return .holder("a lock that can't be read, \(entry.key)")
      }
      guard let record = try? JSON.decoder.decode(Record.self, from: Data(bytes)) else {
        // Its holder is unknown: it counts until it is old.
        if now - entry.modified > expiry, try breakLock(entry.key) { continue }
        return .holder("an unreadable lock, \(entry.key)")
      }
      switch liveness(of: record, owner) {
      case .alive: break
      case .dead:
        if record.mode == .exclusive, mayAnswerLate(store), abs(now - entry.modified) < settling {
          // Pending deletions concern files that no snapshot names.
          if onlyReads { continue }
          return .holder(
            "\(record.purpose), process \(record.process) on \(record.host), which ended while deleting files: "
              + "the store may still be deleting files for it; try again in \(Int(entry.modified + settling - now)) s")
        }
        if try clear({ try store.delete([entry.key]) }) { dead += 1 }
        continue
      case .unknown:
        // A process that cannot learn that its lock is broken may wake up and continue.
        guard now - entry.modified > expiry, try breakLock(entry.key) else { break }
        if isWritten { dead += 1 }
        continue
      }
      if mode == .exclusive || record.mode == .exclusive {
        return .holder("\(record.purpose), process \(record.process) on \(record.host)")
      }
    }
    return isAwaited && holdsBack ? .waiting : nil
  }

  /// A lock file of a store.
  package struct Holder: Sendable {
    package let key: StoreKey
    package let mode: Mode?
    /// A description of the holder.
    package let words: String
    package let createdAt: Date
    package let refreshedAt: Date
    /// Whether its process is alive. One on another machine that is not refreshed any more counts as dead.
    package let liveness: Liveness
  }

  /// All locks of a store, including dead ones.
  package static func holders(in store: any Store, now: Date = Date()) throws -> [Holder] {
    let owner = LockOwner.current
    return try store.list(root).filter { !$0.key.hasPrefix(broken) && !$0.key.hasPrefix(waiting) }.map { entry in
      let modified = Date(timeIntervalSince1970: entry.modified)
      guard let bytes = try? store.read(entry.key, limit: 1 << 16), let record = try? JSON.decoder.decode(Record.self, from: Data(bytes)) else {
        return Holder(key: entry.key, mode: nil, words: "one that can't be read", createdAt: modified, refreshedAt: modified, liveness: .unknown)
      }
      var liveness = Self.liveness(of: record, owner)
      if liveness == .unknown, now.timeIntervalSince(modified) > expiry { liveness = .dead }
      return Holder(
        key: entry.key, mode: record.mode, words: "\(record.purpose), process \(record.process) on \(record.host)", createdAt: record.createdAt,
        refreshedAt: modified, liveness: liveness)
    }
  }

  private static func liveness(of record: Record, _ owner: LockOwner) -> Liveness {
    ProcessIdentity(
      host: record.host, machine: record.machine, boot: record.boot, space: record.space, process: record.process, start: record.processStart
    ).liveness(seenBy: owner.process, startTime: owner.startTime)
  }
}
