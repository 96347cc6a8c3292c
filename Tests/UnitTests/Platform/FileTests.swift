import Platform
import SystemPackage
import TestSupport
import Testing

@Suite struct `Files and folders` {
  @Test func `are made for their owner alone, and never over another file`() throws {
    let folder = try TemporaryFolder()
    try Folder.make(folder.path("a/b"))
    #expect(try Folder.status(of: folder.path("a"))?.mode == 0o700)
    _ = try File(folder.path("a/b/c"), .create)
    #expect(try Folder.status(of: folder.path("a/b/c"))?.mode == 0o600)
    #expect { _ = try File(folder.path("a/b/c"), .create) } throws: { ($0 as? SystemError)?.number == .fileExists }
    #expect { try Folder.make(folder.path("a/b/c/d")) } throws: { ($0 as? SystemError)?.number == .notDirectory }
  }

  @Test func `in a user's home are written as in a shell`() throws {
    let home = try #require(Host.homeFolder)
    #expect(Host.path("~/a/b") == home.appending("a/b"))
    #expect(Host.path("/~/a") == "/~/a" && Host.path("~a/b") == "~a/b" && Host.path("a/~/b") == "a/~/b" && Host.path("") == "")
  }

  @Test func `are made by many threads at once`() throws {
    let folder = try TemporaryFolder()
    let failure = FirstFailure()
    for round in 0..<200 {
      let threads = (0..<4).map { number in
        WorkerThread(name: "maker") {
          failure.capture { try Folder.make(folder.path("round \(round)/a/b/\(number)")) }
        }
      }
      for thread in threads { thread.join() }
    }
    #expect(failure.error == nil)
  }

  @Test func `are removed with all contents, except the target of a link`() throws {
    let folder = try TemporaryFolder()
    let precious = try folder.write("precious", to: "precious")
    try Folder.make(folder.path("tree/deep"))
    _ = try ProgramResult.run("/bin/ln", ["-s", precious.string, folder.path("tree/link").string], environment: [:])
    _ = try ProgramResult.run("/bin/ln", ["-s", folder.path.string, folder.path("tree/deep/up").string], environment: [:])
    try Folder.removeTree(folder.path("tree"))
    #expect(try Folder.names(in: folder.path) == ["precious"])
  }

  @Test func `give their space back behind the reader and keep their length`() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("hole")
    try Folder.write([UInt8](repeating: 7, count: 1 << 20), to: path)
    let file = try File(path, .readWrite)
    let punched = file.punchHole(from: 0, count: 1 << 19)
    #expect(punched)
    #expect(try Folder.status(of: path)?.size == 1 << 20)
    #expect(try Folder.status(of: path)?.allocated ?? .max <= (1 << 19) + 8192)
    #expect(try file.read(count: 1, from: 0) == [0])
    #expect(try file.read(count: 10, from: (1 << 20) - 1) == [7])
  }

  @Test func `are watched from making to closing`() throws {
    let folder = try TemporaryFolder()
    let watch = try FolderWatch(folder.path)
    try Folder.write([1], to: folder.path("x"))
    #expect(try watch.next(timeout: .seconds(5)) == [.created("x"), .written("x")])
    #expect(try watch.next(timeout: .zero) == [])
  }

  @Test func `count bytes wherever they stand`() {
    let bytes: [UInt8] = [10, 1, 10, 10, 2, 10]
    #expect(bytes.span.count(of: 10) == 4)
    #expect(bytes.span.extracting(1..<2).count(of: 10) == 0)
    #expect([UInt8]().span.count(of: 10) == 0)
  }
}
