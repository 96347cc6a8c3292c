internal import Digests
package import Foundation
internal import Platform
package import Postgres
package import Repository

/// Which tables a snapshot takes over from its parent without reading them.
package struct TakeoverPlan: Sendable {
  /// Tables that are taken over, as the parent has them, by their object ids.
  package private(set) var taken: [UInt32: Manifest.Table] = [:]
  /// Unchanged tables that are read again, to verify that they are unchanged.
  package private(set) var checked: [UInt32: Manifest.Table] = [:]
  /// Why others of the parent's tables are read.
  package private(set) var reasons: [UInt32: String] = [:]

  package init() {}

  /// - Parameters:
  ///   - tables: the server's.
  ///   - parent: the parent's tables.
  ///   - touched: the files that changed since.
  ///   - mustRead: tables that are read for another reason.
  package init(_ tables: [TableStorage], parent: Manifest, touched: TouchedFiles, without mustRead: Set<UInt32>) {
    let before = Dictionary(
      parent.tables.compactMap { table in table.state.map { ($0.oid, table) } }, uniquingKeysWith: { first, _ in first })
    for table in tables {
      guard let old = before[table.oid] else { continue }
      if let reason = mustRead.contains(table.oid) ? "it is read on request" : Self.reasonToRead(table, old, touched) {
        reasons[table.oid] = reason
      } else {
        taken[table.oid] = old
        if old.readIn == nil { taken[table.oid]?.readIn = parent.id }
      }
    }
  }

  /// Nil if its rows cannot have changed.
  package static func reasonToRead(_ table: TableStorage, _ old: Manifest.Table, _ touched: TouchedFiles) -> String? {
    guard let state = old.state else { return "the parent does not know it" }
    if let reason = table.reasonToRead { return reason }
    if !old.schema.isSame(as: table.schema) || !old.name.isSame(as: table.name) { return "it was renamed" }
    if old.loadedThrough != nil || old.ofExtension != nil { return "its rows are dumped in another way" }
    if state.isInFlight { return "it was being written to when the parent was taken" }
    if state.filenode == 0 || state.filenode != table.filenode || state.tablespace != table.tablespace || state.toast != table.toast {
      return "it was rewritten"
    }
    if table.bytes < 0 || state.bytes != table.bytes { return "its size changed" }
    if state.fingerprint != table.fingerprint { return "its columns, their types or the extensions were changed" }
    if touched.isAll || touched.filenodes.contains(table.filenode) || table.toast.map(touched.filenodes.contains) ?? false { return "it was changed" }
    return nil
  }

  /// Reads tables after all.
  package mutating func read(_ oids: some Sequence<UInt32>, because reason: String) {
    for oid in oids where taken.removeValue(forKey: oid) != nil { reasons[oid] = reason }
  }

  /// Seconds in which every table is to be read once.
  package static let usualPeriod: TimeInterval = 7 * 86400

  /// Chooses tables to read again, oldest reading first: those that are due before the next snapshot, and as many more as are needed so
  /// that no later snapshot has to read more than its share.
  /// - Parameters:
  ///   - elapsed: seconds since the parent; the next snapshot is expected after as many.
  ///   - period: seconds in which every table is to be read once.
  package mutating func chooseChecks(now: Date, elapsed: TimeInterval, period: TimeInterval = usualPeriod) {
    func lastReading(_ table: Manifest.Table) -> Date { table.readIn?.startDate ?? .distantPast }
    let interval = max(1, elapsed)
    let share = Double(bytes) * min(1, interval / period)
    let oldestFirst = taken.sorted { (lastReading($0.value), $0.key) < (lastReading($1.value), $1.key) }
    /// How many later snapshots may read it in time.
    func chances(_ table: Manifest.Table) -> Double { ((period - now.timeIntervalSince(lastReading(table))) / interval).rounded() }
    var needed = 0.0
    var before = 0.0
    for (_, table) in oldestFirst {
      before += Double(table.bytes)
      needed = max(needed, before - share * chances(table))
    }
    for (oid, table) in oldestFirst {
      // Strictly in order: otherwise small tables would be read every time, and a large one never.
      needed -= Double(table.bytes)
      guard needed >= 0 || chances(table) < 1 else { continue }
      checked[oid] = table
      taken[oid] = nil
    }
  }

  /// Bytes of rows that need not be read.
  package var bytes: Int64 { taken.values.reduce(0) { $0 + $1.bytes } }

  /// Reads all unchanged tables, to verify that they are unchanged.
  package mutating func checkAll() {
    checked.merge(taken) { old, _ in old }
    taken = [:]
  }

  /// Bytes of all names in patterns together. Matching longer ones costs more than the exclusions save, and PostgreSQL's regular
  /// expressions have a limit: 22 kB of Chinese names exceed it.
  private static let longestPatterns = 8 << 10
  /// Bytes of one pattern.
  private static let longestPattern = 2 << 10
  /// Bytes that are read in the time in which a server compares one name with one relation (3 µs, at 400 MB/s).
  private static let bytesPerComparison: Int64 = 1200

  /// Removes tables from the plan, so that they are read, if reading is faster than excluding them: small tables, and the smallest if all
  /// names together are too long.
  /// - Parameter relations: how many the database has.
  package mutating func limit(relations: Int) {
    var length = 0
    for (oid, table) in taken.sorted(by: { ($0.value.bytes, $0.key) > ($1.value.bytes, $1.key) }) {
      length += table.name.utf8.count + 3
      if length > Self.longestPatterns || table.bytes < Int64(relations) * Self.bytesPerComparison {
        taken[oid] = nil
        reasons[oid] = "it is too small: excluding it would take longer than reading it"
      }
    }
  }

  /// Patterns for `pg_dump --exclude-table-data`.
  package var patterns: [String] {
    var patterns: [String] = []
    // Names that are equal for Unicode are different ones for PostgreSQL.
    for (_, tables) in Dictionary(grouping: taken.values, by: { Array($0.schema.utf8) }).sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
      let schema = Connection.identifier(tables[0].schema)
      var names: [String] = []
      var length = 0
      func close() {
        if !names.isEmpty { patterns.append("\(schema).(\(names.joined(separator: "|")))") }
        (names, length) = ([], 0)
      }
      for table in tables.sorted(by: { $0.name < $1.name }) {
        let name = Connection.identifier(table.name)
        if length + name.utf8.count > Self.longestPattern { close() }
        names.append(name)
        length += name.utf8.count + 1
      }
      close()
    }
    return patterns
  }

  /// Messages about tables whose rows differ from the parent's.
  /// - Parameter digests: of the rows that were read, by the tables' ids.
  package func refutations(_ digests: [UInt32: String], parent: SnapshotID) -> [String] {
    checked.sorted { $0.value.displayName < $1.value.displayName }.compactMap { oid, table in
      guard let digest = digests[oid], digest != table.sha256 else { return nil }
      return
        "\(table.displayName) seemed unchanged since \(parent), but its rows differ: SHA-256 \(table.sha256.prefix(16))… then, \(digest.prefix(16))… now; "
        + "snapshots after \(table.readIn ?? parent) may hold old rows of it"
    }
  }
}
