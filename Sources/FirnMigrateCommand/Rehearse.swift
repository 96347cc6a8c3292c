import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository
import SystemPackage

/// Tries a migration on a restored copy.
struct Rehearse: MigrateCommand {
  static let configuration = CommandSupport.configuration(
    "rehearse", abstract: "Try a migration on a restored snapshot, and report what it would do to production.",
    discussion: """
      The snapshot is restored on a throw-away server, the command runs against it with DATABASE_URL, and everything it does to the tables \
      is recorded. Times are measured on a server without fsync and without other sessions, so production may differ.
      """)

  @Argument(help: "Database name, or SOURCE/DATABASE (default: from the URL).", completion: Completions.databases) var database: String?
  @Option(name: .customLong("database"), help: .hidden) var databaseOption: String?
  @Option(help: "An id, the beginning of one, latest, latest:verified, latest:KIND, or before:TIME.") var snapshot = "latest"
  @Option(
    help: ArgumentHelp(
      "Exit with 6 if one of these is found: \(RehearsalReport.Finding.Kind.allCases.map(\.rawValue).joined(separator: ", ")), exclusive>DURATION.",
      valueName: "list"))
  var failOn: String?
  @Option(
    help: ArgumentHelp(
      "A column or table that the migration drops or renames on purpose, as schema.table.column. May be repeated.", valueName: "name"))
  var expectDrop: [String] = []
  @Option(help: ArgumentHelp("Time limit for the command. Default: none.", valueName: "duration")) var timeLimit: String?
  @Option(
    name: .customLong("pg-bin"),
    help: ArgumentHelp(
      "Look here for PostgreSQL's programs first. May be repeated. Default: env FIRN_PG_BIN, then pg-bin in firn.yaml, then Debian's folders and the PATH.",
      valueName: "folder"))
  var toolFolders: [String] = []
  @Option(
    help: ArgumentHelp("Directory for temporary files and the server. Default: spool in firn.yaml, then $TMPDIR or /var/tmp.", valueName: "folder"))
  var spool: String?
  @Option(
    help: ArgumentHelp(
      "Number of tables restored at the same time. Default: jobs in firn.yaml, then the number of processors, at most 8.", valueName: "n")) var jobs:
    Int?
  @Option(
    name: .customLong("run"),
    help: ArgumentHelp("Run this file with psql in the restored copy first, for example to mask data. May be repeated.", valueName: "file"))
  var scripts: [String] = []
  @Flag(help: "Rehearse even if the kernel can't confine the server.") var unconfined = false
  @OptionGroup var common: CommonOptions
  @Argument(parsing: .postTerminator, help: "The command that migrates.") var command: [String] = []

  func validate() throws {
    if database != nil && databaseOption != nil { throw ValidationError("the database is named twice") }
    if command.isEmpty { throw ValidationError("rehearse takes a command after --, such as: firn-migrate rehearse -- bundle exec rails db:migrate") }
  }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let criteria = try criteria()
    let repository = try context.repository()
    guard let name = try database ?? databaseOption ?? context.namedDatabase() else { throw FirnError.noDatabaseNamed }
    let place = try SnapshotSelector(snapshot).choose(from: context.places(of: name, in: repository.catalog), in: repository.catalog)
    var request = Rehearsal.Request(command: command)
    request.timeLimit = try timeLimit.map { try duration($0, "--time-limit") }
    request.drill.jobs = context.jobs(jobs)
    request.drill.allowsUnconfined = unconfined
    request.drill.toolFolders = context.toolFolders(toolFolders)
    request.drill.workRoot = context.spoolRoot(spool)
    request.expectedDrops = Set(expectDrop)
    request.scripts = try context.files(scripts, option: "--run")
    let report = try context.withProgress { progress in
      try Rehearsal(repository: repository, request: request, progress: progress).run(on: place) { context.tell($0) }
    }
    let hits = criteria.flatMap { $0.hits(in: report) }
    if common.json {
      try context.output(json: RehearsalJSON(report, failedOn: hits))
    } else if report.reachedCopy {
      RehearsalText(report).show(context.output)
    }
    for note in report.notes { context.tell("note: \(note)") }
    if !report.reachedCopy {
      context.fail(
        "the command never connected to the copy, and ended with exit code \(report.exitCode): this was no rehearsal",
        hint: "it takes its database from elsewhere than DATABASE_URL and PGHOST: look whether it worked on that one")
      return .failed
    }
    if report.exitCode != 0 {
      context.fail("the command failed with exit code \(report.exitCode)", hint: "it would fail in production as well")
      return .failed
    }
    if !hits.isEmpty {
      context.fail("not fit for production: \(hits.joined(separator: "; "))", hint: "see the safer ways above")
      return .refused
    }
    return report.findings.contains { $0.kind.isWarning && !$0.isExpected } ? .doneWithWarnings : .done
  }

  private func criteria() throws -> [RehearsalCriterion] {
    try (failOn ?? "").split(separator: ",").map { word in
      let word = word.trimmingCharacters(in: .whitespaces)
      if let kind = RehearsalReport.Finding.Kind(rawValue: word) { return .finding(kind) }
      if word.hasPrefix("exclusive>"), let limit = Quantity.duration(String(word.dropFirst(10))) { return .exclusive(limit) }
      throw UsageError(
        "--fail-on knows no \(word)",
        hint: "it takes \(RehearsalReport.Finding.Kind.allCases.map(\.rawValue).joined(separator: ", ")) and exclusive>2s, with commas between")
    }
  }
}

