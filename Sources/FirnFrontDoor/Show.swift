import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// Shows one snapshot, or what changed from one to another.
struct Show: FirnCommand {
  static let configuration = CommandSupport.configuration("show", abstract: "Show the contents of a snapshot, or the changes between two.")
  @Argument(help: "Database name, or SOURCE/DATABASE.", completion: Completions.databases) var database: String
  @Argument(help: "An id, the beginning of one, latest, latest:verified, latest:KIND, or before:TIME.", completion: Completions.snapshots)
  var snapshot = "latest"
  @Argument(help: "A second snapshot, to compare with the first.", completion: Completions.snapshots) var other: String?
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    let catalog = repository.catalog
    let places = try context.places(of: database, in: catalog)
    let place = try SnapshotSelector(snapshot).choose(from: places, in: catalog)
    if let other {
      let second = try SnapshotSelector(other).choose(from: places, in: catalog)
      return try compare(SnapshotComparison(repository, from: place, to: second), context)
    }
    let manifest = try catalog.manifest(of: place)
    if common.json {
      try context.output(json: manifest)
      return .done
    }
    let now = Date()
    let check = try catalog.decisiveCheck(of: place, now: now)
    let took = manifest.finishedAt.timeIntervalSince(manifest.startedAt)
    var source = manifest.source
    if let name = try catalog.sourceNames(of: [source])[source], name != source { source = "\(name) (\(source))" }
    var lines = [
      "snapshot   \(manifest.id)",
      "database   \(manifest.database) of source \(source)",
      "taken      \(Quantity.time(manifest.startedAt)), \(Quantity.age(of: manifest.startedAt, now: now))\(took >= 1 ? ", in \(Quantity.span(took))" : "")",
      "kind       \(manifest.kind)" + manifest.tags.sorted { $0.key < $1.key }.map { "  \($0.key)=\($0.value)" }.joined(),
      "server     PostgreSQL \(manifest.versions.server), dumped by \(manifest.versions.pgDump)",
      "size       \(Quantity.size(manifest.bytes)) in \(Quantity.tables(manifest.tables.count)), \(Quantity.rows(manifest.rows)), \(Quantity.count(Int(manifest.largeObjects), "large object"))",
      "stored     \(Quantity.size(manifest.storedBytes)) new in \(Quantity.count(manifest.newObjects, "object"))"
        + (manifest.parent.map { ", the rest shared with \($0) and others" } ?? ""),
      "owner      \(manifest.properties.owner), encoding \(manifest.properties.encoding), collation \(manifest.properties.locale ?? manifest.properties.collate)",
      "state      \(manifest.complete ? "complete" : "INCOMPLETE")",
    ]
    lines += manifest.incompleteReasons.map { "           \($0)" }
    if let excluded = manifest.excludedTables { lines.append("without    the rows of \(excluded.joined(separator: ", "))") }
    if let taken = manifest.takenOver {
      lines.append(
        "read       \(Quantity.tables(manifest.tables.count - taken.tables)); \(Quantity.tables(taken.tables, inPart: taken.inPart)) unchanged of \(Quantity.size(taken.bytes)) taken over, the oldest was read \(Quantity.age(of: taken.oldestReading.startDate, now: now))"
      )
    }
    lines += (manifest.refutations ?? []).map { "           \($0)" }
    lines += try repository.doubts(about: manifest).map { "           \($0.words)" }
    if let path = manifest.searchPath { lines.append("restore    with search_path \(path)") }
    lines.append(
      "proof      "
        + (check.map { check in
          let words = check.failedDrill != nil ? "COULD NOT BE RESTORED in a drill" : "\(check.ok ? "intact" : "DAMAGED") by \(check.level.rawValue)"
          return "\(words), \(Quantity.age(of: check.checkedAt, now: now))"
        }
          ?? "never verified"))
    lines += (check?.reservations ?? []).map { "           \($0)" }
    if let hold = try catalog.hold(of: place), hold.holds(at: now) {
      lines.append("held       \(hold.until.map { "until \(Quantity.time($0))" } ?? "for ever"): \(hold.reason)")
    }
    lines.append("")
    let tables = manifest.tables.sorted { $0.bytes > $1.bytes }
    let width = tables.prefix(20).map { $0.displayName.count }.max() ?? 0
    for table in tables.prefix(20) {
      lines.append(
        "  \(table.displayName.padding(toLength: width, withPad: " ", startingAt: 0))  \(Quantity.rows(table.rows)), \(Quantity.size(table.bytes))\(Self.reading(of: table))"
      )
    }
    if tables.count > 20 { lines.append("  and \(tables.count - 20) smaller tables (all of them with --json)") }
    for line in lines { context.output(line) }
    return .done
  }

  private static func reading(of table: Manifest.Table) -> String {
    guard let readIn = table.readIn else { return "" }
    let count = table.ranges?.count ?? 0
    return table.rangesTakenOver == count
      ? ", read in \(readIn)" : ", \(table.rangesTakenOver) of \(count) ranges not read, the oldest was read in \(readIn)"
  }

  private func compare(_ comparison: SnapshotComparison, _ context: CommandContext) throws -> ExitStatus {
    if common.json {
      try context.output(json: Comparison(comparison))
      return .done
    }
    let (first, second) = (comparison.first, comparison.second)
    context.output("from       \(first.id), \(Quantity.time(first.startedAt)), \(Quantity.size(first.bytes)), \(Quantity.rows(first.rows))")
    context.output("to         \(second.id), \(Quantity.time(second.startedAt)), \(Quantity.size(second.bytes)), \(Quantity.rows(second.rows))")
    let changed = comparison.tables.filter { !$0.isSame }
    func change(_ before: Int64?, _ after: Int64?, _ text: (Int64) -> String) -> String {
      "\(before.map(text) ?? "-") > \(after.map(text) ?? "-")"
    }
    if !changed.isEmpty {
      context.output("")
      let rows = changed.map { table in
        [
          Table.Cell(table.name), .init(change(table.before?.rows, table.after?.rows) { Quantity.count($0) }),
          .init(change(table.before?.bytes, table.after?.bytes) { Quantity.size($0) }),
        ]
      }
      context.output(Table(header: ["TABLE", "ROWS", "SIZE"], rows: rows))
    }
    if !comparison.sequences.isEmpty {
      context.output("")
      let rows = comparison.sequences.map { [Table.Cell($0.name), .init(change($0.before, $0.after) { Quantity.count($0) })] }
      context.output(Table(header: ["SEQUENCE", "VALUE"], rows: rows))
      context.output("")
    }
    if first.largeObjects != second.largeObjects {
      context.output("large objects: \(change(first.largeObjects, second.largeObjects) { Quantity.count($0) })")
    }
    context.output("\(comparison.tables.count - changed.count) of \(comparison.tables.count) tables have the same rows")
    context.output(comparison.schema.isEmpty ? "the schema is the same" : "")
    for change in comparison.schema {
      context.output(change.object)
      for line in change.removed { context.output("  - \(line)") }
      for line in change.added { context.output("  + \(line)") }
    }
    return .done
  }

  /// The JSON of a comparison.
  private struct Comparison: Encodable {
    struct Side: Encodable {
      let rows: Int64
      let bytes: Int64

      init(_ side: SnapshotComparison.Table.Side) { (rows, bytes) = (side.rows, side.bytes) }
    }
    struct Table: Encodable {
      let name: String
      let same: Bool
      let before: Side?
      let after: Side?
    }
    let from: String
    let to: String
    struct Sequence: Encodable {
      let name: String
      let before: Int64?
      let after: Int64?
    }
    struct Count: Encodable {
      let before: Int64
      let after: Int64
    }
    let tables: [Table]
    let sequences: [Sequence]
    let largeObjects: Count
    let schema: [SnapshotComparison.Change]

    init(_ comparison: SnapshotComparison) {
      from = comparison.first.id.description
      to = comparison.second.id.description
      tables = comparison.tables.map { Table(name: $0.name, same: $0.isSame, before: $0.before.map(Side.init), after: $0.after.map(Side.init)) }
      sequences = comparison.sequences.map { Sequence(name: $0.name, before: $0.before, after: $0.after) }
      largeObjects = Count(before: comparison.first.largeObjects, after: comparison.second.largeObjects)
      schema = comparison.schema
    }
  }
}
