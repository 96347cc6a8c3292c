internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository
internal import SystemPackage

/// Takes unchanged tables over from the parent in one attempt at a snapshot, and makes the record for the next snapshot.
///
/// It never fails a snapshot: if the server or the store does not answer a question, the tables are read.
final class IncrementalReading {
  /// Which tables are read.
  enum Reading {
    case changed
    /// All, and those that seem unchanged are compared with the parent.
    case all
    /// All, and the parent is ignored.
    case anew
  }

  /// The dump can't be completed with what was to be taken over or read in ranges: it is made again, without these.
  struct Retreat: Error {
    /// Tables that pg_dump must read.
    var tables: Set<UInt32> = []
    /// Whether no table may be read in ranges.
    var readsWholeTables = false
    /// Whether pg_dump must read all tables.
    var takesNothing = false
    let reason: String
  }

  private let progress: WorkProgress
  private var watch: (any ChangeSignal)?
  private var isWanted = false
  private var storage: [UInt32: TableStorage] = [:]
  private var surroundings: ChangeBase.Surroundings?
  private(set) var plan = TakeoverPlan()
  /// The names of the archive's files for tables that are taken over, by object ids.
  private let files = Monitor<[UInt32: String]>([:])
  /// The ranges of tables that were read in ranges.
  private(set) var rows: [UInt32: RangedRows] = [:]
  /// Whether tables may be read in ranges.
  private let readsRanges: Bool
  /// Why nothing could be taken over, or the next snapshot can take nothing over.
  private(set) var obstacles: [String] = []

  init(progress: WorkProgress, readsRanges: Bool) { (self.progress, self.readsRanges) = (progress, readsRanges) }

  /// Starts to record which tables are written. Call it before the tables are locked.
  /// - Parameter size: the estimated bytes of a full dump.
  func begin(on connection: Connection, _ request: SnapshotRequest, size: Int64) throws {
    guard request.kind != Manifest.safetyKind else { return }
    guard request.incremental.isWorthwhile(size) else {
      let isSmall = request.incremental == .auto
      return progress.note(
        "all tables are read: \(isSmall ? "a dump has \(size >> 20) MiB, and less than 64 MiB is read faster (incremental: yes overrides this)" : "incremental is no")"
      )
    }
    isWanted = true
    try unlessRefused("all tables are read") {
      let settings = request.settings.with(database: connection.database)
      let obstacles = try connection.obstaclesToIncremental()
      guard obstacles.isEmpty else {
        guard request.incremental == .fileTimes else { throw Unusable(reason: obstacles.joined(separator: ", ")) }
        if let obstacle = try connection.obstacleToFileTimes() { throw Unusable(reason: obstacle.reason) }
        watch = try FileTimes(settings, beside: connection)
        return
      }
      let missing = try connection.rolesMissingForIncremental()
      guard missing.isEmpty else { throw Unusable(reason: "\(connection.user) is not a member of \(missing.joined(separator: " and "))") }
      watch = try ChangeWatch(settings, beside: connection)
    }
  }

  /// Between the locks and the snapshot.
  func noteLocks() throws { try unlessRefused("all tables are read") { try watch?.noteLocks() } }

  /// After the snapshot is exported.
  func noteSnapshot() throws { try unlessRefused("all tables are read") { try watch?.noteSnapshot() } }

  /// Runs a body. If the server refuses something, incremental reading ends.
  private func unlessRefused(_ consequence: String, _ body: () throws -> Void) throws {
    let reason: String
    do { return try body() } catch let error as PostgresError {
      watch = nil
      plan = TakeoverPlan()
      reason = "\(error)"
    } catch let error as Unusable { reason = error.reason }
    obstacles.append("\(consequence): \(reason)")
    progress.note("\(consequence): \(reason)")
  }

