internal import Postgres

/// How sessions that load rows are opened: with the settings that pg_restore gives its own.
struct LoadingSession: Sendable {
  /// For connections to the database that is restored.
  let settings: ConnectionSettings
  let archive: ArchiveDirectory
  /// Nil for the archive's own.
  let searchPath: String?
  /// For all sessions of this restore, those of pg_restore too.
  let serverSettings: [(name: String, value: String)]

  func open() throws -> Connection {
    let session = try Connection(settings, applicationName: "firn-restore")
    try session.useSettings(of: archive, searchPath: searchPath, others: serverSettings)
    return session
  }
}
