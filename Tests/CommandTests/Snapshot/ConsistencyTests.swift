import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Other activity in a database must not show in its snapshot.
@Suite struct `A snapshot of a database at work` {
  @Test func `is consistent while pgbench writes all the while`() throws {
    let server = try TestServer.system.get()
    let place = try Workplace(on: server)
    #expect(try server.tool("pgbench", ["-i", "-q", "-s", "3"], in: place.database).exitCode == 0)
    let folder = try TemporaryFolder()
    let load = try ChildProcess(
      server.binaries.appending("pgbench"), arguments: ["-n", "-c", "4", "-T", "60"],
      environment: try server.environment(place.database, passFileIn: folder.path)
    ) { _ in }
    defer { load.terminate() }
    Thread.sleep(forTimeInterval: 0.5)
    for round in 1...3 {
      let id = try place.takeSnapshot()
      let copy = "\(place.database)_\(round)"
      let restored = try place.restore(place.database, id, "--as", copy, "--prove")
      #expect(restored.status == 0, "\(restored)")
      let sums = try server.sql(
        """
        SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
          (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT coalesce(sum(delta), 0) FROM pgbench_history),
          (SELECT count(*) FROM pgbench_history)
        """, in: copy
      ).split(separator: "|")
      #expect(Set(sums.prefix(4)).count == 1, "\(sums)")
      #expect(Int(sums.last ?? "0") ?? 0 > 0)
    }
  }

  /// A change that empties the table for readers of an older snapshot, held open across the start of ours.
  private func overlap(_ change: String, rows: Int) throws {
    let server = try TestServer.system.get()
    let place = try Workplace(on: server)
    try place.sql("CREATE TABLE precious AS SELECT g::int id, 'row ' || g body FROM generate_series(1, 1000) g; CREATE TABLE other (id int)")
    let migration = try server.connect(place.database)
    try migration.execute("BEGIN; \(change)")
    let started = try place.start("firn-snapshot", ["--lock-wait", "30s"])
    // Long enough for it to wait behind the change.
    let deadline = ContinuousClock.now + .seconds(20)
    while try !migration.someoneWaitsForUs(), ContinuousClock.now < deadline { Thread.sleep(forTimeInterval: 0.05) }
    try migration.execute("COMMIT")
    let status = started.wait()
    let listed = try place.listedSnapshots()
    if status == 0 {
      let shown = try place.firn("show", place.database, "--json").json()
      let tables = shown["tables"] as? [[String: Any]] ?? []
      let precious = tables.first { $0["name"] as? String == "precious" }
      #expect(precious?["rows"] as? Int == rows)
      let copy = "\(place.database)_copy"
      #expect(try place.restore(place.database, "latest", "--as", copy).status == 0)
      #expect(try server.sql("SELECT count(*) FROM public.precious", in: copy) == "\(rows)")
    } else {
      #expect(listed.isEmpty)
    }
  }

  @Test func `has all rows of a table whose column's type changes across its start`() throws {
    try overlap("ALTER TABLE public.precious ALTER COLUMN id TYPE bigint", rows: 1000)
  }

  @Test func `has the rows put into a table that was truncated across its start`() throws {
    try overlap("TRUNCATE public.precious; INSERT INTO public.precious SELECT g, 'new' FROM generate_series(1, 400) g", rows: 400)
  }

  @Test func `sees that a table was rewritten since, should its lock not have kept it`() throws {
    let server = try TestServer.system.get()
    let place = try Workplace(on: server)
    try place.sql("CREATE TABLE precious AS SELECT 1 id; CREATE TABLE other AS SELECT 1 id; CREATE MATERIALIZED VIEW seen AS SELECT 1 n")
    let export = try server.connect(place.database)
    try export.beginExport(lockWait: .seconds(5))
    _ = try export.exportSnapshot()
    #expect(try export.rewrittenRelations() == [])
    try place.sql("TRUNCATE precious; REFRESH MATERIALIZED VIEW seen; INSERT INTO other VALUES (2)")
    #expect(Set(try export.rewrittenRelations()) == ["public.precious"])
    try export.rollback()
  }

  @Test func `never lists a table as empty while it is rewritten again and again`() throws {
    let server = try TestServer.system.get()
    let place = try Workplace(on: server)
    try place.sql("CREATE TABLE precious AS SELECT g::int id, repeat('x', 200) body FROM generate_series(1, 5000) g")
    let isDone = Monitor(false)
    let migration = server.url(place.database)
    let worker = WorkerThread(name: "migrations") {
      guard let connection = try? Connection(try ConnectionSettings(migration)) else { return }
      var type = "bigint"
      while !isDone.wait(atMost: .milliseconds(120), until: { $0 }) {
        _ = try? connection.execute("ALTER TABLE public.precious ALTER COLUMN id TYPE \(type)")
        type = type == "bigint" ? "int" : "bigint"
      }
    }
    var made = 0
    for _ in 1...6 {
      let result = try place.snapshot("--json")
      guard result.status == 0 else {
        #expect(result.status == 8, "\(result)")
        continue
      }
      made += 1
      let tables = try result.json()["tables"] as? [[String: Any]] ?? []
      #expect(tables.first?["rows"] as? Int == 5000)
    }
    isDone.update { $0 = true }
    worker.join()
    #expect(try place.listedSnapshots().count == made)
  }

  @Test func `names the session that keeps a table locked, and gives up in time`() throws {
    let server = try TestServer.system.get()
    let place = try Workplace(on: server)
    try place.sql("CREATE TABLE busy (id int)")
    let holder = try server.connect(place.database)
    try holder.execute("BEGIN; LOCK TABLE public.busy IN ACCESS EXCLUSIVE MODE")
    let result = try place.snapshot("--lock-wait", "1s")
    #expect(result.status == 8)
    #expect(result.errors.contains("busy"))
    #expect(result.errors.contains("firn tests"))
    #expect(result.errors.contains("hint: "))
    try holder.execute("ROLLBACK")
    #expect(try place.snapshot().status == 0)
    #expect(try place.leftovers().isEmpty)
  }
}
