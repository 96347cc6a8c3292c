internal import Postgres

/// How sessions that load rows are opened: with the settings that pg_restore gives its own.
struct LoadingSession: Sendable {
  /// Of the database that is restored.
  let settings: ConnectionSettings
  let archive: ArchiveDirectory
  /// Nil for the archive's own.
  let searchPath: String?
  /// Of all sessions of this restore, pg_restore's too.
  let serverSettings: [(name: String, value: String)]

  func open() throws -> Connection {
    let session = try Connection(settings, applicationName: "firn-restore")
    try session.useSettings(of: archive, others: serverSettings)
    if let searchPath { try session.useSearchPath(searchPath) }
    return session
  }
}
