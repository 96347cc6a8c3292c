internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// Gathers the statistics of a restored database, counts the rows of every table, and looks where its sequences stand.
struct RestoreCount {
  let settings: ConnectionSettings
  let manifest: Manifest
  let jobs: Int

  /// - Throws: `FirnError.restoredCopyDiffers`.
  func run() throws {
    let differences = try rowDifferences() + sequenceDifferences()
    if !differences.isEmpty { throw FirnError.restoredCopyDiffers(differences: differences) }
  }

  /// Vacuums, analyses and counts several tables at once, the largest first.
  private func rowDifferences() throws -> [String] {
    let queue = Monitor(manifest.tables.sorted { $0.bytes < $1.bytes })
    let counted = Monitor<[Manifest.Table: Int64]>([:])
    let failure = FirstFailure()
    let threads = (0..<jobs).map { [settings] _ in
      WorkerThread(name: "count") {
        failure.capture {
          let connection = try Connection(settings, applicationName: "firn-restore")
          while failure.error == nil {
            let group = queue.update(Self.takeGroup)
            if group.isEmpty { break }
            try connection.vacuumAnalyze(group.map { ($0.schema, $0.name) })
            for table in group {
              let rows = try connection.rowCount(schema: table.schema, table: table.name)
              counted.update { $0[table] = rows }
            }
          }
        }
      }
    }
    for thread in threads { thread.join() }
    try failure.check()
    return compare(counted.current)
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

  private func compare(_ counted: [Manifest.Table: Int64]) -> [String] {
    var differences: [String] = []
    // Where a restore may choose another partition, the partitions are counted together.
    var together: [Manifest.Table.Root: (found: Int64, wanted: Int64)] = [:]
    for table in manifest.tables {
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

  /// Sequences are outside transactions: a restored one may be ahead of what its snapshot says, never behind.
  private func sequenceDifferences() throws -> [String] {
    let connection = try Connection(settings, applicationName: "firn-restore")
    let restored = Dictionary(
      try connection.sequences().map { ("\($0.schema).\($0.name)", $0) }, uniquingKeysWith: { first, _ in first })
    return manifest.sequences.compactMap { sequence in
      let name = "\(sequence.schema).\(sequence.name)"
      guard let found = restored[name] else { return "sequence \(name) is missing" }
      // One that begins again at its end may be anywhere.
      guard let wanted = sequence.lastValue, !sequence.cycles else { return nil }
      guard let value = found.lastValue else { return "sequence \(name) was never set instead of standing at \(wanted)" }
      let isBehind = sequence.increment > 0 ? value < wanted : value > wanted
      return isBehind ? "sequence \(name) stands at \(value), behind \(wanted)" : nil
    }
  }
}
