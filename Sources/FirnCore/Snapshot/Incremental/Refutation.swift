internal import Repository

/// Rows that seemed unchanged and are others, as a reading found.
package struct Refutation: Sendable, Equatable {
  let schema: String
  let name: String
  /// The first block of the range, if the table was read in ranges.
  let firstBlock: Int64?
  /// The snapshot that had read them before.
  let readIn: SnapshotID
  /// SHA-256 of the rows.
  let before: String
  let now: String

  /// - Parameter affected: how many snapshots may hold the old rows.
  package func words(affected: Int) -> String {
    let place = firstBlock.map { ", from block \($0) on," } ?? ""
    let holders = affected == 1 ? "1 snapshot" : "\(affected) snapshots"
    let consequence =
      affected == 0
      ? "no snapshot holds the wrong ones" : "\(holders) between \(readIn) and this one may hold the wrong ones; firn show and firn-restore say which"
    return
      "\(schema).\(name)\(place) seemed unchanged since \(readIn), but its rows differ: SHA-256 \(before.prefix(16))… then, \(now.prefix(16))… now; \(consequence)"
  }
}
