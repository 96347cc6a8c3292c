package import Foundation
internal import Platform
internal import Synchronization

/// A lock on a repository: snapshots and verifications share it, whoever deletes holds it alone.
///
/// A file per holder under `locks/`. Each writes its own, then looks for others that conflict, and withdraws where there is
/// one: of two that come at once at least one sees the other. A lock of this machine counts while its process lives
/// (told apart by start time and boot); a lock of another machine while it is refreshed, by the store's clock, so that a
/// clock that is wrong takes nobody for dead. Who is taken for dead all the same, as after its machine stood still, finds a
/// mark that its lock was broken, whatever it wrote in its place since.
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

  private static let root = "locks/"
  /// Locks that others broke.
  private static let broken = "locks/broken/"
  /// Marks of exclusive locks that wait: new shared ones hold back, so that a prune gets its turn beside frequent snapshots.
  private static let waiting = "locks/waiting/"
  /// How long a new shared lock holds back, and one that only reads. Then it goes ahead: no backup fails because a prune waits.
  private static let courtesy: (writer: Duration, reader: Duration) = (.seconds(30), .seconds(5))
  /// Seconds after which a waiting mark no longer counts: it is longer than any exclusive lock waits.
  private static let waitingExpiry: TimeInterval = 120
  /// Seconds after which nobody comes back to look for its lock.
  private static let longestAbsence: TimeInterval = 30 * 86400
  /// Room for a lock on a disk that is full: without a lock nothing could be removed.
  static let reserve: StoreKey = "reserve"
  private static let reserveBytes = [UInt8](repeating: 0x20, count: 64 << 10)
  /// A lock of another machine that is not refreshed for this long is of a dead process.
  private static let expiry: TimeInterval = 30 * 60
  /// How long a server may take to carry out what it was asked for, in seconds from the last refreshing of who asked.
  private static let settling: TimeInterval = 180

  private static func mayAnswerLate(_ store: any Store) -> Bool { store.requestsAtOnce > 1 }

  private let store: any Store
  private let mode: Mode
  private let key: StoreKey
  private let record: Record
  private let owner: LockOwner
  /// Whether locks of dead processes were found: what these left may be cleared away.
  package let foundDeadHolders: Bool
  /// Why it could not be written; nil where it was.
  private let refusal: StoreError?
  private var isWritten: Bool { refusal == nil }
  /// Whether the store was asked to delete something, and has not answered.
  private let hasUnanswered = Monitor(false)
  private let endRefreshing = Mutex<(@Sendable () -> Void)?>(nil)

  /// Takes the lock, waiting up to `patience` for those who hold it.
  /// - Parameter onlyReads: whether its holder writes nothing that others' late deletions could meet.
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
      mode: mode, host: owner.host, machine: owner.machine, boot: owner.boot, space: owner.space, process: owner.process,
      processStart: owner.processStart, purpose: purpose, createdAt: now, refreshedAt: now)
    // Of one that another machine is writing: it writes it again.
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
        // It may have been written all the same.
        try? store.delete([key])
        throw error
      }
      guard let conflict else { break }
      // Who may not delete leaves it: it is of a process that ended soon.
      do { try store.delete([key]) } catch StoreError.readOnly {} catch StoreError.locked {}
      switch conflict {
      case .waiting:
        // Without a lock of our own meanwhile, which would be in the way of the one that waits.
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

  /// Shows that its holder lives. One that was broken stays so.
  private func refresh() {
    guard (try? check()) != nil else { return }
    var refreshed = record
    refreshed.refreshedAt = owner.now()
    if let bytes = try? JSON.bytes(refreshed) { try? store.refresh(key, with: bytes) }
  }

  /// Writes a lock file; on a full disk, in the room kept for it.
  /// - Returns: why nothing can be written: who only reads goes on, and finds out should what it reads go away.
  private static func write(_ bytes: [UInt8], to key: StoreKey, in store: any Store, _ mode: Mode) throws -> StoreError? {
    do {
      // Who holds the store alone clears away what is half written, this too: then once more.
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

  /// Keeps room for a lock, where there is none yet.
  static func makeReserve(in store: any Store) throws { _ = try store.create(reserveBytes, at: reserve) }

  /// - Throws: `RepositoryError.lockLost` where it is no longer there: somebody took this process for dead.
  package func check() throws {
    // Also where somebody has interrupted: who clears up has to know.
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

  /// Whether locks were broken whose holders may come back.
  static func wereBroken(in store: any Store) throws -> Bool { try !store.list(broken).isEmpty }

  /// For those who are going to write more than a lock.
  /// - Throws: `StoreError` where not even that could be written.
  package func requireWritten() throws { if let refusal { throw refusal } }

  /// As `check()`, where the lock could be written at all: for those who only read.
  package func checkIfWritten() throws { if isWritten { try check() } }

  /// What no other lock is called.
  var name: String { String(key.dropFirst(Self.root.count).dropLast(5)) }

  private static func broken(_ key: StoreKey) -> StoreKey { broken + key.dropFirst(root.count) }

  /// Takes a lock from a holder that may live, and lets it know.
  package static func takeAway(_ holder: Holder, in store: any Store) throws { try store.setAside(holder.key, as: broken(holder.key)) }

  /// Keeps in mind whether the store was asked to delete something, and has not answered. A server may carry out later what it was asked
  /// for, so such a lock is left where it is: who comes next waits for that.
  package func note(isUnanswered: Bool) { hasUnanswered.update { $0 = isUnanswered } }

  /// Gives the lock back. Further calls do nothing.
  /// - Returns: why its file is still there; nil where it is not.
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
        // It was asked for long enough.
        if case StoreError.unreachable = error { break }
      }
    }
    // Where a full disk has taken it.
    if mode == .exclusive, (try? store.size(of: RepositoryFormat.key)) != nil { try? Self.makeReserve(in: store) }
    return failure
  }

  /// What keeps a lock from being taken.
  private enum Conflict {
    /// A lock that excludes it: its holder in words.
    case holder(String)
    /// An exclusive lock that waits for its turn.
    case waiting
  }

  /// Whether an exclusive lock waits for its turn.
  private static func isAwaited(in store: any Store, _ owner: LockOwner) throws -> Bool {
    try store.list(waiting).contains { entry in
      do { return try isAwaited(entry, in: store, owner, now: owner.now().timeIntervalSince1970) } catch let error as StoreError {
        if error.isOfOneFile { return false }
        throw error
      }
    }
  }

  private static func isAwaited(_ entry: StoreEntry, in store: any Store, _ owner: LockOwner, now: TimeInterval) throws -> Bool {
    guard abs(now - entry.modified) < waitingExpiry,
      let record = try? JSON.decoder.decode(Record.self, from: Data(store.read(entry.key, limit: 1 << 16)))
    else { return false }
    return isAlive(record, owner) ?? true
  }

  /// What excludes a lock of `mode`. Locks of dead processes are cleared away.
  private static func conflict(
    with mode: Mode, except own: StoreKey, in store: any Store, _ owner: LockOwner, isWritten: Bool, onlyReads: Bool, holdsBack: Bool,
    dead: inout Int
  ) throws -> Conflict? {
    let entries = try store.list(root)
    // By the store's clock: ours was just written.
    let now = entries.first { $0.key == own }?.modified ?? owner.now().timeIntervalSince1970
    // Where nothing can be written nobody deletes. Where nothing can be deleted dead locks stay, and are in nobody's way.
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
    /// Takes a lock from who may come back.
    /// - Returns: whether it finds out. Where nothing can be written nobody goes on deleting.
    func breakLock(_ key: StoreKey) throws -> Bool {
      let isBroken = try clear {
        do { try store.setAside(key, as: broken(key)) } catch StoreError.full {
          // Room for a mark may be what was kept for a lock; where that, too, is gone, nobody finds out.
          if mode == .exclusive { try store.delete([reserve]) }
          do { try store.setAside(key, as: broken(key)) } catch StoreError.full { try store.delete([key]) }
        }
      }
      // The mark may be there, and only the lock beside it have stayed.
      return try isBroken || !isWritten || store.size(of: broken(key)) != nil
    }
    var isAwaited = false
    for entry in entries where entry.key != own {
      if entry.key.hasPrefix(broken) {
        if now - entry.modified > longestAbsence { _ = try clear { try store.delete([entry.key]) } }
        continue
      }
      if entry.key.hasPrefix(waiting) {
        if try Self.isAwaited(entry, in: store, owner, now: now) {
          isAwaited = true
        } else if now - entry.modified > waitingExpiry {
          _ = try clear { try store.delete([entry.key]) }
        }
        continue
      }
      let bytes: [UInt8]
      // One that is gone was given back; one that can't be read, as another user's, is held.
      do { bytes = try store.read(entry.key, limit: 1 << 16) } catch StoreError.missing { continue } catch {
        return .holder("a lock that can't be read, \(entry.key)")
      }
      guard let record = try? JSON.decoder.decode(Record.self, from: Data(bytes)) else {
        // Whose it is can't be told: it counts until it is old.
        if now - entry.modified > expiry, try breakLock(entry.key) { continue }
        return .holder("an unreadable lock, \(entry.key)")
      }
      switch isAlive(record, owner) {
      case true?: break
      case false?:
        if record.mode == .exclusive, mayAnswerLate(store), abs(now - entry.modified) < settling {
          // What is to be deleted is named by no snapshot.
          if onlyReads { continue }
          return .holder(
            "\(record.purpose), process \(record.process) on \(record.host), which ended in the middle of deleting: "
              + "what it asked the store for may be under way for \(Int(entry.modified + settling - now)) s")
        }
        if try clear({ try store.delete([entry.key]) }) { dead += 1 }
        continue
      case nil:
        // One that can't be told that it is broken may come back, and go on.
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
    let owner = LockOwner.current
    return try store.list(root).filter { !$0.key.hasPrefix(broken) && !$0.key.hasPrefix(waiting) }.map { entry in
      let modified = Date(timeIntervalSince1970: entry.modified)
      guard let bytes = try? store.read(entry.key, limit: 1 << 16), let record = try? JSON.decoder.decode(Record.self, from: Data(bytes)) else {
        return Holder(key: entry.key, mode: nil, words: "one that can't be read", createdAt: modified, refreshedAt: modified, isAlive: nil)
      }
      let isAlive = Self.isAlive(record, owner) ?? (now.timeIntervalSince(modified) > expiry ? false : nil)
      return Holder(
        key: entry.key, mode: record.mode, words: "\(record.purpose), process \(record.process) on \(record.host)", createdAt: record.createdAt,
        refreshedAt: modified, isAlive: isAlive)
    }
  }

  /// Whether the process that a record names is there; nil for one of another machine, or of another container of this.
  private static func isAlive(_ record: Record, _ owner: LockOwner) -> Bool? {
    owner.tellsAlive(
      host: record.host, machine: record.machine, boot: record.boot, space: record.space, process: record.process, start: record.processStart)
  }
}
