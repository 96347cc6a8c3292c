import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Random histories of a server: every table that is taken over has the rows that stock pg_dump reads at that moment.
@Suite struct `Incremental snapshots of random histories` {
  /// Rounds, each with a snapshot of some fifteen tables: FIRN_INCREMENTAL_ROUNDS sets more, FIRN_INCREMENTAL_SEED another beginning,
  /// FIRN_INCREMENTAL_WILDNESS the percentage of steps that disturb the server, and FIRN_INCREMENTAL_PRINT prints the steps.
  private static func setting(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap { Int($0) } }

  /// On 18, 17, and by the times of files on 15.
  @Test(arguments: [2, 3, 0]) func `take over no table whose rows are others`(_ number: Int) throws {
    let isOlder = number == 0
    let server = try TestServer(binaries: TestServer.binaries(at: number), settings: IncrementalPlace.olderSettings + ["wal_writer_delay=10s"])
    var random = SeededRandom(seed: UInt64(Self.setting("FIRN_INCREMENTAL_SEED") ?? 1))
    let place = try IncrementalPlace(
      on: server, mode: isOlder ? "file-times" : "yes",
      """
      CREATE TYPE mood AS ENUM ('m0', 'm1'); CREATE TYPE pair AS (a int, m mood); CREATE SCHEMA other;
      CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id)
      """)
    try server.sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE elsewhere LOCATION ''")
    var history = try History(place, &random)
    let wildness = Self.setting("FIRN_INCREMENTAL_WILDNESS") ?? 4
    var (decisions, taken) = (0, 0)
    for round in 1...(Self.setting("FIRN_INCREMENTAL_ROUNDS") ?? 15) {
      var log: [String] = []
      try history.refill()
      for _ in 0..<Int.random(in: 0...3, using: &random) { log.append(try history.step(&random, wildness: wildness)) }
      if Self.setting("FIRN_INCREMENTAL_PRINT") != nil { print("round \(round): \(log)") }
      // Summaries end at checkpoints, which a server makes every few minutes.
      if random.next() % 4 > 0 { try place.work.sql("CHECKPOINT") }
      // Files that changed in the last three seconds are no base.
      if isOlder, random.next() % 3 == 0 { Thread.sleep(forTimeInterval: 3.5) }
      let writer = random.next() % (wildness > 4 ? 2 : 4) == 0 ? try history.writer(&random, all: wildness > 4) : nil
      let result = try place.work.run("firn-snapshot", ["--json", "--lock-wait", "1s"] + (random.next() % 20 == 0 ? ["--full"] : []))
      let written = writer?.end() ?? []
      // 3: tables lost many rows.
      guard result.status == 0 || result.status == 3 else {
        // A transaction may hold a lock that keeps readers out.
        #expect(result.errors.contains("lock"), "\(result)")
        history.endAll()
        continue
      }
      // No session writes meanwhile; open transactions stay open. Tables that were written during the snapshot are compared in the next round.
      let (found, stock) = (try place.tables(), try place.stock())
      let compared = stock.filter { !written.contains($0.key) }
      decisions += compared.count
      taken += compared.keys.count { found[$0]?.isTaken ?? false }
      let wrong = compared.filter { found[$0.key]?.sha256 != $0.value }.map(\.key)
      #expect(wrong.isEmpty && found.count == stock.count, "round \(round): \(wrong), after \(log)")
      if !wrong.isEmpty { break }
      if round % 10 == 0 { #expect(try place.work.verify(place.work.database, "latest", "--read").status == 0, "round \(round), after \(log)") }
    }
    print("\(decisions) decisions, \(taken) tables taken over")
    if wildness <= 4 { #expect(taken * (isOlder ? 8 : 5) > decisions, "\(taken) of \(decisions)") }
    #expect(try place.work.verify(place.work.database, "latest", "--read").status == 0)
    try server.destroy()
  }

  /// Sessions that write, and may be in transactions.
  private struct History {
    private let place: IncrementalPlace
    private var sessions: [(connection: Connection, isOpen: Bool, hasSavepoint: Bool)] = []
    private var prepared: [String] = []
    private var counter = 0
    private var labels = 2
    /// The folder of the server's files.
    private let data: String
    /// Transactions and labels at the time of the copy of the server's files.
    private var saved: (prepared: [String], labels: Int)?

    init(_ place: IncrementalPlace, _ random: inout SeededRandom) throws {
      self.place = place
      data = try place.work.server.sql("SHOW data_directory")
      // Arguments of a server come before its settings: there it could not be turned off.
      if place.work.server.major >= 17 { try Self.summarize("on", on: place.work.server) }
      try connect()
      for _ in 0..<14 { try place.work.sql(create()) }
    }

    /// In a session that waits for no other for long: a transaction may have locked the rows.
    private func write(_ statement: String) throws {
      let session = try Self.session(place)
      _ = try? session.execute(statement)
    }

    private mutating func connect() throws {
      sessions = try (0..<4).map { _ in (try Self.session(place), false, false) }
    }

    private static func session(_ place: IncrementalPlace) throws -> Connection {
      let connection = try place.work.server.connect(place.work.database)
      try connection.execute("SET lock_timeout = '200ms'; SET synchronous_commit = off; SET search_path = public")
      return connection
    }

    private mutating func create(_ wanted: String? = nil) -> String {
      counter += 1
      let name = wanted ?? "public.t\(counter)"
      let label = "(enum_range(NULL::mood))[1 + id % 2]"
      let (columns, values) = [
        ("id int, v text", ""), ("id int, v varchar(40), m mood", "m = \(label)"), ("id int, v text, p pair", "p.a = 1, p.m = \(label)"),
        ("id int, v text, big text", "big = CASE WHEN id % 50 = 0 THEN (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i) END"),
        ("id int, v text, r regclass, g int GENERATED ALWAYS AS (id * 2) STORED", "r = '\(counter % 2 == 0 ? "pg_class" : name)'::regclass"),
      ][counter % 5]
      return """
        CREATE TABLE \(name) (\(columns)); INSERT INTO \(name) (id, v) SELECT g, md5(g::text) FROM generate_series(1, \(counter % 5 == 1 ? 9000 : 300)) g;
        \(values.isEmpty ? "SELECT" : "UPDATE \(name) SET \(values)")
        """
    }

    private static let all = """
      SELECT relnamespace::regnamespace || '.' || relname FROM pg_class
      WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'other'::regnamespace) AND relname ~ '^t[0-9]+$' ORDER BY oid
      """

    private func tables() throws -> [String] { try place.work.sql(Self.all).split(separator: "\n").map(String.init) }

    private func table(_ random: inout SeededRandom) throws -> String { try tables().randomElement(using: &random) ?? "public.t1" }

    /// Makes tables again if many were dropped.
    mutating func refill() throws {
      let count = try tables().count
      for _ in count..<max(count, 14) { try place.work.sql(create()) }
    }

    /// Writes at random moments, while a snapshot is taken.
    final class Writer {
      private let written = Monitor<Set<String>>([])
      private let thread: WorkerThread

      init(_ session: Connection, _ writes: [(table: String, statement: String, pause: Double)]) {
        let written = written
        nonisolated(unsafe) let session = session
        thread = WorkerThread(name: "writer") {
          for write in writes {
            Thread.sleep(forTimeInterval: write.pause)
            written.update { _ = $0.insert(write.table) }
            _ = try? unsafe session.execute(write.statement)
          }
        }
      }

      /// - Returns: the tables that it may have written.
      func end() -> Set<String> {
        thread.join()
        return written.current
      }
    }

    /// - Parameter all: whether every table is written, once, and else a few.
    func writer(_ random: inout SeededRandom, all: Bool) throws -> Writer {
      let names = try tables().shuffled(using: &random).prefix(all ? .max : Int.random(in: 1...4, using: &random))
      if random.next() % 2 == 0 {
        // Their files change within the second in which they are looked at, and again.
        for name in names { try write("UPDATE \(name) SET id = id WHERE id = 9") }
        try place.work.sql("CHECKPOINT")
      }
      let writes = names.map { name in
        let statement = ["INSERT INTO \(name) (id, v) VALUES (77, 'meanwhile')", "DELETE FROM \(name) WHERE id = \(random.next() % 300)"]
        return (name, statement[Int(random.next() % 2)], Double.random(in: 0...0.6 / Double(names.count), using: &random))
      }
      return Writer(try Self.session(place), writes)
    }

    mutating func endAll() {
      for place in sessions.indices where sessions[place].isOpen {
        try? sessions[place].connection.execute("ROLLBACK")
        (sessions[place].isOpen, sessions[place].hasSavepoint) = (false, false)
      }
    }

    /// Disturbs the server, or its record of what changed.
    private mutating func disturb(_ random: inout SeededRandom) throws -> String {
      let server = place.work.server
      let database = place.work.database
      switch random.next() % 9 {
      case 0, 1:
        server.crash()
        try server.start()
        try connect()
        return "crash"
      case 2:
        try stop()
        try restart()
        return "restart"
      case 3:
        // Without files, the summaries have a gap, most often at the last changes.
        if server.major >= 17 { try Self.summarizeAll(on: server) }
        let files = ((try? FileManager.default.contentsOfDirectory(atPath: "\(data)/pg_wal/summaries")) ?? []).sorted()
        let removed = files.filter { random.next() % ($0 == files.last ? 2 : 6) == 0 }
        for file in removed { try? FileManager.default.removeItem(atPath: "\(data)/pg_wal/summaries/\(file)") }
        return "\(removed.count) of \(files.count) summaries removed"
      case 4:
        guard server.major >= 17 else { return "" }
        try Self.summarize("off", on: server)
        try write("UPDATE \(table(&random)) SET id = id + 1")
        try place.work.sql("CHECKPOINT")
        try Self.summarize("on", on: server)
        return "summaries off and on"
      case 5:
        try stop()
        try copy(data, to: "\(data).copy")
        saved = (prepared, labels)
        try restart()
        return "the server's files are copied"
      case 6:
        guard let saved else { return "" }
        try stop()
        try copy("\(data).copy", to: data)
        (prepared, labels) = saved
        try restart()
        // Its log goes on from there, and perhaps beyond the place that it had reached.
        let segments = Int(random.next() % 8)
        for _ in 0..<segments {
          try write("UPDATE \(table(&random)) SET id = id + 1 WHERE id % 50 = 7")
          try place.work.sql("SELECT pg_switch_wal()")
        }
        return "the copy is put back, and \(segments) segments are written"
      default:
        endAll()
        sessions = []
        for name in prepared { _ = try? place.work.sql("ROLLBACK PREPARED '\(name)'") }
        prepared = []
        if random.next() % 2 == 0 {
          let moved = (try? server.sql("ALTER DATABASE \(database) SET TABLESPACE \(random.next() % 2 == 0 ? "elsewhere" : "pg_default")")) != nil
          try connect()
          return "the database is moved \(moved)"
        }
        try write("UPDATE \(table(&random)) SET id = id + 1 WHERE id % 50 = 7")
        try server.sql("CREATE DATABASE passing TEMPLATE \(database) \(random.next() % 2 == 0 ? "STRATEGY FILE_COPY" : "")")
        try server.sql("DROP DATABASE \(database)")
        try server.sql("ALTER DATABASE passing RENAME TO \(database)")
        try connect()
        return "the database is a copy of itself"
      }
    }

    /// Waits until the log so far is summarized.
    private static func summarizeAll(on server: TestServer) throws {
      let end = try server.sql("SELECT pg_current_wal_insert_lsn()")
      try server.sql("CHECKPOINT")
      let deadline = ContinuousClock.now + .seconds(10)
      while try server.sql("SELECT summarized_lsn < '\(end)' FROM pg_get_wal_summarizer_state()") == "t", ContinuousClock.now < deadline {
        Thread.sleep(forTimeInterval: 0.02)
      }
    }

    private static func summarize(_ value: String, on server: TestServer) throws {
      try server.sql("ALTER SYSTEM SET summarize_wal = \(value)")
      try server.sql("SELECT pg_reload_conf()")
    }

    private mutating func stop() throws {
      endAll()
      sessions = []
      place.work.server.stop()
      let deadline = ContinuousClock.now + .seconds(30)
      while Folder.exists(FilePath("\(data)/postmaster.pid")) {
        guard ContinuousClock.now < deadline else { throw Unavailable("the server did not stop") }
        Thread.sleep(forTimeInterval: 0.02)
      }
    }

    private mutating func restart() throws {
      try place.work.server.start()
      try connect()
    }

    private func copy(_ folder: String, to other: String) throws {
      let copied = try Workplace.run(
        "/bin/sh", ["-c", "rm -rf \"$2\" && cp -a \"$1\" \"$2\"", "sh", folder, other], environment: ["PATH": "/usr/bin:/bin"])
      guard copied.status == 0 else { throw Unavailable("\(copied)") }
    }

    mutating func step(_ random: inout SeededRandom, wildness: Int) throws -> String {
      let number = Int.random(in: 0..<sessions.count, using: &random)
      let name = try table(&random)
      let writes = [
        "INSERT INTO \(name) (id, v) SELECT g, 'n' || g FROM generate_series(1, 20) g", "UPDATE \(name) SET v = v || 'x' WHERE id % 7 = 3",
        "DELETE FROM \(name) WHERE id % 11 = \(random.next() % 11)", "UPDATE \(name) SET id = id WHERE id = 5",
        "SELECT count(*) FROM (SELECT FROM \(name) WHERE id < 3 FOR UPDATE) x", "DELETE FROM \(name) WHERE id > 100",
        "INSERT INTO \(name) (id, v) SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 3) g",
        "UPDATE \(name) SET m = 'm\(labels - 1)' WHERE id % 5 = 1", "UPDATE \(name) SET big = big || 'x' WHERE id % 100 = 0",
      ]
      let bare = name.split(separator: ".")[1]
      let other = try table(&random)
      counter += 1
      let definitions = [
        "TRUNCATE \(name)", "VACUUM \(name)", "VACUUM (FREEZE) \(name)", "VACUUM FULL \(name)", "ANALYZE \(name)",
        "ALTER TABLE \(name) ADD COLUMN c\(random.next() % 10) int DEFAULT 3", "ALTER TABLE \(name) DROP COLUMN IF EXISTS c\(random.next() % 10)",
        "ALTER TABLE \(name) ALTER COLUMN v TYPE text", "ALTER TABLE \(name) ALTER COLUMN g DROP EXPRESSION",
        "ALTER TABLE \(name) ALTER COLUMN v SET NOT NULL", "ALTER TABLE \(name) ALTER COLUMN v SET STORAGE EXTERNAL",
        "ALTER TABLE \(name) SET UNLOGGED", "ALTER TABLE \(name) SET LOGGED", "ALTER TABLE \(name) RENAME COLUMN v TO w",
        "ALTER TABLE \(name) RENAME COLUMN w TO v", "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'more\(counter)'",
        "ALTER TYPE mood RENAME VALUE 'm\(labels - 1)' TO 'm\(labels)'", "ALTER TYPE mood RENAME VALUE 'm\(labels - 1)' TO 'm\(labels)'",
        "ALTER TYPE pair ADD ATTRIBUTE a\(random.next() % 5) int", "ALTER TYPE pair DROP ATTRIBUTE IF EXISTS a\(random.next() % 5)",
        "DROP TABLE \(name)", create(), "DROP TABLE \(name); \(create(name))", "CHECKPOINT",
        "ALTER TABLE \(name) RENAME TO t\(counter)9", "ALTER TABLE \(name) SET SCHEMA \(name.hasPrefix("other.") ? "public" : "other")",
        "BEGIN; ALTER TABLE \(name) RENAME TO passing; ALTER TABLE \(other) RENAME TO \(bare); ALTER TABLE \(name.split(separator: ".")[0]).passing RENAME TO \(other.split(separator: ".")[1]); COMMIT",
        "ALTER TABLE \(name) SET TABLESPACE \(random.next() % 2 == 0 ? "elsewhere" : "pg_default")",
        "ALTER TABLE public.parts ATTACH PARTITION \(name) DEFAULT", "ALTER TABLE public.parts DETACH PARTITION \(name)",
        "COMMENT ON TABLE \(name) IS 'x'", "CREATE INDEX ON \(name) (id)", "ALTER TABLE \(name) SET (fillfactor = 60)",
        "BEGIN; TRUNCATE \(name); INSERT INTO \(name) (id) VALUES (1); ROLLBACK",
        "BEGIN; TRUNCATE \(name); INSERT INTO \(name) (id) VALUES (1); COMMIT",
      ]
      func run(_ statement: String) -> Bool {
        do { for part in statement.split(separator: ";") { try sessions[number].connection.execute(String(part)) } } catch { return false }
        return true
      }
      // The session itself would stay open while it is held.
      let (isOpen, hasSavepoint) = (sessions[number].isOpen, sessions[number].hasSavepoint)
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<wildness: return try disturb(&random)
      case 0..<14 where !prepared.isEmpty:
        let one = prepared.removeFirst()
        let words = "\(random.next() % 2 == 0 ? "COMMIT" : "ROLLBACK") PREPARED '\(one)'"
        _ = try? place.work.sql(words)
        return words
      case 0..<30 where isOpen:
        let words: String
        switch random.next() % 5 {
        case 0, 1: words = "COMMIT"
        case 2: words = "ROLLBACK"
        case 3 where hasSavepoint: words = "ROLLBACK TO s"
        default:
          counter += 1
          words = "PREPARE TRANSACTION 'p\(counter)'"
        }
        let went = run(words)
        if words.hasPrefix("PREPARE"), went { prepared.append("p\(counter)") }
        if words != "ROLLBACK TO s" || !went {
          if !went { _ = run("ROLLBACK") }
          (sessions[number].isOpen, sessions[number].hasSavepoint) = (false, false)
        }
        return "\(number): \(words) \(went)"
      case 0..<60:
        var words = writes.randomElement(using: &random)!
        if !isOpen, random.next() % 2 == 0 {
          _ = run("BEGIN")
          sessions[number].isOpen = true
        }
        if sessions[number].isOpen, !sessions[number].hasSavepoint, random.next() % 2 == 0 {
          _ = run("SAVEPOINT s")
          sessions[number].hasSavepoint = true
          words += random.next() % 2 == 0 ? "" : "; RELEASE s"
          if words.hasSuffix("RELEASE s") { sessions[number].hasSavepoint = false }
        }
        let went = run(words)
        if !went, sessions[number].isOpen {
          _ = run("ROLLBACK")
          (sessions[number].isOpen, sessions[number].hasSavepoint) = (false, false)
        }
        return "\(number): \(words) \(went)"
      default:
        guard let free = sessions.firstIndex(where: { !$0.isOpen }) else { return "" }
        let words = definitions.randomElement(using: &random)!
        var went = true
        do { for part in words.split(separator: ";") { try sessions[free].connection.execute(String(part)) } } catch {
          went = false
          try? sessions[free].connection.execute("ROLLBACK")
        }
        if went, words.contains("RENAME VALUE") { labels += 1 }
        return "\(words) \(went)"
      }
    }
  }
}
