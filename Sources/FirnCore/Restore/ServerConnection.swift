internal import Foundation
internal import Platform
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
        try connection.makeCommitsDurable()
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

  /// Asks for the outcome of an operation, for up to a minute if the server restarts, even if a signal arrives.
  static func patiently<Result>(_ ask: () throws -> Result) throws -> Result {
    try Interruption.putOff {
      let deadline = ContinuousClock.now + .seconds(60)
      while true {
        do { return try ask() } catch let error as PostgresError {
          guard ContinuousClock.now < deadline else { throw error }
          Thread.sleep(forTimeInterval: 0.5)
        }
      }
    }
  }
}

extension Connection {
  /// Whether the name leads to one of these databases, and sessions can begin in it.
  func hasUsableDatabase(_ name: String, among oids: [UInt32]) throws -> Bool {
    try databaseEntries().contains { $0.name.isSame(as: name) && oids.contains($0.oid) && $0.isUsable }
  }
}
