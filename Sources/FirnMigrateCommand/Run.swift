import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository
import SystemPackage

/// Runs a migration with a way back.
struct Run: MigrateCommand {
  static let configuration = CommandSupport.configuration(
    "run", abstract: "Run a migration with a snapshot before it and a way back.",
    discussion: """
      Checks the database, takes a snapshot of kind pre-migration, stops the application (maintenance: stop in firn.yaml), runs the command \
      with DATABASE_URL and a lock_timeout, compares schema_migrations, starts the application and checks its health. Everything is logged. \
      The completed checklist is written next to the log.
      """)

  @Argument(help: "Database name (default: from the URL).", completion: Completions.databases) var database: String?
  @OptionGroup var check: CheckOptions
  @Option(help: ArgumentHelp("Action after a failure: stop (show how to go back), rollback, restore. Default: stop.", valueName: "answer"))
  var onFailure: String?
  @Option(help: ArgumentHelp("Shell command that rolls back. The variable STEP holds the number of migrations to roll back.", valueName: "command"))
  var rollback: String?
  @Option(help: ArgumentHelp("The same as --on-failure restore, without a question. The value must be the database's name.", valueName: "database"))
  var restoreOnFailure: String?
  @Option(help: ArgumentHelp("How long the command's statements wait for a lock. Default: 10s.", valueName: "duration")) var lockTimeout: String?
  @Option(help: ArgumentHelp("Time limit for the command. Default: none.", valueName: "duration")) var timeLimit: String?
  @Option(help: ArgumentHelp("Keep logs and checklists here. Default: ~/.local/state/firn/migrations.", valueName: "folder")) var logFolder: String?
  @Option(help: ArgumentHelp("The application's revision, for the snapshot's tag. Default: git's HEAD here.", valueName: "id")) var revision: String?
  @Flag(help: "Continue even if the snapshot is incomplete.") var allowIncomplete = false
  @OptionGroup var server: ServerOptions
  @OptionGroup var common: CommonOptions
  @Argument(parsing: .postTerminator, help: "The command that migrates.") var command: [String] = []

  func validate() throws {
    if command.isEmpty { throw ValidationError("run takes a command after --, such as: firn-migrate run -- bundle exec rails db:migrate") }
    if let onFailure, MigrationRun.Answer(rawValue: onFailure) == nil { throw ValidationError("--on-failure takes stop, rollback or restore") }
    if restoreOnFailure != nil, let onFailure, onFailure != "restore" { throw ValidationError("--restore-on-failure means --on-failure restore") }
  }

  var job: RunReport.Job? { .migrate }
  func subject(_ context: CommandContext) -> String? { database ?? context.databaseOfURL(server.connection) }

  func execute(_ given: CommandContext) throws -> ExitStatus {
    let context = try given.choosing(server.connection)
    let settings = try context.connectionSettings(server.connection, database: database)
    // First of all: an application may be waiting for it.
    let found = try context.withProgress { progress in MigrationRun.recover(progress, words: { FailureReport($0).message }) { settings } }
    for line in found { context.warn(line) }
    let repository = try context.repositoryToFill(in: context.store())
    let request = try request(context, settings)
    if request.answer == .rollback && request.rollback == nil {
      throw UsageError("no command rolls back", hint: "name one with --rollback, or migrate: rollback in firn.yaml")
    }
    let logFolder = Host.path(self.logFolder ?? context.configuration.migration.logFolder ?? MigrationLog.usualFolder.string)
    let database = try Connection(settings, applicationName: "firn-migrate").database
    if let named = restoreOnFailure, named != database {
      throw UsageError("--restore-on-failure names \(named), and the database is \(database)")
    }
    try startGuard(context)
    let outcome = try context.withProgress { progress in
      let delegate = delegate(context, repository, request, progress, database)
      return try MigrationRun(repository: repository, request: request, progress: progress, words: .forPeople, delegate: delegate).run {
        database, time in
        try MigrationLog(in: logFolder, database: database, at: time) {
          context.tell("\(Self.clock()) \($0)")
        }
      }
    }
    do { try Folder.write(Array(Checklist(outcome, maintenance: request.maintenance).text.utf8), to: outcome.log.checklist) } catch {
      context.warn("the checklist could not be written: \(error)")
    }
    try report(outcome, context, request)
    if let interruption = outcome.interruption { return interruption.signal == 2 ? .interrupted : .terminated }
    // A deploy continues if this is 0: warnings of the checklist are no failure of the migration.
    return outcome.succeeded ? .done : .failed
  }

