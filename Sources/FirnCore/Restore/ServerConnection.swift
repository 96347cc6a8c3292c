package import Postgres

/// A connection to a server for work on its databases.
package enum ServerConnection {
  /// Connects to a database of the server from which others can be made: it need not be called `postgres`.
  /// - Parameter except: the database that is to be renamed.
  package static func open(_ settings: ConnectionSettings, except: String? = nil) throws -> Connection {
    var first: (any Error)?
    for name in ["postgres", "template1", settings.database].compactMap(\.self) where name != except {
      do {
        let connection = try Connection(settings.with(database: name), applicationName: "firn-restore")
        try connection.refusePooler()
        return connection
      } catch let error as PostgresError {
        first = first ?? error
        switch error {
        case .noSuchDatabase, .cannotConnect: continue
        default: throw error
        }
      }
    }
    throw first ?? FirnError.noDatabaseNamed
  }
}
