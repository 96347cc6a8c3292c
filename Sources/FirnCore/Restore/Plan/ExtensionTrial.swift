internal import Platform
internal import Postgres
internal import Repository

/// Finds out which extensions of a snapshot a role may create that is no superuser. The server's list of extensions doesn't say all:
/// managed servers and pgextwlist let a role create more than it says.
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
    let sorted = Self.inOrder(wanted, source)
    guard let obstacles = try inTrialDatabase({ try $0.obstacles(toExtensions: sorted) }) else { return predicted }
    return predicted.union(sorted.map(\.name).filter { obstacles[$0] == nil })
  }

  /// Extensions in the order in which they need each other, without pg_cron.
  static func inOrder(_ extensions: [Manifest.Extension], _ source: RestoreSource) -> [(name: String, schema: String)] {
    let order = Dictionary(
      source.directory.entries.filter { $0.kind == "EXTENSION" }.enumerated().map { ($1.tag, $0) }, uniquingKeysWith: { first, _ in first })
    return extensions.filter { order[$0.name] != nil && $0.name != ScheduledJobs.extensionName }.sorted { order[$0.name]! < order[$1.name]! }
      .map { ($0.name, $0.schema) }
  }

  /// - Returns: nil if no database can be created for it.
  private func inTrialDatabase<Result>(_ body: (Connection) throws -> Result) throws -> Result? {
    if case .empty(let name) = target {
      // A database in use is left alone: the preflight refuses it.
      guard try server.databaseExists(name), try UnfinishedDatabase.objectsOfEmpty(name, on: server) != nil else { return nil }
      return try body(connection(to: name))
    }
    guard try server.mayCreateDatabases() else { return nil }
    let name = UnfinishedDatabase.passingName()
    try server.execute("CREATE DATABASE \(Connection.identifier(name)) TEMPLATE template0")
    defer { Interruption.putOff { try? server.dropDatabase(name) } }
    return try body(connection(to: name))
  }

  private func connection(to database: String) throws -> Connection {
    try Connection(server.settings.with(database: database), applicationName: "firn-restore")
  }
}
