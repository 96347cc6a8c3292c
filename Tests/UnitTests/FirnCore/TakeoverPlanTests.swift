import FirnCore
import Foundation
import Postgres
import Repository
import Testing

/// Which tables a snapshot takes over from its parent.
@Suite struct `A plan of takeovers` {
  private static let now = Date(timeIntervalSince1970: 1_800_000_000)

  private static func id(daysAgo days: Double) -> SnapshotID {
    var random = SystemRandomNumberGenerator()
    return SnapshotID(startedAt: now - days * 86400, random: &random)
  }

  private static func state(
    filenode: UInt32 = 20, toast: UInt32? = 21, tablespace: UInt32 = 0, bytes: Int64 = 8192, fingerprint: String = "f", isInFlight: Bool = false
  ) -> Manifest.Table.State {
    .init(
      oid: 16400, filenode: filenode, toast: toast, tablespace: tablespace, bytes: bytes, fingerprint: fingerprint, definition: "d",
      copyStatement: "COPY public.t (a) FROM stdin;\n", isInFlight: isInFlight)
  }

  private static func old(_ state: Manifest.Table.State? = state()) -> Manifest.Table {
    var table = Manifest.Table(schema: "public", name: "t", file: "1.dat", rows: 1, bytes: 10, sha256: "s")
    table.state = state
    return table
  }

  private static func storage(name: String = "t", schema: String = "public", toast: UInt32? = 21, bytes: Int64 = 8192, reason: String? = nil)
    -> TableStorage
  {
    TableStorage(
      oid: 16400, schema: schema, name: name, filenode: 20, tablespace: 0, bytes: bytes, toast: toast, fingerprint: "f", reasonToRead: reason)
  }

  private static func touched(_ files: Set<UInt32>, isAll: Bool = false) -> TouchedFiles {
    var touched = TouchedFiles()
    (touched.filenodes, touched.isAll) = (files, isAll)
    return touched
  }

  @Test func `takes over a table of which nothing is another`() {
    #expect(TakeoverPlan.reasonToRead(Self.storage(), Self.old(), Self.touched([7, 8])) == nil)
    #expect(TakeoverPlan.reasonToRead(Self.storage(toast: nil), Self.old(Self.state(toast: nil)), Self.touched([])) == nil)
  }

  /// Each guard by itself: without it, one of these would be taken over.
  static let changed: [(what: String, table: TableStorage, old: Manifest.Table, touched: TouchedFiles)] = [
    ("unknown", storage(), old(nil), touched([])),
    ("always read", storage(reason: "it is unlogged"), old(), touched([])),
    ("renamed", storage(name: "u"), old(), touched([])),
    ("moved", storage(schema: "other"), old(), touched([])),
    ("written to", storage(), old(state(isInFlight: true)), touched([])),
    ("rewritten", storage(), old(state(filenode: 19)), touched([])),
    ("without a file", storage(), old(state(filenode: 0)), touched([])),
    ("in another tablespace", storage(), old(state(tablespace: 1)), touched([])),
    ("with another TOAST table", storage(), old(state(toast: 22)), touched([])),
    ("with a new TOAST table", storage(), old(state(toast: nil)), touched([])),
    ("of another size", storage(), old(state(bytes: 0)), touched([])),
    ("of unknown size", storage(bytes: -1), old(state(bytes: -1)), touched([])),
    ("with other columns", storage(), old(state(fingerprint: "g")), touched([])),
    ("changed", storage(), old(), touched([20])),
    ("changed in its TOAST table", storage(), old(), touched([21])),
    ("in a database that was moved", storage(), old(), touched([], isAll: true)),
  ]

  @Test(arguments: changed.indices) func `reads a table that may have changed`(_ number: Int) {
    let (what, table, old, touched) = Self.changed[number]
    #expect(TakeoverPlan.reasonToRead(table, old, touched) != nil, "\(what)")
  }

  private static func plan(_ tables: [(bytes: Int64, readDaysAgo: Double)]) -> TakeoverPlan {
    var manifest = manifest()
    var storage: [TableStorage] = []
    for (number, table) in tables.enumerated() {
      let oid = UInt32(16400 + number)
      var entry = Manifest.Table(schema: "public", name: "t\(number)", file: "\(number).dat", rows: 1, bytes: table.bytes, sha256: "s\(number)")
      entry.state = .init(
        oid: oid, filenode: oid, toast: nil, tablespace: 0, bytes: 0, fingerprint: "f", definition: "", copyStatement: "", isInFlight: false)
      entry.readIn = id(daysAgo: table.readDaysAgo)
      manifest.tables.append(entry)
      storage.append(
        TableStorage(
          oid: oid, schema: "public", name: "t\(number)", filenode: oid, tablespace: 0, bytes: 0, toast: nil, fingerprint: "f", reasonToRead: nil))
    }
    return TakeoverPlan(storage, parent: manifest, touched: TouchedFiles(), without: [])
  }