  /// Decides what is taken over.
  /// - Parameters:
  ///   - connection: in the transaction of the snapshot.
  ///   - index: of the parent.
  ///   - mustRead: tables that are read for another reason.
  ///   - excluded: tables whose rows are not wanted.
  ///   - dumpedOtherwise: tables whose rows pg_dump does not write as they are, such as partitions that are restored through their root.
  ///   - reading: which tables are read.
  func decide(
    on connection: Connection, _ request: SnapshotRequest, encoding: String, pgDump: String, parent: Manifest?, index: ParentIndex?,
    without mustRead: Set<UInt32>, excluded: Set<UInt32>, dumpedOtherwise: Set<UInt32>, reading: Reading
  ) throws {
    // pg_dump takes its arguments, and a session its statements, in the encoding of the archive.
    let readsRanges = readsRanges && isWanted && connection.readsRanges && encoding == "UTF8"
    guard watch != nil || readsRanges else { return }
    plan = TakeoverPlan(readsRanges: readsRanges)
    try unlessRefused("all tables are read") {
      // An error must not end the transaction, which the dump needs.
      let tables = try connection.withinSavepoint { try connection.tableStorage() }
      storage = Dictionary(tables.map { ($0.oid, $0) }, uniquingKeysWith: { first, _ in first })
    }
    try decideWhatIsTaken(
      on: connection, request, encoding: encoding, pgDump: pgDump, parent: parent, index: index,
      without: mustRead.union(excluded).union(dumpedOtherwise),
      reading: reading)
    guard readsRanges else { return }
    do { try divide(on: connection, without: excluded.union(dumpedOtherwise)) } catch let error as PostgresError {
      progress.note("no table is read in ranges: \(error)")
      plan.readWholeTables()
    }
  }

  /// Chooses the very large tables that are read in ranges.
  private func divide(on connection: Connection, without excluded: Set<UInt32>) throws {
    func size(_ table: TableStorage) -> Int64 { max(0, table.bytes) + table.toastBytes }
    let total = storage.values.reduce(0) { $0 + size($1) }
    let large = storage.values.filter {
      $0.reasonToRead == nil && plan.taken[$0.oid] == nil && plan.checked[$0.oid] == nil && !excluded.contains($0.oid)
        && (plan.partial[$0.oid] != nil || size($0) > RangedTable.smallest && size($0) >= total / 4)
    }
    guard !large.isEmpty else { return }
    let targets = try connection.withinSavepoint { try connection.copyTargets(large.map(\.oid)) }
    let blockSize = try connection.blockSize()
    for table in large.sorted(by: { $0.oid < $1.oid }) {
      guard let target = targets[table.oid] else {
        plan.read([table.oid], because: "it has no columns")
        continue
      }
      let blocks = max(0, table.bytes) / blockSize
      let length = RangedTable.blocksPerRange(blocks: blocks, bytes: size(table))
      let partial = plan.partial[table.oid]
      plan.ranged.append(
        RangedTable(
          oid: table.oid, schema: table.schema, name: table.name, target: target,
          copyStatement: partial?.table.state?.copyStatement ?? target.statement, parent: partial?.table,
          pieces: partial.map { RangedTable.pieces($0, blocks: blocks, length: length) }
            ?? RangedTable.ranges(from: 0, blocks: blocks, length: length)))
    }
  }

  /// The tables that are read in ranges, for the dump; nil if there are none.
  /// - Parameters:
  ///   - jobs: how many sessions read at once, those of pg_dump among them.
  ///   - snapshot: the exported one.
  ///   - lockWait: how long a session waits for a lock on an index.
  ///   - disabled: settings to be off.
  func ranges(_ settings: ConnectionSettings, jobs: Int, snapshot: String, lockWait: Duration, disabled: [String]) -> RangeReader.Request? {
    guard !plan.ranged.isEmpty else { return nil }
    let tables = plan.ranged.map(\.target.table)
    func size(_ tables: some Sequence<TableStorage>) -> Double { tables.reduce(0) { $0 + Double(max(0, $1.bytes) + $1.toastBytes) } }
    let read = plan.ranged.map { Double($0.pieces.count(where: \.isRead)) / Double(max(1, $0.pieces.count)) }
    let ranges = zip(plan.ranged, read).reduce(0) { $0 + size(storage[$1.0.oid].map { [$0] } ?? []) * $1.1 }
    let others = size(storage.values.filter { table in plan.taken[table.oid] == nil && !plan.ranged.contains { $0.oid == table.oid } })
    let pieces = plan.ranged.reduce(0) { $0 + $1.pieces.count(where: \.isRead) }
    let sessions = max(1, min(jobs, pieces, Int((Double(jobs) * ranges / max(1, ranges + others)).rounded())))
    return RangeReader.Request(tables: plan.ranged, sessions: sessions) {
      let session = try Connection(settings, applicationName: "firn-snapshot rows")
      try session.beginReading(snapshot: snapshot, tables: tables, lockWait: lockWait, disabled: disabled)
      return session
    }
  }

