internal import Platform
package import Repository

/// The rules that every store driver has to follow. Each check returns a list of violations.
package struct StoreConformance {
  private let store: any Store
  private var faults: [String] = []

  private init(_ store: any Store) { self.store = store }

  /// Runs every check on an empty store.
  /// - Parameter scratch: a folder for temporary files.
  package static func faults(of store: any Store, scratch: TemporaryFolder) throws -> [String] {
    var check = StoreConformance(store)
    try check.reading()
    try check.writing(scratch)
    try check.creating()
    try check.listing()
    try check.settingAside()
    try check.deleting()
    try check.severalAtOnce()
    return check.faults
  }

  private mutating func expect(_ holds: Bool, _ what: String) { if !holds { faults.append(what) } }

  private mutating func expect(_ error: StoreError, _ what: String, _ body: () throws -> Void) {
    do {
      try body()
      faults.append("\(what): no error")
    } catch let found as StoreError {
      expect(found == error, "\(what): \(found)")
    } catch {
      faults.append("\(what): \(error)")
    }
  }

  private mutating func reading() throws {
    let store = store
    expect(.missing("a/none"), "reads what is missing") { _ = try store.read("a/none", limit: 10) }
    expect(.missing("a/none"), "reads a part of what is missing") { _ = try store.read("a/none", from: 0, count: 1) }
    expect(try store.size(of: "a/none") == nil, "returns a size for a missing file")
    try store.write(Array(0...9), to: "a/ten", durability: .immediate)
    expect(try store.read("a/ten", limit: 10) == Array(0...9), "reads other bytes than were written")
    expect(.tooLarge("a/ten"), "reads more than the limit") { _ = try store.read("a/ten", limit: 9) }
    expect(try store.read("a/ten", from: 3, count: 4) == [3, 4, 5, 6], "reads another part")
    expect(try store.read("a/ten", from: 10, count: 0).isEmpty, "reads no bytes at the end")
    expect(.truncated("a/ten"), "reads beyond the end") { _ = try store.read("a/ten", from: 8, count: 3) }
    expect(try store.size(of: "a/ten") == 10, "returns a wrong size")
  }

  private mutating func writing(_ scratch: TemporaryFolder) throws {
    try store.write([1, 2, 3], to: "w/x", durability: .deferred)
    expect(try store.read("w/x", limit: 9) == [1, 2, 3], "hides a deferred write")
    try store.write([4], to: "w/x", durability: .deferred)
    expect(try store.read("w/x", limit: 9) == [4], "does not replace")
    try store.write([], to: "w/empty", durability: .immediate)
    expect(try store.size(of: "w/empty") == 0, "cannot hold an empty file")
    let large = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
    let path = scratch.path("large")
    try Folder.write(large, to: path)
    try store.write(contentsOf: path, to: "w/deep/er/large")
    expect(try store.read("w/deep/er/large", limit: 1 << 22) == large, "stores another file than it was given")
    try store.flush()
    try store.flush()
    for name in ["%20x", "a-b_c.d", "ID.zst", String(repeating: "n", count: 200)] {
      try store.write(Array(name.utf8), to: "names/\(name)", durability: .deferred)
      expect(try store.read("names/\(name)", limit: 300) == Array(name.utf8), "loses the name \(name)")
    }
  }

  private mutating func creating() throws {
    expect(try store.create([1], at: "c/one"), "does not create")
    expect(try !store.create([2], at: "c/one"), "creates twice")
    expect(try store.read("c/one", limit: 9) == [1], "creates over what is there")
  }

  private mutating func settingAside() throws {
    try store.write([1], to: "s/one", durability: .immediate)
    try store.write([2], to: "s/two", durability: .immediate)
    expect(try store.rename("s/one", as: "s/deep/er/three"), "does not set aside")
    expect(try store.rename("s/deep/er/three", as: "s/two"), "does not set aside in place of another")
    expect(try store.read("s/two", limit: 9) == [1] && store.list("s/").count == 1, "leaves what it set aside")
    expect(try !store.rename("s/one", as: "s/two"), "sets aside what isn't there")
    expect(try store.read("s/two", limit: 9) == [1], "loses the target although there was nothing to rename")
  }

  private mutating func listing() throws {
    for key in ["l/b", "l/a/2", "l/a/1", "l/a-b", "l/ab/1"] { try store.write([7, 7], to: key, durability: .deferred) }
    let keys = try store.list("l/").map(\.key)
    expect(keys.sorted() == ["l/a-b", "l/a/1", "l/a/2", "l/ab/1", "l/b"], "lists otherwise: \(keys)")
    expect(keys.firstIndex(of: "l/a/1").map { keys.dropFirst($0 + 1).first == "l/a/2" } ?? false, "lists what is in one folder apart: \(keys)")
    expect(try store.list("l/a/").map(\.key) == ["l/a/1", "l/a/2"], "lists what only begins alike")
    expect(try store.list("l/a/").map(\.size) == [2, 2], "lists other sizes")
    expect(try store.list("nothing/").isEmpty, "lists what isn't there")
    expect(try Set(store.list("").map(\.key)).isSuperset(of: ["l/b", "c/one"]), "does not list everything")
    for number in 0..<1100 { try store.write([1], to: "many/\(number)", durability: .deferred) }
    expect(try store.list("many/").count == 1100, "lists no more than a page")
  }

  private mutating func deleting() throws {
    try store.delete(["l/a/1", "l/none", "none/none"])
    expect(try store.list("l/a/").map(\.key) == ["l/a/2"], "does not delete, or deletes others")
    try store.delete(["l/a/2"])
    expect(try store.list("l/a/").isEmpty && store.list("l/").count == 3, "loses its neighbours")
    try store.delete(store.list("many/").map(\.key))
    expect(try store.list("many/").isEmpty, "does not delete many")
    try store.removeLeftovers()
    expect(try store.size(of: "l/b") == 2, "takes a file for a leftover")
  }

  private mutating func severalAtOnce() throws {
    let store = store
    let failure = FirstFailure()
    let created = Monitor(0)
    let threads = (0..<4).map { thread in
      WorkerThread(name: "store") {
        failure.capture {
          for number in 0..<25 {
            try store.write([UInt8(thread)], to: "t/\(thread)/\(number)", durability: .deferred)
            // All write the same: none must see half of it.
            try store.write([UInt8](repeating: UInt8(number), count: 5000), to: "t/same", durability: .deferred)
            let seen = try store.read("t/same", limit: 5000)
            if Set(seen).count != 1 || seen.count != 5000 { throw StoreError.truncated("t/same") }
            if try store.create([1], at: "t/created-\(number)") { created.update { $0 += 1 } }
          }
        }
      }
    }
    for thread in threads { thread.join() }
    expect(failure.error == nil, "fails under several threads: \(String(describing: failure.error))")
    expect(created.current == 25, "creates one key \(created.current) times instead of 25")
    expect(try store.list("t/").count == 126, "loses files under several threads")
  }
}
