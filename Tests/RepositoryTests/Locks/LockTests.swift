import Foundation
import Platform
import Repository
import TestSupport
import Testing

@Suite struct `Locks` {
  @Test func `share among snapshots, and are alone for who deletes`() throws {
    let store = MemoryStore()
    let first = try RepositoryLock(.shared, on: store, purpose: "one")
    let second = try RepositoryLock(.shared, on: store, purpose: "two")
    #expect { try RepositoryLock(.exclusive, on: store, purpose: "prune") } throws: { RepositoryError.isLocked($0) }
    first.release()
    second.release()
    let alone = try RepositoryLock(.exclusive, on: store, purpose: "prune")
    #expect { try RepositoryLock(.shared, on: store, purpose: "one") } throws: { RepositoryError.isLocked($0) }
    #expect { try RepositoryLock(.exclusive, on: store, purpose: "prune") } throws: { RepositoryError.isLocked($0) }
    alone.release()
    #expect(try store.list("locks/").isEmpty)
  }

  /// A lock file as another process would have written it.
  private func record(
    _ store: MemoryStore, mode: String = "exclusive", host: String = Host.name, machine: String = Host.machineID, space: String = Host.processSpace,
    process: Int32 = Host.processID,
    start: UInt64? = Host.startTime(of: Host.processID), boot: String = Host.bootID
  ) throws {
    let json: [String: Any] = [
      "mode": mode, "host": host, "machine": machine, "space": space, "process": process, "processStart": start ?? 0, "boot": boot,
      "purpose": "another",
      "createdAt": "2026-01-01T00:00:00Z", "refreshedAt": "2026-01-01T00:00:00Z",
    ]
    try store.write(Array(try JSONSerialization.data(withJSONObject: json)), to: "locks/\(mode)-x.json", durability: .immediate)
  }

  @Test func `of dead processes, of other boots, and of process ids used again are taken over`() throws {
    let store = MemoryStore()
    try record(store, process: 4_000_000)
    let lock = try RepositoryLock(.exclusive, on: store, purpose: "mine")
    #expect(lock.foundDeadHolders)
    lock.release()
    try record(store, boot: "another boot")
    try RepositoryLock(.exclusive, on: store, purpose: "mine").release()
    try record(store, start: 1)
    try RepositoryLock(.exclusive, on: store, purpose: "mine").release()
    try record(store)
    #expect { try RepositoryLock(.exclusive, on: store, purpose: "mine") } throws: { RepositoryError.isLocked($0) }
  }

  @Test func `of dead processes that may have asked a server to delete hold until that is settled`() throws {
    let store = MemoryStore(requestsAtOnce: 8)
    try record(store, process: 4_000_000)
    for mode in [RepositoryLock.Mode.shared, .exclusive] {
      do { _ = try RepositoryLock(mode, on: store, purpose: "mine") } catch RepositoryError.locked(let holder) {
        #expect(holder.contains("ended while deleting files"))
        continue
      }
      Issue.record("\(mode) was let in")
    }
    // Nobody who has to restore waits for that.
    let reader = try RepositoryLock(.shared, on: store, purpose: "mine", onlyReads: true)
    #expect(!reader.foundDeadHolders)
    reader.release()
    #expect(try store.list("locks/").count == 1)
    store.wait(185)
    try RepositoryLock(.shared, on: store, purpose: "mine").release()
    // One that only shared it deletes nothing.
    try record(store, mode: "shared", process: 4_000_000)
    try RepositoryLock(.exclusive, on: store, purpose: "mine").release()
    #expect(try store.list("locks/").isEmpty)
    // A process without an answer leaves it, a process with an answer renames it back.
    for (isUnanswered, left) in [(false, 0), (true, 1)] {
      let lock = try RepositoryLock(.exclusive, on: store, purpose: "mine")
      lock.note(isUnanswered: true)
      lock.note(isUnanswered: isUnanswered)
      lock.release()
      #expect(try store.list("locks/").count == left)
    }
    let folder = MemoryStore()
    let lock = try RepositoryLock(.exclusive, on: folder, purpose: "mine")
    lock.note(isUnanswered: true)
    lock.release()
    #expect(try folder.list("locks/").isEmpty)
  }

  @Test func `of other machines hold while they are refreshed`() throws {
    let store = MemoryStore()
    try record(store, machine: "elsewhere")
    store.wait(600)
    #expect { try RepositoryLock(.shared, on: store, purpose: "mine") } throws: { RepositoryError.isLocked($0) }
    // A clone of this machine, which has another name.
    let cloned = MemoryStore()
    try record(cloned, host: "clone", boot: "another boot")
    #expect { try RepositoryLock(.shared, on: cloned, purpose: "mine") } throws: { RepositoryError.isLocked($0) }
    store.wait(3000)
    let lock = try RepositoryLock(.shared, on: store, purpose: "mine")
    #expect(lock.foundDeadHolders)
    lock.release()
  }

