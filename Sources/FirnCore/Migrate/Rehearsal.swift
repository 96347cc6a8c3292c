internal import Foundation
internal import Platform
internal import Postgres
package import Repository
package import SystemPackage

/// A migration tried on a restored snapshot, in a server of its own, with everything it does to the tables written down.
package struct Rehearsal {
  package struct Request: Sendable {
    package var command: [String]
    package var timeLimit: Duration?
    package var drill = DrillRequest()
    /// SQL to run in the copy before the migration.
    package var scripts: [FilePath] = []
    /// Columns (`schema.table.column`) whose dropping or renaming is expected, since the application no longer uses them.
    package var expectedDrops: Set<String> = []

    package init(command: [String]) { self.command = command }
  }

  private let repository: Repository
  private let request: Request
  private let progress: WorkProgress

  package init(repository: Repository, request: Request, progress: WorkProgress) {
    self.repository = repository
    self.request = request
    self.progress = progress
  }

  /// - Parameter line: takes what the command prints, on a thread of its own.
  /// - Throws: as a drill does; a command that fails is no error of ours.
  package func run(on place: SnapshotPath, line: @escaping @Sendable (String) -> Void) throws -> RehearsalReport {
    progress.begin("preparing a rehearsal on \(place.id)")
    let lock = try StoreHousekeeping(store: repository.store).sharedLock(purpose: "firn-migrate rehearse", onlyReads: true)
    defer { lock.release() }
    let source = try RestoreSource(repository, place)
    let work = try WorkFolder.forRun(in: request.drill.workRoot)
    defer { work.remove() }
    let sessions = SessionNames()
    var drill = request.drill
    drill.compressesAsUsual = true
    var report: RehearsalReport?
    let outcome: DrillOutcome
    do {
      outcome = try source.namingDamage {
        try Drill(repository: repository, request: drill, progress: progress).runOnOwnServer(
          source, work, connected: sessions.add
        ) { build, database, _, _, _ in
          report = try rehearse(build, database, sessions, line)
        }
      }
    } catch let failed as Drill.Failure { throw failed.cause }
    guard var report else { throw FirnError.noDatabaseNamed }
    report.notes = outcome.reservations + outcome.notes
    report.restoreSeconds = outcome.restoreSeconds
    return report
  }

  private func rehearse(
    _ build: DatabaseBuild, _ database: UnfinishedDatabase, _ sessions: SessionNames, _ line: @escaping @Sendable (String) -> Void
  ) throws -> RehearsalReport {
    let (server, name) = (build.server, build.source.manifest.database)
    // A migration may call its database by its name.
    try server.execute(Connection.renameStatement(database.name, to: name))
    let settings = server.settings.with(database: name)
    try ScriptRun(scripts: request.scripts, tools: build.tools).run(in: name, settings, build.work, progress)
    let superuser = try Connection(settings, applicationName: "firn-migrate")
    let before = try superuser.schemaSurvey()
    let oldSchema = try schema(superuser, build, "before")
    try superuser.beginRecording()
    let owner = build.source.manifest.properties.owner
    let role = try superuser.mayLogIn(owner) ? owner : superuser.user
    let connection = try Connection(settings.with("user", role), applicationName: "firn-migrate")
    let application = "firn-rehearsal-\(Host.processID)"
    let recorder = LockRecorder(settings: settings, application: application)
    progress.beginOthers("rehearsing")
    var environment = connection.environment
    environment.merge(["DATABASE_URL": connection.url, "PGAPPNAME": application, "FIRN_REHEARSAL": "1"]) { $1 }
    // Where the command does not read the URL, libpq's own variables would lead it to production.
    let command = MigratingCommand(
      request.command, environment: environment, without: Connection.leads, timeLimit: request.timeLimit)
    let result = try command.run(line: line)
    let reachedCopy = try sessions.haveCommands(application, settings)
    try endSessions(superuser, application)
    let held = recorder.end()
    if let interruption = result.interruption { throw interruption }
    progress.begin("looking at what it did")
    let recording = try superuser.endRecording()
    // Before version 15, a statistics process collects the counts about twice a second.
    Thread.sleep(forTimeInterval: superuser.serverMajor < 15 ? 1.2 : 0)
    let after = try superuser.schemaSurvey()
    let newSchema = try schema(superuser, build, "after")
    var report = RehearsalReport(
      place: build.source.manifest.place, server: try superuser.versionText(), exitCode: result.exitCode, elapsed: result.elapsed, ranAs: role,
      reachedCopy: reachedCopy)
    report.locks = Self.locks(held, recording, before)
    report.findings =
      RehearsalFindings(
        before: before, after: after, recording: recording, locks: report.locks, expectedDrops: request.expectedDrops,
        largestChanges: try Self.largestChanges(before, after, superuser)
      ).all
    report.rowChanges = Self.rowChanges(before, after)
    report.schema = SnapshotComparison.changes(from: oldSchema, to: newSchema)
    return report
  }

  /// How many rows one transaction wrote at most, of tables of which more were updated than one may.
  private static func largestChanges(_ before: SchemaSurvey, _ after: SchemaSurvey, _ connection: Connection) throws -> [UInt32: Int64] {
    var largest: [UInt32: Int64] = [:]
    for (oid, table) in after.tables {
      guard let old = before.tables[oid], table.changes.updated - old.changes.updated > RehearsalFindings.rowsATransaction else { continue }
      largest[oid] = try connection.largestChange(of: table.name, since: before.takenAt)
    }
    return largest
  }

  /// Sessions report their statistics when they end.
  private func endSessions(_ connection: Connection, _ application: String) throws {
    for _ in 0..<50 where try connection.sessions().contains(where: { $0.application == application }) { Thread.sleep(forTimeInterval: 0.1) }
    try connection.endSessions(ofApplication: application, patience: .seconds(5))
  }

  private func schema(_ connection: Connection, _ build: DatabaseBuild, _ name: String) throws -> ArchiveDirectory {
    try SchemaDump.take(of: connection, tools: build.tools, into: build.work.path.appending("schema-\(name)"))
  }

  /// The strongest locks on each table that was there before, and the longest time each was held.
  private static func locks(_ held: [HeldLock: Duration], _ recording: Recording, _ before: SchemaSurvey) -> [RehearsalReport.Lock] {
    var longest: [String: [String: Duration]] = [:]
    for (lock, duration) in held.map({ ($0.key, $0.value) }) + recording.locks.map({ ($0.lock, $0.held) }) {
      guard let table = before.tables[lock.table] else { continue }
      longest[table.name, default: [:]][lock.mode] = max(longest[table.name]?[lock.mode] ?? .zero, duration)
    }
    return longest.flatMap { table, modes in modes.map { RehearsalReport.Lock(table: table, mode: .init($0.key), held: $0.value) } }
      .sorted { ($0.held, $1.table) > ($1.held, $0.table) }
  }

  private static func rowChanges(_ before: SchemaSurvey, _ after: SchemaSurvey) -> [RehearsalReport.Rows] {
    before.tables.compactMap { oid, table in
      guard let now = after.tables[oid]?.changes else { return nil }
      let rows = RehearsalReport.Rows(
        table: table.name, inserted: now.inserted - table.changes.inserted, updated: now.updated - table.changes.updated,
        deleted: now.deleted - table.changes.deleted)
      return rows.inserted + rows.updated + rows.deleted > 0 ? rows : nil
    }.sorted { $0.table < $1.table }
  }
}