  private static func clock() -> String { Date().formatted(.iso8601.time(includingFractionalSeconds: false)) + "Z" }

  private func request(_ context: CommandContext, _ settings: ConnectionSettings) throws -> MigrationRun.Request {
    let file = context.configuration
    var request = MigrationRun.Request(command: command, settings: settings)
    // The one that is checked and snapshotted, or none: another would be migrated without a snapshot.
    if database == nil { request.databaseURL = context.givenURL(server.connection).flatMap { $0.contains("://") ? $0 : nil } }
    request.check = try check.request(context, settings, server.tools)
    request.check.takesSnapshot = true
    request.maintenance = file.maintenance
    request.rollback = rollback ?? file.migration.rollback
    request.answer = restoreOnFailure != nil ? .restore : onFailure.flatMap(MigrationRun.Answer.init) ?? file.migration.answer ?? .stop
    if let given = try lockTimeout.map({ try duration($0, "--lock-timeout") }) ?? file.migration.lockTimeout { request.lockTimeout = given }
    request.timeLimit = try timeLimit.map { try duration($0, "--time-limit") } ?? file.migration.timeLimit
    request.revision = revision ?? gitRevision()
    request.allowsIncomplete = allowIncomplete
    request.snapshot = context.snapshotRequest(settings, server)
    return request
  }

