import Repository
import Testing

@Suite struct `A copy beside its store` {
  private func places(_ days: Int...) throws -> [SnapshotPath] {
    try days.map { day in
      let id = try #require(SnapshotID("202611\(day < 10 ? "0" : "")\(day)T000000Z-aaaa"))
      return SnapshotPath(source: "s", database: "d", id: id)
    }
  }

  @Test func `lacks what is newer than the newest that both have`() throws {
    func compare(_ here: [SnapshotPath], _ there: [SnapshotPath], missing: [SnapshotPath], foreign: [SnapshotPath] = []) {
      let found = CopyComparison(here.shuffled(), there.shuffled())
      #expect(found.missing == missing && found.foreign == foreign)
    }
    compare(try places(1, 2, 3), try places(1, 2, 3), missing: [])
    compare(try places(1, 2, 3), [], missing: try places(1, 2, 3))
    // Snapshots pruned by either side prove nothing.
    compare(try places(1, 2, 3), try places(2), missing: try places(3))
    compare(try places(3, 4), try places(1, 2, 3), missing: try places(4))
    // All that both had is gone from one of them.
    compare(try places(4, 5), try places(1, 2, 3), missing: try places(4, 5))
    // A snapshot dated later than now counts only if both have it.
    compare(try places(1, 2, 3), try places(1, 30), missing: try places(2, 3), foreign: try places(30))
    // Another machine copies there under the same name, and prunes there.
    compare(try places(1, 3, 5), try places(1, 2, 4, 6), missing: try places(3, 5), foreign: try places(2, 4, 6))
  }
}