  @Test func `of other containers of this machine hold, though no process of theirs can be seen`() throws {
    let store = MemoryStore()
    try record(store, space: "pid:[1]", process: 4_000_000)
    #expect { try RepositoryLock(.shared, on: store, purpose: "mine") } throws: { RepositoryError.isLocked($0) }
    store.wait(3600)
    try RepositoryLock(.shared, on: store, purpose: "mine").release()
  }

  /// An owner on another machine, whose clock is wrong by so many seconds.
  private func stranger(clockOff seconds: Double = 0, refresh: Monitor<(@Sendable () -> Void)?> = Monitor(nil)) -> LockOwner {
    let here = LockOwner.current
    return LockOwner(
      process: .init(
        host: "elsewhere", machine: "elsewhere", boot: "other", space: here.process.space, process: here.process.process, start: here.process.start),
      now: { Date(timeIntervalSinceNow: seconds) }, newName: here.newName, startTime: here.startTime, waits: here.waits,
      repeats: { body in
        refresh.update { $0 = body }
        return {}
      })
  }

  @Test func `are not broken by machines whose clock is wrong`() throws {
    let store = MemoryStore()
    let mine = try RepositoryLock(.shared, on: store, purpose: "mine")
    for seconds in [-1e6, 1e6] {
      #expect { try RepositoryLock(.exclusive, on: store, purpose: "prune", owner: stranger(clockOff: seconds)) } throws: {
        RepositoryError.isLocked($0)
      }
    }
    try mine.check()
    mine.release()
  }

  @Test func `that were broken are lost, and a late sign of life doesn't bring them back`() throws {
    let store = MemoryStore()
    let refresh = Monitor<(@Sendable () -> Void)?>(nil)
    let asleep = try RepositoryLock(.shared, on: store, purpose: "asleep", owner: stranger(refresh: refresh))
    let key = try #require(try store.list("locks/").first).key
    let bytes = try store.read(key, limit: 1 << 16)
    store.wait(1000)
    refresh.current?()
    store.wait(1000)
    #expect { try RepositoryLock(.exclusive, on: store, purpose: "prune") } throws: { RepositoryError.isLocked($0) }
    store.wait(3600)
    try RepositoryLock(.exclusive, on: store, purpose: "prune").release()
    #expect(throws: RepositoryError.lockLost) { try asleep.check() }
    refresh.current?()
    #expect(throws: RepositoryError.lockLost) { try asleep.check() }
    // A sign of life that was on its way.
    try store.write(bytes, to: key, durability: .immediate)
    #expect(throws: RepositoryError.lockLost) { try asleep.check() }
    asleep.release()
    try RepositoryLock(.exclusive, on: store, purpose: "prune").release()
  }

  @Test func `of dead processes block no reader of a read-only store`() throws {
    let store = MemoryStore()
    try record(store, process: 4_000_000)
    store.refuseWrites(with: .readOnly(location: "memory", reason: "read-only"))
    try RepositoryLock(.shared, on: store, purpose: "restore").release()
    #expect(throws: StoreError.readOnly(location: "memory", reason: "read-only")) { try RepositoryLock(.exclusive, on: store, purpose: "prune") }
  }

  @Test func `of dead processes block no user of a store without deletions, and are reported`() throws {
    let store = MemoryStore()
    try record(store, process: 4_000_000)
    store.refuseDeletions(with: .readOnly(location: "memory", reason: "may not delete"))
    for _ in 0..<2 {
      let lock = try RepositoryLock(.shared, on: store, purpose: "restore")
      #expect(!lock.foundDeadHolders)
      #expect(lock.release() is StoreError)
    }
    #expect(throws: StoreError.readOnly(location: "memory", reason: "may not delete")) { try RepositoryLock(.exclusive, on: store, purpose: "prune") }
    // A stopped process that prunes elsewhere can't learn that its lock was broken, so the lock counts.
    let pruned = MemoryStore()
    try record(pruned, machine: "elsewhere")
    pruned.refuseDeletions(with: .readOnly(location: "memory", reason: "may not delete"))
    pruned.wait(3600)
    #expect { try RepositoryLock(.shared, on: pruned, purpose: "mine") } throws: { RepositoryError.isLocked($0) }
    // As after a copy whose original could not be deleted.
    try pruned.write([1], to: "locks/broken/exclusive-x.json", durability: .immediate)
    try RepositoryLock(.shared, on: pruned, purpose: "mine").release()
  }

  @Test func `that can't be read count until they are old`() throws {
    let store = MemoryStore()
    try store.write(Array("{\"mode\": \"excl".utf8), to: "locks/x.json", durability: .immediate)
    #expect { try RepositoryLock(.shared, on: store, purpose: "mine") } throws: { RepositoryError.isLocked($0) }
    store.wait(3600)
    try RepositoryLock(.shared, on: store, purpose: "mine").release()
  }

  @Test func `never let two in that exclude each other, however they come`() throws {
    let folder = try TemporaryFolder()
    let store = LocalStore(root: folder.path)
    let inside = Monitor<(shared: Int, exclusive: Int)>((0, 0))
    let failures = FirstFailure()
    struct Both: Error {}
    let threads = (0..<6).map { number in
      WorkerThread(name: "locker") {
        failures.capture {
          for _ in 0..<15 {
            let isExclusive = number < 3
            guard let lock = try? RepositoryLock(isExclusive ? .exclusive : .shared, on: store, purpose: "t", patience: .milliseconds(300)) else {
              continue
            }
            defer { lock.release() }
            let now = inside.update { state in
              if isExclusive { state.exclusive += 1 } else { state.shared += 1 }
              return state
            }
            if now.exclusive > 1 || now.exclusive == 1 && now.shared > 0 { throw Both() }
            Thread.sleep(forTimeInterval: 0.002)
            inside.update { if isExclusive { $0.exclusive -= 1 } else { $0.shared -= 1 } }
          }
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(failures.error == nil)
  }

  @Test func `that can't be written block no reader, and allow no commit`() throws {
    let store = MemoryStore()
    store.refuseWrites(with: .readOnly(location: "memory", reason: "read-only"))
    let lock = try RepositoryLock(.shared, on: store, purpose: "verify")
    #expect(throws: RepositoryError.lockLost) { try lock.check() }
    lock.release()
    #expect(throws: StoreError.readOnly(location: "memory", reason: "read-only")) { try RepositoryLock(.exclusive, on: store, purpose: "prune") }
  }

  @Test func `find room on a full disk, so that something can be removed from it`() throws {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    try snapshots.take(["a.dat": [1]], night: 1)
    store.refuseWrites(with: .full(location: "memory"), untilDeleted: "reserve")
    let lock = try RepositoryLock(.exclusive, on: store, purpose: "prune")
    try lock.check()
    #expect(try store.size(of: "reserve") == nil)
    store.refuseWrites(with: nil)
    lock.release()
    #expect(try store.size(of: "reserve") != nil)
  }

  /// This process, with the given wait.
  private func owner(_ waits: @escaping @Sendable (ContinuousClock.Instant) throws -> Bool) -> LockOwner {
    let here = LockOwner.current
    return LockOwner(
      process: here.process, now: here.now, newName: here.newName, startTime: here.startTime, waits: waits, repeats: here.repeats)
  }

  @Test func `that wait for their turn alone get it before shared ones that come later`() throws {
    let store = MemoryStore()
    let events = Monitor<[String]>([])
    let first = try RepositoryLock(.shared, on: store, purpose: "first")
    let prune = WorkerThread(name: "prune") {
      guard let lock = try? RepositoryLock(.exclusive, on: store, purpose: "prune", patience: .seconds(30)) else { return }
      events.update { $0.append("prune") }
      lock.release()
    }
    while try store.list("locks/waiting/").isEmpty { Thread.sleep(forTimeInterval: 0.01) }
    #expect(try RepositoryLock.holders(in: store).filter { $0.mode == .exclusive }.count <= 1)
    let heldBack = Monitor(0)
    let later = WorkerThread(name: "later") { [self] in
      let owner = owner { deadline in
        heldBack.update { $0 += 1 }
        return try LockOwner.current.waits(deadline)
      }
      guard let lock = try? RepositoryLock(.shared, on: store, purpose: "later", patience: .seconds(30), owner: owner) else { return }
      events.update { $0.append("later") }
      lock.release()
    }
    #expect(heldBack.wait(atMost: .seconds(20)) { $0 >= 2 })
    #expect(events.current.isEmpty)
    first.release()
    prune.join()
    later.join()
    #expect(events.current == ["prune", "later"])
    #expect(try store.list("locks/").isEmpty)
  }

  @Test func `hold back for one that waits only for a while, and for no dead one`() throws {
    let store = MemoryStore()
    let first = try RepositoryLock(.shared, on: store, purpose: "first")
    try record(store, process: Host.processID)
    let bytes = try store.read("locks/exclusive-x.json", limit: 1 << 16)
    try store.delete(["locks/exclusive-x.json"])
    try store.write(bytes, to: "locks/waiting/exclusive-x.json", durability: .immediate)
    // Its time is over: a backup does not fail for it.
    try RepositoryLock(.shared, on: store, purpose: "later", owner: owner { _ in false }).release()
    store.wait(200)
    try RepositoryLock(
      .shared, on: store, purpose: "later",
      owner: owner { _ in
        Issue.record("it waits"); return false
      }
    ).release()
    #expect(try store.list("locks/waiting/").isEmpty)
    try record(store, process: 4_000_000)
    let dead = try store.read("locks/exclusive-x.json", limit: 1 << 16)
    try store.delete(["locks/exclusive-x.json"])
    try store.write(dead, to: "locks/waiting/exclusive-x.json", durability: .immediate)
    try RepositoryLock(
      .shared, on: store, purpose: "later",
      owner: owner { _ in
        Issue.record("it waits"); return false
      }
    ).release()
    first.release()
  }
}
