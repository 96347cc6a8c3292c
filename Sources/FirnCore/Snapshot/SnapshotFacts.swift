internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// Facts about the server and the database that a snapshot records, and the tables that it leaves out on request.
extension SnapshotRun {
  struct Facts {
    var database: DatabaseFacts
    var extensions: [ExtensionFacts]
    var roles: [String]
    var tablespaces: [String]
    var leftOut: LeftOut
    var largeObjects: Int64
    var lsn: String?
    var systemIdentifier: String?
    var isInRecovery: Bool
    /// Enabled server settings that hide damage.
    var damageHiders: [String]
    /// Changed rows of extension tables that are in no dump.
    var changedRowsOutsideDump: [String]
    var sequencesOfExtensions: [QualifiedName: String]
    var sequenceValues: [QualifiedName: Int64?]
    var preloadedLibraries: [String]?
    /// Whether this role may disable these settings.
    var canTurnOff: Bool
  }

  /// Facts from the catalogs, within the snapshot that is dumped.
  func gatherFacts() throws -> Facts {
    Facts(
      database: try connection.databaseFacts(), extensions: try connection.extensions(), roles: try connection.rolesInUse(),
      tablespaces: try connection.tablespacesInUse(), leftOut: try connection.leftOut(), largeObjects: try connection.largeObjectCount(),
      lsn: try connection.logPosition(), systemIdentifier: try connection.systemIdentifier(), isInRecovery: try connection.isInRecovery(),
      damageHiders: try connection.settingsThatHideDamage(), changedRowsOutsideDump: try changedRowsOutsideDump(),
      sequencesOfExtensions: try connection.sequencesOfExtensions(),
      sequenceValues: try connection.sequenceValues(), preloadedLibraries: try connection.preloadedLibraries(),
      canTurnOff: try connection.isSuperuser())
  }

  func changedRowsOutsideDump() throws -> [String] {
    try connection.configurationTables().compactMap { table in
      guard let rows = try connection.changedRowsOutsideDump(of: table), rows > 0 else { return nil }
      return
        "\(table.name.schema).\(table.name.name), of extension \(table.ofExtension), has \(rows) changed row\(rows == 1 ? "" : "s") that no dump keeps: it keeps rows \(table.condition.prefix(80))"
    }
  }

  struct Exclusions {
    /// Patterns for pg_dump.
    var patterns: [String] = []
    var tables: Set<QualifiedName> = []
  }

  /// - Throws: `FirnError.refused` for a pattern that matches no table.
  func exclusions(_ facts: Facts) throws -> Exclusions {
    var exclusions = Exclusions()
    var unmatched: [String] = []
    for pattern in request.excludedTableData {
      let tables = try connection.tables(matching: pattern)
      if tables.isEmpty { unmatched.append(pattern) }
      exclusions.tables.formUnion(tables.map(\.name))
      exclusions.patterns.append(pattern)
      // pg_dump excludes no partitions with their parent.
      exclusions.patterns += tables.filter(\.isPartition).map(\.name.identifier)
    }
    guard !unmatched.isEmpty else { return exclusions }
    let reasons = unmatched.map { "no table matches \($0), whose rows were to be excluded" }
    if request.requiresMatches { throw FirnError.refused(reasons: reasons) }
    warnings.update { $0 = reasons }
    return exclusions
  }
}
