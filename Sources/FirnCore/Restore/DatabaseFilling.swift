internal import Foundation
internal import Platform
internal import Postgres
internal import Repository
internal import SystemPackage

/// Fills a new, empty database from a snapshot, and counts what came to be in it.
struct DatabaseFilling {
  let server: Connection
  /// Of the new database.
  let settings: ConnectionSettings
  let manifest: Manifest
  let reader: SnapshotReader
  let files: [String: SnapshotReader.FileEntry]
  let tools: ServerTools
  let work: WorkFolder
  let jobs: Int
  let sessionSettings: [(name: String, value: String)]
  let progress: WorkProgress

  /// - Returns: warnings.
  /// - Throws: `PostgresError.toolFailed`, `FirnError.restoredCopyDiffers`, and what reading the snapshot throws.
  func run() throws -> [String] {
    let connection = try Connection(settings, applicationName: "firn-restore")
    guard try connection.isEmptyDatabase() else { throw FirnError.databaseExists(name: settings.database ?? "") }
    let failure = FirstFailure()
    progress.begin("preparing")
    let feeder = try ArchiveFeeder(folder: work.path.appending("archive"), reader: reader, files: files, progress: progress, failure: failure)
    let access = try ToolAccess(as: connection, folder: work.path)
    let tool = RestoreTool(
      tools: tools, access: access, database: settings.database ?? "", jobs: jobs,
      settings: RestoreSettings.usual + sessionSettings)
    progress.tell("session settings: \(tool.settings.map { "\($0.name)=\($0.value)" }.joined(separator: " "))")
    let messages = ToolMessages(tool: "pg_restore")
    progress.begin("restoring the schema")
    try finish(tool.start([.preData], of: feeder.folder, messages: messages), failure, messages)
    try load(tool, feeder, connection, failure, messages)
    progress.begin("gathering statistics and counting rows")
    try checkRows()
    try checkSequences(connection)
    return messages.warnings.map { "pg_restore warns: \($0)" }
  }

  /// Waits for the end of a run of pg_restore.
  private func finish(_ child: ChildProcess, _ failure: FirstFailure, _ messages: ToolMessages) throws {
    while child.exitCode() == nil {
      if let signal = Interruption.signal { failure.record(Interruption(signal: signal)) }
      if failure.error != nil { child.terminate() }
      Thread.sleep(forTimeInterval: 0.01)
    }
    let code = child.wait()
    try failure.check()
    if code != 0 { throw PostgresError.toolFailed(tool: "pg_restore", exitCode: code, messages: messages.errors) }
  }

  /// Rows, indexes, constraints.
  private func load(
    _ tool: RestoreTool, _ feeder: ArchiveFeeder, _ connection: Connection, _ failure: FirstFailure, _ messages: ToolMessages
  ) throws {
    progress.begin("restoring rows", expected: manifest.bytes)
    // Files of large objects are opened in a row, and no table holds their reader back.
    try feeder.exchange { $0.hasPrefix("blob") }
    let large = feeder.largeFiles
    let held = manifest.tables.filter { large.contains($0.file) }
    if !held.isEmpty { try connection.holdForFilling(held.map { ($0.schema, $0.name) }) }
    let child = try tool.start([.data, .postData], of: feeder.folder, messages: messages)
    do {
      if !held.isEmpty {
        // Until its first COPY waits for us pg_restore looks at sizes; then it opens files.
        while child.exitCode() == nil, !(try connection.someoneWaitsForUs()) {
          try Interruption.check()
          Thread.sleep(forTimeInterval: 0.01)
        }
        try feeder.exchange { _ in true }
        try connection.commit()
      }
    } catch {
      failure.record(error)
    }
    defer { _ = feeder.finish() }
    try finish(child, failure, messages)
    guard feeder.finish() else {
      try failure.check()
      throw FirnError.unsoundArchive(reason: "pg_restore did not read every table")
    }
  }

  /// Vacuums and analyses every table and counts its rows, several at once, the largest first.
  private func checkRows() throws {
    let queue = Monitor(manifest.tables.sorted { $0.bytes < $1.bytes })
    let differences = Monitor<[String]>([])
    let failure = FirstFailure()
    let threads = (0..<jobs).map { [settings] _ in
      WorkerThread(name: "count") {
        failure.capture {
          let connection = try Connection(settings, applicationName: "firn-restore")
          while failure.error == nil {
            // Small tables go in groups: a statement each would take longer than the work.
            let group = queue.update { tables -> [Manifest.Table] in
              var group: [Manifest.Table] = []
              var bytes: Int64 = 0
              while group.count < 100, bytes < 1 << 20, let table = tables.popLast() {
                group.append(table)
                bytes += table.bytes
              }
              return group
            }
            if group.isEmpty { break }
            try connection.vacuumAnalyze(group.map { ($0.schema, $0.name) })
            for table in group {
              let rows = try connection.rowCount(schema: table.schema, table: table.name)
              guard rows != table.rows else { continue }
              differences.update { $0.append("\(table.displayName): \(rows.map { "\($0) rows" } ?? "no such table") instead of \(table.rows)") }
            }
          }
        }
      }
    }
    for thread in threads { thread.join() }
    try failure.check()
    let found = differences.current.sorted()
    if !found.isEmpty { throw FirnError.restoredCopyDiffers(differences: found) }
  }

  /// Sequences are outside transactions: a restored one may be ahead of what its snapshot says, never behind.
  private func checkSequences(_ connection: Connection) throws {
    let restored = Dictionary(
      try connection.sequences().map { ("\($0.schema).\($0.name)", $0.lastValue) }, uniquingKeysWith: { first, _ in first })
    let behind = manifest.sequences.compactMap { sequence -> String? in
      let name = "\(sequence.schema).\(sequence.name)"
      guard let found = restored[name] else { return "sequence \(name) is missing" }
      guard let wanted = sequence.lastValue else { return nil }
      return found == nil ? "sequence \(name) was never set" : found != wanted && manifest.versions.serverNumber > 0 && isBehind(found, wanted) ? "sequence \(name) stands at \(found ?? 0), before \(wanted)" : nil
    }
    if !behind.isEmpty { throw FirnError.restoredCopyDiffers(differences: behind) }
  }

  /// A descending sequence runs the other way; which way it runs the manifest doesn't tell, so only the sign is judged.
  private func isBehind(_ found: Int64?, _ wanted: Int64) -> Bool {
    guard let found else { return true }
    return wanted >= 0 && found >= 0 ? found < wanted : false
  }
}

/// Settings for the sessions that restore: no time limits, no waiting for the log at each commit, memory for index builds,
/// which run side by side rather than each in parallel.
enum RestoreSettings {
  static let usual: [(name: String, value: String)] = [
    ("default_transaction_read_only", "off"), ("statement_timeout", "0"), ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"), ("synchronous_commit", "off"), ("maintenance_work_mem", "256MB"),
    ("max_parallel_maintenance_workers", "0"),
  ]
}