  private static func manifest() -> Manifest {
    Manifest(
      place: SnapshotPath(source: "s", database: "d", id: id(daysAgo: 1)), kind: "nightly", startedAt: now, finishedAt: now,
      versions: .init(firn: "1", pgDump: "18", server: "18", serverNumber: 180000),
      properties: .init(
        owner: "o", encoding: "UTF8", localeProvider: "c", collate: "C", ctype: "C", tablespace: "pg_default", connectionLimit: -1),
      chunkTable: .init(headBytes: 1, bytes: 1))
  }

  @Test func `reads a seventh again each night, the oldest readings first`() {
    var readings = [Double](repeating: 1, count: 14)
    for night in 1...30 {
      var plan = Self.plan(readings.map { (100, $0) })
      plan.chooseChecks(now: Self.now, elapsed: 86400)
      #expect(plan.checked.count <= 4, "night \(night)")
      for place in readings.indices { readings[place] = plan.checked[UInt32(16400 + place)] == nil ? readings[place] + 1 : 1 }
      #expect((readings.max() ?? 0) <= 7, "night \(night)")
    }
  }

  @Test func `reads again what a wrong clock dated in the future`() {
    var plan = Self.plan([(100, -400), (100, 1), (100, -0.1), (100, 0)])
    plan.chooseChecks(now: Self.now, elapsed: 86400)
    #expect(Set(plan.checked.keys) == [16400, 16402])
  }

  @Test func `reads little in an hour, and a table that is most of the database once a week`() {
    var readings = [Double](repeating: 1.0 / 24, count: 41)
    var times = 0
    for hour in 1...(24 * 14) {
      // One of 8 GB and forty of 50 MB.
      var plan = Self.plan(readings.enumerated().map { ($0.offset == 0 ? 8000 : 50, $0.element) })
      plan.chooseChecks(now: Self.now, elapsed: 3600)
      if plan.checked[16400] != nil { times += 1 }
      #expect(plan.checked.count { $0.key != 16400 } <= 3, "hour \(hour)")
      for place in readings.indices { readings[place] = plan.checked[UInt32(16400 + place)] == nil ? readings[place] + 1.0 / 24 : 1.0 / 24 }
      #expect((readings.max() ?? 0) <= 7.1)
    }
    #expect((2...3).contains(times))
  }

  @Test func `names tables for pg_dump in arguments that are not too long, the largest tables first`() {
    var plan = Self.plan((1...40_000).map { (Int64($0), 1) })
    plan.limit(relations: 0)
    let smallest = plan.taken.values.map(\.bytes).min()
    #expect(plan.taken.count < 40_000 && smallest == Int64(40_001 - plan.taken.count))
    #expect(plan.patterns.reduce(0) { $0 + $1.utf8.count } < 1 << 20)
  }

  @Test func `names only tables for pg_dump that are not read faster than excluded`() {
    func taken(_ tables: [(Int64, Double)], relations: Int) -> Int {
      var plan = Self.plan(tables)
      plan.limit(relations: relations)
      #expect(plan.reasons.values.allSatisfy { $0.hasPrefix("it is too small") })
      return plan.taken.count
    }
    #expect(taken(Array(repeating: (1, 1), count: 2000), relations: 2000) == 2000)
    // A pattern for three of 4,000 tables.
    #expect(taken(Array(repeating: (1, 1), count: 3), relations: 4000) == 0)
    #expect(taken([(1, 1), (1, 1), (2_000_000, 1)], relations: 4000) == 3)
    #expect(taken([(1, 1)], relations: 20) == 1)
  }

  /// A table of four ranges, of 100 blocks each, in 16 kB.
  private static func divided(_ state: Manifest.Table.State? = state(bytes: 400 * 8192), readDaysAgo: [Double] = [1, 1, 1, 1]) -> Manifest.Table {
    var table = old(state)
    table.bytes = 400
    table.ranges = readDaysAgo.enumerated().map { number, days in
      .init(firstBlock: Int64(number * 100), rows: 1, bytes: 100, sha256: "r\(number)", readIn: days == 1 ? nil : id(daysAgo: days))
    }
    return table
  }

