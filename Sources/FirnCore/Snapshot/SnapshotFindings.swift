internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// Compares a dump with the server: its tables, the reasons why it is incomplete, and signs of trouble.
extension SnapshotRun {
  /// Matches the archive's table of contents with the files that were read and the tables of the server.
  func match(
    _ contents: ArchiveDirectory, _ outcome: DumpEngine.Outcome, _ known: [UInt32: DumpedTable], _ incremental: IncrementalReading
  ) throws -> (tables: [Manifest.Table], missing: [DumpedTable]) {
    var tables: [Manifest.Table] = []
    var missing = known.filter { $0.value.hasRows && $0.value.ofExtension == nil }
    for listed in contents.entries where listed.kind == "TABLE DATA" {
      guard let file = outcome.files[listed.file] else { throw FirnError.unsoundArchive(reason: "\(listed.file) (\(listed.name)) never came") }
      guard file.endsAsTable else { throw FirnError.unsoundArchive(reason: "\(listed.file) (\(listed.name)) is cut off") }
      guard let table = known[listed.oid] else { throw FirnError.unsoundArchive(reason: "\(listed.name) is no table we know") }
      missing[listed.oid] = nil
      var entry = Manifest.Table(
        schema: table.schema, name: table.name, file: file.name, rows: file.rows, bytes: file.bytes, sha256: file.digest.description)
      entry.loadedThrough = table.loadedThrough.map { .init(schema: $0.schema, name: $0.name) }
      entry.ofExtension = table.ofExtension
      (entry.ranges, entry.readIn) = incremental.reading(of: listed.oid)
      tables.append(entry)
    }
    guard outcome.files[ArchiveFile.contents] != nil else { throw FirnError.unsoundArchive(reason: "toc.dat never came") }
    return (tables.sorted { ($0.schema, $0.name) < ($1.schema, $1.name) }, missing.values.sorted { $0.identifier < $1.identifier })
  }

  /// Tables with far fewer rows than in the parent: intended, or a damaged disk (a zeroed page is no error for pg_dump).
  func fallenTables(_ tables: [Manifest.Table]) -> [String] {
    guard let parent = parent?.manifest else { return [] }
    let before = Dictionary(
      parent.tables.map { (QualifiedName(schema: $0.schema, name: $0.name), $0.rows) }, uniquingKeysWith: { first, _ in first })
    let kept = 1 - request.anomaly
    let bytes = tables.reduce(0) { $0 + $1.bytes }
    let bytesBefore = parent.tables.reduce(0) { $0 + $1.bytes }
    let smaller =
      bytesBefore > 1 << 20 && Double(bytes) < Double(bytesBefore) * kept
      ? ["all tables together have \(megabytes(bytes)), they had \(megabytes(bytesBefore)) in \(parent.id)"] : []
    return smaller
      + tables.compactMap { table in
        guard let rows = before[QualifiedName(schema: table.schema, name: table.name)], rows >= 100, Double(table.rows) < Double(rows) * kept else {
          return nil
        }
        return "\(table.displayName) has \(table.rows) rows, it had \(rows) in \(parent.id)"
      }
  }

  /// A log position that went back belongs to another server: a copy of this server's files has the same system identifier.
  func signsOfAClone(_ facts: Facts) -> [String] {
    guard let parent = parent?.manifest, request.source == nil, !facts.isInRecovery, parent.systemIdentifier == facts.systemIdentifier,
      let now = facts.lsn.flatMap(LogPosition.init), let before = parent.lsn.flatMap(LogPosition.init), now < before
    else { return [] }
    return [
      "the server's log is at \(now), it was at \(before) in \(parent.id): this is a copy of the server that was backed up then, or it was "
        + "taken back to an earlier time; give a copy a name of its own (--source, or source in firn.yaml)"
    ]
  }

  func reasons(_ facts: Facts, _ outcome: DumpEngine.Outcome, _ missing: [DumpedTable]) -> [String] {
    func some(_ what: String, _ names: [String]) -> [String] {
      names.isEmpty ? [] : ["\(what): \(names.prefix(10).joined(separator: ", "))\(names.count > 10 ? " and \(names.count - 10) more" : "")"]
    }
    let left = facts.leftOut
    let unlogged = Set(left.unloggedTables)
    return some("rows that are not in the dump", missing.map(\.identifier).filter { !unlogged.contains($0) })
      + some("damaged pages pass for empty ones, by settings of this server", facts.canTurnOff ? [] : facts.damageHiders)
      + some("invalid indexes are not in a dump", left.invalidIndexes)
      + some("rows of foreign tables are not in a dump", left.foreignTables)
      + some("rows of tables that belong to an extension are not in a dump", left.extensionTables)
      + some("options of user mappings are hidden from \(connection.user)", left.hiddenMappings)
      + some("tables that belong to an extension can't be looked into by \(connection.user)", left.hiddenTables)
      + some("objects that users made in pg_catalog are not in a dump", left.catalogObjects)
      + some("security labels of the database are not in a dump", left.securityLabels)
      + some("rows of unlogged tables are not on a standby", left.unloggedTables)
      + outcome.warnings.map { "pg_dump warns: \($0)" }
  }
}
