package import FirnCore
internal import Foundation
package import Postgres
package import Repository

/// The facts an operator has to know before confirming.
package struct ImpactStatement {
  private let plan: RestorePlan
  private let lastCheck: CheckRecord?
  private let request: RestoreRequest

  package init(_ plan: RestorePlan, lastCheck: CheckRecord?, request: RestoreRequest) {
    self.plan = plan
    self.lastCheck = lastCheck
    self.request = request
  }

  private static let shownChanges = 8

  package func show(_ context: CommandContext) {
    guard let impact = plan.impact else { return }
    let manifest = plan.manifest
    let now = Date()
    var lines = [
      "",
      isInPlace
        ? "This DESTROYS database \(impact.database) and rebuilds it from snapshot \(manifest.id)."
        : "This replaces database \(impact.database) with snapshot \(manifest.id).", "",
      "  server      PostgreSQL \(impact.serverVersion) at \(impact.server)", "  database    \(current(impact))",
      "  connected   \(Self.list(impact.applications))",
      "  snapshot    of \(Quantity.time(manifest.startedAt)), \(Quantity.age(of: manifest.startedAt, now: now)): \(Quantity.tables(manifest.tables.count)), \(Quantity.rows(manifest.rows)), \(Quantity.size(manifest.bytes))",
      "  proof       \(proof(now))",
    ]
    if let unreadable = impact.unreadable {
      lines.append("  changes     unknown: \(FailureReport(unreadable).message)")
    } else if impact.changes.isEmpty {
      lines.append("  changes     every table has as many rows now as in the snapshot; values are not compared")
    } else {
      let how = impact.isCounted ? "values are not compared" : "large tables by the server's estimate, values are not compared"
      lines.append("  changes     rows now → rows in the snapshot (\(how)):")
      let width = impact.changes.prefix(Self.shownChanges).map(\.table.count).max() ?? 0
      for change in impact.changes.prefix(Self.shownChanges) {
        lines.append(
          "                \(change.table.padding(toLength: width, withPad: " ", startingAt: 0))  \(text(change.now)) → \(text(change.then))")
      }
      if impact.changes.count > Self.shownChanges { lines.append("                and \(impact.changes.count - Self.shownChanges) more tables") }
    }
    lines.append(
      isInPlace
        ? "  kept        NOTHING: the current database is dropped before the new one is built, and there is no --undo"
        : "  kept        the current database stays as \(impact.keptAs), unchanged; --undo brings it back")
    lines.append(
      "  before      "
        + (request.safetySnapshot == nil ? "no snapshot of it is taken (--no-safety-snapshot)" : "a snapshot of it is taken, of kind pre-restore"))
    if isInPlace {
      lines.append(
        "  lost        rows written after that snapshot begins\(request.maintenance.stop.isEmpty ? ": stop the application first" : "")")
    }
    if !request.maintenance.stop.isEmpty { lines.append("  stopped     \(request.maintenance.stop.joined(separator: "; "))") }
    for note in plan.notes { lines.append("  note        \(note)") }
    for warning in plan.warnings { lines.append("  warning     \(warning)") }
    lines += [
      "",
      isInPlace
        ? "The application has no database until the new one is built. Nothing has been changed yet."
        : "Its sessions are ended at the swap; new ones wait for about a second. Nothing has been changed yet.", "",
    ]
    // Also with --quiet: the operator must know what they confirm.
    context.explain(lines)
  }

  private var isInPlace: Bool { if case .inPlace = plan.target { true } else { false } }

  private func current(_ impact: ReplacementImpact) -> String {
    var parts = [impact.database]
    if let size = impact.size { parts.append(Quantity.size(size) + " on disk") }
    if let tables = impact.tablesNow { parts.append(Quantity.tables(tables)) }
    if let rows = impact.rowsNow { parts.append((impact.isCounted ? "" : "about ") + Quantity.rows(rows)) }
    return parts.joined(separator: ", ")
  }

  /// The connected applications, the first five by name.
  package static func list(_ applications: [ConnectedApplication]) -> String {
    guard !applications.isEmpty else { return "none" }
    return applications.prefix(5).map { "\($0.name) (\($0.user), \($0.sessions))" }.joined(separator: ", ")
      + (applications.count > 5 ? " and \(applications.count - 5) more" : "")
  }

  private func proof(_ now: Date) -> String {
    guard let last = lastCheck else { return "never verified; its rows are counted before the swap" }
    let age = Quantity.age(of: last.checkedAt, now: now)
    if last.failedDrill != nil { return "COULD NOT BE RESTORED in a drill \(age)" }
    let drill = last.restoreSeconds.map { ", restored in \(Quantity.span($0))" } ?? ""
    return last.ok ? "found intact \(age) (\(last.level.rawValue))\(drill)" : "FOUND DAMAGED \(age) (\(last.level.rawValue))"
  }

  private func text(_ rows: Int64?) -> String { rows.map(Quantity.count) ?? "no such table" }

  private func text(_ count: ReplacementImpact.Count?) -> String {
    switch count {
    case .rows(let rows): Quantity.count(rows)
    case .unknown: "unknown"
    case nil: "no such table"
    }
  }
}
