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
  /// Very large tables of which some ranges are taken over.
  package private(set) var partial: [UInt32: Partial] = [:]
  /// Why others of the parent's tables are read.
  package private(set) var reasons: [UInt32: String] = [:]
  /// Very large tables that are read in ranges, wholly or in part.
  var ranged: [RangedTable] = []
  let readsRanges: Bool

  package struct Partial: Sendable {
    /// As the parent has it.
    package let table: Manifest.Table
    /// The ranges that are taken over, by number.
    package fileprivate(set) var taken: Set<Int>
    /// Unchanged ranges that are read again, to verify that they are unchanged.
    package fileprivate(set) var checked: Set<Int> = []

    package var bytes: Int64 { taken.reduce(0) { $0 + (table.ranges?[$1].bytes ?? 0) } }
  }

  /// - Parameter readsRanges: whether tables can be read in ranges.
  package init(readsRanges: Bool = true) { self.readsRanges = readsRanges }

  /// - Parameters:
  ///   - tables: the server's.
  ///   - parent: the parent's tables.
  ///   - touched: the files that changed since.
  ///   - mustRead: tables that are read for another reason.
  ///   - readsRanges: whether tables can be read in ranges.
  package init(
    _ tables: [TableStorage], parent: Manifest, touched: TouchedFiles, without mustRead: Set<UInt32>, readsRanges: Bool = true
  ) {
    self.readsRanges = readsRanges
    let before = Dictionary(
      parent.tables.compactMap { table in table.state.map { ($0.oid, table) } }, uniquingKeysWith: { first, _ in first })
    for table in tables {
      guard var old = before[table.oid] else { continue }
      if old.readIn == nil { old.readIn = parent.id }
      for place in (old.ranges ?? []).indices where old.ranges?[place].readIn == nil { old.ranges?[place].readIn = parent.id }
      if mustRead.contains(table.oid) {
        reasons[table.oid] = "it is left to pg_dump"
      } else if let reason = Self.reasonToRead(table, old, touched) {
        let unchanged = readsRanges ? Self.unchangedRanges(table, old, touched) : []
        if unchanged.isEmpty { reasons[table.oid] = reason } else { partial[table.oid] = Partial(table: old, taken: unchanged) }
      } else {
        taken[table.oid] = old
      }
    }
  }

  /// The ranges, by number, whose rows cannot have changed, though the table was changed.
  ///
  /// A row's TOAST values never change without the row: these are written once, and a row that points to others is another row.
  package static func unchangedRanges(_ table: TableStorage, _ old: Manifest.Table, _ touched: TouchedFiles) -> Set<Int> {
    guard let ranges = old.ranges, let state = old.state, !touched.isAll, reasonToReadAll(table, old) == nil, table.bytes >= state.bytes,
      let changed = touched.ranges[table.filenode]
    else { return [] }
    // The last one has no end: it is always read.
    return Set(ranges.indices.dropLast()).subtracting(changed)
  }

  /// Nil if its rows cannot have changed.
  package static func reasonToRead(_ table: TableStorage, _ old: Manifest.Table, _ touched: TouchedFiles) -> String? {
    if let reason = reasonToReadAll(table, old) { return reason }
    if table.bytes < 0 || old.state?.bytes != table.bytes { return "its size changed" }
    if touched.isAll || touched.filenodes.contains(table.filenode) || table.toast.map(touched.filenodes.contains) ?? false {
      return "its file was written since"
    }
    return nil
  }

  /// Why no row of it is taken over, whatever the server's log says; nil if there is no reason.
  private static func reasonToReadAll(_ table: TableStorage, _ old: Manifest.Table) -> String? {
    if let reason = table.reasonToRead { return reason }
    guard let state = old.state else { return "the parent has no record of its state" }
    if !old.schema.isSame(as: table.schema) || !old.name.isSame(as: table.name) { return "it was renamed" }
    if old.loadedThrough != nil || old.ofExtension != nil { return "its rows are dumped in another way" }
    if state.isInFlight { return "it was being changed, or had just been changed, when the parent was taken" }
    if state.filenode == 0 || state.filenode != table.filenode || state.tablespace != table.tablespace || state.toast != table.toast {
      return "it was rewritten"
    }
    if state.fingerprint != table.fingerprint { return "its columns, their types or the extensions were changed" }
    return nil
  }

  /// Reads tables after all.
  package mutating func read(_ oids: some Sequence<UInt32>, because reason: String) {
    for oid in oids where taken.removeValue(forKey: oid) != nil || partial.removeValue(forKey: oid) != nil { reasons[oid] = reason }
  }

  /// Tables of which ranges can be taken over.
  var divided: [Manifest.Table] { readsRanges ? taken.values.filter { $0.ranges != nil } + partial.values.map(\.table) : [] }

  /// Reads ranges after all.
  /// - Parameter unusable: the bytes of the parent's file that can't be used.
  mutating func read(_ table: Manifest.Table, where unusable: [Range<Int64>]) {
    guard let oid = table.state?.oid, let ranges = table.ranges, !unusable.isEmpty else { return }
    divide(oid)
    var start: Int64 = 0
    for (number, range) in ranges.enumerated() {
      if unusable.contains(where: { $0.overlaps(start..<(start + range.bytes)) }) { partial[oid]?.taken.remove(number) }
      start += range.bytes
    }
    if partial[oid]?.taken.isEmpty == true { read([oid], because: "little of its objects in the store is still in use, or one is missing") }
  }

  /// Has pg_dump read all tables whole, so that those in ranges are not compared with the parent.
  mutating func readWholeTables() {
    read(Array(partial.keys), because: "it is read in one piece")
    ranged = []
    for (oid, table) in checked where table.ranges != nil { checked[oid] = nil }
  }

  /// Seconds in which every table is to be read once.
  package static let usualPeriod: TimeInterval = 7 * 86400

  /// Chooses tables to read again, oldest reading first: those that are due before the next snapshot, and as many more as are needed so
  /// that no later snapshot has to read more than its share.
  /// - Parameters:
  ///   - elapsed: seconds since the parent; the next snapshot is expected after as many.
  ///   - period: seconds in which every table is to be read once.
  package mutating func chooseChecks(now: Date, elapsed: TimeInterval, period: TimeInterval = usualPeriod) {
    let interval = max(1, elapsed)
    let share = Double(bytes) * min(1, interval / period)
    var units = units
    // A wrong clock dated a reading in the future: its age is unknown.
    for number in units.indices where units[number].lastReading > now { units[number].lastReading = .distantPast }
    let oldestFirst = units.sorted { ($0.lastReading, $0.oid, $0.range ?? 0) < ($1.lastReading, $1.oid, $1.range ?? 0) }
    /// How many later snapshots may read it in time.
    func chances(_ unit: Unit) -> Double { max(0, ((period - now.timeIntervalSince(unit.lastReading)) / interval).rounded()) }
    var needed = 0.0
    var before = 0.0
    for unit in oldestFirst {
      before += Double(unit.bytes)
      needed = max(needed, before - share * chances(unit))
    }
    for unit in oldestFirst {
      // Strictly in order: otherwise small tables would be read every time, and a large one never.
      needed -= Double(unit.bytes)
      guard needed >= 0 || chances(unit) < 1 else { continue }
      check(unit)
    }
  }

  /// A table, or a range of one, that is read at once.
  private struct Unit {
    let oid: UInt32
    /// Nil for a whole table.
    let range: Int?
    let bytes: Int64
    var lastReading: Date

    init(_ oid: UInt32, _ range: Int?, _ bytes: Int64, _ readIn: SnapshotID?) {
      (self.oid, self.range, self.bytes, lastReading) = (oid, range, bytes, readIn?.startDate ?? .distantPast)
    }
  }

  /// The tables and ranges that are taken over.
  private var units: [Unit] {
    func ranges(_ oid: UInt32, _ table: Manifest.Table, _ numbers: some Sequence<Int>) -> [Unit] {
      numbers.compactMap { number in table.ranges.map { Unit(oid, number, $0[number].bytes, $0[number].readIn) } }
    }
    return taken.flatMap { oid, table in
      guard readsRanges, let numbers = table.ranges?.indices else { return [Unit(oid, nil, table.bytes, table.readIn)] }
      return ranges(oid, table, numbers)
    } + partial.flatMap { oid, table in ranges(oid, table.table, table.taken) }
  }

  private mutating func check(_ unit: Unit) {
    guard let range = unit.range else {
      checked[unit.oid] = taken.removeValue(forKey: unit.oid)
      return
    }
    divide(unit.oid)
    partial[unit.oid]?.taken.remove(range)
    partial[unit.oid]?.checked.insert(range)
  }

  /// Takes a table over in ranges, so that some may be left out.
  private mutating func divide(_ oid: UInt32) {
    if let table = taken.removeValue(forKey: oid) { partial[oid] = Partial(table: table, taken: Set((table.ranges ?? []).indices)) }
  }

  /// Bytes of rows that need not be read.
  package var bytes: Int64 { taken.values.reduce(0) { $0 + $1.bytes } + partial.values.reduce(0) { $0 + $1.bytes } }

  /// Whether anything is taken over.
  var takesOver: Bool { !taken.isEmpty || partial.contains { !$0.value.taken.isEmpty } }

  /// Reads all unchanged tables, to verify that they are unchanged.
  package mutating func checkAll() { for unit in units { check(unit) } }

  /// Bytes of all excluded names together, each with those of an option of its own: a system allows 2 MB of arguments.
  private static let longestNames = 512 << 10
  /// Bytes that are read in the time in which a pattern is compared with one relation (1 µs, at 400 MB/s).
  private static let bytesPerRelation: Int64 = 400
  /// Bytes that are read in the time that reading a table takes more than excluding it, however small it is (0.33 ms).
  private static let bytesPerTable: Int64 = 130_000

  /// Removes tables from the plan, so that they are read, if reading them is faster than excluding them from `pg_dump`, and the smallest if
  /// all names together are too long.
  /// - Parameter relations: how many the database has.
  package mutating func limit(relations: Int) {
    var length = 0
    for (oid, table) in taken.sorted(by: { ($0.value.bytes, $0.key) > ($1.value.bytes, $1.key) }) {
      length += table.schema.utf8.count + table.name.utf8.count + 48
      if length > Self.longestNames {
        taken[oid] = nil
        reasons[oid] = "it is among the smallest of too many tables for the arguments of pg_dump"
      }
    }
    let tables = Dictionary(taken.map { ($0.value.qualifiedName, $0) }, uniquingKeysWith: { first, _ in first })
    for pattern in TablePatterns(tables.keys).patterns {
      let bytes = pattern.tables.reduce(0) { $0 + Self.bytesPerTable + (tables[$1]?.value.bytes ?? 0) }
      guard bytes < Int64(relations) * Self.bytesPerRelation else { continue }
      read(pattern.tables.compactMap { tables[$0]?.key }, because: "it is too small: excluding it would take longer than reading it")
    }
  }

  /// Patterns for `pg_dump --exclude-table-data`.
  package var patterns: [String] {
    TablePatterns(taken.values.map(\.qualifiedName) + ranged.map { .init(schema: $0.schema, name: $0.name) }).patterns.map(\.text)
  }

  /// Tables whose rows differ from the parent's.
  /// - Parameter digests: of the rows that were read, by the tables' ids.
  package func refutations(_ digests: [UInt32: String], parent: SnapshotID) -> [Refutation] {
    checked.sorted { $0.value.displayName < $1.value.displayName }.compactMap { oid, table in
      guard let digest = digests[oid], digest != table.sha256 else { return nil }
      return Refutation(
        schema: table.schema, name: table.name, firstBlock: nil, readIn: table.readIn ?? parent, before: table.sha256, now: digest)
    }
  }
}
