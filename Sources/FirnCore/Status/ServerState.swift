internal import Platform
package import Postgres
internal import Repository

/// The databases of a server that is backed up as a whole, or the error of asking it.
package struct ServerState: Sendable {
  /// Its name in the configuration.
  package let name: String
  fileprivate let databases: Result<(wanted: Set<String>, all: Set<String>), any Error>
  /// Patterns of databases that are not to be backed up.
  fileprivate let excluded: [String]

  /// - Parameter server: the connected server, or the error of connecting.
  package init(name: String, matching wanted: [String], excluding excluded: [String], on server: Result<Connection, any Error>) {
    (self.name, self.excluded) = (name, excluded)
    databases = Result {
      let connection = try server.get()
      let names: [String]
      do { names = try ServerDatabases(on: connection, matching: wanted, excluding: excluded, requiring: []).names } catch FirnError.refused {
        names = []
      }
      return (Set(names), Set(try connection.databaseEntries().map(\.name)))
    }
  }

  package init(name: String, failure: any Error) {
    (self.name, excluded) = (name, [])
    databases = .failure(failure)
  }
}

/// Servers beside the store: databases without snapshots, and snapshots whose database is gone.
struct ServerComparison {
  private let servers: [(state: ServerState, folder: String)]
  private let words: (any Error) -> String

  init(_ servers: [ServerState], in catalog: Catalog, words: @escaping (any Error) -> String) throws {
    self.servers = try servers.map { ($0, try catalog.source(named: $0.name) ?? $0.name) }
    self.words = words
  }

  /// Whether the server of this snapshot no longer has its database.
  func hasLost(_ place: SnapshotPath) -> Bool {
    guard case .success(let databases) = server(of: place)?.databases else { return false }
    return !databases.all.contains(place.database)
  }

  /// Whether the configuration excludes the database of this snapshot.
  func excludes(_ place: SnapshotPath) -> Bool { server(of: place)?.excluded.contains { place.database.matches(glob: $0) } ?? false }

  private func server(of place: SnapshotPath) -> ServerState? { servers.first { $0.folder.isSame(as: place.source) }?.state }

  /// - Parameter known: databases with snapshots, with their sources.
  func problems(beside known: [(source: String, database: String)]) -> [String] {
    servers.flatMap { server -> [String] in
      switch server.state.databases {
      case .failure(let error): return ["server \(server.state.name) could not be asked for its databases: \(words(error))"]
      case .success(let databases):
        let own = Set(known.filter { $0.source.isSame(as: server.folder) }.map(\.database))
        if Self.isAnother(databases.all, than: own) {
          return ["server \(server.state.name) has none of the databases with snapshots: was it recreated, or is its address wrong?"]
        }
        return missing(on: server, beside: own).map { "\(server.state.name)/\($0) has no snapshot" }
      }
    }
  }

  /// Whether a server with these databases is not the one that was backed up: it was recreated, or its address is wrong.
  private static func isAnother(_ all: Set<String>, than own: Set<String>) -> Bool {
    let before = own.subtracting(["postgres"])
    return before.count > 1 && before.isDisjoint(with: all)
  }

  /// Databases that should have a snapshot and have none, with their sources.
  /// - Parameter known: databases with snapshots, with their sources.
  func missing(beside known: [(source: String, database: String)]) -> [(source: String, database: String)] {
    servers.flatMap { server in
      missing(on: server, beside: Set(known.filter { $0.source.isSame(as: server.folder) }.map(\.database))).map { (server.folder, $0) }
    }
  }

  private func missing(on server: (state: ServerState, folder: String), beside own: Set<String>) -> [String] {
    guard case .success(let databases) = server.state.databases, !Self.isAnother(databases.all, than: own) else { return [] }
    return databases.wanted.subtracting(own).sorted()
  }
}
