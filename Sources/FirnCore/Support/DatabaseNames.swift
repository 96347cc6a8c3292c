internal import Platform
package import Repository

/// Display names of databases: with the source's name if two have the same name.
package struct DatabaseNames {
  private let sources: [String: Set<String>]
  /// The names of sources by their folders.
  private let names: [String: String]

  /// - Parameter catalog: where the names of sources are; nil to use those of their folders.
  package init(_ places: some Sequence<SnapshotPath>, in catalog: Catalog? = nil) {
    self.init(places.map { ($0.source, $0.database) }, in: catalog)
  }

  package init(_ databases: [(source: String, database: String)], in catalog: Catalog? = nil) {
    sources = databases.reduce(into: [:]) { $0[$1.database.keyComponent, default: []].insert($1.source.keyComponent) }
    let isNeeded = sources.values.contains { $0.count > 1 }
    let all = isNeeded ? Set(databases.map(\.source)) : []
    names = all.reduce(into: [:]) { $0[$1] = (try? catalog?.sourceRecord(of: $1))?.name }
  }

  package func name(source: String, database: String) -> String {
    sources[database.keyComponent, default: []].count > 1 ? "\(names[source] ?? source)/\(database)" : database
  }

  package func name(of place: SnapshotPath) -> String { name(source: place.source, database: place.database) }
}
