internal import Postgres
internal import Repository

/// Finds out which extensions of a snapshot a role may create that is no superuser. The server's list of extensions doesn't say all:
/// managed servers and pgextwlist let a role create more than it tells.
struct ExtensionTrial {
  let server: Connection
  let target: RestoreRequest.Target

  /// - Returns: nil for a superuser, which may create all.
  func creatable(_ source: RestoreSource) throws -> Set<String>? {
    guard try !server.isSuperuser() else { return nil }
    let predicted = try server.creatableExtensions()
    let available = try server.availableExtensions()
    let wanted = source.manifest.extensions.filter { available[$0.name] != nil }
    guard wanted.contains(where: { !predicted.contains($0.name) && $0.name != ScheduledJobs.extensionName }) else { return predicted }
    // In the order in which they need each other.
    let order = Dictionary(
      source.directory.entries.filter { $0.kind == "EXTENSION" }.enumerated().map { ($1.tag, $0) }, uniquingKeysWith: { first, _ in first })
    let sorted = wanted.filter { order[$0.name] != nil && $0.name != ScheduledJobs.extensionName }.sorted { order[$0.name]! < order[$1.name]! }
    return try predicted.union(inTrialDatabase { try $0.creatableExtensions(among: sorted.map { ($0.name, $0.schema) }) })
  }

  private func inTrialDatabase(_ body: (Connection) throws -> Set<String>) throws -> Set<String> {
    if case .empty(let name) = target { return try body(connection(to: name)) }
    guard try server.mayCreateDatabases() else { return [] }
    let name = UnfinishedDatabase.passingName()
    try server.execute("CREATE DATABASE \(Connection.identifier(name)) TEMPLATE template0")
    defer { try? server.dropDatabase(name) }
    return try body(connection(to: name))
  }

  private func connection(to database: String) throws -> Connection {
    try Connection(server.settings.with(database: database), applicationName: "firn-restore")
  }
}
