import Repository
import Testing

@Suite struct `A copy beside its store` {
  private func places(_ days: Int...) throws -> [SnapshotPlace] {
    try days.map { day in
      let id = try #require(SnapshotID("202611\(day < 10 ? "0" : "")\(day)T000000Z-aaaa"))
      return SnapshotPlace(source: "s", database: "d", id: id)
    }
  }

  @Test func `lacks what is newer than the newest that both have`() throws {
    func compare(_ here: [SnapshotPlace], _ there: [SnapshotPlace], missing: [SnapshotPlace], foreign: [SnapshotPlace] = []) {
      let found = CopyComparison(here.shuffled(), there.shuffled())
      #expect(found.missing == missing && found.foreign == foreign)
    }
    compare(try places(1, 2, 3), try places(1, 2, 3), missing: [])
    compare(try places(1, 2, 3), [], missing: try places(1, 2, 3))
    // What either has pruned says nothing.
    compare(try places(1, 2, 3), try places(2), missing: try places(3))
    compare(try places(3, 4), try places(1, 2, 3), missing: try places(4))
    // All that both had is gone from one of them.
    compare(try places(4, 5), try places(1, 2, 3), missing: try places(4, 5))
    // One that is dated later than now stands for nothing where it is not in both.
    compare(try places(1, 2, 3), try places(1, 30), missing: try places(2, 3), foreign: try places(30))
    // Another machine copies there under the same name, and prunes there.
    compare(try places(1, 3, 5), try places(1, 2, 4, 6), missing: try places(3, 5), foreign: try places(2, 4, 6))
  }
}
