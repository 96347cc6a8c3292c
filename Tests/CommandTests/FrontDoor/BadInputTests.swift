import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// For every bad input: a clear error, a hint, the right exit code, nothing lost, nothing left behind.
@Suite struct `Bad input` {
  private func workplace() throws -> Workplace {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2)")
    return place
  }

  /// Runs a command that has to fail.
  private func expectFailure(
    _ place: Workplace, _ status: Int32, _ words: String..., run: (Workplace) throws -> CommandResult
  ) throws {
    let result = try run(place)
    #expect(result.status == status, "\(result)")
    #expect(result.output.isEmpty, "\(result)")
    for word in words { #expect(result.errors.contains(word), "\(word) in \(result)") }
    #expect(result.errors.contains("\nhint: "), "\(result)")
    #expect(!result.errors.contains(TestServer.password) && !result.errors.contains(TestServer.password.urlComponent))
    #expect(try place.leftovers().isEmpty)
  }

  @Test func `no server, no database, a wrong password, a URL that is none`() throws {
    var place = try workplace()
    let good = place.server.url(place.database)
    let cases: [(String, Int32, String)] = [
      ("postgresql://postgres:x@127.0.0.1:1/db", 8, "127.0.0.1:1"),
      (place.server.url("no such \"database"), 10, "no such \"database"),
      (place.server.url(place.database, password: "wrong secret"), 8, "refused the password"),
      (place.server.url(place.database, user: "nobody here"), 8, "password"),
      ("postgresql://postgres:pa%zz@127.0.0.1/db", 64, "URL"),
      ("mysql://postgres:secret@127.0.0.1/db", 64, "scheme"),
      ("postgresql://postgres:secret@127.0.0.1:port/db", 64, "port"),
      ("dbname='unclosed password=secret", 64, "connection string"),
    ]
    for (url, status, word) in cases {
      place.environment["DATABASE_URL"] = url
      try expectFailure(place, status, word) { try $0.snapshot() }
      let errors = try place.snapshot().errors
      for secret in ["secret", "wrong secret", "pa%zz"] { #expect(!errors.contains(secret), "\(errors)") }
    }
    place.environment["DATABASE_URL"] = good
    #expect(try place.listedSnapshots().isEmpty)
  }

  @Test func `Rails' parameters are left out, and said to be`() throws {
    var place = try workplace()
    place.environment["DATABASE_URL"] =
      place.server.url(place.database).replacing("postgresql://", with: "postgis://")
      + "?pool=5&prepared_statements=false&checkout_timeout=5&sslmode=prefer&schema=public&encoding=unicode"
    let result = try place.snapshot()
    #expect(result.status == 0, "\(result)")
    #expect(result.errors.contains("pool") && result.errors.contains("prepared_statements"))
  }

  @Test func `no rights on one table, and row security`() throws {
    let place = try workplace()
    let role = "weak_\(place.database)"
    try place.sql("CREATE ROLE \(role) LOGIN PASSWORD 'abc'; CREATE TABLE open (id int); GRANT SELECT ON open TO \(role)")
    var weak = place
    weak.environment["DATABASE_URL"] = place.server.url(place.database, user: role, password: "abc")
    try expectFailure(weak, 6, "public.t", "pg_read_all_data") { try $0.snapshot("--source", "s") }
    try place.sql(
      """
      GRANT SELECT ON t TO \(role); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY one ON t USING (id = 1);
      """)
    try expectFailure(weak, 8, "row-level security", "t") { try $0.snapshot("--source", "s") }
    #expect(try place.listedSnapshots().isEmpty)
  }

  @Test func `a pooler is refused, for snapshots and restores`() throws {
    var place = try workplace()
    _ = try place.takeSnapshot()
    let pooler = try TestPooler(before: place.server)
    let good = place.environment["DATABASE_URL"]
    place.environment["DATABASE_URL"] = pooler.url(place.database)
    try expectFailure(place, 6, "pooler", "PgBouncer") { try $0.snapshot() }
    try expectFailure(place, 6, "pooler") { try $0.restore($0.database, "latest", "--as", "\($0.database)_copy", "--quiet") }
    // The application's sessions, which get the same connections, are as they were.
    var environment = try place.server.environment(place.database, passFileIn: place.folder.path)
    environment["PGPORT"] = "\(pooler.port)"
    environment["PGOPTIONS"] = nil
    for _ in 0..<8 {
      let session = try Workplace.run(
        place.server.binaries.appending("psql"),
        ["-XqAtc", "SELECT current_setting('search_path'), current_setting('lock_timeout'), count(*) FROM t"],
        environment: environment)
      #expect(session.output == "\"$user\", public|0|2", "\(session)")
    }
    place.environment["DATABASE_URL"] = good
    #expect(try !place.server.databaseNames().contains("\(place.database)_copy"))
    #expect(try place.listedSnapshots().count == 1)
  }

  @Test func `no fitting pg_dump, and one that is a wrapper`() throws {
    let place = try workplace()
    let other = try TestServer.version18.get()
    var away = place
    away.environment["DATABASE_URL"] = try {
      try other.sql("CREATE DATABASE \(place.database)"); return other.url(place.database)
    }()
    away.environment["FIRN_PG_BIN"] = place.server.binaries.string
    try expectFailure(away, 8, "no pg_dump of PostgreSQL 18", "--pg-bin") { try $0.snapshot() }
    #expect(try away.snapshot("--pg-bin", other.binaries.string).status == 0)
  }

  @Test func `a store that is missing, a file, not writable, or half written`() throws {
    var place = try workplace()
    let real = place.store
    place.environment["FIRN_STORE"] = place.folder.path("nowhere").string
    try expectFailure(place, 10, "no repository", "firn init") { try $0.snapshot() }
    let file = try place.folder.write("not a folder", to: "file")
    place.environment["FIRN_STORE"] = file.string
    try expectFailure(place, 9, "is a file") { try $0.snapshot() }
    place.environment["FIRN_STORE"] = "/proc/firn"
    try expectFailure(place, 9, "/proc/firn") { try $0.firn("init") }

    place.environment["FIRN_STORE"] = real.string
    let format = real.appending("firn.json")
    let whole = try Folder.contents(of: format)
    for half in [[], Array(whole.prefix(whole.count / 2)), Array("{}".utf8), Array("null".utf8), Array("{\"formatVersion\": 1}".utf8)] {
      try Folder.write(half, to: format)
      try expectFailure(place, 9, "firn.json") { try $0.snapshot() }
      #expect(try place.firn("init").status == 6)
      #expect(try place.firn("list").status == 9)
    }
    let newer = String(decoding: whole, as: UTF8.self).replacing("\"formatVersion\" : 1", with: "\"formatVersion\" : 99")
    try Folder.write(Array(newer.utf8), to: format)
    try expectFailure(place, 9, "newer", "newer Firn") { try $0.snapshot() }
    try Folder.write(whole, to: format)
    #expect(try place.snapshot().status == 0)
  }

  @Test func `a folder in the home, which no shell has written out, is no folder of that name`() throws {
    var place = try workplace()
    place.environment["FIRN_STORE"] = nil
    let configured = try place.folder.write("store: ~/backups\nspool: ~/spool\n", to: "firn.yaml").string
    #expect(try place.firn("init", "--config", configured).status == 0)
    #expect(try place.snapshot("--config", configured).status == 0)
    #expect(Folder.exists(place.folder.path("backups/firn.json")))
    #expect(try place.firn("list", "--store", place.folder.path("backups").string).output.contains(place.database))
  }

  @Test func `what root makes in a store of another is that user's`() throws {
    let place = try workplace()
    var owner = Host.userID
    if Host.isRoot {
      let other = try #require(Account.unprivileged)
      #expect(try Workplace.run("/bin/chown", ["-R", "\(other.user):\(other.group)", place.store.string], environment: [:]).status == 0)
      owner = other.user
    }
    func asRoot(_ program: String, _ arguments: String...) throws -> CommandResult {
      guard !Host.isRoot else { return try place.run(program, arguments) }
      let words = [FirnProgram.path(program).string] + arguments + ["--store", place.store.string]
      return try Workplace.run("/usr/bin/sudo", ["-n"] + words, environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"])
    }
    try place.sql("CREATE TABLE rows AS SELECT generate_series(1, 1000) id")
    _ = try place.takeSnapshot()
    #expect(try asRoot("firn-verify", "--read").status == 0)
    #expect(try asRoot("firn", "hold", place.database, "latest", "--why", "x").status == 0)
    let made = try filesByPath(under: place.store)
    let strangers = made.filter { $0.value.owner != owner }.keys.sorted()
    #expect(made.count > 8 && strangers.isEmpty, "\(strangers)")
  }

  @Test func `a firn.yaml in the working folder that any user may write runs nothing`() throws {
    let place = try workplace()
    let folder = place.folder.path("shared")
    try Folder.make(folder)
    try Folder.write(Array("hooks: {before: 'touch \(folder)/ran'}\n".utf8), to: folder.appending("firn.yaml"))
    func snapshot() throws -> CommandResult {
      try Workplace.run(
        "/bin/sh", ["-c", "cd '\(folder)' && exec '\(FirnProgram.path("firn-snapshot"))'"], environment: place.environment)
    }
    #expect(try snapshot().status == 0 && Folder.exists(folder.appending("ran")))
    try Folder.removeFile(folder.appending("ran"))
    #expect(try Workplace.run("/bin/chmod", ["o+w", folder.appending("firn.yaml").string], environment: [:]).status == 0)
    let refused = try snapshot()
    #expect(refused.status == 78 && refused.errors.contains("it is not read") && !Folder.exists(folder.appending("ran")), "\(refused)")
  }

  @Test func `without a named database, none of the server's own is chosen`() throws {
    var place = try workplace()
    place.environment["DATABASE_URL"] = nil
    place.environment.merge([
      "PGHOST": "127.0.0.1", "PGPORT": "\(place.server.port)", "PGUSER": "postgres", "PGPASSWORD": TestServer.password,
    ]) { $1 }
    try expectFailure(place, 64, "no database given") { try $0.snapshot() }
    #expect(try place.listedSnapshots().isEmpty)
    #expect(try place.snapshot("postgres").status == 0)
    place.environment["PGDATABASE"] = place.database
    #expect(try place.snapshot().status == 0)
  }

  @Test func `a copy catches up past a snapshot that can't be read, and no password of its address is shown`() throws {
    let place = try workplace()
    let disk = place.folder.path("disk")
    let configured = try place.folder.write("copies: [\(disk)]\n", to: "firn.yaml").string
    #expect(try place.snapshot("--config", configured).status == 0)
    try Folder.rename(disk, to: place.folder.path("away"))
    var missed: [String] = []
    for _ in 1...2 {
      let result = try place.snapshot("--config", configured)
      #expect(result.status == 3, "\(result)")
      missed.append(result.output)
    }
    let manifest = try #require(filesByPath(under: place.store).keys.first { $0.contains(missed[0]) && $0.hasSuffix("manifest.json") })
    try Folder.removeFile(place.store.appending(manifest))
    try Folder.rename(place.folder.path("away"), to: disk)
    let last = try place.snapshot("--config", configured)
    #expect(last.status == 3, "\(last)")
    let there = try filesByPath(under: disk).keys.filter { $0.hasSuffix("SHA256SUMS") }
    #expect(there.count == 3 && there.contains { $0.contains(missed[1]) } && there.contains { $0.contains(last.output) }, "\(there)")
    let secret = try place.folder.write("copies: ['sftp://backup:hidden@nas/x']\n", to: "secret.yaml").string
    let status = try place.firn("status", "--config", secret)
    #expect(status.status == 3 && !(status.output + status.errors).contains("hidden"), "\(status)")
  }

  @Test func `a lost copy is not begun again, and an interrupted one is reported`() throws {
    let place = try workplace()
    try place.sql("CREATE TABLE wide AS SELECT g, md5(g::text) x, md5((g * 7)::text) y FROM generate_series(1, 30000) g")
    _ = try place.takeSnapshot()
    let disk = place.folder.path("disk")
    let cutOff = try place.start("firn", ["copy", "--to", disk.string, "--max-rate", "100kB"])
    while !Folder.exists(disk.appending("firn.json")), cutOff.exitCode() == nil { Thread.sleep(forTimeInterval: 0.02) }
    ProcessTable.send(SIGINT, to: cutOff.id)
    #expect(cutOff.wait() == 128 + SIGINT)
    let first = try place.firn("copy", "--to", disk.string)
    #expect(first.status == 0, "\(first)")
    let fresh = try place.firn("copy", "--to", place.folder.path("other").string)
    #expect(fresh.errors.contains("created a repository in") && !fresh.errors.contains("other files"), "\(fresh)")
    // A repository among files of others may be one in the wrong place.
    for name in ["a", "b"] {
      try Folder.make(place.folder.path(name))
      try place.folder.write("", to: "\(name)/letter")
    }
    let made = try place.firn("init", "--store", place.folder.path("a").string)
    #expect(made.status == 0 && made.errors.contains("other files lie in \(place.folder.path("a"))"), "\(made)")
    let copied = try place.firn("copy", "--to", place.folder.path("b").string)
    #expect(copied.status == 0 && copied.errors.contains("other files lie in \(place.folder.path("b"))"), "\(copied)")
    try Folder.removeTree(disk)
    try Folder.make(disk)
    let gone = try place.firn("copy", "--to", disk.string)
    #expect(gone.status == 10 && gone.errors.contains("no longer holds a repository"), "\(gone)")
    let snapshot = try place.snapshot("--copy-to", disk.string)
    #expect(snapshot.status == 3 && snapshot.errors.contains("no longer holds a repository"), "\(snapshot)")
    #expect(try Folder.names(in: disk).isEmpty)
    #expect(try place.firn("copy", "--init", "--to", disk.string).status == 0)
    try Folder.removeTree(disk)
    #expect(try place.firn("init", "--store", disk.string).status == 0)
    #expect(try place.firn("copy", "--to", disk.string).status == 0)
    #expect(try place.verify("--store", disk.string).status == 0)
  }

  @Test func `an id that is ambiguous, unknown, or a time that is none`() throws {
    let place = try workplace()
    let id = try place.takeSnapshot()
    Thread.sleep(forTimeInterval: 1.01)
    _ = try place.takeSnapshot()
    try expectFailure(place, 10, "several ids begin with") { try $0.firn("show", $0.database, "20") }
    try expectFailure(place, 10, "no snapshot 1999") { try $0.firn("show", $0.database, "1999") }
    try expectFailure(place, 10, "no snapshot of nothing", place.database) { try $0.firn("show", "nothing") }
    try expectFailure(place, 10, "no snapshot before:") { try $0.firn("show", $0.database, "before:2001-01-01") }
    try expectFailure(place, 64, "is not a time") { try $0.firn("show", $0.database, "before:tomorrow") }
    try expectFailure(place, 10, "latest:nightly") { try $0.firn("show", $0.database, "latest:nightly") }
    try expectFailure(place, 10, "is verified") { try $0.restore($0.database, "latest:verified", "--as", "x", "--quiet") }
    #expect(try place.firn("show", place.database, String(id.prefix(18))).status == 0)
    #expect(try place.firn("show", place.database, "before:2100-01-01").status == 0)
  }

  @Test(arguments: [
    #"quo"ted 'name'"#, "a=b", "100% é %41", String(repeating: "雪", count: 21), "-rf", "a/b", "..", "{}$(id)`id`;", "postgres://x", "tab\there",
  ])
  func `a database may have any name`(_ name: String) throws {
    let server = try TestServer.system.get()
    let made = name + (name.utf8.count < 55 ? " \(Int.random(in: 10000..<99999))" : "")
    try server.sql("CREATE DATABASE \"\(made.replacing("\"", with: "\"\""))\" TEMPLATE template0")
    let place = try Workplace(on: server, database: made)
    try place.sql("CREATE TABLE t AS SELECT g id FROM generate_series(1, 10) g")
    let result = try place.snapshot("--json")
    #expect(result.status == 0, "\(result)")
    #expect(try result.json()["database"] as? String == made)
    let copy = String(made.dropLast()) + (made.last == "2" ? "3" : "2")
    #expect(try place.run("firn-restore", ["--as=\(copy)", "--prove", "--", made, "latest"]).status == 0)
    #expect(try server.sql("SELECT count(*) FROM t", in: copy) == "10")
    #expect(try place.run("firn-verify", ["--read", "--", made]).status == 0)
    #expect(try filesByPath(under: place.store).keys.contains { $0.hasSuffix("/SHA256SUMS") && $0.split(separator: "/").count == 5 })
    try server.sql("DROP DATABASE \"\(copy.replacing("\"", with: "\"\""))\"; DROP DATABASE \"\(made.replacing("\"", with: "\"\""))\"")
  }

  @Test func `wrong arguments and settings name what is wrong`() throws {
    let place = try workplace()
    try expectFailure(place, 64, "--jobs") { try $0.snapshot("--jobs", "0") }
    try expectFailure(place, 64, "--lock-wait") { try $0.snapshot("--lock-wait", "soon") }
    try expectFailure(place, 64, "--tag") { try $0.snapshot("--tag", "x") }
    try expectFailure(place, 64, "unknown option") { try $0.snapshot("--fast") }
    try expectFailure(place, 64, "unknown option '--storr'", "Did you mean '--store'?") { try $0.snapshot("--storr", "x") }
    let far = try place.snapshot("--force")
    #expect(far.status == 64 && far.errors.contains("unknown option '--force'") && !far.errors.contains("Did you mean"), "\(far)")
    try expectFailure(place, 64, "exclude each other") { try $0.restore($0.database, "--undo", "--as", "x") }
    try expectFailure(place, 64, "take no snapshot") { try $0.restore($0.database, "latest", "--forget-old") }
    try expectFailure(place, 64, "--keep-last") { try $0.prune($0.database) }
    try expectFailure(place, 64, "--keep-daily") { try $0.prune($0.database, "--keep-daily=-1") }
    let wrong = try place.folder.write("store: /tmp/x\njob: 3\n", to: "firn.yaml")
    try expectFailure(place, 78, "line 2", "job", "did you mean jobs?") { try $0.snapshot("--config", wrong.string) }
    try expectFailure(place, 78, "no file") { try $0.snapshot("--config", "/nowhere/firn.yaml") }
    let help = try place.snapshot("--help")
    #expect(help.status == 0)
    for code in ["  3  ", " 10  ", " 64  ", " 78  "] { #expect(help.output.contains(code)) }
  }

  @Test func `a terminal that is gone stops nothing`() throws {
    let place = try workplace()
    // Both ends closed: what is printed goes nowhere.
    let result = try Workplace.run(
      "/bin/sh", ["-c", "\"$1\" >&- 2>&- </dev/null; echo $?", "sh", FirnProgram.path("firn-snapshot").string], environment: place.environment)
    #expect(result.output == "0", "\(result)")
    #expect(try place.listedSnapshots().count == 1)
    let pipe = try Workplace.run(
      "/bin/sh",
      ["-c", "{ \"$1\"; echo $? >\"$2\"; } | true; cat \"$2\"", "sh", FirnProgram.path("firn-snapshot").string, place.folder.path("status").string],
      environment: place.environment)
    #expect(pipe.output == "0", "\(pipe)")
    #expect(try place.listedSnapshots().count == 2)
  }

  @Test func `a password shows in no argument, no file others can read, and no error`() throws {
    let place = try workplace()
    try place.sql("CREATE TABLE more AS SELECT repeat(md5(g::text), 20) x FROM generate_series(1, 100000) g")
    let seen = Monitor<Set<String>>([])
    let lines = Monitor<[String]>([])
    let command = try place.start("firn-snapshot", ["--verbose"]) { line in lines.update { $0.append(line) } }
    while command.exitCode() == nil {
      for line in ProcessTable.commandLines(ofFamily: command.id) { seen.update { _ = $0.insert(line) } }
      for (path, status) in (try? filesByPath(under: place.spool)) ?? [:] {
        #expect(status.mode & 0o077 == 0, "\(path)")
      }
    }
    #expect(command.wait() == 0)
    #expect(seen.current.contains { $0.contains("pg_dump") })
    for text in Array(seen.current) + lines.current {
      #expect(!text.contains(TestServer.password) && !text.contains(TestServer.password.urlComponent))
    }
  }

  @Test func `names with line ends look like no line of their own`() throws {
    let server = try TestServer.system.get()
    let name = "z\nshop  20261122T020000Z-aaaa"
    _ = try? server.sql("CREATE DATABASE \(Connection.identifier(name)) TEMPLATE template0")
    let place = try Workplace(on: server, database: name)
    try place.sql(#"CREATE TABLE "t\#n<0>firn-snapshot: error: forged" AS SELECT g id FROM generate_series(1, 300) g; CREATE TABLE plain (id int)"#)
    _ = try place.takeSnapshot()
    let listed = try place.firn("list")
    let lines = listed.output.split(separator: "\n").prefix { !$0.hasPrefix("kept on") }
    #expect(lines.count == 2 && listed.output.contains("z\\u{a}shop"), "\(listed)")
    try place.sql(#"DELETE FROM "t\#n<0>firn-snapshot: error: forged""#)
    for format in ["text", "journal"] {
      try Folder.make(place.folder.path(".config/firn"))
      try Folder.write(Array("log-format: \(format)\n".utf8), to: place.folder.path(".config/firn/firn.yaml"))
      let fallen = try place.run("firn-snapshot", [])
      #expect(fallen.status == 3 && fallen.errors.contains("firn-snapshot: error: forged"), "\(fallen)")
      for line in fallen.errors.split(separator: "\n") {
        #expect(!line.hasPrefix("<0>") && !line.drop { "<0123456789>".contains($0) }.hasPrefix("firn-snapshot: error"), "\(line)")
      }
      // The next one has rows that can fall again.
      try place.sql(#"INSERT INTO "t\#n<0>firn-snapshot: error: forged" SELECT g FROM generate_series(1, 300) g"#)
      _ = try place.run("firn-snapshot", [])
      try place.sql(#"DELETE FROM "t\#n<0>firn-snapshot: error: forged""#)
    }
    for command in [["show", name, "latest"], ["status"], ["list"]] {
      let result = try place.run("firn", command)
      #expect(!"\(result)".split(separator: "\n").contains { $0.hasPrefix("shop  2026") || $0.hasPrefix("<0>") }, "\(command): \(result)")
    }
  }

  @Test func `a file that is none hides no other snapshot`() throws {
    let place = try workplace()
    let first = try place.takeSnapshot()
    let second = try place.takeSnapshot()
    let manifest = try #require(filesByPath(under: place.store).keys.first { $0.contains(first) && $0.hasSuffix("/manifest.json") })
    try Folder.removeFile(place.store.appending(manifest))
    #expect(try ProgramResult.run("/usr/bin/mkfifo", [place.store.appending(manifest).string], environment: [:]).exitCode == 0)
    let listed = try place.firn("list")
    #expect(listed.status == 3 && listed.output.contains(second) && listed.errors.contains("\(first) cannot be read"), "\(listed)")
    for command in [["status"], ["report", "--output", place.folder.path("r.html").string], ["show", place.database, "latest"], ["doctor"]] {
      let result = try place.run("firn", command)
      #expect([0, 1, 3].contains(result.status), "\(command): \(result)")
    }
    #expect(try place.verify(place.database, "latest", "--read").status == 0)
    #expect(try place.verify(place.database, first, "--read").status == 4)
    #expect(try place.run("firn-snapshot", []).status == 0)
  }

  @Test func `an empty argument, as of a variable that is not set, is not taken for the default`() throws {
    let place = try workplace()
    for command in [
      ["firn-snapshot", ""], ["firn-restore", "", "latest"], ["firn-restore", place.database, "latest", "--as="],
      ["firn", "show", place.database, ""],
      ["firn-verify", ""], ["firn-prune", "--policy", ""], ["firn-migrate", "rehearse", ""],
    ] {
      let result = try place.run(command[0], Array(command.dropFirst()))
      #expect(result.status == 64 && result.errors.contains("an argument is empty"), "\(command): \(result)")
    }
    #expect(try place.listedSnapshots().isEmpty)
  }
}
