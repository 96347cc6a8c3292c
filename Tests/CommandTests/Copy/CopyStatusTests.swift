import Platform
import SystemPackage
import TestSupport
import Testing

@Suite struct `The status of copies` {
  @Test func `reports snapshots that only the copy has, and ones dated by a wrong clock`() throws {
    let place = try Workplace.withNotes()
    let (name, copy, aside) = (place.database, place.folder.path("copy"), place.folder.path("aside"))
    let configured = try place.folder.write("copies: ['\(copy)']\n", to: "firn.yaml").string
    func snapshot() throws -> CommandResult { try place.snapshot("--config", configured) }
    func status() throws -> String { try place.firn("status", "--config", configured).output }
    #expect(try snapshot().status == 0)
    #expect(try !status().contains("\(copy)"))

    // The store is put back to what it was.
    _ = try Workplace.run("/bin/cp", ["-a", place.store.string, aside.string], environment: [:])
    #expect(try snapshot().status == 0)
    try Folder.removeTree(place.store)
    try Folder.rename(aside, to: place.store)
    #expect(try status().contains("\(copy) has 1 newer snapshot that is not here"))
    #expect(try place.firn("copy", "--from", copy.string, "--to", place.store.string).status == 0)
    #expect(try !status().contains("\(copy)"))

    // One that is dated later than now, and was taken away here alone, stands for no newest there.
    let before = try Set(place.listedSnapshots())
    _ = try place.run(clock: ["-f", "+60d"], "firn-snapshot", ["--config", configured])
    let wrong = try #require(Set(place.listedSnapshots()).subtracting(before).first)
    let other = "\(name)_other"
    let restored = try place.restore(name, "latest", "--as", other)
    #expect(restored.status == 0 && restored.errors.contains("\(wrong) is dated later than now"), "\(restored)")
    let words = "the clock is right, remove 1 snapshot of \(name)"
    #expect(try place.prune(name, "--remove", wrong, "--apply", "--confirm", words).status == 0)
    _ = try place.takeSnapshot()
    #expect(try status().contains("the copies in \(copy) are 1 snapshot behind"))
    let caught = try snapshot()
    #expect(caught.errors.contains("including 1 snapshot that it lacked"), "\(caught)")

    // It is not mounted.
    try Folder.rename(copy, to: aside)
    #expect(try status().contains("\(copy) no longer holds a repository"))
  }
}