  private func decideWhatIsTaken(
    on connection: Connection, _ request: SnapshotRequest, encoding: String, pgDump: String, parent: Manifest?, index: ParentIndex?,
    without mustRead: Set<UInt32>, reading: Reading
  ) throws {
    guard let watch else { return }
    defer { watch.session.rest() }
    let readsRanges = plan.readsRanges
    try unlessRefused("all tables are read") {
      surroundings = try watch.surroundings(encoding: encoding, pgDump: pgDump)
      // If a takeover was refuted, the parent is not to be trusted.
      guard reading != .anew, let parent, let index else { return }
      guard let base = parent.changeBase else {
        let why = parent.refutations == nil ? "has no record of the server's changes" : "found tables that differed, so nothing is taken over from it"
        throw Unusable(reason: "\(parent.id) \(why)")
      }
      guard let surroundings else { throw Unusable(reason: "the server does not tell this role what it is") }
      if let difference = surroundings.difference(from: base.surroundings, of: parent.id) { throw Unusable(reason: difference) }
      progress.begin("asking what changed")
      try watch.catchUp()
      var plan = TakeoverPlan(
        Array(storage.values), parent: parent, touched: try watch.touchedFiles(since: base, parent), without: mustRead, readsRanges: readsRanges)
      // pg_dump takes its arguments in the encoding of the archive.
      if encoding != "UTF8" {
        let names = plan.taken.filter { !("\($0.value.schema)\($0.value.name)".utf8.allSatisfy { $0 < 0x80 }) }
        plan.read(names.keys, because: "its name is not ASCII, and the database is not in UTF-8")
      }
      if reading == .all {
        plan.checkAll()
      } else {
        plan.read(try unusable(plan, index), because: "little of its objects in the store is still in use, or one is missing")
        for table in plan.divided { plan.read(table, where: unusableParts(of: table, index)) }
        let now = request.now()
        plan.limit(relations: request.incremental != .auto ? 0 : try connection.relationCount())
        plan.chooseChecks(now: now, elapsed: now.timeIntervalSince(parent.startedAt), period: request.rereadPeriod)
      }
      if !readsRanges { plan.readWholeTables() }
      self.plan = plan
      explain(parent.id)
    }
  }

  /// Why tables are read.
  private func explain(_ parent: SnapshotID) {
    for (oid, table) in storage.sorted(by: { ($0.value.schema, $0.value.name) < ($1.value.schema, $1.value.name) }) where plan.taken[oid] == nil {
      progress.note("\(table.schema).\(table.name): \(reason(toRead: table, parent))")
    }
  }

  private func reason(toRead table: TableStorage, _ parent: SnapshotID) -> String {
    if let reason = plan.reasons[table.oid] { return reason }
    let partial = plan.partial[table.oid]
    if plan.checked[table.oid] != nil || partial?.checked.isEmpty == false { return "it seems unchanged, and is read to verify that" }
    return table.reasonToRead ?? (partial == nil ? "\(parent) has no record of it" : "ranges of it were changed")
  }

