package import Foundation
internal import Platform
package import Repository

/// The contents of a store over a span of time, for occasional readers.
package struct StoreReport: Sendable, Encodable {
  package struct Snapshot: Sendable, Encodable {
    package let id: String
    package let kind: String
    package let startedAt: Date
    package let complete: Bool
    package let isOnHold: Bool
    /// The result of the last verification and its level; nil if there was none.
    package let isIntact: Bool?
    package let verifiedBy: String?
    /// Uncompressed bytes and rows; nil if no identity opens it.
    package let bytes: Int64?
    package let rows: Int64?
    /// Bytes it added to the store.
    package let storedBytes: Int64?
    package let seconds: Double?
  }

  /// A table in each snapshot that has it.
  package struct Table: Sendable, Encodable {
    package struct Point: Sendable, Encodable {
      package let at: Date
      package let rows: Int64
      package let bytes: Int64
    }
    package let name: String
    package let points: [Point]
  }

  package struct Drill: Sendable, Encodable {
    package let at: Date
    package let seconds: Double
  }

  /// A run that failed, wholly or in part.
  package struct FailedRun: Sendable, Encodable {
    package let at: Date
    package let job: String
    package let host: String
    /// Nil for a run that named none, or several.
    package let database: String?
    package let error: String?
    package let wasKilled: Bool

    init(_ known: RunHistories.Known) {
      let run = known.run
      let parts = (run.failures ?? []).map { "\($0.database): \($0.error)" }.joined(separator: "; ")
      (at, job, host, database, error, wasKilled) = (
        run.startedAt, run.job, run.host, run.database, run.error ?? (parts.isEmpty ? nil : parts), known.wasKilled
      )
    }
  }

  package struct Copy: Sendable, Encodable {
    package let store: String
    package let newestAt: Date?
    package let behind: Int
  }

  package struct Database: Sendable, Encodable {
    package let source: String
    /// The name of the source; the folder's if it has no other.
    package let sourceName: String
    package let database: String
    package let newestAt: Date?
    package let provenAt: Date?
    package let provenBy: String?
    package let problems: [String]
    /// Whether its server no longer has it.
    package let isGone: Bool
    /// The oldest first.
    package let snapshots: [Snapshot]
    /// The largest of the newest snapshot first.
    package let tables: [Table]
    /// The number of tables in the newest readable snapshot besides those in `tables`.
    package let otherTables: Int
    package let drills: [Drill]
    package let copies: [Copy]
    /// Snapshots that could not be read at all.
    package let unreadable: Int
  }

  package let location: String
  /// The machine that wrote the report.
  package let host: String
  package let generatedAt: Date
  /// Bytes of all objects, and bytes that are free beside them; nil if that is unknown.
  package let storedBytes: Int64?
  package let freeBytes: Int64?
  /// Problems that belong to no database with snapshots.
  package let problems: [String]
  /// The newest first, at most 20.
  package let failedRuns: [FailedRun]
  /// The begin of the report's time span.
  package let since: Date
  package let databases: [Database]

  /// - Parameters:
  ///   - status: the status of the same store.
  ///   - days: the number of days to look back.
  ///   - tableCount: the number of tables whose trend is included.
  package init(of repository: Repository, status: StoreStatus, days: Int, tableCount: Int = 12, now: Date, progress: WorkProgress) throws {
    location = repository.store.location
    host = Host.name
    generatedAt = now
    progress.begin("adding up the store")
    var bytes: Int64 = 0
    storedBytes = (try? repository.store.list("objects/") { bytes += $0.size }).map { bytes }
    freeBytes = (repository.store as? LocalStore).flatMap { try? Folder.freeSpace(at: $0.root) }
    problems = status.problems
    var failed: [FailedRun] = []
    let monthAgo = now.addingTimeInterval(-30 * 86400)
    try RunHistories(store: repository.store, location: location).forEach {
      $0.startedAt >= monthAgo && $0.outcome != .success && $0.outcome != .cancelled
    } _: {
      if $0.isFailure { failed.append(FailedRun($0)) }
      return failed.count < 20
    }
    failedRuns = failed
    let since = now.addingTimeInterval(-Double(days) * 86400)
    self.since = since
    let listing = try repository.catalog.listing().filter { $0.place.id.startDate >= since }
    // Looked up once: of many databases each has many snapshots.
    let snapshots = Dictionary(grouping: listing) { "\($0.place.source.keyComponent)/\($0.place.database.keyComponent)" }
    let reports = Monitor<[Int: Database]>([:])
    progress.begin("reading snapshots of \(status.databases.count) databases")
    try forEachInParallel(
      Array(status.databases.enumerated()), thread: "report", threads: max(processorCount, repository.store.requestsAtOnce)
    ) { number, state in
      let own = snapshots["\(state.source.keyComponent)/\(state.database.keyComponent)", default: []].sorted { $0.place.id < $1.place.id }
      let report = try Self.database(state, own, repository, tableCount, now)
      reports.update { $0[number] = report }
    }
    databases = reports.current.sorted { $0.key < $1.key }.map(\.value)
  }

  private static func database(
    _ state: StoreStatus.Database, _ listing: [ListedSnapshot], _ repository: Repository, _ tableCount: Int, _ now: Date
  ) throws -> Database {
    var snapshots: [Snapshot] = []
    var drills: [Drill] = []
    var unreadable = 0
    var points: [String: [Table.Point]] = [:]
    var newest: Manifest?
    for listed in listing {
      try Interruption.check()
      let manifest: Manifest?
      let summary: Manifest.Summary
      do {
        manifest = try repository.readableManifest(of: listed.place)
        summary = try manifest.map(Manifest.Summary.init) ?? repository.catalog.summary(of: listed.place)
      } catch let error as RepositoryError where error.isOfOneSnapshot {
        unreadable += 1
        continue
      }
      let verdict = try repository.catalog.verdict(of: listed.checks, now: now)
      snapshots.append(Snapshot(listed, summary, manifest, verdict))
      let checks = listed.checks.isEmpty ? [] : (try? repository.catalog.checks(of: listed.place)) ?? []
      drills += checks.compactMap { check in check.ok ? check.restoreSeconds.map { Drill(at: check.checkedAt, seconds: $0) } : nil }
      guard let manifest else { continue }
      newest = manifest
      for table in manifest.tables {
        points[table.displayName, default: []].append(Table.Point(at: manifest.startedAt, rows: table.rows, bytes: table.bytes))
      }
    }
    let largest = (newest?.tables ?? []).sorted { ($0.bytes, $1.displayName) > ($1.bytes, $0.displayName) }.prefix(tableCount).map(\.displayName)
    return Database(
      source: state.source, sourceName: state.sourceName, database: state.database, newestAt: state.newest?.startedAt,
      provenAt: state.proof?.checkedAt,
      provenBy: state.proof?.level.rawValue, problems: state.problems, isGone: state.isGone, snapshots: snapshots,
      tables: largest.map { Table(name: $0, points: points[$0] ?? []) }, otherTables: max(0, (newest?.tables.count ?? 0) - largest.count),
      drills: drills.sorted { $0.at < $1.at },
      copies: state.copies.map { Copy(store: $0.location, newestAt: $0.newest?.startDate, behind: $0.behind) }, unreadable: unreadable)
  }
}

extension StoreReport.Snapshot {
  fileprivate init(_ listed: ListedSnapshot, _ summary: Manifest.Summary, _ manifest: Manifest?, _ verdict: CheckRecord?) {
    id = listed.place.id.description
    kind = summary.kind
    startedAt = listed.place.id.startDate
    complete = summary.complete
    isOnHold = listed.isOnHold
    isIntact = verdict?.ok
    verifiedBy = verdict?.level.rawValue
    bytes = manifest?.bytes
    rows = manifest?.rows
    storedBytes = summary.storedBytes
    seconds = manifest.map { $0.finishedAt.timeIntervalSince($0.startedAt) }
  }
}
