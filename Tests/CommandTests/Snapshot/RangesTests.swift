import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Tables of more than 256 MB, which are read in ranges of blocks.
@Suite struct `A very large table` {
  /// About 280 MB in 140,000 rows.
  private static let sql = """
    CREATE TABLE huge (id int, "va lue" text, g int GENERATED ALWAYS AS (id * 2) STORED); ALTER TABLE huge ALTER COLUMN "va lue" SET STORAGE PLAIN;
    INSERT INTO huge SELECT g, repeat(md5(g::text), 60) FROM generate_series(1, 140000) g; CREATE TABLE small AS SELECT generate_series(1, 1000) v
    """

  private struct Range: Decodable, Equatable {
    let firstBlock: Int
    let rows: Int
    let bytes: Int
    let sha256: String
    let readIn: String?
  }

  private func ranges(_ place: IncrementalPlace, _ name: String = "huge", of id: String = "latest") throws -> [Range] {
    struct Shown: Decodable {
      struct Table: Decodable {
        let name: String
        let ranges: [Range]?
      }
      let tables: [Table]
    }
    let shown = try place.work.firn("show", place.work.database, id, "--json")
    return try JSONDecoder().decode(Shown.self, from: Data(shown.output.utf8)).tables.first { $0.name == name }?.ranges ?? []
  }

