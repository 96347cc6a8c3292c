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

  @Test func `in memory does what every store has to`() throws {
    let faults = try StoreConformance.faults(of: MemoryStore(), scratch: try TemporaryFolder())
    #expect(faults.isEmpty, "\(faults)")
  }

  @Test func `in a folder never waits for a FIFO, nor follows a folder put in a file's place`() throws {
    let folder = try TemporaryFolder()
    let store = LocalStore(root: folder.path)
    try Folder.makeFIFO(folder.path("fifo"))
    try Folder.make(folder.path("folder"))
    for key in ["fifo", "folder"] {
      #expect(throws: StoreError.notAFile(key)) { try store.read(key, limit: 10) }
      #expect(throws: StoreError.notAFile(key)) { try store.read(key, from: 0, count: 1) }
      #expect(throws: StoreError.notAFile(key)) { try store.size(of: key) }
    }
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
