import Foundation
import Platform
import Repository
import SystemPackage
import TestSupport
import Testing

@Suite struct `A store` {
  @Test func `in a folder does what every store has to`() throws {
    let folder = try TemporaryFolder()
    let faults = try StoreConformance.faults(of: LocalStore(root: folder.path("store")), scratch: folder)
    #expect(faults.isEmpty, "\(faults)")
  }

  @Test func `in a bucket does what every store has to`() throws {
    let server = try TestObjectServer.shared.get()
    let location = try S3Location(server.location(try server.makeBucket()), environment: [:])
    let store = S3Store(location, environment: TestObjectServer.environment())
    let faults = try StoreConformance.faults(of: store, scratch: try TemporaryFolder())
    #expect(faults.isEmpty, "\(faults)")
  }

  @Test func `on a file server does what every store has to`() throws {
    let server = try TestFileServer.shared.get()
    let store = SFTPStore(try SFTPLocation(server.location(server.makeName()), environment: [:]))
    let faults = try StoreConformance.faults(of: store, scratch: try TemporaryFolder())
    #expect(faults.isEmpty, "\(faults)")
  }

  @Test func `in a folder asks again before it deletes more, once time has passed`() throws {
    struct Lost: Error {}
    let folder = try TemporaryFolder()
    let store = LocalStore(root: folder.path("store"))
    let keys = ["a", "b", "c"]
    for key in keys { try store.write([1], to: key, durability: .deferred) }
    let asked = Monitor(0)
    #expect(throws: Lost.self) {
      try store.delete(keys) {
        asked.update { $0 += 1 }
        if asked.current > 1 { throw Lost() }
        // As a machine that is suspended.
        Thread.sleep(forTimeInterval: 1.1)
      }
    }
    #expect(try keys.filter { try store.size(of: $0) != nil } == ["b", "c"])
  }

  @Test func `on a file server gives back what was there when a file's replacement was cut off, and clears the rest away`() throws {
    let server = try TestFileServer.shared.get()
    let name = server.makeName()
    let store = SFTPStore(try SFTPLocation(server.location(name), environment: [:]))
    try store.write([1], to: "a/one", durability: .immediate)
    try store.write([2], to: "a/two", durability: .immediate)
    let folder = server.path(name).appending("a")
    // Cut off between the two steps; after them; and while something was uploaded.
    try Folder.rename(folder.appending("one"), to: folder.appending(".former-one"))
    try Folder.write([9], to: folder.appending(".former-two"))
    try Folder.write([9], to: folder.appending(".writing-1-2"))
    #expect(try store.list("").map(\.key) == ["a/one", "a/two"])
    #expect(try store.size(of: "a/one") == 1 && store.read("a/one", limit: 9) == [1] && store.read("a/two", limit: 9) == [2])
    try Folder.rename(folder.appending("one"), to: folder.appending(".former-one"))
    #expect(try !store.create([3], at: "a/one"))
    try Folder.rename(folder.appending("one"), to: folder.appending(".former-one"))
    try store.removeLeftovers()
    #expect(try Set(Folder.names(in: folder).map(\.description)) == ["one", "two"])
    // A deleted file does not come back.
    try Folder.write([9], to: folder.appending(".former-two"))
    try store.delete(["a/two"])
    #expect(try store.size(of: "a/two") == nil && store.list("a/").map(\.key) == ["a/one"])
  }

  @Test func `on a file server gives times by that server's clock, whatever its listings show`() throws {
    let server = try TestFileServer.shared.get()
    let store = SFTPStore(try SFTPLocation(server.location(server.makeName()), environment: [:]))
    try store.write([1], to: "locks/x", durability: .immediate)
    let listed = try #require(try store.list("").first)
    #expect(abs(listed.modified - Date().timeIntervalSince1970) < 120, "\(listed)")
    try store.refresh("locks/x", with: [1])
    #expect(try store.read("locks/x", limit: 9) == [1, 0x20])
  }

  @Test func `in memory does what every store has to`() throws {
    let faults = try StoreConformance.faults(of: MemoryStore(), scratch: try TemporaryFolder())
    #expect(faults.isEmpty, "\(faults)")
  }

  @Test func `in a folder never waits for a FIFO, nor follows a folder put in a file's place`() throws {
    let folder = try TemporaryFolder()
    let store = LocalStore(root: folder.path)
    try folder.makeFIFO("fifo")
    try Folder.make(folder.path("folder"))
    for key in ["fifo", "folder"] {
      #expect(throws: StoreError.notAFile(key)) { try store.read(key, limit: 10) }
      #expect(throws: StoreError.notAFile(key)) { try store.read(key, from: 0, count: 1) }
      #expect(throws: StoreError.notAFile(key)) { try store.size(of: key) }
    }
  }

  @Test func `in a folder never gives a part of the snapshots for all of them`() throws {
    let folder = try TemporaryFolder()
    let store = LocalStore(root: folder.path)
    try store.write([1], to: "snapshots/s/d/x", durability: .immediate)
    _ = try ProgramResult.run(
      "/bin/sh", ["-c", "printf 'x' > \"$FOLDER/snapshots/s/$(printf '\\377')\""], environment: ["FOLDER": folder.path.string])
    let unknown = StoreError.unreachable(
      location: store.location, reason: "\(store.location)/snapshots/s holds a name that is not UTF-8, \u{fffd}, so its content is unknown")
    #expect(throws: unknown) { try store.list("snapshots/") }
    #expect(throws: unknown) { try GarbageCollector(store: store).collect() }
  }

  @Test func `in a folder clears away what cut-off writes left, and nothing else`() throws {
    let folder = try TemporaryFolder()
    let store = LocalStore(root: folder.path)
    try store.write([1], to: "objects/ab/x", durability: .immediate)
    try folder.write("half", to: ".writing-1-2")
    try Folder.write([1], to: folder.path("objects/ab").appending(".writing-3-4"))
    #expect(try store.list("").map(\.key) == ["objects/ab/x"])
    try store.removeLeftovers()
    #expect(try Set(filesByPath(under: folder.path).keys) == ["objects", "objects/ab", "objects/ab/x"])
  }
}
