package import Foundation
internal import Platform
package import Postgres
package import Repository

/// A migration with a way back: checks, a snapshot, the command while the application is stopped, and a response to failures.
package struct MigrationRun {
  /// The response if the command fails, or the application is not healthy afterwards.
  package enum Answer: String, Sendable, CaseIterable {
    /// Start the application, and print the ways back.
    case stop
    /// Run the rollback command, once for each applied migration.
    case rollback
    /// Restore the snapshot.
    case restore
  }

  package struct Request: Sendable {
    package var command: [String]
    /// The environment of the command; it may hold a secret.
    package var databaseURL: String?
    package var settings: ConnectionSettings
    package var lockTimeout: Duration = .seconds(10)
    package var timeLimit: Duration?
    package var maintenance = ApplicationControl()
    package var answer = Answer.stop
    /// For `/bin/sh`, as `bundle exec rails db:rollback`.
    package var rollback: String?
    package var check: MigrationCheck.Request
    package var snapshot: SnapshotRequest
    /// The application's revision, from git.
    package var revision: String?
    package var allowsIncomplete = false
    package var now: @Sendable () -> Date = { Date() }

    package init(command: [String], settings: ConnectionSettings) {
      self.command = command
      self.settings = settings
      check = MigrationCheck.Request(settings: settings)
      snapshot = SnapshotRequest(settings: settings)
    }
  }

  /// Steps that only the caller can take.
  package struct Delegate {
    /// Shows the checklist.
    package let show: (MigrationSurvey) -> Void
    /// Restores a snapshot, after a confirmation. Throws without one.
    package let restore: (SnapshotPath) throws -> RestoreResult
    /// Describes an error.
    package let words: (any Error) -> String
    /// Prints a line of the command.
    package let output: @Sendable (String) -> Void

    package init(
      show: @escaping (MigrationSurvey) -> Void, restore: @escaping (SnapshotPath) throws -> RestoreResult,
      words: @escaping (any Error) -> String, output: @escaping @Sendable (String) -> Void
    ) {
      self.show = show
      self.restore = restore
      self.words = words
      self.output = output
    }
  }

  private let repository: Repository
  private let request: Request
  private let progress: WorkProgress
  private let checkWords: MigrationCheck.Words
  private let delegate: Delegate

  package init(repository: Repository, request: Request, progress: WorkProgress, words: MigrationCheck.Words, delegate: Delegate) {
    self.repository = repository
    self.request = request
    self.progress = progress
    checkWords = words
    self.delegate = delegate
  }

  /// Removes leftovers of killed migrations, and starts services that they had stopped.
  /// - Parameter words: describes an error.
  package static func recover(
    _ progress: WorkProgress, words: (any Error) -> String, _ settings: () throws -> ConnectionSettings
  ) -> [String] {
    MigrationJournal.recover(progress, words: words, settings)
  }

  /// The number of our advisory lock: the first bytes of the SHA-256 of "firn-migrate".
  private static let lockKey = Int64(bitPattern: 0x8686_E91C_0B05_A1BC)

  /// - Parameter makeLog: called once there is no obstacle.
  /// - Throws: obstacles, with nothing changed. Later failures are in the outcome.
  package func run(makeLog: (String, Date) throws -> MigrationLog) throws -> MigrationOutcome {
    // The connection stays open, because the advisory lock belongs to its session.
    let connection = try Connection(request.settings, applicationName: "firn-migrate run by \(Host.userName)")
    try connection.refusePooler()
    guard try connection.tryAdvisoryLock(Self.lockKey) else {
      throw FirnError.migrationRuns(database: connection.database, holder: try connection.holderOfAdvisoryLock(Self.lockKey) ?? "another run")
    }
    let survey = try MigrationCheck(repository: .success(repository), request: request.check, words: checkWords).run()
    delegate.show(survey)
    if survey.mustStop {
      throw FirnError.refused(reasons: survey.findings.filter { $0.verdict == .stop }.map { "\($0.name): \($0.detail)" })
    }
    let startedAt = request.now()
    let log = try makeLog(connection.database, startedAt)
    defer { log.end() }
    log.add("migrating \(connection.database) on \(survey.server) with: \(MigrationOutcome.shown(request.command))")
    for finding in survey.findings where finding.verdict != .pass { log.add("\(finding.verdict.rawValue): \(finding.name): \(finding.detail)") }
    let application = "firn-migration-\(Host.processID)-\(UInt32.random(in: 0 ... .max))"
    var journal = try MigrationJournal(
      cluster: connection.clusterName(), database: connection.database, application: application, log: log.path, startedAt: startedAt,
      versions: survey.applied.versions)
    defer { journal.remove() }
    let manifest = try takeSnapshot(survey, log)
    var outcome = MigrationOutcome(survey: survey, snapshot: manifest, startedAt: startedAt, log: log, command: request.command)
    outcome.revision = request.revision
    try carryOut(&outcome, &journal, connection, application)
    outcome.finishedAt = request.now()
    if outcome.succeeded { log.add(outcome.verdict) } else { log.keep(outcome.verdict) }
    return outcome
  }

  private func takeSnapshot(_ survey: MigrationSurvey, _ log: MigrationLog) throws -> Manifest {
    var snapshot = request.snapshot
    snapshot.kind = "pre-migration"
    snapshot.tags["revision"] = request.revision
    if case .versions(let versions) = survey.applied {
      snapshot.tags["schema_migrations"] = MigrationOutcome.digest(of: versions)
      snapshot.tags["schema_version"] = versions.last
    }
    progress.begin("taking the snapshot")
    let manifest = try SnapshotOperation(repository: repository, request: snapshot, progress: progress).run().manifest
    guard manifest.complete || request.allowsIncomplete else {
      throw FirnError.refused(reasons: manifest.incompleteReasons.map { "the snapshot \(manifest.id) is incomplete: \($0) (--allow-incomplete)" })
    }
    progress.begin("looking whether all of it is there")
    let check = try VerifyOperation(repository: repository, extent: .quick, progress: progress).run(on: [manifest.place])
    guard check.isSound else {
      throw FirnError.refused(reasons: check.snapshots.flatMap(\.problems).map { "the snapshot \(manifest.id): \($0.reason)" })
    }
    log.add(
      "snapshot \(manifest.id): \(manifest.tables.count) tables, \(manifest.rows) rows, \(checkWords.size(manifest.bytes)), every object there")
    return manifest
  }

  // MARK: From here on every failure is handled

  private func carryOut(_ outcome: inout MigrationOutcome, _ journal: inout MigrationJournal, _ connection: Connection, _ application: String) throws
  {
    let log = outcome.log
    // Asked once: later the server may be unreachable.
    let url = request.databaseURL ?? connection.url
    try journal.beginStopping(after: outcome.snapshot.id.description)
    try Interruption.check()
    let mark =
      try request.maintenance.stop.isEmpty
      ? nil : StoppedApplication(database: connection.database, start: request.maintenance.start, for: "a migration")
    // The journal stays until every stopped service runs again.
    defer { if outcome.startFailures.isEmpty { mark?.remove() } }
    do { try stop(log) } catch {
      outcome.problems.append("the application could not be stopped, so nothing was migrated: \(delegate.words(error))")
      start(&outcome)
      return
    }
    outcome.stoppedAt = request.maintenance.stop.isEmpty ? nil : request.now()
    journal.begin(.command)
    let result = runCommand(&outcome, &journal, url, application)
    outcome.interruption = result?.interruption
    // An interruption must not leave the application stopped.
    Interruption.clear()
    outcome.after = applied(&outcome)
    log.add("schema_migrations: \(outcome.changeInWords)")
    guard result?.succeeded == true else {
      outcome.problems.append(outcome.commandFailure(result))
      log.add(outcome.problems.last ?? "")
      journal.begin(.answer)
      answer(&outcome, isStopped: true, &journal, url, application)
      return
    }
    journal.begin(.starting)
    start(&outcome)
    journal.begin(.health)
    guard !isHealthy(&outcome) else { return }
    // The operator who interrupts decides what comes next.
    outcome.interruption = Interruption.signal.map { Interruption(signal: $0) }
    Interruption.clear()
    // The URL may be secret.
    outcome.problems.append("the application is not well after the migration: the health check keeps failing")
    log.add(outcome.problems.last ?? "")
    journal.begin(.answer)
    answer(&outcome, isStopped: false, &journal, url, application)
  }

  private func stop(_ log: MigrationLog) throws {
    for command in request.maintenance.stop { log.add("stopping the application: \(command)") }
    try request.maintenance.stopAll(progress)
  }

  private func start(_ outcome: inout MigrationOutcome) {
    for command in request.maintenance.start { outcome.log.add("starting the application: \(command)") }
    outcome.startFailures = request.maintenance.startAll(progress)
    if !request.maintenance.start.isEmpty { outcome.restartedAt = request.now() }
    for failure in outcome.startFailures { outcome.log.add("NOT STARTED: \(failure)") }
  }

  private func isHealthy(_ outcome: inout MigrationOutcome) -> Bool {
    guard request.maintenance.healthCheck != nil else { return true }
    let isWell = request.maintenance.isHealthy(progress)
    outcome.isHealthy = isWell
    outcome.log.add(isWell ? "the application is well" : "the application is NOT well")
    return isWell
  }

  private func runCommand(
    _ outcome: inout MigrationOutcome, _ journal: inout MigrationJournal, _ url: String, _ application: String
  ) -> MigratingCommand.Outcome? {
    let log = outcome.log
    outcome.commandStartedAt = request.now()
    defer { outcome.commandEndedAt = request.now() }
    progress.beginOthers("migrating")
    let observer = MigrationObserver(settings: request.settings, application: application) { log.add($0) }
    defer { outcome.observations = observer.end() }
    do {
      let command = MigratingCommand(request.command, environment: environment(url, application, outcome), timeLimit: request.timeLimit)
      let result = try run(command, &journal, log)
      log.add("the command (process \(result.process)) ended with exit code \(result.exitCode) after \(checkWords.span(result.elapsed))")
      outcome.commandExitCode = result.exitCode
      if !result.succeeded { endSessions(application, log) }
      return result
    } catch {
      log.add("the command could not be run: \(delegate.words(error))")
      return nil
    }
  }

  /// Runs a command of the user, prints and logs its output.
  private func run(_ command: MigratingCommand, _ journal: inout MigrationJournal, _ log: MigrationLog) throws -> MigratingCommand.Outcome {
    try command.run(begun: { journal.note(command: $0) }) { [show = delegate.output] line in
      log.add(output: line)
      show(line)
    }
  }

  /// A server continues a statement after its client is gone.
  private func endSessions(_ application: String, _ log: MigrationLog) {
    do {
      let connection = try Connection(request.settings, applicationName: "firn-migrate")
      let (count, left) = try connection.endSessions(ofApplication: application, patience: .seconds(10))
      if count > 0 { log.add("ended \(count - left) sessions that the command left behind" + (left > 0 ? "; \(left) DID NOT END" : "")) }
    } catch { log.add("could not check whether sessions of the command remain: \(delegate.words(error))") }
  }

  private func environment(_ url: String, _ application: String, _ outcome: MigrationOutcome) -> [String: String] {
    let own = ProcessInfo.processInfo.environment["PGOPTIONS"].map { "\($0) " } ?? ""
    let option = "-c lock_timeout=\(request.lockTimeout.milliseconds)"
    return [
      // Parameters in the URL override the variables.
      "DATABASE_URL": ConnectionSettings.url(url, adding: option, application: application),
      "PGOPTIONS": "\(own)\(option)",
      "PGAPPNAME": application, "FIRN_SNAPSHOT": outcome.snapshot.id.description,
    ]
  }

  private func applied(_ outcome: inout MigrationOutcome) -> AppliedMigrations? {
    do { return try Connection(request.settings, applicationName: "firn-migrate").appliedMigrations() } catch {
      outcome.problems.append("the applied migrations are unknown: \(delegate.words(error))")
      return nil
    }
  }

  // MARK: Responses

  private func answer(
    _ outcome: inout MigrationOutcome, isStopped: Bool, _ journal: inout MigrationJournal, _ url: String, _ application: String
  ) {
    // The operator ended it.
    let answer = outcome.interruption == nil ? request.answer : .stop
    guard answer != .stop else {
      if isStopped { start(&outcome) }
      return
    }
    if !isStopped {
      do { try stop(outcome.log) } catch {
        outcome.problems.append("the application could not be stopped for the way back: \(delegate.words(error))")
        start(&outcome)
        return
      }
    }
    switch answer {
    case .rollback: outcome.answer = rollBack(&outcome, &journal, url, application)
    case .restore: outcome.answer = restore(&outcome)
    case .stop: break
    }
    start(&outcome)
    _ = isHealthy(&outcome)
  }

  private func rollBack(
    _ outcome: inout MigrationOutcome, _ journal: inout MigrationJournal, _ url: String, _ application: String
  ) -> MigrationOutcome.Answered {
    guard let command = request.rollback else { return .notPossible("no command that rolls back is configured (migrate: rollback)") }
    guard let added = outcome.change?.added else { return .notPossible("which migrations are applied is not known, so nothing was rolled back") }
    // A rollback would undo the migration before this one.
    guard !added.isEmpty else { return .nothingToDo("no migration was recorded as applied: there is nothing to roll back") }
    guard outcome.addedAreNewest else {
      return .notPossible(
        "later versions than \(added.joined(separator: ", ")) were there before, and would be rolled back first: nothing was rolled back")
    }
    let log = outcome.log
    log.add("rolling back \(added.count) migrations: \(command)")
    var environment = environment(url, application, outcome)
    environment.merge(["STEP": "\(added.count)", "FIRN_MIGRATED_VERSIONS": added.joined(separator: " ")]) { $1 }
    do {
      progress.beginOthers("rolling back")
      let result = try run(MigratingCommand(shell: command, environment: environment, timeLimit: request.timeLimit), &journal, log)
      guard result.succeeded else {
        endSessions(application, log)
        return .failed("the rollback ended with exit code \(result.exitCode)")
      }
    } catch { return .failed("the rollback could not be run: \(delegate.words(error))") }
    outcome.after = applied(&outcome)
    guard let after = outcome.after, outcome.change?.isNone == true else {
      return .failed("the rollback ended well, and yet schema_migrations is not what it was: \(outcome.changeInWords)")
    }
    log.add("rolled back: schema_migrations has its previous \(after.versions.count) versions")
    return .rolledBack("rolled back by \(command): schema_migrations is what it was")
  }

  private func restore(_ outcome: inout MigrationOutcome) -> MigrationOutcome.Answered {
    outcome.log.add("restoring \(outcome.snapshot.id)")
    do {
      let result = try delegate.restore(outcome.snapshot.place)
      outcome.after = applied(&outcome)
      outcome.log.add("restored \(outcome.snapshot.id); the previous database is kept as \(result.keptAs ?? "nothing")")
      return .restored(
        "\(result.database) is the snapshot \(outcome.snapshot.id) again; the migrated database is kept as \(result.keptAs ?? "nothing")")
    } catch FirnError.notConfirmed(let phrase, _) {
      return .notPossible("restoring was not confirmed with \"\(phrase)\": nothing was restored")
    } catch { return .failed("restoring failed: \(delegate.words(error))") }
  }
}
