import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository

/// `--undo` and `--forget-old`.
struct KeptDatabases {
  let command: FirnRestore
  let context: CommandContext

  private func operation(_ progress: WorkProgress) throws -> KeptDatabaseOperation {
    let settings = try context.connectionSettings(command.server.connection)
    return KeptDatabaseOperation(settings: settings, database: try nameOnServer(settings), progress: progress)
  }

  /// `SOURCE/DATABASE` names the same database here, unless one is really called that: a server has one of that name.
  private func nameOnServer(_ settings: ConnectionSettings) throws -> String {
    let name = command.database
    guard let slash = name.firstIndex(of: "/"), try !ServerConnection.open(settings, except: name).databaseExists(name) else { return name }
    return String(name[name.index(after: slash)...])
  }

  func undo() throws -> ExitStatus {
    let started = Date()
    let plan = try context.withProgress { try operation($0).planUndo(bringingBack: command.kept, at: started) }
    show(plan)
    try Confirmation.require(plan.database, given: command.confirmation.confirm)
    let outcome = try context.withProgress { progress in
      try operation(progress).undo(plan, maintenance: context.configuration.maintenance) { Date() }
    }
    if command.common.json {
      try context.output(
        json: UndoReport(
          database: plan.database, restoredAs: plan.database, keptName: plan.kept.name, keptAs: Nullable(outcome.keptAs),
          downtimeSeconds: outcome.downtime.inSeconds,
          seconds: Date().timeIntervalSince(started), warnings: outcome.warnings))
    } else {
      for warning in outcome.warnings { context.warn(warning) }
      context.output(plan.database)
      context.tell(
        "\(plan.database) is again the database that was replaced \(Quantity.age(of: plan.kept.record.keptAt, now: Date())); downtime \(Quantity.span(outcome.downtime.inSeconds))"
      )
      guard let keptAs = outcome.keptAs else { return outcome.warnings.isEmpty ? .done : .doneWithWarnings }
      context.tell(
        "the other is kept as \(keptAs): rows written since \(Quantity.time(plan.kept.record.keptAt)) exist only there")
    }
    return outcome.warnings.isEmpty ? .done : .doneWithWarnings
  }

  private func show(_ plan: KeptDatabaseOperation.UndoPlan) {
    let since = Quantity.time(plan.kept.record.keptAt)
    let sessions = ImpactStatement.list(plan.applications)
    let aside =
      plan.presentBecomes.map {
        "the current \(plan.database)\(plan.presentSize.map { ", \(Quantity.size($0))" } ?? "") becomes \($0), with all rows written since then"
      } ?? "nothing: the server has no database \(plan.database) now"
    let others = plan.others.map { "  also kept   \($0.name), \(Quantity.size($0.size)): --kept \($0.name) brings that one back" }
    context.explain(
      [
        "",
        "This brings back the database that was \(plan.database) until \(since), \(Quantity.age(of: plan.kept.record.keptAt, now: Date())).", "",
        "  server      \(plan.server)",
        "  comes back  \(plan.kept.name), owned by \(plan.kept.owner), \(Quantity.size(plan.kept.size)), with all rows written until then",
        "  is kept     \(aside)", "  connected   \(sessions)",
      ] + others + [
        "", "\(plan.presentBecomes == nil ? "It is kept unchanged." : "Both are kept unchanged.") Nothing has been changed yet.", "",
      ])
  }

  func forget() throws -> ExitStatus {
    let kept = try context.withProgress { try operation($0).kept() }
    guard !kept.isEmpty else { throw FirnError.noKeptDatabase(name: command.database) }
    // With --confirm the one that is named, else each that is typed.
    let chosen = command.confirmation.confirm.map { phrase in kept.filter { $0.name == phrase } } ?? kept
    guard !chosen.isEmpty else { throw FirnError.notConfirmed(phrase: kept[0].name, given: command.confirmation.confirm) }
    var dropped: [String] = []
    do {
      for database in chosen {
        let sessions = ImpactStatement.list(try context.withProgress { try operation($0).applications(in: database) })
        context.explain(
          "\(database.name): \(Quantity.size(database.size)), was \(database.record.database) until \(Quantity.time(database.record.keptAt)), \(Quantity.age(of: database.record.keptAt, now: Date())); connected: \(sessions). Dropping it can't be undone."
        )
        try Confirmation.require(database.name, given: command.confirmation.confirm)
        try context.withProgress { try operation($0).forget(database) }
        dropped.append(database.name)
        if !command.common.json { context.output(database.name) }
      }
    } catch {
      // Completed drops are reported before the error that stopped the rest.
      context.tell(Self.summary(dropped, of: kept))
      if case FirnError.notConfirmed(let phrase, let given?) = error, !dropped.isEmpty {
        throw FirnError.notConfirmedFurther(phrase: phrase, given: given, dropped: dropped)
      }
      throw error
    }
    if command.common.json { try context.output(json: ["dropped": dropped]) }
    context.tell(Self.summary(dropped, of: kept))
    return .done
  }

  private static func summary(_ dropped: [String], of kept: [KeptDatabase]) -> String {
    "dropped \(dropped.count) of \(kept.count) kept database\(kept.count == 1 ? "" : "s")"
  }

  /// The JSON of an undo: of a restore, as far as it has any of that.
  private struct UndoReport: Encodable {
    let id = Nullable<String>(nil)
    let tables = Nullable<Int>(nil)
    let rows = Nullable<Int64>(nil)
    let database: String
    let restoredAs: String
    /// The name it was kept under.
    let keptName: String
    let keptAs: Nullable<String>
    let downtimeSeconds: Double
    let seconds: Double
    let warnings: [String]
  }
}
