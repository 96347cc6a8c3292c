import ArgumentParser
import CommandSupport
import Foundation
import Platform
import Repository

/// Shows one snapshot.
struct Show: FirnCommand {
  static let configuration = CommandSupport.configuration("show", abstract: "Show what a snapshot holds.")
  @Argument(help: "The database, or SOURCE/DATABASE.") var database: String
  @Argument(help: "An id, the beginning of one, latest, latest:verified, latest:KIND, or before:TIME.") var snapshot = "latest"
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let catalog = try context.repository().catalog
    let place = try SnapshotSelector(snapshot).choose(from: try catalog.database(named: database), in: catalog)
    let manifest = try catalog.manifest(of: place)
    if common.json {
      try context.output(json: manifest)
      return .done
    }
    let checks = try catalog.checks(of: place)
    let now = Date()
    let took = manifest.finishedAt.timeIntervalSince(manifest.startedAt)
    var lines = [
      "snapshot   \(manifest.id)", "database   \(manifest.database) of source \(manifest.source)",
      "taken      \(Quantity.time(manifest.startedAt)), \(Quantity.age(of: manifest.startedAt, now: now))\(took >= 1 ? ", in \(Quantity.span(took))" : "")",
      "kind       \(manifest.kind)" + manifest.tags.sorted { $0.key < $1.key }.map { "  \($0.key)=\($0.value)" }.joined(),
      "server     PostgreSQL \(manifest.versions.server), dumped by \(manifest.versions.pgDump)",
      "size       \(Quantity.size(manifest.bytes)) in \(manifest.tables.count) tables, \(Quantity.count(manifest.rows)) rows, \(manifest.largeObjects) large objects",
      "stored     \(Quantity.size(manifest.storedBytes)) new in \(manifest.newObjects) objects"
        + (manifest.parent.map { ", the rest shared with \($0) and others" } ?? ""),
      "owner      \(manifest.properties.owner), encoding \(manifest.properties.encoding), collation \(manifest.properties.locale ?? manifest.properties.collate)",
      "state      \(manifest.complete ? "complete" : "INCOMPLETE")",
    ]
    lines += manifest.incompleteReasons.map { "           \($0)" }
    lines.append(
      "proof      "
        + (checks.last.map { "\($0.ok ? "intact" : "DAMAGED") by \($0.level.rawValue), \(Quantity.age(of: $0.checkedAt, now: now))" }
          ?? "never verified"))
    lines.append("")
    let tables = manifest.tables.sorted { $0.bytes > $1.bytes }
    let width = tables.prefix(20).map { $0.displayName.count }.max() ?? 0
    for table in tables.prefix(20) {
      lines.append(
        "  \(table.displayName.padding(toLength: width, withPad: " ", startingAt: 0))  \(Quantity.count(table.rows)) rows, \(Quantity.size(table.bytes))"
      )
    }
    if tables.count > 20 { lines.append("  and \(tables.count - 20) smaller tables (all of them with --json)") }
    context.output(lines.joined(separator: "\n"))
    return .done
  }
}
