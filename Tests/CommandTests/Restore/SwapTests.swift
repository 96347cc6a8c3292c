import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Swaps beside other sessions, and swaps that are killed.
@Suite(.serialized) struct `A swap of databases` {
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

  /// A client that connects, reads, and reconnects when it is thrown out.
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
    rounds: for _ in 1...20 {
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
    #expect(downtimes.count == 40)
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

  /// Gives the workplace an application that is stopped and started.
  private func addApplication(to place: inout Workplace) throws -> FilePath {
    let log = place.folder.path("log")
    try Folder.make(place.folder.path(".config/firn"))
    try Folder.write(
      Array("maintenance:\n  stop: ['echo stopped >> \(log)']\n  start: ['echo started >> \(log)']\n".utf8),
      to: place.folder.path(".config/firn/firn.yaml"))
    return log
  }

  private func isStopped(_ log: FilePath) -> Bool {
    let text = (try? Folder.contents(of: log)).map { String(decoding: $0, as: UTF8.self) } ?? ""
    return text.hasSuffix("stopped\n")
  }

  /// The steps that a restore reports.
  private func steps(of arguments: [String], _ place: Workplace) throws -> [String] {
    let lines = Monitor<[String]>([])
    let command = try place.start("firn-restore", arguments + ["--verbose"]) { line in lines.update { $0.append(line) } }
    #expect(command.wait() == 0, "\(lines.current)")
    let known = [
      "checking prerequisites", "trying the schema", "preparing", "creating the schema", "restoring rows", "building indexes and constraints",
      "gathering statistics and counting rows", "comparing rows", "comparing the schema", "swapping the databases",
      "taking a snapshot of the current database", "reading the snapshot", "reading that snapshot back", "dropping app", "echo stopped",
      "echo started",
    ]
    return known.filter { step in lines.current.contains { $0.contains(step) } }
  }

  /// Runs until a step is reported, and calls `kill` a moment later.
  private func interrupt(_ arguments: [String], at step: String, _ place: Workplace, kill: (ChildProcess) throws -> Void) throws -> Int32 {
    let isThere = Monitor(false)
    let command = try place.start("firn-restore", arguments + ["--verbose"]) { line in
      if line.contains(step) { isThere.update { $0 = true } }
    }
    #expect(isThere.wait(atMost: .seconds(60), until: { $0 }), "never came to: \(step)")
    Thread.sleep(forTimeInterval: Double.random(in: 0...0.03))
    try kill(command)
    return command.wait()
  }

  @Test func `leaves one or the other at every reported step, and one command tidies up`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    try server.sql("CREATE DATABASE app")
    var place = try workplace(server, database: "app")
    let log = try addApplication(to: &place)
    let arguments = ["app", "latest:manual", "--confirm", "app", "--prove"]
    let steps = try steps(of: arguments, place)
    #expect(steps.count >= 8, "\(steps)")
    for step in steps {
      for victim in ["the command", "its children", "the server"] {
        let status = try interrupt(arguments, at: step, place) { command in
          switch victim {
          case "the command": ProcessTable.send(SIGKILL, to: command.id)
          case "its children": for child in ProcessTable.children(of: command.id) { ProcessTable.send(SIGKILL, to: child.id) }
          default:
            server.crash()
            try server.start()
          }
        }
        let where_ = "\(victim) at: \(step), exit \(status)"
        let side = try server.sql("SELECT side FROM marks", in: "app")
        let rows = try server.sql("SELECT count(*) FROM rows", in: "app")
        #expect(side == "live" && rows == "7" || side == "restored" && rows == "20000", "\(where_): \(side) \(rows)")
        if status == 0 { #expect(side == "restored", "\(where_)") }
        let recovered = try place.restore("app", "--recover")
        #expect(recovered.status == 0, "\(where_): \(recovered)")
        #expect(!isStopped(log), "\(where_)")
        let names = try server.databaseNames()
        #expect(!names.contains { $0.hasPrefix("firn_unfinished_") }, "\(where_): \(names)")
        // Back to rows that differ from the snapshot.
        try server.sql("UPDATE marks SET side = 'live'; DELETE FROM rows WHERE id > 7", in: "app")
        for name in names where name.hasPrefix("app_before_") { try server.sql("DROP DATABASE \"\(name)\"") }
      }
    }
  }

  @Test(arguments: [["--confirm", "app"], ["--in-place", "--untested", "--confirm", "destroy app"]])
  func `whose application does not start again is started by the next run`(_ options: [String]) throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    try server.sql("CREATE DATABASE app")
    var place = try workplace(server, database: "app")
    let log = try addApplication(to: &place)
    let mayStart = place.folder.path("may-start")
    try Folder.write(
      Array("maintenance:\n  stop: ['echo stopped >> \(log)']\n  start: ['test -e \(mayStart)', 'echo started >> \(log)']\n".utf8),
      to: place.folder.path(".config/firn/firn.yaml"))
    let restored = try place.run("firn-restore", ["app", "latest:manual"] + options)
    #expect(restored.status == 3 && restored.errors.components(separatedBy: "failed with exit code 1").count == 2, "\(restored)")
    #expect(try place.restore("app", "--recover").status == 3, "it still does not start")
    try Folder.write([], to: mayStart)
    let recovered = try place.restore("app", "--recover")
    #expect(recovered.status == 0 && recovered.errors.contains("started again"), "\(recovered)")
    #expect(try !place.restore("app", "--recover").errors.contains("started again"))
  }

  @Test func `in place never leaves the application started without a database, nor stopped with one`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    try server.sql("CREATE DATABASE app")
    var place = try workplace(server, database: "app")
    let log = try addApplication(to: &place)
    let arguments = ["app", "latest:manual", "--in-place", "--untested", "--confirm", "destroy app"]
    let steps = try steps(of: arguments, place)
    #expect(steps.contains("dropping app"), "\(steps)")
    for step in steps + ["dropping app", "dropping app", "restoring rows"] {
      try server.sql("UPDATE marks SET side = 'live'; DELETE FROM rows WHERE id > 7", in: "app")
      _ = try interrupt(arguments, at: step, place) { ProcessTable.send(SIGKILL, to: $0.id) }
      // Its last statement may still be running in the server.
      Thread.sleep(forTimeInterval: 0.3)
      let isThere = try server.databaseNames().contains("app")
      let recovered = try place.restore("app", "--recover")
      #expect(recovered.status == (isThere ? 0 : 3), "\(step): \(recovered)")
      if isThere {
        #expect(!isStopped(log), "\(step)")
        #expect(["live", "restored"].contains(try server.sql("SELECT side FROM marks", in: "app")))
      } else {
        #expect(isStopped(log), "\(step)")
        let again = try place.restore("app", "latest:manual")
        #expect(again.status == 0 || again.status == 3, "\(step): \(again)")
        #expect(!isStopped(log), "\(step)")
        #expect(try server.sql("SELECT count(*) FROM rows", in: "app") == "20000")
      }
    }
  }
}