/// A rehearsal's report for people.
struct RehearsalText {
  private let report: RehearsalReport

  init(_ report: RehearsalReport) { self.report = report }

  private static let shownLocks = 20

  func show(_ write: (String) -> Void) {
    write(
      "rehearsed on \(report.place.id) of \(report.place.database), PostgreSQL \(report.server), as \(report.ranAs): exit code \(report.exitCode) after \(Quantity.span(report.elapsed.inSeconds))"
    )
    write(report.locks.isEmpty ? "no table was blocked" : "tables that were blocked for other sessions:")
    for lock in report.locks.prefix(Self.shownLocks) {
      write("  \(lock.table)  \(lock.mode.rawValue)  \(lock.held.milliseconds) ms  (\(lock.mode.effect))")
    }
    if report.locks.count > Self.shownLocks { write("  and \(report.locks.count - Self.shownLocks) more") }
    if !report.rowChanges.isEmpty { write("rows changed:") }
    for rows in report.rowChanges {
      write(
        "  \(rows.table)  \(Quantity.count(rows.inserted)) inserted, \(Quantity.count(rows.updated)) updated, \(Quantity.count(rows.deleted)) deleted"
      )
    }
    write(report.findings.isEmpty ? "nothing that would hurt was found" : "what to look at:")
    for finding in report.findings {
      write("  \(finding.isExpected ? "expected" : finding.kind.isWarning ? "WARNING" : "note"): \(finding.kind.rawValue): \(finding.text)")
      if !finding.isExpected { write("    safer: \(finding.advice)") }
    }
    write(report.schema.isEmpty ? "the schema is the same" : "the schema:")
    for change in report.schema {
      write("  \(change.object)")
      for line in change.removed { write("    - \(line)") }
      for line in change.added { write("    + \(line)") }
    }
  }
}

/// And for programs.
struct RehearsalJSON: Encodable {
  struct Lock: Encodable {
    let table: String
    let mode: String
    let milliseconds: Int64
  }
  struct Finding: Encodable {
    let kind: String
    let object: String
    let text: String
    let safer: String
    let expected: Bool
  }
  let snapshot: String
  let exitCode: Int32
  let reachedCopy: Bool
  let seconds: Double
  let restoreSeconds: Double
  let locks: [Lock]
  let rows: [RehearsalReport.Rows]
  let findings: [Finding]
  let schema: [SnapshotComparison.Change]
  let failedOn: [String]
  let notes: [String]

  init(_ report: RehearsalReport, failedOn: [String]) {
    snapshot = report.place.id.description
    exitCode = report.exitCode
    reachedCopy = report.reachedCopy
    seconds = report.elapsed.inSeconds
    restoreSeconds = report.restoreSeconds
    locks = report.locks.map { Lock(table: $0.table, mode: $0.mode.rawValue, milliseconds: Int64($0.held.milliseconds)) }
    rows = report.rowChanges
    findings = report.findings.map {
      Finding(kind: $0.kind.rawValue, object: $0.object, text: $0.text, safer: $0.advice, expected: $0.isExpected)
    }
    schema = report.schema
    self.failedOn = failedOn
    notes = report.notes
  }
}
