import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// The checklist of a migration, filled in from what happened, as Markdown. Points that no program can check stay
/// open.
struct Checklist {
  let text: String

  init(_ outcome: MigrationOutcome, maintenance: ApplicationControl) {
    let snapshot = outcome.snapshot
    var lines = ["## Migration checklist: \(outcome.survey.database), \(Quantity.time(outcome.startedAt))", ""]
    func item(_ done: Bool, _ text: String) { lines.append("- [\(done ? "x" : " ")] \(text)") }
    func time(_ date: Date?) -> String { date.map { $0.formatted(.iso8601) } ?? "not reached" }

    lines.append("Command: `\(MigrationOutcome.shown(outcome.command))`" + (outcome.revision.map { ", revision \($0)" } ?? ""))
    lines += ["Log: `\(outcome.log.path)`", "", "### Pre-Migration"]
    item(false, "Migration tested in development and on staging (`firn-migrate rehearse` tries it on a restored snapshot)")
    item(
      true,
      "Database backup created: snapshot \(snapshot.id), \(Quantity.tables(snapshot.tables.count)), \(Quantity.rows(snapshot.rows)), every object there"
    )
    for finding in outcome.survey.findings { item(finding.verdict == .pass, "\(finding.name): \(finding.verdict.rawValue), \(finding.detail)") }
    item(true, "Rollback procedure: `firn-restore '\(outcome.survey.database)' \(snapshot.id)`")
    item(false, "Team notified of maintenance window")

    lines += ["", "### During Migration"]
    if maintenance.stop.isEmpty {
      item(false, "Application in maintenance mode (no commands are configured)")
    } else {
      item(outcome.stoppedAt != nil, "Application in maintenance mode: \(time(outcome.stoppedAt))")
    }
    item(outcome.commandStartedAt != nil, "Migration started: \(time(outcome.commandStartedAt))")
    let waits = outcome.observations
    item(
      waits.sawCommand,
      waits.sawCommand
        ? "Migration monitored: at most \(waits.mostWaiting) sessions waited for it at once, the longest for \(Quantity.span(waits.longestWait.inSeconds))"
        : "Migration monitored: no session of the command was seen")
    item(true, "Progress logged")

    lines += ["", "### Post-Migration"]
    item(
      outcome.commandExitCode == 0,
      "Migration completed: \(time(outcome.commandEndedAt)), exit code \(outcome.commandExitCode.map(String.init) ?? "none")")
    item(outcome.after != nil, "schema_migrations: \(outcome.changeInWords)")
    if maintenance.start.isEmpty {
      item(false, "Application restarted (no commands are configured)")
    } else {
      item(
        outcome.restartedAt != nil && outcome.startFailures.isEmpty,
        "Application restarted: \(time(outcome.restartedAt))" + outcome.startFailures.map { "; NOT STARTED: \($0)" }.joined())
    }
    item(
      outcome.isHealthy == true,
      "Health checks passing" + (outcome.isHealthy == nil ? " (none is configured, or it was not reached)" : outcome.isHealthy == true ? "" : ": NO"))
    item(false, "Smoke tests completed")
    item(false, "Performance metrics normal")
    item(false, "Team notified of completion")

    if !outcome.succeeded {
      lines += ["", "### Rollback"]
      item(true, "Issue identified: \(outcome.problems.joined(separator: "; "))")
      item(
        outcome.answer?.wasBegun == true, "Rollback initiated: \(outcome.answer?.text ?? "no; \(WaysBack(outcome, rollback: nil).text)")")
      item(
        outcome.answer?.isBack == true,
        outcome.answer?.isRolledBack == true
          ? "Database as before: schema_migrations is; what the migrations removed or changed in rows is in snapshot \(snapshot.id) alone"
          : "Database as before")
      item((outcome.answer?.isBack == true || outcome.answer?.isRolledBack == true) && outcome.isHealthy == true, "Application verified")
      item(true, "Incident report created: this")
      lines += ["", "### Incident", "", "| time (UTC) | what |", "|---|---|"]
      lines += outcome.log.lines.map { "| \($0.time.formatted(.iso8601)) | \($0.text.replacing("|", with: "\\|").replacing("\n", with: " ")) |" }
    }
    text = lines.joined(separator: "\n") + "\n"
  }
}
