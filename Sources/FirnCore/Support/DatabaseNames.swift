internal import Platform
package import Repository

/// Display names of databases: with the source if two have the same name.
package struct DatabaseNames {
  private let sources: [String: Set<String>]

  package init(_ places: some Sequence<SnapshotPath>) { self.init(places.map { ($0.source, $0.database) }) }

  package init(_ databases: [(source: String, database: String)]) {
    sources = databases.reduce(into: [:]) { $0[$1.database.keyComponent, default: []].insert($1.source.keyComponent) }
  }

  package func name(source: String, database: String) -> String {
    sources[database.keyComponent, default: []].count > 1 ? "\(source)/\(database)" : database
  }

  package func name(of place: SnapshotPath) -> String { name(source: place.source, database: place.database) }
}
