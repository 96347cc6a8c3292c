/// What a store and one that it is copied to have of one database, by ids alone.
///
/// What is older than the newest that both have says nothing: the copy's own retention may have removed it, or the store's.
package struct CopyComparison {
  /// The newest that both have.
  package let newest: SnapshotID?
  /// What the copy lacks, and what it has that is not here, oldest first: of what is newer than that.
  package let missing: [SnapshotPlace]
  package let foreign: [SnapshotPlace]

  /// - Parameters:
  ///   - here: the snapshots of the database in the store.
  ///   - there: those in the copy.
  package init(_ here: [SnapshotPlace], _ there: [SnapshotPlace]) {
    let (own, others) = (Set(here), Set(there))
    let newest = own.intersection(others).map(\.id).max()
    func later(_ places: Set<SnapshotPlace>) -> [SnapshotPlace] {
      places.filter { place in newest.map { place.id > $0 } ?? true }.sorted { $0.id < $1.id }
    }
    self.newest = newest
    missing = later(own.subtracting(others))
    // Where they have none in common, what is older than all that is here was pruned here.
    let oldest = here.map(\.id).min()
    foreign = later(others.subtracting(own)).filter { place in oldest.map { place.id > $0 } ?? true }
  }
}