  private static func touched(_ files: Set<UInt32>, ranges: Set<Int>) -> TouchedFiles {
    var touched = touched(files)
    touched.ranges[20] = ranges
    return touched
  }

  @Test func `takes over the ranges of a very large table in which nothing changed, except the last one`() {
    func unchanged(_ table: TableStorage, _ old: Manifest.Table, _ touched: TouchedFiles) -> Set<Int> {
      TakeoverPlan.unchangedRanges(table, old, touched)
    }
    let table = Self.storage(bytes: 410 * 8192)
    #expect(unchanged(table, Self.divided(), Self.touched([20], ranges: [3])) == [0, 1, 2])
    #expect(unchanged(table, Self.divided(), Self.touched([20], ranges: [1, 3])) == [0, 2])
    // TOAST values are written once.
    #expect(unchanged(table, Self.divided(), Self.touched([20, 21], ranges: [3])) == [0, 1, 2])
    #expect(unchanged(table, Self.divided(), Self.touched([21], ranges: [])) == [0, 1, 2])
  }

  @Test func `reads all of a very large table if its blocks do not tell`() {
    let table = Self.storage(bytes: 400 * 8192)
    let touched = Self.touched([20], ranges: [3])
    func size(_ filenode: UInt32 = 20, toast: UInt32? = 21, fingerprint: String = "f", isInFlight: Bool = false) -> Manifest.Table.State {
      Self.state(filenode: filenode, toast: toast, bytes: 400 * 8192, fingerprint: fingerprint, isInFlight: isInFlight)
    }
    for state in [size(19), size(toast: 22), size(fingerprint: "g"), size(isInFlight: true), nil] {
      #expect(TakeoverPlan.unchangedRanges(table, Self.divided(state), touched).isEmpty, "\(String(describing: state))")
    }
    #expect(TakeoverPlan.unchangedRanges(Self.storage(bytes: 399 * 8192), Self.divided(), touched).isEmpty)
    #expect(TakeoverPlan.unchangedRanges(Self.storage(name: "u", bytes: 400 * 8192), Self.divided(), touched).isEmpty)
    #expect(TakeoverPlan.unchangedRanges(table, Self.old(Self.state(bytes: 400 * 8192)), touched).isEmpty)
    #expect(TakeoverPlan.unchangedRanges(table, Self.divided(), Self.touched([20], isAll: true)).isEmpty)
    // Its blocks were not asked for, because another file has the same number.
    #expect(TakeoverPlan.unchangedRanges(table, Self.divided(), Self.touched([20])).isEmpty)
  }

  @Test func `asks for the blocks of no file whose number another one has`() {
    var manifest = Self.manifest()
    manifest.tables = [Self.divided(), Self.divided(), Self.divided(Self.state(filenode: 7))]
    #expect(manifest.rangesByFile == [7: [0, 100, 200, 300]])
  }

  @Test func `reads the ranges of a very large table again in a week, some each night`() {
    var readings = [Double](repeating: 1, count: 28)
    for night in 1...20 {
      var manifest = Self.manifest()
      manifest.tables = [Self.divided(readDaysAgo: readings)]
      manifest.tables[0].bytes = 2800
      var plan = TakeoverPlan(
        [Self.storage(bytes: 400 * 8192)], parent: manifest, touched: Self.touched([20], ranges: [27]), without: [])
      plan.chooseChecks(now: Self.now, elapsed: 86400)
      let read = plan.partial[16400].map { Set(readings.indices).subtracting($0.taken) } ?? []
      #expect(read.count <= 6, "night \(night)")
      for place in readings.indices { readings[place] = read.contains(place) ? 1 : readings[place] + 1 }
      #expect((readings.max() ?? 0) <= 7, "night \(night)")
    }
  }

  @Test func `finds a table whose rows are others after all`() throws {
    var plan = Self.plan([(100, 9), (100, 1)])
    plan.chooseChecks(now: Self.now, elapsed: 86400)
    #expect(plan.checked.keys.sorted() == [16400])
    let parent = Self.id(daysAgo: 1)
    #expect(plan.refutations([16400: "s0", 16401: "x"], parent: parent).isEmpty)
    // The snapshot that read it, which is older than the parent.
    let readIn = try #require(plan.checked[16400]?.readIn)
    #expect(readIn < parent)
    let words = plan.refutations([16400: "x"], parent: parent).first?.words(affected: 0)
    #expect(words?.hasPrefix("public.t0 seemed unchanged since \(readIn), but its rows differ") == true, "\(words ?? "")")
  }
}
