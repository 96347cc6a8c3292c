internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// Gathers the statistics of a restored database, counts the rows of every table, and looks where its sequences stand.
struct RestoreCount {
  let settings: ConnectionSettings
  let manifest: Manifest
  let jobs: Int

  /// - Returns: warnings.
  /// - Throws: `FirnError.restoredCopyDiffers`.
  func run() throws -> [String] {
    let unanalysed = Monitor<[String]>([])
    let differences = try rowDifferences(unanalysed) + sequenceDifferences()
    if !differences.isEmpty { throw FirnError.restoredCopyDiffers(differences: differences) }
    let connection = try Connection(settings, applicationName: "firn-restore")
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
    let queue = Monitor(manifest.tables.sorted { $0.bytes < $1.bytes })
    let counted = Monitor<[Manifest.Table: Int64]>([:])
    let hidden = Monitor<Set<Manifest.Table>>([])
    let failure = FirstFailure()
    let threads = (0..<jobs).map { [settings] _ in
      WorkerThread(name: "count") {
        failure.capture {
          let connection = try Connection(settings, applicationName: "firn-restore")
          // Where row security hides rows that is an error, rather than fewer of them.
          try connection.execute("SET row_security = off")
          while failure.error == nil {
            let group = queue.update(Self.takeGroup)
            if group.isEmpty { break }
            Self.gatherStatistics(of: group.map { QualifiedName(schema: $0.schema, name: $0.name) }, connection, unanalysed)
            for table in group {
              do {
                let rows = try connection.rowCount(schema: table.schema, table: table.name)
                counted.update { $0[table] = rows }
              } catch PostgresError.statementFailed(_, state: "42501") {
                hidden.update { _ = $0.insert(table) }
                unanalysed.update { $0.append("the rows of \(table.displayName) were not counted: \(connection.user) may not read them all") }
              }
            }
          }
        }
      }
    }
    for thread in threads { thread.join() }
    try failure.check()
    return compare(counted.current, hidden.current)
  }

  /// Small tables go in groups: a statement each would take longer than the work.
  private static func takeGroup(_ tables: inout [Manifest.Table]) -> [Manifest.Table] {
    var group: [Manifest.Table] = []
    var bytes: Int64 = 0
    while group.count < 100, bytes < 1 << 20, let table = tables.popLast() {
      group.append(table)
      bytes += table.bytes
    }
    return group
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
