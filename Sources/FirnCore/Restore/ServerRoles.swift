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

  /// The server, for messages.
  package var target: String { server.target }

  /// The server's databases by name, with their OIDs.
  package func databases() throws -> [String: UInt32] {
    try server.databaseEntries().reduce(into: [:]) { $0[$1.name] = $1.oid }
  }

  /// The roles of a snapshot's globals that are missing, each with its powers, if it has any. A role that can't create roles misses none:
  /// it does without them.
  package func missing(of place: SnapshotPath) throws -> [(name: String, powers: [String])] {
    try roles(of: place).map { ($0.name, $0.powers) }
  }

  /// Creates them, each statement by itself.
  /// - Returns: those that could not be created. Databases that need one say so.
  package func make(of place: SnapshotPath) -> [(role: String, error: any Error)] {
    let roles: [GlobalsScript.Role]
    do { roles = try self.roles(of: place) } catch { return [("of \(place.id)", error)] }
    var failures: [(role: String, error: any Error)] = []
    for role in roles {
      // The first ones create all roles.
      for statement in role.statements {
        do { try server.executeTogether([statement]) } catch {
          if failures.last?.role != role.name { failures.append((role.name, error)) }
        }
      }
    }
    return failures
  }

  private func roles(of place: SnapshotPath) throws -> [GlobalsScript.Role] {
    guard let rights = try server.rights(ofRole: server.currentRole()), rights.isSuperuser || rights.createsRoles else { return [] }
    let script = try GlobalsScript(of: repository.catalog.manifest(of: place), in: repository)
    let existing = try server.roleNames()
    return script.roles(toMake: Set(script.roleNames).subtracting(existing), existing: existing)
  }
}
