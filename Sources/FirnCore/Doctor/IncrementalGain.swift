package import Repository

/// The part of a database's last snapshot that an incremental one would not have read, by its last two snapshots.
package struct IncrementalGain: Sendable {
  /// Plain bytes of the newest snapshot.
  private(set) var bytes: Int64 = 0
  /// Tables in it whose rows are those of the snapshot before, and their plain bytes.
  private(set) var unchangedTables = 0
  private(set) var unchangedBytes: Int64 = 0

  /// - Parameter places: the snapshots of the database, the oldest first.
  package init(of places: [SnapshotPath], in repository: Repository) {
    let last = Array(
      places.reversed().lazy.filter { !repository.catalog.isSafetySnapshot($0) }.compactMap { try? repository.readableManifest(of: $0) }.prefix(2))
    guard let newest = last.first, let before = last.dropFirst().first else { return }
    bytes = newest.bytes
    let digests = Dictionary(before.tables.map { ($0.qualifiedName, $0.sha256) }, uniquingKeysWith: { first, _ in first })
    for table in newest.tables where digests[table.qualifiedName] == table.sha256 {
      unchangedTables += 1
      unchangedBytes += table.bytes
    }
  }

  /// As `of 749 MB in its last snapshot, 690 MB in 18 tables were unchanged`; nil if nothing is known.
  var text: String? {
    guard bytes > 0 else { return nil }
    let tables = unchangedTables == 1 ? "1 table was" : "\(unchangedTables) tables were"
    return "of \(megabytes(bytes)) in its last snapshot, \(megabytes(unchangedBytes)) in \(tables) unchanged"
  }
}
