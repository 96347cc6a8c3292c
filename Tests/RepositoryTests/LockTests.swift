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
    #expect(throws: RepositoryError.self) { try RepositoryLock(.exclusive, on: store, purpose: "prune") }
    first.release()
    second.release()
    let alone = try RepositoryLock(.exclusive, on: store, purpose: "prune")
    #expect(throws: RepositoryError.self) { try RepositoryLock(.shared, on: store, purpose: "one") }
    #expect(throws: RepositoryError.self) { try RepositoryLock(.exclusive, on: store, purpose: "prune") }
    alone.release()
    #expect(try store.list("locks/").isEmpty)
  }

  /// A lock file as another process would have written it.
  private func record(
    _ store: MemoryStore, mode: String = "exclusive", host: String = Host.name, process: Int32 = Host.processID,
    start: UInt64? = Host.startTime(of: Host.processID), boot: String = Host.bootID, refreshedAt: Date = Date()
  ) throws {
    let json: [String: Any] = [
      "mode": mode, "host": host, "process": process, "processStart": start ?? 0, "boot": boot, "purpose": "another",
      "createdAt": "2026-01-01T00:00:00Z", "refreshedAt": ISO8601DateFormatter().string(from: refreshedAt),
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
    #expect(throws: RepositoryError.self) { try RepositoryLock(.exclusive, on: store, purpose: "mine") }
  }

  @Test func `of other machines hold while they are refreshed`() throws {
    let store = MemoryStore()
    try record(store, host: "elsewhere", refreshedAt: Date(timeIntervalSinceNow: -600))
    #expect(throws: RepositoryError.self) { try RepositoryLock(.shared, on: store, purpose: "mine") }
    try record(store, host: "elsewhere", refreshedAt: Date(timeIntervalSinceNow: -3600))
    try RepositoryLock(.shared, on: store, purpose: "mine").release()
  }

  @Test func `that can't be read count until they are old`() throws {
    let store = MemoryStore()
    try store.write(Array("{\"mode\": \"excl".utf8), to: "locks/x.json", durability: .immediate)
    #expect(throws: RepositoryError.self) { try RepositoryLock(.shared, on: store, purpose: "mine", now: { Date() }) }
    try RepositoryLock(.shared, on: store, purpose: "mine", now: { Date(timeIntervalSinceNow: 3600) }).release()
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

  @Test func `that can't be written keep nobody from reading, and let nobody commit`() throws {
    let store = MemoryStore()
    store.refuseWrites(with: .readOnly(location: "memory", reason: "read-only"))
    let lock = try RepositoryLock(.shared, on: store, purpose: "verify")
    #expect(throws: RepositoryError.lockLost) { try lock.check() }
    lock.release()
    #expect(throws: StoreError.self) { try RepositoryLock(.exclusive, on: store, purpose: "prune") }
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
}
