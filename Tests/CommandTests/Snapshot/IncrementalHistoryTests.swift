import Foundation
import Platform
import Postgres
import TestSupport
import Testing

/// Random histories of a server: every table that is taken over has the rows that stock pg_dump reads at that moment.
@Suite struct `Incremental snapshots of random histories` {
  /// Rounds, each with a snapshot of some fifteen tables: FIRN_INCREMENTAL_ROUNDS sets more, FIRN_INCREMENTAL_SEED another beginning.
  private static func setting(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap { Int($0) } }

  /// On 18, 17, and by the times of files on 15.
  @Test(arguments: [2, 3, 0]) func `take over no table whose rows are others`(_ number: Int) throws {
    let isOlder = number == 0
    let settings = isOlder ? IncrementalPlace.olderSettings : IncrementalPlace.settings
    let server = try TestServer(binaries: TestServer.binaries(at: number), settings: settings + ["wal_writer_delay=10s"])
    var random = SeededRandom(seed: UInt64(Self.setting("FIRN_INCREMENTAL_SEED") ?? 1))
    let place = try IncrementalPlace(
      on: server, mode: isOlder ? "file-times" : "yes", "CREATE TYPE mood AS ENUM ('m0', 'm1'); CREATE TYPE pair AS (a int, m mood)")
    var history = try History(place, &random)
    var (decisions, taken) = (0, 0)
    for round in 1...(Self.setting("FIRN_INCREMENTAL_ROUNDS") ?? 15) {
      var log: [String] = []
      try history.refill()
      for _ in 0..<Int.random(in: 0...3, using: &random) { log.append(try history.step(&random)) }
      // Summaries end at checkpoints, which a server makes every few minutes.
      if random.next() % 4 > 0 { try place.work.sql("CHECKPOINT") }
      // Files that changed in the last three seconds are no base.
      if isOlder, random.next() % 3 == 0 { Thread.sleep(forTimeInterval: 3.5) }
      let result = try place.work.run("firn-snapshot", ["--json", "--lock-wait", "1s"] + (random.next() % 20 == 0 ? ["--full"] : []))
      // 3: tables lost many rows.
      guard result.status == 0 || result.status == 3 else {
        // A transaction may hold a lock that keeps readers out.
        #expect(result.errors.contains("lock"), "\(result)")
        try history.endAll()
        continue
      }
      // No session writes meanwhile; open transactions stay open.
      let (found, stock) = (try place.tables(), try place.stock())
      decisions += found.count
      taken += found.values.count { $0.isTaken }
      let wrong = stock.filter { found[$0.key]?.sha256 != $0.value }.map(\.key)
      #expect(wrong.isEmpty && found.count == stock.count, "round \(round): \(wrong), after \(log)")
      if !wrong.isEmpty { break }
      if round % 10 == 0 { #expect(try place.work.verify(place.work.database, "latest", "--read").status == 0, "round \(round), after \(log)") }
    }
    print("\(decisions) decisions, \(taken) tables taken over")
    #expect(taken * (isOlder ? 8 : 3) > decisions, "\(taken) of \(decisions)")
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

    init(_ place: IncrementalPlace, _ random: inout SeededRandom) throws {
      self.place = place
      try connect()
      for _ in 0..<14 { try place.work.sql(create()) }
    }

    private mutating func connect() throws {
      sessions = try (0..<4).map { _ in
        let connection = try place.work.server.connect(place.work.database)
        try connection.execute("SET lock_timeout = '200ms'; SET synchronous_commit = off; SET search_path = public")
        return (connection, false, false)
      }
    }

    private mutating func create() -> String {
      counter += 1
      let name = "t\(counter)"
      let columns = [
        "id int, v text", "id int, v varchar(40), m mood DEFAULT 'm0'", "id int, v text, p pair DEFAULT ROW(1, 'm\(labels - 1)')::pair",
        "id int, v text, big text",
      ][counter % 4]
      return """
        CREATE TABLE \(name) (\(columns)); INSERT INTO \(name) (id, v) SELECT g, md5(g::text) FROM generate_series(1, \(counter % 4 == 1 ? 9000 : 300)) g;
        \(counter % 4 == 3 ? "UPDATE \(name) SET big = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i) WHERE id % 50 = 0;" : "")
        """
    }

    private func table(_ random: inout SeededRandom) throws -> String {
      let names = try place.work.sql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^t[0-9]+$' ORDER BY oid").split(separator: "\n")
      return names.randomElement(using: &random).map(String.init) ?? "t1"
    }

    /// Makes tables again if many were dropped.
    mutating func refill() throws {
      let count = Int(try place.work.sql("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^t[0-9]+$'")) ?? 0
      for _ in count..<max(count, 14) { try place.work.sql(create()) }
    }

    mutating func endAll() throws {
      for place in sessions.indices where sessions[place].isOpen {
        try? sessions[place].connection.execute("ROLLBACK")
        (sessions[place].isOpen, sessions[place].hasSavepoint) = (false, false)
      }
    }

    mutating func step(_ random: inout SeededRandom) throws -> String {
      let number = Int.random(in: 0..<sessions.count, using: &random)
      let name = try table(&random)
      let writes = [
        "INSERT INTO \(name) (id, v) SELECT g, 'n' || g FROM generate_series(1, 20) g", "UPDATE \(name) SET v = v || 'x' WHERE id % 7 = 3",
        "DELETE FROM \(name) WHERE id % 11 = \(random.next() % 11)", "UPDATE \(name) SET id = id WHERE id = 5",
        "SELECT count(*) FROM (SELECT FROM \(name) WHERE id < 3 FOR UPDATE) x", "DELETE FROM \(name) WHERE id > 100",
        "INSERT INTO \(name) (id, v) SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 3) g",
      ]
      let definitions = [
        "TRUNCATE \(name)", "VACUUM \(name)", "VACUUM (FREEZE) \(name)", "VACUUM FULL \(name)", "ANALYZE \(name)",
        "ALTER TABLE \(name) ADD COLUMN c\(random.next() % 1000) int DEFAULT 3", "ALTER TABLE \(name) ALTER COLUMN v TYPE text",
        "ALTER TABLE \(name) ALTER COLUMN v SET NOT NULL", "ALTER TABLE \(name) ALTER COLUMN v SET STORAGE EXTERNAL",
        "ALTER TABLE \(name) SET UNLOGGED", "ALTER TABLE \(name) SET LOGGED", "ALTER TABLE \(name) RENAME COLUMN v TO w",
        "ALTER TABLE \(name) RENAME COLUMN w TO v",
        "ALTER TYPE mood RENAME VALUE 'm\(labels - 1)' TO 'm\(labels)'", "DROP TABLE \(name)", create(), "CHECKPOINT",
        "COMMENT ON TABLE \(name) IS 'x'",
        "CREATE INDEX ON \(name) (id)", "ALTER TABLE \(name) SET (fillfactor = 60)",
        "BEGIN; TRUNCATE \(name); INSERT INTO \(name) (id) VALUES (1); ROLLBACK",
        "BEGIN; TRUNCATE \(name); INSERT INTO \(name) (id) VALUES (1); COMMIT",
      ]
      func run(_ statement: String) -> Bool {
        do { for part in statement.split(separator: ";") { try sessions[number].connection.execute(String(part)) } } catch { return false }
        return true
      }
      let session = sessions[number]
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<2:
        place.work.server.crash()
        try place.work.server.start()
        try connect()
        return "crash"
      case 2..<10 where !prepared.isEmpty:
        let one = prepared.removeFirst()
        let words = "\(random.next() % 2 == 0 ? "COMMIT" : "ROLLBACK") PREPARED '\(one)'"
        _ = try? place.work.sql(words)
        return words
      case 10..<30 where session.isOpen:
        let words: String
        switch random.next() % 5 {
        case 0, 1: words = "COMMIT"
        case 2: words = "ROLLBACK"
        case 3 where session.hasSavepoint: words = "ROLLBACK TO s"
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
      case 30..<60:
        var words = writes.randomElement(using: &random)!
        if !session.isOpen, random.next() % 2 == 0 {
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
