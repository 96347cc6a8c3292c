import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Exchanges while others are at work, and while somebody pulls the plug.
@Suite(.serialized) struct `An exchange of databases` {
  private func workplace(_ server: TestServer, database: String? = nil) throws -> Workplace {
    let place = try Workplace(on: server, database: database)
    try place.sql(
      """
      CREATE TABLE marks (side text); INSERT INTO marks VALUES ('restored');
      CREATE TABLE rows AS SELECT g id, md5(g::text) x FROM generate_series(1, 20000) g; CREATE INDEX ON rows (x);
      """)
    _ = try place.takeSnapshot()
    try place.sql("UPDATE marks SET side = 'live'; DELETE FROM rows WHERE id > 7")
    return place
  }

  /// Who finds the database, reads from it, and comes back when it is thrown out.
  private final class Client: Sendable {
    private struct Seen: Sendable {
      var answers = 0
      var surprises: Set<String> = []
    }
    private let seen = Monitor(Seen())
    private let isDone = Monitor(false)
    private let thread: Monitor<WorkerThread?> = Monitor(nil)

    init(_ url: String) {
      let worker = WorkerThread(name: "client") { [seen, isDone] in
        var connection: Connection?
        while !isDone.current {
          do {
            if connection == nil { connection = try Connection(try ConnectionSettings(url), applicationName: "client") }
            try connection?.execute("SELECT count(*) FROM public.rows; SELECT side FROM public.marks")
            seen.update { $0.answers += 1 }
          } catch {
            connection = nil
            if let text = Self.surprise(error) { seen.update { _ = $0.surprises.insert(text) } }
          }
        }
      }
      thread.update { $0 = worker }
    }

    /// Nil for what goes away when one tries again.
    private static func surprise(_ error: any Error) -> String? {
      switch error {
      case PostgresError.connectionLost, PostgresError.cannotConnect, PostgresError.noSuchDatabase: nil
      case PostgresError.statementFailed(_, let state) where state.hasPrefix("57"): nil
      default: "\(error)"
      }
    }

    func end() -> (answers: Int, surprises: Set<String>) {
      isDone.update { $0 = true }
      thread.current?.join()
      return (seen.current.answers, seen.current.surprises)
    }
  }

  @Test func `succeeds under four clients that come back at once, there and back again`() throws {
    let server = try TestServer.system.get()
    let place = try workplace(server)
    let pooler = try TestPooler(before: server)
    let clients = [server.url(place.database), server.url(place.database), pooler.url(place.database), pooler.url(place.database)].map { Client($0) }
    var downtimes: [Double] = []
    rounds: for _ in 1...50 {
      for (side, arguments) in [("restored", ["latest", "--no-safety-snapshot"]), ("live", ["--undo"])] {
        let result = try place.run("firn-restore", [place.database, "--confirm", place.database, "--json"] + arguments)
        #expect(result.status == 0, "\(result)")
        guard result.status == 0 else { break rounds }
        downtimes.append(try result.json()["downtimeSeconds"] as? Double ?? 99)
        #expect(try server.sql("SELECT side FROM marks", in: place.database) == side)
      }
      for name in try server.databaseNames() where name.hasPrefix("\(place.database)_undone_") { try server.sql("DROP DATABASE \"\(name)\"") }
    }
    let seen = clients.map { $0.end() }
    #expect(seen.allSatisfy { $0.answers > 0 && $0.surprises.isEmpty }, "\(seen)")
    let sorted = downtimes.sorted()
    print("downtime in seconds: median \(sorted[sorted.count / 2]), 99th percentile \(sorted[sorted.count * 99 / 100]), of \(sorted.count)")
    #expect(downtimes.count == 100)
  }

  @Test func `leaves the one or the other, whole and open, whatever is killed and when`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    try server.sql("CREATE DATABASE app")
    let place = try workplace(server, database: "app")
    let clock = ContinuousClock.now
    #expect(try place.restore("app", "--confirm", "app", "--no-safety-snapshot").status == 0)
    let usual = (ContinuousClock.now - clock).inSeconds
    for round in 0..<15 {
      let command = try place.start("firn-restore", ["app", "--confirm", "app", "--no-safety-snapshot"])
      // Most of it near the end, where the names change.
      let moment = round % 3 == 0 ? Double.random(in: 0...1.1) : Double.random(in: 0.75...1.1)
      Thread.sleep(forTimeInterval: usual * moment)
      switch round % 3 {
      case 0: ProcessTable.send(SIGKILL, to: command.id)
      case 1: for child in ProcessTable.children(of: command.id) { ProcessTable.send(SIGKILL, to: child.id) }
      default: server.crash()
      }
      if round % 3 == 2 {
        Thread.sleep(forTimeInterval: 0.3)
        try server.start()
      }
      _ = command.wait()
      let side = try server.sql("SELECT side FROM marks", in: "app")
      let rows = try server.sql("SELECT count(*) FROM rows", in: "app")
      #expect(side == "live" && rows == "7" || side == "restored" && rows == "20000", "\(side) \(rows)")
    }
    // One command tidies the rest.
    #expect(try place.restore("app", "--confirm", "app", "--no-safety-snapshot").status == 0)
    let names = try server.databaseNames()
    #expect(!names.contains { $0.hasPrefix("firn_unfinished_") }, "\(names)")
    #expect(try place.leftovers().isEmpty)
  }
}
