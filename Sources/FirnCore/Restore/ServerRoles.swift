internal import Platform
package import Postgres
package import Repository

/// The roles of a server that is restored as a whole, made once, before its databases.
package struct ServerRoles {
  private let repository: Repository
  private let server: Connection

  package init(repository: Repository, settings: ConnectionSettings) throws {
    self.repository = repository
    server = try ServerConnection.open(settings)
  }

  /// The roles of a snapshot's globals that are missing, each with its powers, if it has any.
  package func missing(of place: SnapshotPath) throws -> [(name: String, powers: [String])] {
    try roles(of: place).map { ($0.name, $0.powers) }
  }

  /// Creates them, all or none.
  package func make(of place: SnapshotPath) throws { try server.executeTogether(try roles(of: place).flatMap(\.statements)) }

  private func roles(of place: SnapshotPath) throws -> [GlobalsScript.Role] {
    let script = try GlobalsScript(of: repository.catalog.manifest(of: place), in: repository)
    let existing = try server.roleNames()
    return script.roles(toMake: Set(script.roleNames).subtracting(existing), existing: existing)
  }

  /// The names of the server's databases.
  package func databaseNames() throws -> Set<String> { Set(try server.databaseEntries().map(\.name)) }
}