  private func unusable(_ plan: TakeoverPlan, _ index: ParentIndex) throws -> [UInt32] {
    let whole = plan.taken.filter { !plan.readsRanges || $0.value.ranges == nil }
    let wanted = whole.values.compactMap { table in SHA256Digest(hexadecimal: table.sha256).map { (table.file, (table.bytes, $0)) } }
    let usable: Set<String>
    do { usable = try index.reusable(Dictionary(wanted, uniquingKeysWith: { first, _ in first })) } catch let error
      where error is RepositoryError || error is StoreError
    {
      progress.note("all tables are read: the parent's chunk table can't be read: \(error)")
      return Array(whole.keys)
    }
    return whole.filter { !usable.contains($0.value.file) }.map(\.key)
  }

  private func unusableParts(of table: Manifest.Table, _ index: ParentIndex) -> [Range<Int64>] {
    do { return try index.unusableParts(of: table.file, bytes: table.bytes) } catch {
      progress.note("\(table.displayName): what the store has of it can't be looked at: \(error)")
      return [0..<table.bytes]
    }
  }

  private static func definition(_ entry: ArchiveDirectory.Entry) -> String {
    SHA256Digest(of: Array("\(entry.definition)\n\(entry.accessMethod)".utf8)).description
  }

  /// Adds the rows that are taken over to the archive's table of contents. It throws `Retreat`, or what the system throws.
  var completion: (@Sendable (_ contents: FilePath) throws -> Void)? {
    guard !plan.taken.isEmpty || !plan.ranged.isEmpty else { return nil }
    return { [plan, files] contents in
      let names = try Self.complete(contents, plan)
      files.update { $0 = names }
    }
  }

  private static func complete(_ file: FilePath, _ plan: TakeoverPlan) throws -> [UInt32: String] {
    let directory = try ArchiveDirectory(parsing: Folder.contents(of: file, limit: ArchiveDirectory.sizeLimit))
    let definitions = Dictionary(
      directory.entries.filter { $0.kind == "TABLE" }.map { ($0.oid, definition($0)) }, uniquingKeysWith: { first, _ in first })
    let old = plan.taken.merging(plan.partial.mapValues(\.table)) { $1 }
    let mistaken = old.filter { definitions[$0.key] == nil || definitions[$0.key] != $0.value.state?.definition }
    guard mistaken.isEmpty else { throw Retreat(tables: Set(mistaken.keys), reason: "they are defined in another way than in the parent") }
    let statements = plan.taken.compactMapValues { $0.state?.copyStatement }
      .merging(plan.ranged.map { ($0.oid, $0.copyStatement) }, uniquingKeysWith: { $1 })
    guard let (bytes, names) = directory.addingRows(statements), names.count == plan.taken.count + plan.ranged.count else {
      let reason = "pg_dump lists a table in another way"
      throw plan.ranged.isEmpty ? Retreat(tables: Set(plan.taken.keys), reason: reason) : Retreat(readsWholeTables: true, reason: reason)
    }
    // Rewritten in place: a new file would look like one of pg_dump's.
    try File(file, .replace).write(bytes.span)
    return names
  }

  /// Adds the files that are taken over to those that were read, and lists their chunks.
  func finish(_ outcome: inout DumpEngine.Outcome, _ index: ParentIndex?, _ table: ChunkTableWriter) throws {
    let files = files.current
    guard !files.isEmpty else { return }
    var provisional: [String: String] = [:]
    for rows in outcome.ranged {
      guard let name = files[rows.oid] else { throw Retreat(readsWholeTables: true, reason: "pg_dump does not list a table") }
      provisional[rows.file.name] = name
      outcome.files[name] = StreamedFile(rows: rows.file.rows, bytes: rows.file.bytes, digest: rows.file.digest, name: name)
      self.rows[rows.oid] = rows
    }
    table.rename(provisional)
    guard let index else { return }
    var names: [String: String] = [:]
    for (oid, taken) in plan.taken {
      guard let name = files[oid], let digest = SHA256Digest(hexadecimal: taken.sha256) else {
        throw Retreat(tables: [oid], reason: "the parent's digest can't be read")
      }
      outcome.files[name] = StreamedFile(rows: taken.rows, bytes: taken.bytes, digest: digest, name: name)
      outcome.bytes += taken.bytes
      names[taken.file] = name
    }
    do { try index.takeOver(names, into: table) } catch let error where (error as? StoreError)?.isOfOneFile ?? (error is RepositoryError) {
      throw Retreat(tables: Set(plan.taken.keys), reason: "the parent's chunks can't be read: \(error)")
    }
  }

