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

  /// - Parameters:
  ///   - affected: how many snapshots may hold the old rows.
  ///   - ranges: how many ranges of the table have other rows.
  package func words(affected: Int, ranges: Int = 1) -> String {
    let more = ranges > 1 ? " and in \(ranges - 1) more ranges" : ""
    let place = firstBlock.map { ", from block \($0) on\(more)," } ?? ""
    let holders =
      switch affected {
      case 0: "no snapshot has old rows of it"
      case 1: "1 snapshot between \(readIn) and this one may have old rows of it"
      default: "\(affected) snapshots between \(readIn) and this one may have old rows of it"
      }
    return
      "\(schema).\(name)\(place) seemed unchanged since \(readIn), but its rows differ: SHA-256 \(before.prefix(16))… then, \(now.prefix(16))… now; "
      + "either Firn missed a change, and \(holders), or its files were changed without PostgreSQL, as by a bad disk, and its current rows are wrong: "
      + "see the guide to incremental snapshots"
  }
}
