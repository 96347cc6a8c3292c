import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Copies for tests: without some tables and rows, and masked before anyone can see them.
@Suite struct `A copy for staging` {
  private func workplace() throws -> Workplace {
    let place = try Workplace(on: try TestServer.system.get())
    try place.sql(
      """
      CREATE TABLE people (id int PRIMARY KEY, mail text); INSERT INTO people SELECT i, 'p' || i || '@example.org' FROM generate_series(1, 50) i;
      CREATE TABLE orders (id int PRIMARY KEY, person int REFERENCES people); INSERT INTO orders SELECT i, i FROM generate_series(1, 50) i;
      CREATE TABLE events (id int, at date) PARTITION BY RANGE (at);
      CREATE TABLE events_2019 PARTITION OF events FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
      INSERT INTO events SELECT i, '2019-05-01' FROM generate_series(1, 9) i;
      CREATE TABLE audit (id int, what text); INSERT INTO audit VALUES (1, 'secret');
      CREATE VIEW audit_view AS SELECT * FROM audit;
      """)
    _ = try place.takeSnapshot()
    return place
  }

  private func copyName() -> String { "staging_\(UUID().uuidString.prefix(8).lowercased())" }

  private func script(_ place: Workplace, _ text: String) throws -> String { try place.folder.write(text, to: "masks.sql").string }

  @Test func `leaves out tables and rows, and is masked before it has its name`() throws {
    let place = try workplace()
    let name = copyName()
    // The database does not have its name while the script runs.
    let masks = try script(
      place,
      "UPDATE people SET mail = 'masked'; CREATE TABLE seen AS SELECT count(*) n FROM pg_database WHERE datname = '\(name)';")
    let result = try place.restore(
      place.database, "--as", name, "--exclude-table", "public.audit", "--exclude-table-data", "events*", "--exclude-table-data", "orders", "--run",
      masks,
      "--prove")
    #expect(result.status == 0, "\(result)")
    #expect(result.errors.contains("view public.audit_view: it needs table public.audit"), "\(result)")
    #expect(try place.server.sql("SELECT DISTINCT mail FROM people", in: name) == "masked")
    #expect(try place.server.sql("SELECT n FROM seen", in: name) == "0")
    #expect(
      try place.server.sql("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM orders), to_regclass('audit') IS NULL", in: name) == "0|0|t")
  }

  @Test(arguments: [
    "UPDATE people SET mail = 'masked'; SELECT no_such_function();", "COMMIT; UPDATE people SET nothing = 1;", "\\i missing.sql",
    "SELECT pg_terminate_backend(pg_backend_pid());",
  ])
  func `does not exist if its script fails`(_ text: String) throws {
    let place = try workplace()
    let name = copyName()
    let result = try place.restore(place.database, "--as", name, "--run", try script(place, text))
    #expect(result.status == 8 && result.errors.contains("masks.sql failed"), "\(result)")
    #expect(result.errors.contains("the restored database was dropped"), "\(result)")
    #expect(try !place.server.databaseNames().contains(name))
  }

  @Test func `ends with a script that hangs, at Ctrl-C`() throws {
    let place = try workplace()
    let name = copyName()
    let child = try place.start("firn-restore", [place.database, "--as", name, "--run", try script(place, "SELECT pg_sleep(600);")])
    let deadline = ContinuousClock.now + .seconds(30)
    while try place.server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'firn-restore script'") == "0", .now < deadline {
      Thread.sleep(forTimeInterval: 0.05)
    }
    Host.send(2, to: child.id)
    #expect(child.wait() == 130)
    #expect(try !place.server.databaseNames().contains(name))
  }

  @Test func `is refused if it would be more than a copy`() throws {
    let place = try workplace()
    let masks = try script(place, "SELECT 1")
    #expect(try place.restore(place.database, "--run", masks).status == 64)
    for more in [["--data-only"], ["--schema-only"], ["--table", "people"]] {
      #expect(try place.run("firn-restore", [place.database, "--as", copyName(), "--run", masks] + more).status == 64)
    }
    #expect(try place.restore(place.database, "--exclude-table", "audit").status == 64)
    #expect(try place.restore(place.database, "--as", copyName(), "--run", "/missing.sql").status == 64)
    let unknown = try place.restore(place.database, "--as", copyName(), "--exclude-table", "nothing")
    #expect(unknown.status == 6 && unknown.errors.contains("no table of the snapshot is called nothing"), "\(unknown)")
  }
}
