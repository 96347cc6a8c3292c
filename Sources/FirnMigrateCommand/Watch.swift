import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository

/// Shows what a database is doing.
struct Watch: MigrateCommand {
  static let configuration = CommandSupport.configuration(
    "watch", abstract: "Show running schema changes, blocked sessions, and the progress of long statements.",
    discussion: "On a terminal it refreshes until Ctrl-C. Otherwise it prints the current state once. --end ends a session, after a confirmation.")
  @Option(help: ArgumentHelp("Time between two refreshes.", valueName: "duration")) var every = "1s"
  @Flag(help: "Print the current state once, and stop.") var once = false
  @Option(help: ArgumentHelp("End the session of this server process.", valueName: "pid")) var end: Int32?
  @OptionGroup var confirmation: ConfirmationOption
  @OptionGroup var server: ConnectionOptions
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let settings = try context.connectionSettings(server)
    if let end { return try endSession(end, settings, context) }
    let pause = try duration(every, "--every")
    let connection = try Connection(settings, applicationName: "firn-migrate watch")
    if common.json {
      try context.output(json: WatchJSON(MigrationView(connection)))
      return .done
    }
    guard Terminal.outputIsTerminal && !once else {
      for line in WatchText(try MigrationView(connection)).lines { context.output(line) }
      return .done
    }
    while true {
      let lines = WatchText(try MigrationView(connection)).lines
      let columns = Terminal.columns - 1
      let page = lines.map { Terminal.oneLine($0).prefix(columns) + "\u{1B}[K" }.joined(separator: "\n")
      // Home, the page, and nothing of the page before.
      Terminal.writeOutput("\u{1B}[H\(page)\n\u{1B}[J")
      do { try Interruption.sleep(until: ContinuousClock.now + max(pause, .milliseconds(100))) } catch {
        Terminal.writeOutput("\n")
        return .done
      }
    }
  }

  private func endSession(_ process: Int32, _ settings: ConnectionSettings, _ context: CommandContext) throws -> ExitStatus {
    let ending = try SessionEnding(of: process, settings)
    let session = ending.session
    let open = session.transaction.map { ", its transaction open for \(Quantity.span($0.inSeconds))" } ?? ""
    context.explain([
      "", "This ends the session of process \(process); what its transaction did is rolled back.", "",
      "  user         \(session.user)\(session.application.isEmpty ? "" : ", \(session.application)")",
      "  state        \(session.state) for \(Quantity.span(session.sinceChange.inSeconds))\(open)",
      "  statement    \(session.statement.prefix(200))", "",
    ])
    try Confirmation.require(SessionEnding.phrase(process), given: confirmation.confirm)
    guard try ending.carryOut() else { throw FirnError.refused(reasons: ["the session is gone, or may not be ended by this role"]) }
    if common.json { try context.output(json: ["ended": Int(process)]) } else { context.tell("the server was asked to end process \(process)") }
    return .done
  }
}

/// One moment for people.
struct WatchText {
  let lines: [String]

  private static let shownSessions = 12

  init(_ view: MigrationView) {
    var lines = ["\(view.database) at \(Quantity.time(Date())): \(view.sessions.count) sessions, \(view.waiting.count) waiting", ""]
    func section(_ title: String, _ rows: [String], none: String) {
      lines.append(rows.isEmpty ? none : title)
      lines += rows.prefix(Self.shownSessions).map { "  \($0)" }
      if rows.count > Self.shownSessions { lines.append("  and \(rows.count - Self.shownSessions) more") }
      lines.append("")
    }
    func line(_ session: SessionState) -> String {
      "\(session.process) \(session.application.isEmpty ? session.user : session.application), \(session.state) for \(Quantity.span(session.sinceChange.inSeconds)): \(session.statement)"
    }
    section("CHANGING THE SCHEMA", view.changing.map(line), none: "no session changes the schema")
    section(
      "WHO IS IN WHOSE WAY", view.tree.map { String(repeating: "   ", count: $0.depth) + ($0.depth > 0 ? "waits: " : "") + line($0.session) },
      none: "no session waits for another")
    section(
      "PROGRESS",
      view.progress.map { step in
        let share = step.done.flatMap { done in step.total.map { total in " \(Int(100 * Double(done) / Double(max(1, total)))) %" } } ?? ""
        return "\(step.process) \(step.command) on \(step.relation): \(step.phase)\(share)"
      }, none: "no statement reports progress")
    section(
      "LARGEST TABLES", view.tables.map { "\($0.name)  \(Quantity.size($0.bytes)), \(Quantity.count($0.deadRows)) dead rows" }, none: "no table")
    if lines.last == "" { lines.removeLast() }
    self.lines = lines
  }
}

/// And for programs.
private struct WatchJSON: Encodable {
  struct Session: Encodable {
    let pid: Int32
    let user: String
    let application: String
    let state: String
    let transactionSeconds: Double?
    let blockedBy: [Int32]
    let statement: String
  }
  struct Progress: Encodable {
    let pid: Int32
    let command: String
    let relation: String
    let phase: String
    let done: Int64?
    let total: Int64?
  }
  let database: String
  let sessions: [Session]
  let progress: [Progress]

  init(_ view: MigrationView) {
    database = view.database
    sessions = view.sessions.map {
      Session(
        pid: $0.process, user: $0.user, application: $0.application, state: $0.state, transactionSeconds: $0.transaction?.inSeconds,
        blockedBy: $0.blockers, statement: $0.statement)
    }
    progress = view.progress.map {
      Progress(pid: $0.process, command: $0.command, relation: $0.relation, phase: $0.phase, done: $0.done, total: $0.total)
    }
  }
}
