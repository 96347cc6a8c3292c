package import Foundation
internal import Platform
package import Repository
package import SystemPackage

/// Numbers about runs and stores for Prometheus, in a file that node_exporter's textfile collector reads.
package struct MetricsFile: Sendable {
  /// One number with its labels.
  package struct Sample: Sendable, Equatable {
    package let metric: Metric
    package let labels: [(name: String, value: String)]
    package let value: Double

    package init(_ metric: Metric, _ labels: [(String, String)], _ value: Double) {
      self.metric = metric
      self.labels = labels.map { ($0.0, $0.1) }
      self.value = value
    }

    package static func == (left: Self, right: Self) -> Bool { left.key == right.key && left.value == right.value }

    /// As the file has it before the value.
    var key: String {
      guard !labels.isEmpty else { return metric.name }
      return "\(metric.name){\(labels.map { "\($0.name)=\"\(Self.escaped($0.value))\"" }.joined(separator: ","))}"
    }

    /// The same sample without a database; nil if that is a metric of its own.
    var withoutDatabase: Sample? {
      let jobs = [RunReport.Job.snapshot, .restore, .migrate].map(\.rawValue)
      guard let job = labels.first(where: { $0.name == "job" }), jobs.contains(job.value) else { return nil }
      return Sample(metric, labels.map { ($0.name, $0.name == "database" ? "" : $0.value) }, value)
    }

    private static func escaped(_ text: String) -> String {
      text.replacingASCII("\\", with: "\\\\").replacingASCII("\"", with: "\\\"").replacingASCII("\n", with: "\\n")
    }
  }

  package enum Metric: String, Sendable, CaseIterable {
    case lastSuccess = "last_success_timestamp_seconds"
    case lastProof = "last_proof_timestamp_seconds"
    case restoreTime = "restore_duration_seconds"
    case isOK = "status_ok"
    case copyBehind = "copy_behind_snapshots"
    case snapshotBytes = "snapshot_bytes"
    case snapshotStored = "snapshot_stored_bytes"
    case snapshotRows = "snapshot_rows"
    case snapshotUnread = "snapshot_unread_bytes"
    case oldestReading = "snapshot_oldest_reading_timestamp_seconds"
    case refutedTables = "snapshot_refuted_tables"
    case runTime = "last_run_timestamp_seconds"
    case runDuration = "last_run_duration_seconds"
    case runExitCode = "last_run_exit_code"

    var name: String { "firn_\(rawValue)" }

    /// Whether it describes a store rather than a run: it is removed when the store no longer has the database.
    var isOfStore: Bool {
      switch self {
      case .lastSuccess, .lastProof, .restoreTime, .isOK, .copyBehind: true
      default: false
      }
    }

    var help: String {
      switch self {
      case .lastSuccess: "When the newest complete snapshot was begun."
      case .lastProof: "When a snapshot was last read whole and found intact."
      case .restoreTime: "How long the last drill took to restore."
      case .isOK: "1 if firn status finds nothing wrong; 0 also for a database of a configured server without a snapshot."
      case .copyBehind: "Snapshots that a copy lacks."
      case .snapshotBytes: "Plain bytes of the last snapshot made."
      case .snapshotStored: "Bytes that the last snapshot made added to the store."
      case .snapshotRows: "Rows of the last snapshot made."
      case .snapshotUnread: "Plain bytes of the last snapshot made that were taken over from unchanged tables without reading them."
      case .oldestReading: "When the table of the last snapshot made that was not read for longest was read."
      case .refutedTables: "Tables of the last snapshot made that seemed unchanged and were not."
      case .runTime: "When the last run ended."
      case .runDuration: "How long the last run took."
      case .runExitCode: "The exit code of the last run."
      }
    }
  }

  private let path: FilePath

  /// - Parameter path: of a file whose name ends in `.prom`.
  package init(_ path: FilePath) { self.path = path }

  /// The state of a store.
  package enum StoreStates: Sendable {
    case known(StoreStatus)
    /// It could not be asked.
    case unknown
    /// Nobody asked it.
    case unasked
  }

  private static func samples(of status: StoreStatus, in store: String) -> [Sample] {
    let missing = status.missing.map { Sample(.isOK, [("store", store), ("source", $0.source), ("database", $0.database)], 0) }
    return missing
      + status.databases.flatMap { state -> [Sample] in
        let labels = [("store", store), ("source", state.source), ("database", state.database)]
        var samples = [Sample(.isOK, labels, state.problems.isEmpty ? 1 : 0)]
        if let complete = state.newestComplete { samples.append(Sample(.lastSuccess, labels, complete.timeIntervalSince1970)) }
        if let proof = state.proof { samples.append(Sample(.lastProof, labels, proof.checkedAt.timeIntervalSince1970)) }
        if let seconds = state.restoreSeconds { samples.append(Sample(.restoreTime, labels, seconds)) }
        samples += state.copies.map { Sample(.copyBehind, labels + [("copy", $0.location)], Double($0.behind)) }
        return samples
      }
  }

  package static func samples(of manifest: Manifest, in store: String) -> [Sample] {
    let labels = [("store", store), ("source", manifest.source), ("database", manifest.database)]
    return [
      Sample(.snapshotBytes, labels, Double(manifest.bytes)), Sample(.snapshotStored, labels, Double(manifest.storedBytes)),
      Sample(.snapshotRows, labels, Double(manifest.rows)),
      Sample(.snapshotUnread, labels, Double(manifest.takenOver?.bytes ?? 0)),
      Sample(.oldestReading, labels, (manifest.takenOver?.oldestReading ?? manifest.id).startDate.timeIntervalSince1970),
      Sample(.refutedTables, labels, Double(manifest.refutations?.count ?? 0)),
    ]
  }

  package static func samples(of report: RunReport, in store: String, endedAt: Date) -> [Sample] {
    let labels = [("store", store), ("job", report.job.rawValue), ("database", report.database ?? "")]
    return [
      Sample(.runTime, labels, endedAt.timeIntervalSince1970.rounded()), Sample(.runDuration, labels, report.elapsed.inSeconds),
      Sample(.runExitCode, labels, Double(report.exitCode ?? 0)),
    ]
  }

  /// Replaces the samples that have the same labels, atomically for readers.
  /// - Parameters:
  ///   - states: the state of the store. Samples of other stores stay.
  ///   - isCertain: whether the store and the database are certainly not mistyped. Otherwise, for names that the file
  ///     doesn't contain yet, only complete success is written, since nothing would ever remove the samples.
  /// - Throws: `SystemError`.
  package func update(_ samples: [Sample], of store: String, _ states: StoreStates, isCertain: Bool) throws {
    let folder = path.removingLastComponent()
    // Two runs may end at once, of different users.
    let lock = try File(folder, .read)
    try lock.lockExclusively(patience: .seconds(10))
    var samples = samples
    var values: [String: String] = [:]
    for line in ((try? Folder.contents(of: path, limit: 1 << 24)) ?? []).split(separator: 0x0A) {
      let text = String(decoding: line, as: UTF8.self)
      guard text.hasPrefix("firn_"), let space = text.lastIndex(of: " ") else { continue }
      values[String(text[..<space])] = String(text[text.index(after: space)...])
    }
    func isOfStore(_ key: String, _ metric: Metric) -> Bool {
      let start = Sample(metric, [("store", store)], 0).key.dropLast()
      return key.hasPrefix(start + ",") || key.hasPrefix(start + "}")
    }
    // Failures from before the store was known are over.
    if !store.isEmpty { values = values.filter { !$0.key.contains("{store=\"\",") && !$0.key.contains("{store=\"\"}") } }
    let failed = samples.contains { $0.metric == .runExitCode && ![0, 3].contains($0.value) }
    if failed, !isCertain { samples.removeAll { values[$0.key] == nil } }
    switch states {
    case .known(let status):
      values = values.filter { value in !Metric.allCases.contains { $0.isOfStore && isOfStore(value.key, $0) } }
      samples += Self.samples(of: status, in: store)
      // One that has lost them all is not well.
      if status.databases.isEmpty { samples.append(Sample(.isOK, [("store", store)], 0)) }
    case .unknown:
      let known = values.keys.filter { isOfStore($0, .isOK) }
      for key in known { values[key] = "0" }
      if known.isEmpty, isCertain { samples.append(Sample(.isOK, [("store", store)], 0)) }
    case .unasked: break
    }
    for sample in samples {
      values[sample.key] = Self.text(sample.value)
      // A failure from before the database was known is over with this run. For other jobs, no name means all
      // databases.
      if let unnamed = sample.withoutDatabase, unnamed != sample { values[unnamed.key] = nil }
    }
    var lines: [String] = []
    for metric in Metric.allCases {
      let own = values.filter { $0.key == metric.name || $0.key.hasPrefix("\(metric.name){") }.sorted { $0.key < $1.key }
      if own.isEmpty { continue }
      lines += ["# HELP \(metric.name) \(metric.help)", "# TYPE \(metric.name) gauge"] + own.map { "\($0.key) \($0.value)" }
    }
    let passing = folder.appending(".\(path.lastComponent?.string ?? "firn").\(UInt32.random(in: 0 ... .max))")
    do {
      let file = try File(passing, .create)
      try file.write(Array((lines.joined(separator: "\n") + "\n").utf8).span)
      // Prometheus' exporter is another user, and nothing here is secret.
      try file.permitReading()
      try file.synchronize()
      try Folder.rename(passing, to: path)
    } catch {
      try? Folder.removeFile(passing)
      throw error
    }
  }

  private static func text(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\((value * 1000).rounded() / 1000)"
  }
}
