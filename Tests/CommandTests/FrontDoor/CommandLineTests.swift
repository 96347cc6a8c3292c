import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// Defaults, refusals and output of commands.
@Suite struct `Commands` {
  private func workplace() throws -> Workplace {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) x FROM generate_series(1, 3000) g")
    return place
  }

  /// Without DATABASE_URL, with a configuration.
  private func configured(_ text: String) throws -> Workplace {
    var place = try workplace()
    let url = place.server.url(place.database)
    place.environment["DATABASE_URL"] = nil
    let file = place.environment["HOME"]! + "/.config/firn/firn.yaml"
    try Folder.make(FilePath(file).removingLastComponent())
    try Folder.write(Array(text.replacing("URL", with: url).utf8), to: FilePath(file))
    return place
  }

  // MARK: Which server

  @Test func `go where a service leads, be it named in a URL or a connection string`() throws {
    var place = try workplace()
    let service = try place.folder.write(
      "[good]\nhost=127.0.0.1\nport=\(place.server.port)\nuser=postgres\n[elsewhere]\nhost=127.0.0.1\nport=1\n", to: "services.conf")
    let variables = try place.server.environment(place.database, passFileIn: place.folder.path)
    place.environment["PGSERVICEFILE"] = service.string
    place.environment["PGPASSFILE"] = variables["PGPASSFILE"]
    for url in ["postgres:///\(place.database)?service=good", "service=good dbname=\(place.database)"] {
      place.environment["DATABASE_URL"] = url
      let made = try place.snapshot()
      #expect(made.status == 0 && !made.errors.contains("left out"), "\(url): \(made)")
    }
    place.environment["DATABASE_URL"] = "postgres:///\(place.database)?service=elsewhere"
    #expect(try place.snapshot().status == 8)
  }

  @Test func `heed libpq's variables before the configuration`() throws {
    let place = try configured("database-url: 'URL'\n")
    #expect(try place.snapshot().status == 0)
    for (name, value, status) in [("PGHOST", "/nowhere", 8), ("PGPORT", "1", 8), ("PGDATABASE", "no_such_database", 10)] as [(String, String, Int32)]
    {
      var other = place
      other.environment[name] = value
      let result = try other.snapshot()
      #expect(result.status == status, "\(name): \(result)")
    }
    // The password of one role is not sent to a server as another role's.
    var other = place
    other.environment["PGUSER"] = "stranger"
    let result = try other.snapshot()
    #expect(result.status == 8 && !result.errors.contains(TestServer.password), "\(result)")
  }

  // MARK: Secrets

  @Test func `show no secret that is given in the wrong place`() throws {
    var place = try workplace()
    let key = "AGE-SECRET-KEY-1RZE2KQJ6FZQ5XGQ8S5F2G7UQ4S0G7ZJ8X5WQ2D3N4C5V6B7M8L9SQH0ABC"
    _ = try place.takeSnapshot()
    let seen = place.folder.path("seen")
    let file = try place.folder.write("hooks:\n  on-failure: 'cat >> \(seen); env >> \(seen)'\n", to: "firn.yaml")
    place.environment["FIRN_NOTHING"] = "x"
    func expectHidden(_ secret: String, _ status: Int32, _ name: String, _ arguments: String...) throws {
      let result = try place.run(name, arguments)
      #expect(result.status == status, "\(name) \(arguments): \(result)")
      #expect(!result.errors.contains(secret) && !result.output.contains(secret), "\(result)")
    }
    let url = "postgres://pw:hunter2@127.0.0.1:1/shop"
    try expectHidden("hunter2", 64, "firn-snapshot", "--config", file.string, url)
    try expectHidden("hunter2", 64, "firn-restore", "--config", file.string, url, "latest")
    try expectHidden("hunter2", 64, "firn", "list", url)
    try expectHidden("hunter2", 64, "firn", "list", "--store", "s3://bucket/x?endpoint=http://u:hunter2@127.0.0.1:1")
    for location in ["s3://AKIAX:hunter2@bkt/firn", "s3://AKIAX:hun/ter2@bkt/x", "deploy:hunter2@host:/backups"] {
      try expectHidden("ter2", 64, "firn", "list", "--store", location)
      try expectHidden("ter2", 64, "firn", "copy", "--to", location)
    }
    try expectHidden(key, 64, "firn", "init", "--store", place.folder.path("new").string, "--recipient", key)
    let encrypted = place.folder.path("sealed").string
    let recipient = try place.firn("key", "new", place.folder.path("key").string).output
    #expect(try place.firn("init", "--store", encrypted, "--recipient", recipient).status == 0)
    #expect(try place.run("firn-snapshot", ["--store", encrypted]).status == 0)
    try expectHidden(key, 78, "firn-restore", "--config", file.string, "--store", encrypted, "--identity", key, place.database, "latest", "--as", "x")
    let told = (try? String(decoding: Folder.contents(of: seen), as: UTF8.self)) ?? ""
    #expect(told.contains("exitCode") && !told.contains("hunter2") && !told.contains(key), "\(told)")
  }

  // MARK: Stores

  @Test(arguments: ["s3:bucket/firn", "user@host:/backups", "sftp:root@host:/x", "host:backups", " "])
  func `take no bucket or server of others' spelling for a folder`(location: String) throws {
    let place = try workplace()
    _ = try place.takeSnapshot()
    let before = try Folder.names(in: place.folder.path)
    for result in [try place.firn("init", "--store", location), try place.firn("copy", "--to", location), try place.snapshot("--copy-to", location)] {
      #expect(result.status == 64 && result.errors.contains("./"), "\(result)")
    }
    #expect(try place.listedSnapshots().count == 1)
    #expect(try Folder.names(in: place.folder.path) == before)
  }

  @Test func `copy to every reachable location, and report if there is nothing to copy`() throws {
    let place = try workplace()
    let file = try place.folder.write("a file", to: "file").string
    let copy = place.folder.path("copy").string
    let configured = try place.folder.write("copies: [\(file), \(copy)]\n", to: "firn.yaml").string
    let nothing = try place.firn("copy", "--to", copy)
    #expect(nothing.status == 10 && nothing.errors.contains("no snapshot"), "\(nothing)")
    // A mistake there costs no backup here.
    let made = try place.snapshot("--config", configured)
    #expect(made.status == 3 && made.errors.contains("no copy in \(file)") && made.errors.contains("copied to \(copy)"), "\(made)")
    #expect(try place.listedSnapshots().count == 1)
  }

  @Test func `don't call a clear store done that was to be encrypted`() throws {
    let place = try workplace()
    let recipient = try place.firn("key", "new", place.folder.path("key").string).output.trimmingCharacters(in: .newlines)
    let refused = try place.firn("init", "--recipient", recipient)
    #expect(refused.status == 6 && refused.errors.contains("NOT ENCRYPTED") && !refused.errors.contains("nothing needs to be done"), "\(refused)")
    let again = try place.firn("init")
    #expect(again.status == 6 && again.errors.contains("nothing needs to be done"), "\(again)")
  }

  @Test func `read an identity from a pipe`() throws {
    let place = try workplace()
    let (key, encrypted) = (place.folder.path("key").string, place.folder.path("sealed").string)
    let recipient = try place.firn("key", "new", key).output
    #expect(try place.firn("init", "--store", encrypted, "--recipient", recipient).status == 0)
    #expect(try place.run("firn-snapshot", ["--store", encrypted]).status == 0)
    let result = try Workplace.run(
      "/bin/sh",
      [
        "-c", "cat \"$1\" | \"$2\" \"$3\" --store \"$4\" --identity /dev/stdin --read", "sh", key, FirnProgram.path("firn-verify").string,
        place.database, encrypted,
      ],
      environment: place.environment)
    #expect(result.status == 0 && result.output.contains("every byte was read"), "\(result)")
  }

  // MARK: Configuration

  @Test(arguments: [
    ("store: ~\n", "line 1"), ("store: null\n", "line 1"), ("source: ~\n", "line 1"), ("jobs: 2\nspool-cap: 0\n", "line 2"),
    ("jobs: 2\ncopies: ['']\n", "line 2"), ("store: http://x/y\n", "line 1"),
    ("time-zone: Mars\n", "line 1"), ("jobs: 1\nspool: /tmp\njobs: 2\n", "lines 1, 3"), ("jobs: 2\nrecipients: [age1foo]\n", "line 2"),
    ("store: s3://bucket/x?style=round\n", "firn.yaml"),
  ])
  func `tell where a value of the configuration is wrong`(_ text: String, _ place: String) throws {
    let work = try workplace()
    let file = try work.folder.write(text, to: "firn.yaml")
    var environment = work.environment
    environment["FIRN_STORE"] = nil
    let result = try Workplace.run(FirnProgram.path("firn"), ["list", "--config", file.string], environment: environment)
    #expect(result.status == 78 && result.errors.contains(place), "\(text): \(result)")
  }

  @Test func `name the file where its URL is none, once it is wanted; nothing is nothing, and may be expected`() throws {
    let place = try configured("database-url: mysql://x/y\ncopies:\nassertions: [{sql: 'SELECT NULL', expect: null}]\n")
    #expect(try place.firn("list").status == 0)
    let made = try place.snapshot()
    #expect(made.status == 78 && made.errors.contains("firn.yaml: database-url"), "\(made)")
    var good = place
    good.environment["DATABASE_URL"] = place.server.url(place.database)
    #expect(try good.snapshot().status == 0)
    let drilled = try good.verify(place.database, "--drill")
    #expect(drilled.status == 0, "\(drilled)")
  }

  @Test func `take no configuration for text that is none`() throws {
    let work = try workplace()
    let file = work.folder.path("firn.yaml")
    try Folder.write(Array("store: /caf".utf8) + [0xE9, 0x0A], to: file)
    let result = try work.firn("list", "--config", file.string)
    #expect(result.status == 78 && result.errors.contains("UTF-8"), "\(result)")
  }

  // MARK: What they print

  @Test func `fail where what they print is lost`() throws {
    let place = try workplace()
    _ = try place.takeSnapshot()
    for arguments in [["firn", "list"], ["firn", "status", "--json"], ["firn", "report"], ["firn-snapshot", "--json"]] {
      let result = try Workplace.run(
        "/bin/sh", ["-c", "exec \"$@\" > /dev/full", "sh", FirnProgram.path(arguments[0]).string] + arguments.dropFirst(),
        environment: place.environment)
      #expect(result.status == 1 && result.errors.contains("standard output"), "\(arguments): \(result)")
    }
  }

  @Test func `print one JSON object, whether they succeed or not, and warnings beside it`() throws {
    let place = try workplace()
    for (arguments, status) in [
      (["firn", "list", "nosuch", "--json"], 10), (["firn-snapshot", "nosuch", "--json"], 10), (["firn-snapshot", "--json", "--frob"], 64),
      (["firn-restore", place.database, "--json"], 10), (["firn", "report", "--json", "--output", "x"], 64),
    ] as [([String], Int32)] {
      let result = try place.run(arguments[0], Array(arguments.dropFirst()))
      #expect(result.status == status, "\(result)")
      let object = try result.json()
      #expect(object["exitCode"] as? Int == Int(status) && (object["error"] as? String)?.isEmpty == false, "\(result)")
    }
    let file = try place.folder.write("hooks:\n  after: 'exit 3'\n", to: "firn.yaml")
    let made = try place.snapshot("--json", "--config", file.string)
    #expect(made.status == 3 && made.errors.contains("hooks: after"), "\(made)")
    #expect(try made.json()["id"] is String)
  }

  @Test func `name the source where two have a database of one name`() throws {
    let place = try workplace()
    _ = try place.takeSnapshot()
    _ = try place.takeSnapshot("--source", "staging")
    #expect(try place.firn("list").output.contains("staging/\(place.database)"))
    #expect(try place.firn("status").output.contains("staging/\(place.database)"))
    #expect(try place.verify("staging/\(place.database)", "--read").status == 0)
    #expect(try place.prune("--keep-last", "1").output.contains("staging/\(place.database): 1 to keep"))
  }

  @Test func `lead to the help of the subcommand`() throws {
    let place = try workplace()
    let result = try place.firn("hold", place.database, "latest")
    #expect(result.status == 64 && result.errors.contains("firn hold --help explains more"), "\(result)")
    // Also for a program with a name of its own.
    #expect(try place.firn("help", "restore").output == place.restore("--help").output)
    #expect(try place.firn("help", "migrate", "watch").output.contains("firn-migrate watch"))
    #expect(try place.firn("help", "copy").output == place.firn("copy", "--help").output)
    let misspelt = try place.firn("restor", place.database)
    #expect(
      misspelt.status == 64
        && misspelt.errors.contains("no command firn restor\nhint: did you mean firn restore? there are snapshot, verify, restore"), "\(misspelt)")
    #expect(misspelt.errors.contains("copy, key, source, hold, unlock"), "\(misspelt)")
  }

  @Test func `don't call intact what was found damaged, before all of it was read again`() throws {
    let place = try workplace()
    _ = try place.takeSnapshot()
    try place.flipBitOfLargestObject()
    #expect(try place.verify(place.database, "latest", "--read").status == 4)
    let quick = try place.verify(place.database, "--quick")
    #expect(quick.status == 4 && !quick.output.contains("intact") && quick.output.contains("was found damaged"), "\(quick)")
    let report = try place.verify(place.database, "--quick", "--json")
    #expect((try report.json()["snapshots"] as? [[String: Any]])?.first?["ok"] as? Bool == false, "\(report)")
    try place.flipBitOfLargestObject()
    // Of two results within one second, the one that found damage counts.
    Thread.sleep(forTimeInterval: 1.1)
    #expect(try place.verify(place.database, "--read").status == 0)
    #expect(try place.verify(place.database, "--quick").status == 0)
  }
}