  /// The digest of a table that is read in ranges, from the file that stock pg_dump writes, by coreutils.
  private func stockDigest(_ place: IncrementalPlace, _ ranges: [Range]) throws -> String {
    let folder = try TemporaryFolder()
    let archive = folder.path("stock")
    var environment = try place.work.server.environment(place.work.database, passFileIn: folder.path)
    environment["PGOPTIONS"] = "-c timezone=UTC"
    let dumped = try ProgramResult.run(
      place.work.server.binaries.appending("pg_dump"), ["-Fd", "-Z0", "--no-sync", "-t", "huge", "-f", archive.string], environment: environment)
    guard dumped.exitCode == 0 else { throw Unavailable("pg_dump: \(dumped.errors)") }
    let script = """
      set -e; cd "$1"; file=$(ls -S | head -n 1); at=1; : > sums
      for length in $2; do tail -c +$at "$file" | head -c $length | sha256sum | cut -c 1-64 >> sums; at=$((at + length)); done
      test $(wc -c < "$file") = $((at - 1))
      perl -ne 'chomp; print pack "H64", $_' sums | sha256sum | cut -c 1-64
      """
    let sums = try Workplace.run(
      "/bin/bash", ["-c", script, "sh", archive.string, ranges.map { "\($0.bytes)" }.joined(separator: " ")], environment: ["PATH": "/usr/bin:/bin"])
    guard sums.status == 0 else { throw Unavailable("sha256sum: \(sums)") }
    return sums.output.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// The SHA-256 of SHA-256 values, by coreutils.
  private func digest(of digests: [String]) throws -> String {
    let words = "perl -e 'print pack \"H64\", $_ for @ARGV' \"$@\" | sha256sum | cut -c 1-64"
    return try Workplace.run("/bin/sh", ["-c", words, "sh"] + digests, environment: ["PATH": "/usr/bin:/bin"]).output
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// The SHA-256 of everything that an archive restores, as stock pg_restore prints it.
  private func scriptDigest(_ place: IncrementalPlace, of archive: FilePath) throws -> String {
    let words = #""$1" -f - "$2" | grep -v -e '^\\restrict' -e '^\\unrestrict' -e '^-- Dumped' -e '^-- Started' | sha256sum"#
    let sum = try Workplace.run(
      "/bin/sh", ["-c", words, "sh", place.work.server.binaries.appending("pg_restore").string, archive.string],
      environment: ["LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"])
    guard sum.status == 0 else { throw Unavailable("pg_restore: \(sum)") }
    return sum.output
  }

  private func expectRight(_ place: IncrementalPlace, _ what: String) throws -> [Range] {
    let ranges = try ranges(place)
    let digest = try stockDigest(place, ranges)
    #expect(try place.tables()["public.huge"]?.sha256 == digest, "\(what)")
    return ranges
  }

  @Test(arguments: IncrementalPlace.all.indices.prefix(Thoroughness.count(1, thorough: 2)))
  func `is read in the ranges that changed, and is restored, recovered, proven, compared and copied as it was`(_ number: Int) throws {
    let place = try IncrementalPlace(on: IncrementalPlace.all[number].get(), Self.sql)
    // The first reading sets hint bits, which a server with checksums logs.
    for _ in 1...3 {
      _ = try place.snapshot()
      try place.work.sql("CHECKPOINT")
    }
    let first = try expectRight(place, "at first")
    #expect(first.count > 10 && first.dropLast().allSatisfy { $0.readIn != nil }, "\(first)")
    let changes: [(sql: String, mostRead: Int)] = [
      ("INSERT INTO huge SELECT g, repeat(md5(g::text), 60) FROM generate_series(200001, 200100) g", 3),
      ("UPDATE huge SET \"va lue\" = 'short' WHERE id = 5; DELETE FROM huge WHERE id BETWEEN 70000 AND 70005", 6),
      // The middle becomes empty, and the end is cut off.
      ("DELETE FROM huge WHERE id BETWEEN 60000 AND 70000 OR id > 135000; VACUUM huge", 99),
      ("ALTER TABLE huge ADD COLUMN more int DEFAULT 7", 99),
      // Objects that hold little else that is still used are used no more.
      ("UPDATE small SET v = v", 99),
    ]
    for (sql, mostRead) in changes {
      for statement in sql.split(separator: ";") { try place.work.sql(String(statement)) }
      try place.work.sql("CHECKPOINT")
      _ = try place.snapshot()
      let found = try expectRight(place, sql)
      let read = found.count { $0.readIn == nil }
      #expect(read >= 1 && read <= mostRead, "\(sql): \(read) of \(found.count)")
    }
    let read = try place.work.verify(place.work.database, "latest", "--read")
    #expect(read.status == 0, "\(read)")
    try place.work.sql("INSERT INTO huge SELECT g, repeat(md5(g::text), 60) FROM generate_series(400001, 400100) g")
    try place.work.sql("CHECKPOINT")
    let night = try place.work.snapshot()
    #expect(night.status == 0 && night.errors.contains("ranges of 1 table of"), "\(night)")
    let incremental = try #require(try place.work.listedSnapshots().last)
    let shown = try place.work.firn("show", place.work.database, incremental)
    #expect(shown.output.contains("ranges not read, the oldest was read in"), "\(shown)")

    let work = place.work
    #expect(try work.verify(work.database, "--against", work.server.url(work.database)).status == 0)
    #expect(try work.verify(work.database, incremental, "--drill").status == 0)
    let script = try scriptDigest(place, of: place.recovered(incremental))
    let folder = try TemporaryFolder()
    let stock = folder.path("stock")
    let dumped = try work.server.tool("pg_dump", ["-Fd", "-Z0", "-f", stock.string], in: work.database)
    #expect(dumped.exitCode == 0)
    #expect(try script == scriptDigest(place, of: stock))
    let copy = work.folder.path("copy").string
    #expect(try work.firn("copy", "--to", copy, "--database", work.database).status == 0)
    #expect(try work.prune("--store", copy, "--keep-last", "1", "--apply", "--all").status != 70)
    let restored = try work.restore(work.database, incremental, "--as", "\(work.database)_copy", "--prove", "--store", copy)
    #expect(restored.status == 0, "\(restored)")
    #expect(try work.verify(work.database, incremental, "--against", work.server.url("\(work.database)_copy")).status == 0)
  }

  @Test func `whose rows are not what they seemed is found by reading its ranges again`() throws {
    let place = try IncrementalPlace(on: IncrementalPlace.shared.get(), Self.sql)
    for _ in 1...2 {
      _ = try place.snapshot()
      try place.work.sql("CHECKPOINT")
    }
    // As if a range had had other rows.
    let key = try #require(try filesByPath(under: place.work.store).keys.filter { $0.hasSuffix("/manifest.json") }.max())
    let file = place.work.store.appending(key)
    let text = String(decoding: try Folder.contents(of: file), as: UTF8.self)
    var digests = try ranges(place).map(\.sha256)
    let (range, table) = (digests[3], try digest(of: digests))
    digests[3] = String(range.reversed())
    let changed = text.replacing(range, with: digests[3]).replacing(table, with: try digest(of: digests))
    try Folder.write(Array(changed.utf8), to: file)
    let full = try place.work.snapshot("--full")
    #expect(full.status == 3 && full.errors.contains("public.huge, from block") && full.errors.contains("seemed unchanged"), "\(full)")
    _ = try expectRight(place, "")
    // The next ones trust nothing of it, and the one after takes over again.
    try place.work.sql("CHECKPOINT")
    _ = try place.snapshot()
    #expect(try expectRight(place, "").allSatisfy { $0.readIn == nil })
  }

  @Test func `that someone is about to change is not read behind them, and is read afterwards`() throws {
    let server = try TestServer(binaries: TestServer.binaries(at: 2), settings: IncrementalPlace.settings + ["autovacuum=off"])
    let place = try IncrementalPlace(on: server, Self.sql)
    _ = try place.snapshot()
    #expect(try !ranges(place).isEmpty)
    // A lock that is waited for keeps new readers out.
    let reader = try server.connect(place.work.database)
    try reader.execute("BEGIN; SELECT FROM public.huge LIMIT 1")
    let writer = WorkerThread(name: "alter") { _ = try? place.work.sql("SET lock_timeout = '4s'; ALTER TABLE huge ADD COLUMN waited int") }
    Thread.sleep(forTimeInterval: 0.5)
    let held = try place.work.run("firn-snapshot", ["--json", "--lock-wait", "1s"])
    #expect(held.status != 0 && held.errors.contains("lock"), "\(held)")
    try reader.execute("ROLLBACK")
    writer.join()
    _ = try place.snapshot()
    _ = try expectRight(place, "after a change of its definition")
    try server.destroy()
  }

  @Test func `that is a partition restored through its root is dumped as pg_dump does it, and so is one whose index is being rebuilt`() throws {
    let place = try IncrementalPlace(
      on: IncrementalPlace.shared.get(),
      """
      CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd'); CREATE TABLE root (m mood, id int, t text) PARTITION BY HASH (m);
      CREATE TABLE p0 PARTITION OF root FOR VALUES WITH (MODULUS 2, REMAINDER 0) WITH (fillfactor = 10);
      CREATE TABLE p1 PARTITION OF root FOR VALUES WITH (MODULUS 2, REMAINDER 1) WITH (fillfactor = 10);
      CREATE TABLE sparse (id int PRIMARY KEY, t text) WITH (fillfactor = 10);
      INSERT INTO root SELECT (ARRAY['a', 'b', 'c', 'd'])[1 + g % 4]::mood, g, repeat('x', 400) FROM generate_series(1, 150000) g;
      INSERT INTO sparse SELECT g, repeat('x', 400) FROM generate_series(1, 100000) g
      """)
    #expect(Int(try place.work.sql("SELECT greatest(pg_relation_size('p0'), pg_relation_size('p1')) >> 20")) ?? 0 > 256)
    let builder = try place.work.server.connect(place.work.database)
    try builder.execute("BEGIN; REINDEX INDEX public.sparse_pkey")
    let held = try place.work.snapshot("--lock-wait", "2s", "--verbose")
    #expect(held.status == 0 && held.errors.contains("no table is read in ranges"), "\(held)")
    try builder.execute("COMMIT")
    _ = try place.snapshot()
    #expect(try ranges(place, "p0").isEmpty && ranges(place, "p1").isEmpty)
    let list = try Workplace.run(
      "/bin/sh",
      [
        "-c", #""$1" -f - "$2" | grep -c '^COPY public.root'"#, "sh", place.work.server.binaries.appending("pg_restore").string,
        try place.recovered(#require(try place.work.listedSnapshots().last)).string,
      ], environment: ["PATH": "/usr/bin:/bin"])
    #expect(list.output.trimmingCharacters(in: .whitespacesAndNewlines) == "2", "\(list)")
    let restored = try place.work.restore(place.work.database, "--as", "\(place.work.database)_copy", "--prove")
    #expect(restored.status == 0, "\(restored)")
  }
}