/// Which applications had sessions on the server, by its own log.
private final class SessionNames: Sendable {
  private let names = Monitor<Set<String>>([])

  func add(_ name: String) { names.update { _ = $0.insert(name) } }

  /// Whether the command had sessions there. The log is read by another thread: one more session shows how far it is.
  func haveCommands(_ application: String, _ settings: ConnectionSettings) throws -> Bool {
    let last = "firn-migrate-last"
    _ = try Connection(settings, applicationName: last)
    _ = names.wait(atMost: .seconds(10)) { $0.contains(last) }
    return names.current.contains { $0 == application || !$0.hasPrefix("firn") }
  }
}

/// Watches which tables the sessions of one application keep from others, and for how long.
private final class LockRecorder: Sendable {
  private let isEnded = Monitor(false)
  private let seen = Monitor<[HeldLock: (first: ContinuousClock.Instant, last: ContinuousClock.Instant)]>([:])
  private let thread: WorkerThread
  /// A lock may have been held for as long before and after it was seen.
  private static let interval: Duration = .milliseconds(4)

  init(settings: ConnectionSettings, application: String) {
    thread = WorkerThread(name: "locks") { [isEnded, seen] in
      guard let connection = try? Connection(settings, applicationName: "firn-migrate locks") else { return }
      while !isEnded.wait(atMost: Self.interval, until: { $0 }) {
        guard let locks = try? connection.strongLocks(ofApplication: application) else { continue }
        let now = ContinuousClock.now
        seen.update { seen in for lock in locks { seen[lock] = (seen[lock]?.first ?? now, now) } }
      }
    }
  }

  func end() -> [HeldLock: Duration] {
    isEnded.update { $0 = true }
    thread.join()
    return seen.current.mapValues { $0.last - $0.first + Self.interval }
  }
}
