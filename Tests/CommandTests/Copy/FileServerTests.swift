import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// Stores on a server that speaks SFTP and gives no shell: OpenSSH's.
@Suite struct `A store on a file server` {
  private func workplace(rows: Int = 20_000) throws -> (place: Workplace, server: TestFileServer, location: String) {
    let place = try Workplace(on: TestServer.system.get())
    let server = try TestFileServer.shared.get()
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) || md5((g * 3)::text) x FROM generate_series(1, \(rows)) g")
    return (place, server, server.location(server.makeName()))
  }

  @Test func `is filled straight from the database's server, and does all that a folder does`() throws {
    var (place, server, location) = try workplace()
    try Folder.removeTree(place.store)
    place.environment["FIRN_STORE"] = location
    #expect(try place.firn("init").status == 0)
    #expect(try place.firn("init").status == 6)
    let first = try place.takeSnapshot("--kind", "nightly")
    try place.sql("UPDATE t SET x = 'new' WHERE id = 7")
    let second = try place.snapshot("--json").json()
    #expect(second["storedBytes"] as? Int ?? .max < 200_000, "\(second)")
    #expect(try place.listedSnapshots().first == first)
    #expect(try place.verify(place.database, "all", "--read").status == 0)
    #expect(try place.restore(place.database, first, "--as", "\(place.database)_back", "--prove").status == 0)
    #expect(try place.server.sql("SELECT count(*) FROM t WHERE x = 'new'", in: "\(place.database)_back") == "0")
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
    #expect(try place.listedSnapshots() == [second["id"] as? String])
    #expect(try place.firn("hold", place.database, "latest", "--why", "a test").status == 0)
    #expect(try place.verify(place.database, "all", "--read").status == 0)
    // Other users see nothing of it.
    let root = server.path(String(location.split(separator: "?")[0].split(separator: "/").last ?? ""))
    for (name, status) in try filesByPath(under: root) { #expect(status.mode & 0o077 == 0, "\(name)") }
    #expect(try !filesByPath(under: root).keys.contains { $0.contains(".writing-") || $0.contains(".former-") })
  }

  @Test func `says what is wrong with a location, a key or a server`() throws {
    let (place, server, location) = try workplace(rows: 2)
    #expect(try place.firn("init", "--store", location).status == 0)
    let name = String(location.split(separator: "?")[0].split(separator: "/").last ?? "")
    func expect(_ status: Int32, _ words: String, _ location: String) throws {
      let result = try place.firn("list", "--store", location)
      #expect(result.status == status && result.errors.contains(words) && result.errors.contains("\nhint: "), "\(result)")
      #expect(result.errors.split(separator: "\n").count == 2 && !result.errors.contains("secret"), "\(result)")
    }
    #expect(try place.firn("list", "--store", location).status == 0)
    try expect(10, "there is no repository", server.location("nothing-here"))
    try expect(9, "does not let", server.location(name, key: "other"))
    try expect(9, "can't be logged in to: there is no /", server.location(name, key: "missing"))
    try expect(9, "user.pub is a public key", server.location(name, key: "user.pub"))
    try expect(9, "known holds no private key", server.location(name, key: "known"))
    try expect(9, "data is no file", server.location(name, key: "data"))
    // A changed key and an unknown key are refused alike: the connection may be intercepted.
    try expect(9, "is not the one in", server.location(name, knownHosts: .changed))
    try expect(9, "is not the one in", server.location(name, knownHosts: .none))
    try expect(9, "can't be reached", "sftp://\(server.user)@127.0.0.1:1/x")
    try expect(9, "can't be reached", "sftp://\(server.user)@no.such.host.invalid/x")
    try expect(64, "a password has no place", "sftp://user:secret@127.0.0.1/x")
    try expect(64, "names no folder", "sftp://user@127.0.0.1")
    try expect(64, "names no host", "sftp://")
    try expect(64, "a parameter keys", "sftp://user@127.0.0.1/x?keys=y")
    // A folder that can't be made.
    let unmade = try place.firn("init", "--store", location.replacing("?", with: "/firn.json/x?"))
    #expect(unmade.status == 9 && unmade.errors.contains("firn.json/x can't be created: its parent is not a folder"), "\(unmade)")
    // A folder that is not writable.
    try Folder.make(server.path("locked-\(name)"))
    let denied = try place.firn("init", "--store", server.location("locked-\(name)"))
    #expect(Host.isRoot ? denied.status == 9 && denied.errors.contains("the server denies it") : denied.status == 0, "\(denied)")
  }

  @Test func `is left behind by no copy: its server is killed thirty times on the way, and little is sent twice`() throws {
    let place = try Workplace(on: TestServer.system.get())
    let server = try TestFileServer()
    let proxy = try CountingProxy(to: server.port)
    try place.sql(
      """
      CREATE TABLE t AS SELECT g id, (SELECT string_agg(md5((g * i)::text), '') FROM generate_series(1, 30) i) x FROM generate_series(1, 150000) g
      """)
    _ = try place.takeSnapshot()
    let needed = try filesByPath(under: place.store).filter { $0.key.hasPrefix("objects/") && $0.value.kind == .file }.values.reduce(0) {
      $0 + $1.size
    }
    let name = server.makeName()
    let through = try server.location(name, through: proxy.port)
    let lines = Monitor<[String]>([])
    // So slow that it takes as long as thirty deaths do.
    let copy = try place.start("firn", ["copy", "--to", through, "--max-rate", "\(needed / 45)"]) { line in lines.update { $0.append(line) } }
    // A server that never answered is given up soon: it may be the wrong one.
    while copy.exitCode() == nil, try filesByPath(under: server.path(name).removingLastComponent()).keys.allSatisfy({ !$0.hasSuffix(".zst") }) {
      Thread.sleep(forTimeInterval: 0.05)
    }
    var deaths = 0
    while deaths < 30, copy.exitCode() == nil {
      Thread.sleep(forTimeInterval: Double.random(in: 0.4...1.2))
      server.crash()
      deaths += 1
      try server.start()
    }
    #expect(copy.wait() == 0, "\(lines.current)")
    #expect(deaths == 30)
    let counts = try proxy.stop()
    // Transfers that were running when the server died are repeated: for so small a store, up to four objects are a
    // large share.
    #expect(Double(counts.sent) <= 1.1 * Double(needed) + Double(4 * 8 << 20), "\(counts.sent) bytes for \(needed)")
    #expect(try place.verify(place.database, "all", "--read", "--store", server.location(name)).status == 0)
  }

  @Test func `shows in the status how far behind it is, and whether it can be asked`() throws {
    let (place, server, location) = try workplace(rows: 10)
    let configured = try place.folder.write("copies: [\"\(location)\"]\n", to: "firn.yaml").string
    _ = try place.takeSnapshot()
    #expect(try place.verify("--read").status == 0)
    func status() throws -> CommandResult { try place.firn("status", "--config", configured) }
    let none = try status()
    #expect(none.status == 3 && none.output.contains("1 snapshot behind: it has none"), "\(none)")
    #expect(try place.firn("copy", "--to", location).status == 0)
    let level = try status()
    #expect(level.status == 0, "\(level)")
    _ = try place.takeSnapshot()
    _ = try place.takeSnapshot()
    #expect(try place.verify("--read").status == 0)
    let behind = try status()
    #expect(behind.status == 3 && behind.output.contains("2 snapshots behind: its newest was taken"), "\(behind)")
    let copies =
      (try place.firn("status", "--json", "--config", configured).json()["databases"] as? [[String: Any]])?.first?["copies"] as? [[String: Any]]
    #expect(copies?.first?["behind"] as? Int == 2 && copies?.first?["newest"] as? String != nil, "\(String(describing: copies))")
    // The next snapshot brings with it what the copy missed; what it has lost by its own retention it does not.
    let caught = try place.snapshot("--config", configured)
    #expect(caught.status == 0 && caught.errors.contains("including 2 snapshots that it lacked"), "\(caught)")
    #expect(try place.verify("--read").status == 0)
    #expect(try status().status == 0)
    let there = try place.firn("list", "--json", "--store", location).json()["snapshots"] as? [[String: Any]]
    #expect(there?.count == 4)
    #expect(try place.prune("--store", location, "--keep-last", "1", "--apply", "--confirm", "remove 3 snapshots of \(place.database)").status == 0)
    #expect(try place.snapshot("--config", configured).status == 0)
    let after = try place.firn("list", "--json", "--store", location).json()["snapshots"] as? [[String: Any]]
    #expect(after?.count ?? 0 <= 3, "\(String(describing: after))")
    let gone = try place.folder.write("copies: [\"\(server.location("x", knownHosts: .none))\"]\n", to: "gone.yaml").string
    let unreachable = try place.firn("status", "--config", gone)
    #expect(unreachable.status == 3 && unreachable.output.contains("cannot be read"), "\(unreachable)")
    // A hanging location does not delay the report about the others.
    let hanging = try TestFileServer()
    let both = try place.folder.write("copies: [\"\(hanging.location("x"))\", \"\(location)\"]\n", to: "both.yaml").string
    let late = try hanging.whileItHangs { try place.firn("status", "--config", both) }
    #expect(late.status == 3 && late.output.contains("did not answer for 20 s"), "\(late)")
    #expect(late.output.components(separatedBy: "cannot be read").count == 2 && !late.output.contains("behind"), "\(late)")
  }
}
