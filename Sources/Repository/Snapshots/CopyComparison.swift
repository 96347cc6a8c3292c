/// Compares the snapshots of one database in a store and in its copy, by their ids alone.
///
/// Snapshots older than the newest common one prove nothing: either side's retention may have removed them.
package struct CopyComparison {
  /// The newest that both have.
  package let newest: SnapshotID?
  /// Snapshots newer than the newest common one that only the store has, and ones that only the copy has, oldest
  /// first.
  package let missing: [SnapshotPath]
  package let foreign: [SnapshotPath]

  /// - Parameters:
  ///   - here: the snapshots of the database in the store.
  ///   - there: those in the copy.
  package init(_ here: [SnapshotPath], _ there: [SnapshotPath]) {
    let (own, others) = (Set(here), Set(there))
    let newest = own.intersection(others).map(\.id).max()
    func later(_ places: Set<SnapshotPath>) -> [SnapshotPath] {
      places.filter { place in newest.map { place.id > $0 } ?? true }.sorted { $0.id < $1.id }
    }
    self.newest = newest
    missing = later(own.subtracting(others))
    // Where they have none in common, what is older than all that is here was pruned here.
    let oldest = here.map(\.id).min()
    foreign = later(others.subtracting(own)).filter { place in oldest.map { place.id > $0 } ?? true }
  }
}