  private func gitRevision() -> String? {
    guard let result = try? ProgramResult.run("/usr/bin/git", ["rev-parse", "--verify", "HEAD"], environment: ProcessInfo.processInfo.environment),
      result.exitCode == 0
    else { return nil }
    let text = String(decoding: result.output, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    return text.isEmpty ? nil : text
  }

  /// A process beside us that outlives a kill of ours.
  private func startGuard(_ context: CommandContext) throws {
    guard !context.configuration.maintenance.stop.isEmpty, let own = Host.startTime(of: Host.processID) else { return }
    var arguments = ["guard", "\(Host.processID)", "\(own)"]
    if let config = common.config { arguments += ["--config", config] }
    for name in server.connection.servers { arguments += ["--server", name] }
    // A URL may hold a secret: it goes by the environment.
    var environment = context.environment
    if let url = server.connection.databaseURL { environment["DATABASE_URL"] = url }
    do {
      // Installed, all programs are one file, which goes by the name it is called by.
      let own = FilePath(Bundle.main.executablePath ?? CommandLine.arguments[0]).removingLastComponent().appending("firn-migrate")
      try BackgroundProgram.start(own, arguments: arguments, environment: environment)
    } catch { context.warn("no watchdog for this run: if it is killed, the application stays stopped until firn-migrate recover: \(error)") }
  }

  private func delegate(
    _ context: CommandContext, _ repository: Repository, _ migration: MigrationRun.Request, _ progress: WorkProgress, _ database: String
  ) -> MigrationRun.Delegate {
    MigrationRun.Delegate(
      show: { survey in ([survey.title] + survey.findings.table.lines(columns: nil, isPainted: false)).forEach(context.tell) },
      restore: { place in
        var request = RestoreRequest(settings: migration.settings, place: place, target: .replacing(database))
        request.jobs = context.jobs(server)
        request.allowsIncomplete = migration.allowsIncomplete
        request.toolFolders = context.toolFolders(server.tools)
        request.workRoot = context.spoolRoot(server.spool)
        let operation = RestoreOperation(repository: repository, request: request, progress: progress)
        let plan = try operation.plan()
        ImpactStatement(plan, lastCheck: try repository.catalog.decisiveCheck(of: place), request: request).show(context)
        try Confirmation.require(request.target.phrase, given: restoreOnFailure)
        request.keptName = plan.impact?.keptAs
        request.replacedOID = plan.impact?.oid
        return try RestoreOperation(repository: repository, request: request, progress: progress).run { _ in }
      },
      words: { FailureReport($0).message },
      output: { context.tell($0) })
  }

  private func report(_ outcome: MigrationOutcome, _ context: CommandContext, _ request: MigrationRun.Request) throws {
    context.record.note { [database = outcome.survey.database, snapshot = outcome.snapshot.id.description] report in
      (report.database, report.snapshot) = (database, snapshot)
    }
    try context.result(Report(outcome))
    if common.json { return }
    context.output(outcome.snapshot.id.description)
    context.tell("log: \(outcome.log.path)")
    context.tell("checklist: \(outcome.log.checklist)")
    if outcome.succeeded { return }
    context.fail(outcome.verdict, hint: WaysBack(outcome, rollback: request.rollback).text)
  }

  private struct Report: Encodable {
    let database: String
    let ok: Bool
    let snapshot: String
    let exitCode: Int32?
    let applied: Nullable<[String]>
    let rolledBack: Nullable<[String]>
    let healthy: Bool?
    let problems: [String]
    let answer: String?
    let startFailures: [String]
    let log: String
    let checklist: String
    let seconds: Double
    let longestWaitSeconds: Double

    init(_ outcome: MigrationOutcome) {
      database = outcome.survey.database
      ok = outcome.succeeded
      snapshot = outcome.snapshot.id.description
      exitCode = outcome.commandExitCode
      applied = Nullable(outcome.change?.added)
      rolledBack = Nullable(outcome.change?.removed)
      healthy = outcome.isHealthy
      problems = outcome.problems
      answer = outcome.answer?.text
      startFailures = outcome.startFailures
      log = outcome.log.path.string
      checklist = outcome.log.checklist.string
      seconds = (outcome.finishedAt ?? outcome.startedAt).timeIntervalSince(outcome.startedAt)
      longestWaitSeconds = outcome.observations.longestWait.inSeconds
    }
  }
}

/// The ways back after a failed migration, with the exact commands.
struct WaysBack {
  let text: String

  init(_ outcome: MigrationOutcome, rollback: String?) {
    let database = outcome.survey.database
    let restore = "firn-restore '\(database)' \(outcome.snapshot.id)"
    let again = "to have the database of \(Quantity.time(outcome.snapshot.startedAt)) again, without what was written since: \(restore)"
    let added = outcome.change?.added ?? []
    if outcome.answer?.isBack == true {
      text = "the database is as it was before the migration; fix the migration, then run it again"
    } else if outcome.answer?.isRolledBack == true {
      text = "fix the migration, then run it again; a rollback does not bring back rows that it removed or changed: \(again)"
    } else if outcome.change == nil {
      text = "what was migrated is not known: look at schema_migrations; \(again)"
    } else if outcome.interruption == nil && outcome.change?.isNone == true {
      text =
        "no migration was recorded: check whether the command left anything behind, fix it, then run it again; the database as it was before: \(restore)"
    } else if added.isEmpty {
      text = again
    } else if outcome.addedAreNewest {
      text = "to roll back: STEP=\(added.count) \(rollback ?? "bundle exec rails db:rollback"); \(again)"
    } else {
      // The last ones are others'.
      text =
        "to roll back, each by itself: \(added.reversed().map { "VERSION=\($0) bundle exec rails db:migrate:down" }.joined(separator: ", ")); \(again)"
    }
  }
}
