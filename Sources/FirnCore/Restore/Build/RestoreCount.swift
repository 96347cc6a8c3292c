internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// Gathers the statistics of a restored database, counts the rows of every table, and looks where its sequences stand.
struct RestoreCount: Sendable {
  let settings: ConnectionSettings
  let manifest: Manifest
  let jobs: Int
  /// For functions in indexes; nil for an empty one.
  let searchPath: String?

  private func open() throws -> Connection {
    let connection = try Connection(settings, applicationName: "firn-restore")
    if let searchPath { try connection.useSearchPath(searchPath) }
    return connection
  }

  /// - Returns: warnings.
  /// - Throws: `FirnError.restoredCopyDiffers`.
  func run() throws -> [String] {
    let unanalysed = Monitor<[String]>([])
    let differences = try rowDifferences(unanalysed) + sequenceDifferences()
    if !differences.isEmpty { throw FirnError.restoredCopyDiffers(differences: differences) }
    return unanalysed.current
  }

  /// Gathers the statistics of materialized views and partitioned tables.
  /// - Returns: warnings.
  func analyzeDerivedRelations() throws -> [String] {
    let unanalysed = Monitor<[String]>([])
    let connection = try open()
    for name in try connection.derivedRelations() { Self.gatherStatistics(of: [name], connection, unanalysed) }
    return unanalysed.current
  }

  /// Where one table's statistics can't be gathered (a function in an index may fail), the others' are, and its rows are there.
  private static func gatherStatistics(of tables: [QualifiedName], _ connection: Connection, _ failed: Monitor<[String]>) {
    do {
      try connection.vacuumAnalyze(tables)
    } catch PostgresError.statementFailed(let message, _) {
      if tables.count > 1 {
        for table in tables { gatherStatistics(of: [table], connection, failed) }
      } else {
        failed.update { $0.append("no statistics of \(tables[0].schema).\(tables[0].name): \(message)") }
      }
    } catch {
      // A lost connection shows when the rows are counted.
    }
  }

  /// Vacuums, analyses and counts several tables at once, the largest first.
  private func rowDifferences(_ unanalysed: Monitor<[String]>) throws -> [String] {
    let counted = Monitor<[Manifest.Table: Int64]>([:])
    let hidden = Monitor<Set<Manifest.Table>>([])
    // A dump holds only those rows of an extension's table that its condition selects.
    let conditions = Dictionary(try open().configurationTables().map { ($0.name, $0.condition) }, uniquingKeysWith: { first, _ in first })
    try forEachOverSessions(groups(), sessions: jobs) { [self] in
      let connection = try open()
      // If row security hides rows that is an error, rather than fewer rows.
      try connection.execute("SET row_security = off")
      return connection
    } _: { group, connection in
      Self.gatherStatistics(of: group.map(\.qualifiedName), connection, unanalysed)
      for table in group {
        do {
          let rows = try connection.rowCount(schema: table.schema, table: table.name, condition: conditions[table.qualifiedName] ?? "")
          counted.update { $0[table] = rows }
        } catch PostgresError.statementFailed(_, state: SQLState.insufficientPrivilege) {
          hidden.update { _ = $0.insert(table) }
          unanalysed.update { $0.append("the rows of \(table.displayName) were not counted: \(connection.user) may not read them all") }
        }
      }
    }
    return compare(counted.current, hidden.current)
  }

  /// Small tables go in groups: a statement each would take longer than the work. The largest come last.
  private func groups() -> [[Manifest.Table]] {
    var groups: [[Manifest.Table]] = []
    var bytes: Int64 = 0
    for table in manifest.tables.sorted(by: { $0.bytes < $1.bytes }) {
      if groups.isEmpty || groups[groups.count - 1].count >= 100 || bytes >= 1 << 20 {
        groups.append([])
        bytes = 0
      }
      groups[groups.count - 1].append(table)
      bytes += table.bytes
    }
    return groups
  }

  private func compare(_ counted: [Manifest.Table: Int64], _ hidden: Set<Manifest.Table>) -> [String] {
    var differences: [String] = []
    // Where a restore may choose another partition, the partitions are counted together.
    var together: [Manifest.Table.Root: (found: Int64, wanted: Int64)] = [:]
    let hiddenRoots = Set(hidden.compactMap(\.loadedThrough))
    for table in manifest.tables where !hidden.contains(table) && !(table.loadedThrough.map(hiddenRoots.contains) ?? false) {
      guard let rows = counted[table] else {
        differences.append("\(table.displayName): no such table instead of \(table.rows) rows")
        continue
      }
      if let root = table.loadedThrough {
        let sum = together[root] ?? (0, 0)
        together[root] = (sum.found + rows, sum.wanted + table.rows)
      } else if rows != table.rows {
        differences.append("\(table.displayName): \(rows) rows instead of \(table.rows)")
      }
    }
    for (root, sum) in together where sum.found != sum.wanted {
      differences.append("\(root.schema).\(root.name): \(sum.found) rows instead of \(sum.wanted)")
    }
    return differences.sorted()
  }

  /// Nobody has used the sequences of the new database: they stand where the archive sets them.
  func sequenceDifferences() throws -> [String] {
    let restored = try Connection(settings, applicationName: "firn-restore").sequenceValues()
    return manifest.sequences.compactMap { sequence in
      let name = "\(sequence.schema).\(sequence.name)"
      guard let found = restored[QualifiedName(schema: sequence.schema, name: sequence.name)] else { return "sequence \(name) is missing" }
      func text(_ value: Int64?) -> String { value.map { "\($0)" } ?? "its start" }
      return found == sequence.lastValue ? nil : "sequence \(name) stands at \(text(found)) instead of \(text(sequence.lastValue))"
    }
  }
}
