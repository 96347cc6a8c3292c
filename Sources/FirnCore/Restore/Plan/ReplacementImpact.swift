internal import Foundation
internal import Platform
package import Postgres
internal import Repository

/// The loss and the remains when a database is replaced: figures for the operator's decision.
package struct ReplacementImpact: Sendable {
  /// A table whose rows now and then differ.
  package struct Change: Sendable, Equatable {
    package let table: String
    /// Nil where the snapshot has no such table.
    package let then: Int64?
    /// Nil where the database has no such table.
    package let now: Count?
  }

  package enum Count: Sendable, Equatable {
    case rows(Int64)
    case unknown

    fileprivate init(_ rows: Int64?) { self = rows.map(Count.rows) ?? .unknown }
    package var known: Int64? { if case .rows(let rows) = self { rows } else { nil } }
  }

  package let server: String
  package let serverVersion: String
  package let database: String
  package let oid: UInt32?
  /// Bytes on disk.
  package let size: Int64?
  package let applications: [ConnectedApplication]
  package let keptAs: String
  package let changes: [Change]
  package let tablesNow: Int?
  package let rowsNow: Int64?
  /// False where large tables were estimated instead of counted.
  package let isCounted: Bool
  /// Why the database could not be looked into.
  package let unreadable: PostgresError?

  /// How long counting may take in all.
  private static let patience: Duration = .seconds(10)

  /// - Parameter server: a connection to another database of the server.
  static func gather(replacing name: String, by manifest: Manifest, on server: Connection, at time: Date) throws -> ReplacementImpact {
    let entries = try server.databaseEntries()
    let taken = Set(entries.map(\.name))
    // Before we are among them ourselves.
    let applications = try server.connectedApplications(of: name)
    var counts: (rows: [QualifiedName: Int64?], isCounted: Bool)?
    var unreadable: PostgresError?
    do {
      counts = try countRows(try Connection(server.settings.with(database: name), applicationName: "firn-restore"))
    } catch let error as PostgresError {
      unreadable = error
    }
    var changes: [Change] = []
    if let counts {
      var then: [QualifiedName: Int64] = [:]
      for table in manifest.tables { then[QualifiedName(schema: table.schema, name: table.name)] = table.rows }
      // Their rows were excluded, but not the tables.
      let excluded = Set(manifest.excludedTables ?? [])
      for name in counts.rows.keys where excluded.contains("\(name.schema).\(name.name)") { then[name] = 0 }
      for table in Set(then.keys).union(counts.rows.keys) {
        let now = counts.rows[table].map(Count.init)
        if then[table].map(Count.rows) != now { changes.append(Change(table: "\(table.schema).\(table.name)", then: then[table], now: now)) }
      }
      func weight(_ change: Change) -> Int64 { abs((change.now?.known ?? 0) - (change.then ?? 0)) }
      changes.sort { (weight($0), $1.table) > (weight($1), $0.table) }
    }
    return ReplacementImpact(
      server: server.target, serverVersion: try server.versionText(), database: name,
      oid: entries.first { $0.name.isSame(as: name) }?.oid, size: try server.diskSize(of: name),
      applications: applications, keptAs: KeptDatabase.name(for: name, at: time, taken: taken), changes: changes,
      tablesNow: counts?.rows.count, rowsNow: counts.map { $0.rows.values.reduce(0) { $0 + ($1 ?? 0) } }, isCounted: counts?.isCounted ?? false,
      unreadable: unreadable)
  }

  /// Counts tables while there is time, the rest by the server's own estimate.
  private static func countRows(_ connection: Connection) throws -> (rows: [QualifiedName: Int64?], isCounted: Bool) {
    var rows = try connection.estimatedRows()
    var isCounted = true
    let deadline = ContinuousClock.now + patience
    // Small tables first, so that more of them are counted exactly.
    for (table, _) in rows.sorted(by: { ($0.value ?? .max) < ($1.value ?? .max) }) {
      let left = (deadline - ContinuousClock.now).milliseconds
      guard left > 10 else {
        isCounted = false
        break
      }
      do {
        try connection.execute("SET statement_timeout = \(left)")
        if let exact = try connection.rowCount(schema: table.schema, table: table.name) { rows[table] = .some(exact) }
      } catch PostgresError.statementFailed {
        isCounted = false
      }
    }
    return (rows, isCounted)
  }
}