  /// A retreat from all that is taken over or read in ranges; nil if there is none of it.
  func retreat(because reason: String) -> Retreat? {
    plan.taken.isEmpty && plan.ranged.isEmpty ? nil : Retreat(readsWholeTables: true, takesNothing: true, reason: reason)
  }

  /// Tables that seemed unchanged, and whose rows are not the parent's.
  func refutations(_ contents: ArchiveDirectory, _ outcome: DumpEngine.Outcome, parent: SnapshotID?) -> [Refutation] {
    guard let parent else { return [] }
    let ranges = rows.sorted { $0.key < $1.key }.flatMap(\.value.refutations)
    guard !plan.checked.isEmpty else { return ranges }
    let digests = contents.entries.filter { $0.kind == "TABLE DATA" }.compactMap { entry in
      outcome.files[entry.file].map { (entry.oid, $0.digest.description) }
    }
    return plan.refutations(Dictionary(digests, uniquingKeysWith: { first, _ in first }), parent: parent) + ranges
  }

  /// The ranges of a table, and the oldest reading of its rows; nil where these are of this snapshot.
  func reading(of oid: UInt32) -> (ranges: [Manifest.Table.BlockRange]?, readIn: SnapshotID?) {
    if let table = plan.taken[oid] { return (table.ranges, table.readIn) }
    return (rows[oid]?.ranges, rows[oid]?.ranges.compactMap(\.readIn).min())
  }

  /// The record for the next snapshot; nil if the server does not give all of it.
  func base() throws -> ChangeBase? {
    guard let watch, let surroundings else { return nil }
    var base: ChangeBase?
    try unlessRefused("the next snapshot will read all tables") {
      try watch.catchUp()
      base = try watch.base(surroundings)
      if base == nil { throw Unusable(reason: "the server does not show what it would be compared with") }
    }
    return base
  }

  /// Adds the state of each table to a manifest, for the next snapshot.
  func describe(_ tables: inout [Manifest.Table], _ contents: ArchiveDirectory, ids: [String: UInt32]) {
    let inFlight = watch?.inFlight ?? []
    let entries = Dictionary(grouping: contents.entries.filter { $0.kind == "TABLE" || $0.kind == "TABLE DATA" }, by: \.oid)
    for place in tables.indices {
      guard let oid = ids[tables[place].file], let storage = storage[oid], storage.reasonToRead == nil,
        let table = entries[oid]?.first(where: { $0.kind == "TABLE" }), let rows = entries[oid]?.first(where: { $0.kind == "TABLE DATA" }),
        !rows.copyText.isEmpty, !rows.isLoadedThroughRoot
      else { continue }
      tables[place].state = .init(
        oid: oid, filenode: storage.filenode, toast: storage.toast, tablespace: storage.tablespace, bytes: storage.bytes,
        fingerprint: storage.fingerprint, definition: Self.definition(table), copyStatement: rows.copyText, isInFlight: inFlight.contains(oid),
        fileTimes: watch?.fileTimes(of: oid))
    }
  }
}

extension SnapshotRequest {
  /// When tables are taken over from the parent.
  package enum Incremental: String, Sendable {
    /// If the database is large enough for it to save time.
    case auto
    case yes
    case no
    /// As `yes`, and by the times of files if the server has no WAL summaries.
    case fileTimes = "file-times"

    /// Bytes of a database that is read faster than the server is asked what changed.
    private static let smallest: Int64 = 64 << 20

    func isWorthwhile(_ size: Int64) -> Bool { self == .yes || self == .fileTimes || self == .auto && size >= Self.smallest }
  }
}
