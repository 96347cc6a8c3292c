package import Repository

/// The part of a server's last snapshots that incremental ones would not have read, by the last two snapshots of each database.
package struct IncrementalGain: Sendable {
  /// Plain bytes of the newest snapshots.
  private(set) var bytes: Int64 = 0
  /// Tables in them whose rows are those of the snapshots before, and their plain bytes.
  private(set) var unchangedTables = 0
  private(set) var unchangedBytes: Int64 = 0

  /// - Parameter databases: the snapshots of each database, the oldest first.
  package init(of databases: some Sequence<[SnapshotPath]>, in repository: Repository) {
    for places in databases {
      let last = Array(
        places.reversed().lazy.filter { !repository.catalog.isSafetySnapshot($0) }.compactMap { try? repository.readableManifest(of: $0) }.prefix(2))
      guard let newest = last.first, let before = last.dropFirst().first else { continue }
      add(newest, before)
    }
  }

  private mutating func add(_ newest: Manifest, _ before: Manifest) {
    bytes += newest.bytes
    let digests = Dictionary(before.tables.map { ($0.qualifiedName, $0.sha256) }, uniquingKeysWith: { first, _ in first })
    for table in newest.tables where digests[table.qualifiedName] == table.sha256 {
      unchangedTables += 1
      unchangedBytes += table.bytes
    }
  }

  /// As `of 749 MB in the last snapshots, 690 MB in 18 tables were unchanged`; nil if nothing is known.
  var text: String? {
    guard bytes > 0 else { return nil }
    let tables = unchangedTables == 1 ? "1 table was" : "\(unchangedTables) tables were"
    return "of \(megabytes(bytes)) in the last snapshots, \(megabytes(unchangedBytes)) in \(tables) unchanged"
  }
}
