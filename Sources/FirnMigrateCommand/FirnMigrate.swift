import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository
import SystemPackage

/// `firn-migrate`.
package enum MigrateProgram {
  package static func start() { Program.start(FirnMigrate.self) }
}

/// Migrations with a way back.
struct FirnMigrate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "firn-migrate", abstract: "Migrate a PostgreSQL database with a way back.",
    discussion: """
      check examines the database. run takes a snapshot, stops the application, runs the migration, and checks the result. \
      After a failure it stops and prints how to go back, or rolls back or restores if --on-failure says so. rehearse tries the migration on a restored copy and reports what it would do. watch shows one that is running. \
      backfill changes the rows of a large table in batches.
      """,
    version: FirnVersion.text,
    subcommands: [Check.self, Run.self, Rehearse.self, Watch.self, BackfillCommand.self, Recover.self, Guard.self])
}

protocol MigrateCommand: FirnCommand {}

extension MigrateCommand {
  static var program: String { "firn-migrate" }
}

/// Options of the checks before a migration.
struct CheckOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Required value in ar_internal_metadata, such as production.", valueName: "word")) var expectEnvironment: String?
  @Option(help: ArgumentHelp("Folder of the application's migrations. Default: db/migrate, if it exists.", valueName: "folder"))
  var migrations: String?
  @Option(
    help: ArgumentHelp(
      "Warn about transactions that have been open longer than this; refuse to migrate if one has been open ten times as long. Default: 30s.",
      valueName: "duration"))
  var maxTransaction: String?

  func request(_ context: CommandContext, _ settings: ConnectionSettings, _ tools: ToolOptions) throws -> MigrationCheck.Request {
    let file = context.configuration
    var request = MigrationCheck.Request(settings: settings)
    request.source = file.source
    request.expectedEnvironment = expectEnvironment ?? file.migration.expectedEnvironment
    request.limits.snapshots = file.limits
    if let given = try maxTransaction.map({ try duration($0, "--max-transaction") }) ?? file.migration.longestTransaction {
      request.limits.transaction = given
    }
    request.toolFolders = context.toolFolders(tools)
    if let named = migrations ?? file.migration.migrations {
      request.migrations = FilePath(named)
    } else if (try? Folder.status(of: "db/migrate", followingLinks: true))?.kind == .folder {
      request.migrations = "db/migrate"
    }
    return request
  }
}

/// A duration of the command line.
func duration(_ text: String, _ option: String) throws -> Duration {
  guard let duration = Quantity.duration(text) else { throw UsageError("\(option) takes a duration such as 30s, not \(text)") }
  return duration
}

extension MigrationCheck.Words {
  static var forPeople: MigrationCheck.Words {
    MigrationCheck.Words(size: { Quantity.size($0) }, span: { Quantity.span($0) }, failure: { FailureReport($0).message })
  }
}

extension MigrationSurvey {
  var title: String { "\(database) on \(server)" }
}

/// Looks a database over before a migration.
struct Check: MigrateCommand {
  static let configuration = CommandSupport.configuration(
    "check", abstract: "Check whether a database is ready to be migrated. Changes nothing.",
    discussion: "Exit code 6 if a finding says stop, 3 if one is a warning.")
  @Argument(help: "Database name (default: from the URL).", completion: Completions.databases) var database: String?
  @OptionGroup var check: CheckOptions
  @OptionGroup var server: ConnectionOptions
  @OptionGroup var tools: ToolOptions
  @OptionGroup var common: CommonOptions

  func execute(_ given: CommandContext) throws -> ExitStatus {
    let context = try given.choosing(server)
    let settings = try context.connectionSettings(server, database: database)
    let request = try check.request(context, settings, tools)
    let survey = try context.withProgress { progress in
      progress.begin("looking at the database")
      return try MigrationCheck(repository: Result { try context.repository() }, request: request, words: .forPeople).run()
    }
    if common.json {
      try context.output(json: Report(survey))
    } else {
      context.output(survey.title)
      context.output(survey.findings.table)
    }
    return survey.mustStop ? .refused : survey.hasWarnings ? .doneWithWarnings : .done
  }

  private struct Report: Encodable {
    let server: String
    let database: String
    let ok: Bool
    let findings: [Finding]
    let schemaMigrations: [String]?

    init(_ survey: MigrationSurvey) {
      server = survey.server
      database = survey.database
      ok = !survey.mustStop
      findings = survey.findings
      if case .versions(let versions) = survey.applied { schemaMigrations = versions } else { schemaMigrations = nil }
    }
  }
}

/// Tidies up after a migration that was killed.
struct Recover: MigrateCommand {
  static let configuration = CommandSupport.configuration(
    "recover", abstract: "Start the application again after a migration that was killed, and report the state of the database.",
    discussion: "The next run does this automatically. Use it in ExecStopPost= of a systemd unit that runs migrations.")
  @OptionGroup var server: ConnectionOptions
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let found = try context.withProgress { progress in
      MigrationRun.recover(progress, words: { FailureReport($0).message }) { try context.connectionSettings(server) }
    }
    if common.json { try context.output(json: ["found": found]) } else if found.isEmpty { context.tell("no interrupted migration was found") }
    for line in found { context.warn(line) }
    return found.isEmpty ? .done : .doneWithWarnings
  }
}

/// Waits for the end of a run. If the run is killed, this starts the application again.
struct Guard: MigrateCommand {
  static let configuration = CommandConfiguration(commandName: "guard", abstract: "Waits beside a run.", shouldDisplay: false)
  @Argument var process: Int32
  @Argument var startTime: UInt64
  @OptionGroup var server: ConnectionOptions
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    while Host.startTime(of: process) == startTime { Thread.sleep(forTimeInterval: 0.1) }
    let found = MigrationRun.recover(WorkProgress(), words: { FailureReport($0).message }) { try context.connectionSettings(server) }
    for line in found { context.warn(line) }
    return .done
  }
}
