import Encryption
import FirnCore
import Foundation
import Platform
import Postgres
import Repository
import SystemPackage
import TestSupport
import Testing

/// Repositories whose host can't read what it stores.
@Suite struct `An encrypted repository` {
  private struct Setting {
    var place: Workplace
    /// The files of identities: the one in use, and the one in the safe.
    let used: FilePath
    let safe: FilePath
    let recipients: [String]
  }

  /// A database with words to look for, and a store that is encrypted to two.
  private func setting(rows: Int = 20_000, on server: TestServer? = nil) throws -> Setting {
    let place = try Workplace(on: server ?? TestServer.system.get())
    try Folder.removeTree(place.store)
    try place.sql(
      """
      CREATE ROLE "\(place.database)_reader"; CREATE TABLE needle_table (id int, haystack text);
      GRANT SELECT ON needle_table TO "\(place.database)_reader";
      INSERT INTO needle_table SELECT g, 'needle-' || md5(g::text) || md5((g * 3)::text) FROM generate_series(1, \(rows)) g
      """)
    let files = [place.folder.path("used.key"), place.folder.path("safe.key")]
    let recipients = try files.map { file in
      let made = try place.firn("key", "new", file.string)
      #expect(made.status == 0 && made.output.hasPrefix("age1") && !made.errors.contains("AGE-SECRET-KEY"), "\(made)")
      #expect(try Folder.status(of: file)?.mode == 0o600)
      return made.output
    }
    let made = try place.firn("init", "--recipient", recipients[0], "--recipient", recipients[1])
    #expect(made.status == 0, "\(made)")
    return Setting(place: place, used: files[0], safe: files[1], recipients: recipients)
  }

  private static let digest = "SELECT count(*), md5(string_agg(t::text, '' ORDER BY id)) FROM needle_table t"

  /// Every file of a store, by its key.
  private func files(of store: FilePath) throws -> [String: [UInt8]] {
    try filesByPath(under: store).filter { $0.value.kind == .file }.reduce(into: [:]) {
      $0[$1.key] = try Folder.contents(of: store.appending($1.key))
    }
  }

  @Test func `is filled, pruned and looked after without an identity, and gives nothing back without one`() throws {
    let setting = try setting()
    let place = setting.place
    let first = try place.snapshot("--kind", "nightly", "--tag", "release=v2", "--json").json()
    try place.sql("UPDATE needle_table SET haystack = 'needle-new' WHERE id = 7")
    let second = try place.snapshot("--kind", "nightly", "--json").json()
    #expect(second["storedBytes"] as? Int ?? .max < 200_000, "the chunks of the first are found: \(second)")
    let ids = try [first, second].map { try #require($0["id"] as? String) }

    // No plain byte is in it, neither as it is nor in zstd's frames.
    let stored = try files(of: place.store)
    let words = ["needle", "haystack", "\(place.database)_reader", "CREATE TABLE"].map { Array($0.utf8) }
    for (key, bytes) in stored where !key.hasSuffix("/recover.sh") {
      let haystack = String(decoding: bytes, as: Unicode.ASCII.self)
      for word in words { #expect(!haystack.contains(String(decoding: word, as: UTF8.self)), "\(key)") }
      let isClear =
        ["SHA256SUMS", "firn.json", "reserve", "had-a-snapshot"].contains { key.hasSuffix($0) } || key.hasPrefix("had-snapshots/")
        || key.contains("/checks/") || key.hasPrefix("runs/") || key.hasSuffix("/.source.json")
      #expect(isClear != AgeFile.isOne(bytes), "\(key)")
      #expect(isClear != key.hasSuffix(".age"), "\(key)")
    }
    let list = "snapshots/\(try source(of: place))/\(place.database)/\(ids[1])/SHA256SUMS"
    let summed = try Workplace.run(
      "/bin/sh", ["-c", "cd '\(place.store)' && sha256sum --strict --quiet -c '\(list)'"], environment: ["PATH": "/usr/bin:/bin"])
    #expect(summed.status == 0, "\(summed)")

    // The operations that the host can do.
    let listed = try place.firn("list")
    #expect(listed.status == 0 && listed.output.contains("encrypted") && listed.output.contains("nightly"), "\(listed)")
    let entries = try place.firn("list", "--json").json()["snapshots"] as? [[String: Any]] ?? []
    #expect(entries.map { $0["complete"] as? Bool } == [true, true] && entries.allSatisfy { $0["kind"] as? String == "nightly" }, "\(entries)")
    let quick = try place.verify("--quick")
    #expect(quick.status == 0 && quick.output.contains("every object is there"), "\(quick)")
    let scrub = try place.verify()
    #expect(scrub.status == 0 && scrub.output.contains("every stored byte is as it was written"), "\(scrub)")
    let status = try place.firn("status")
    #expect(status.status == 0 && status.output.contains("(scrub)"), "\(status)")
    // The operations that it can't do: nothing is changed, and the recipients are named.
    for result in [
      try place.restore(place.database, "latest", "--as", "\(place.database)_back"), try place.firn("show", place.database),
      try place.verify(place.database, "latest", "--drill"),
    ] {
      #expect(result.status == 78 && result.errors.contains("needs the identity of \(setting.recipients.joined(separator: " or "))"), "\(result)")
      #expect(result.errors.contains("hint: "), "\(result)")
    }
    #expect(try place.server.sql("SELECT count(*) FROM pg_database WHERE datname = '\(place.database)_back'") == "0")

    // Either identity opens it.
    for (number, identity) in [setting.used, setting.safe].enumerated() {
      var other = place
      other.environment["FIRN_IDENTITY"] = identity.string
      let name = "\(place.database)_back\(number)"
      let restored = try other.restore(place.database, ids[number], "--as", name, "--prove")
      #expect(restored.status == 0, "\(restored)")
      #expect(try place.server.sql("SELECT count(*) FROM needle_table WHERE haystack = 'needle-new'", in: name) == "\(number)")
      #expect(try other.firn("show", place.database).output.contains("needle_table"))
      let read = try other.verify(place.database, "all")
      #expect(read.status == 0 && read.output.contains("every byte was read"), "\(read)")
    }
    // Policies go by kinds, without an identity.
    let pruned = try place.prune("--keep-last", "1", "--apply")
    #expect(pruned.status == 0, "\(pruned)")
    #expect(try place.listedSnapshots() == [ids[1]])
    #expect(try place.verify("--identity", setting.used.string).status == 0)
  }

  private func source(of place: Workplace) throws -> String {
    try #require((place.firn("list", "--json").json()["snapshots"] as? [[String: Any]])?.first?["source"] as? String)
  }

  @Test func `stores everything once more where this machine has forgotten, or a recipient was added, and is right all the same`() throws {
    let setting = try setting()
    let place = setting.place
    func storedBytes() throws -> Int { try #require(place.snapshot("--json").json()["storedBytes"] as? Int) }
    let whole = try storedBytes()
    #expect(try storedBytes() < whole / 10)
    try Folder.removeTree(place.folder.path(".cache"))
    #expect(try storedBytes() > whole / 2)
    #expect(try storedBytes() < whole / 10)
    // A cache that was changed is no parent, and does no harm.
    for (key, status) in try filesByPath(under: place.folder.path(".cache")) where status.kind == .file && key.hasSuffix(".zst") {
      try Folder.write(Array("nonsense".utf8), to: place.folder.path(".cache").appending(key))
    }
    #expect(try storedBytes() > whole / 2)
    #expect(try place.verify("--identity", setting.used.string).status == 0)
    // An added recipient opens all of the next snapshot, and nothing of earlier ones.
    let late = place.folder.path("late.key")
    let recipient = try place.firn("key", "new", late.string).output
    let before = try place.listedSnapshots()
    // Whether the configuration names it already or not yet; others it may not.
    let configuration = try place.folder.write("recipients: [\((setting.recipients + [recipient]).joined(separator: ", "))]\n", to: "firn.yaml")
      .string
    let other = try place.firn("key", "add", setting.recipients[0], "--config", configuration)
    #expect(other.status == 78 && other.errors.contains("names other recipients"), "\(other)")
    let outdated = try place.folder.write(
      "recipients: [\(setting.recipients.joined(separator: ", "))]\ncopies: [\(place.folder.path("copy"))]\n", to: "old.yaml")
    let added = try place.firn("key", "add", recipient, "--config", outdated.string)
    // The setting is printed in full, as otherwise nothing is stored.
    #expect(added.status == 3 && added.errors.contains("recipients: [\((setting.recipients + [recipient]).joined(separator: ", "))]"), "\(added)")
    #expect(added.errors.contains("firn key add --store '\(place.folder.path("copy"))' '\(recipient)'"), "\(added)")
    #expect(try place.snapshot("--config", outdated.string).status == 78)
    #expect(try place.firn("key", "add", recipient, "--config", configuration).status == 0)
    #expect(added.errors.contains("those that are there do not"), "\(added)")
    #expect(try place.firn("key", "list").output.split(separator: "\n").map(String.init) == setting.recipients + [recipient])
    #expect(try storedBytes() > whole / 2)
    let opened = try place.restore(place.database, "latest", "--as", "\(place.database)_late", "--prove", "--identity", late.string)
    #expect(opened.status == 0, "\(opened)")
    let closed = try place.restore(place.database, before[0], "--as", "\(place.database)_none", "--identity", late.string)
    #expect(closed.status == 78 && closed.errors.contains("the identity of \(recipient) does not open it"), "\(closed)")
    // To whom the first ones are closed they are not damaged.
    let mixed = try place.verify("--identity", late.string)
    #expect(mixed.status == 3 && mixed.output.contains("every byte was read") && mixed.errors.contains("encrypted to other identities"), "\(mixed)")
    #expect(!mixed.output.contains("DAMAGED"), "\(mixed)")
    let listed = try place.firn("list", "--identity", late.string)
    #expect(listed.status == 0 && listed.output.contains("encrypted") && !listed.output.contains("FOUND DAMAGED"), "\(listed)")
    // Nor is anything where the identity is not there, or opens nothing.
    let stranger = place.folder.path("stranger.key").string
    #expect(try place.firn("key", "new", stranger).status == 0)
    for identity in [stranger, place.folder.path("nowhere").string] {
      let refused = try place.verify("--identity", identity)
      #expect(refused.status == 78, "\(refused)")
    }
    #expect(try place.firn("list").output.contains("FOUND DAMAGED") == false)
    #expect(try place.verify("--identity", setting.used.string).status == 0)
  }

  @Test func `is filled as a copy for no other recipients, nor after a copy was refused`() throws {
    let setting = try setting(rows: 10)
    let place = setting.place
    _ = try place.takeSnapshot()
    let copy = place.folder.path("copy")
    #expect(try place.firn("copy", "--to", copy.string).status == 0)
    // An attacker who can write there adds a recipient to the copy.
    var elsewhere = place
    try Folder.make(place.folder.path("elsewhere"))
    elsewhere.environment["HOME"] = place.folder.path("elsewhere").string
    let (own, key) = (place.folder.path("own"), place.folder.path("own.key").string)
    let recipient = try elsewhere.firn("key", "new", key).output
    #expect(try elsewhere.firn("init", "--store", own.string, "--recipient", recipient).status == 0)
    try Folder.write(Folder.contents(of: own.appending("firn.json")), to: copy.appending("firn.json"))
    #expect(try place.firn("copy", "--to", copy.string).status != 0)
    let before = try files(of: copy)
    let filled = try place.snapshot("--store", copy.string)
    #expect(filled.status == 78, "\(filled)")
    #expect(try files(of: copy) == before)
  }

  @Test func `is never made in clear for a wrong recipient, nor filled if it is clear and should not be`() throws {
    let setting = try setting(rows: 10)
    let place = setting.place
    for bad in ["age1", setting.recipients[0] + "x", "ssh-rsa AAAA", ""] {
      let made = try place.firn("init", "--store", place.folder.path("other").string, "--recipient", bad)
      #expect(made.status == 64 && made.errors.contains(bad.isEmpty ? "an argument is empty" : "is not an age recipient"), "\(made)")
      #expect(!Folder.exists(place.folder.path("other")))
    }
    // Somebody who can write to the store takes the recipients out of it, or puts nonsense there.
    let format = place.store.appending("firn.json")
    let text = String(decoding: try Folder.contents(of: format), as: UTF8.self)
    let wanted = try place.folder.write("recipients: [\(setting.recipients.joined(separator: ", "))]\n", to: "firn.yaml").string
    #expect(try place.snapshot("--config", wanted).status == 0)
    let before = try files(of: place.store)
    let start = try #require(text.firstRange(of: "\"recipients\""))
    for list in ["[\"age1nonsense\"]", "[]", "[\"\(setting.recipients[0])\"]"] {
      try Folder.write(
        Array(
          (text[..<start.lowerBound] + "\"recipients\" : \(list),\n  \"repositoryID\"" + text[text.firstRange(of: "\"repositoryID\"")!.upperBound...])
            .utf8), to: format)
      // Also where the configuration doesn't say it: this machine knows what was there.
      for arguments in [["--config", wanted], []] {
        let refused = try place.run("firn-snapshot", arguments)
        #expect(refused.status == (list.contains("nonsense") ? 9 : 78) && refused.errors.contains("hint: "), "\(list): \(refused)")
      }
      // Nor is the replaced database stored for the attacker.
      if !list.contains("nonsense") {
        let held = try place.restore(place.database, "--confirm", place.database, "--identity", setting.used.string)
        #expect(held.status == 78 && held.errors.contains("nothing was stored"), "\(held)")
        #expect(try files(of: place.store).filter { $0.key != "firn.json" } == before.filter { $0.key != "firn.json" }, "\(list)")
      }
      if list == "[]" {
        let trusted = try place.firn("key", "trust", "--confirm", "trust", "--json")
        #expect(try trusted.status == 0 && trusted.json()["recipients"] as? [String] == [], "\(trusted)")
        #expect(try place.firn("key", "trust", "--confirm", "trusted").status == 5)
        // As it was, for what follows.
        let now = try Folder.contents(of: format)
        try Folder.write(Array(text.utf8), to: format)
        #expect(try place.firn("key", "trust", "--confirm", "trust").status == 0)
        try Folder.write(now, to: format)
      }
      // A restore warns and continues.
      if list == "[]" { #expect(try place.firn("list", "--config", wanted).errors.contains("is not encrypted, and the configuration names")) }
      #expect(try files(of: place.store).filter { $0.key != "firn.json" } == before.filter { $0.key != "firn.json" }, "\(list)")
    }
  }

  @Test func `is recovered without Firn by its own script and the stock tools`() throws {
    let setting = try setting()
    let place = setting.place
    let id = try place.takeSnapshot()
    let original = try place.sql(Self.digest)
    let mirror = try mirror(of: place)
    let script = mirror.appending("snapshots/\(try source(of: place))/\(place.database)/\(id)/recover.sh").string
    func recover(_ name: String, _ identity: String?) throws -> CommandResult {
      try Workplace.run(
        "/bin/sh", [script, place.folder.path(name).string] + (identity.map { [$0] } ?? []),
        environment: ["PATH": "\(place.server.binaries):/usr/bin:/bin", "HOME": "/nonexistent"])
    }
    #expect(try recover("none", nil).status == 64)
    let stranger = place.folder.path("stranger.key").string
    #expect(try place.firn("key", "new", stranger).status == 0)
    #expect(try recover("wrong", stranger).status != 0)
    let recovered = try recover("out", setting.safe.string)
    #expect(recovered.status == 0, "\(recovered)")
    #expect(try !Folder.names(in: place.folder.path("out")).contains(".identity"))
    let manifest = String(decoding: try Folder.contents(of: place.folder.path("out/manifest.json")), as: UTF8.self)
    #expect(manifest.contains("needle_table"))
    let name = "\(place.database)_recovered"
    try place.server.sql("CREATE DATABASE \"\(name)\" TEMPLATE template0")
    let restored = try place.server.tool("pg_restore", ["--exit-on-error", "-d", name, place.folder.path("out/archive").string], in: name)
    #expect(restored.exitCode == 0, "\(restored.errors)")
    #expect(try place.server.sql(Self.digest, in: name) == original)
  }

  /// A copy of the store in a bucket, fetched from there by curl.
  private func mirror(of place: Workplace) throws -> FilePath {
    var place = place
    place.environment.merge(TestObjectServer.environment()) { _, new in new }
    let server = try TestObjectServer.shared.get()
    let bucket = try server.makeBucket()
    #expect(try place.firn("copy", "--to", server.location(bucket)).status == 0)
    let mirror = place.folder.path("mirror")
    let keys = try filesByPath(under: place.store).filter { $0.value.kind == .file && !$0.key.hasPrefix("locks/") && !$0.key.hasPrefix("runs/") }.keys
    let files = keys.map { "url = \"http://127.0.0.1:\(server.port)/\(bucket)/firn/\($0)\"\noutput = \"\(mirror)/\($0)\"" }
    let options = """
      user = "\(TestObjectServer.keyID):\(TestObjectServer.secret)"
      aws-sigv4 = "aws:amz:us-east-1:s3"
      create-dirs
      fail-early
      fail
      silent
      show-error
      """
    let file = place.folder.path("curl.conf")
    try Folder.write(Array(([options] + files).joined(separator: "\n").utf8), to: file)
    let fetched = try Workplace.run("/usr/bin/curl", ["--config", file.string], environment: ["PATH": "/usr/bin:/bin"])
    #expect(fetched.status == 0, "\(fetched)")
    return mirror
  }

  @Test func `brings a database back on a machine that has a location, a key and an identity alone, from a bucket and a file server`() throws {
    let burning = try TestServer(binaries: TestServer.binaries(at: 0))
    let setting = try setting(on: burning)
    var place = setting.place
    let reader = "\(place.database)_reader"
    try place.sql("ALTER ROLE \"\(reader)\" LOGIN PASSWORD 'the old word'")
    place.environment.merge(TestObjectServer.environment()) { _, new in new }
    let (objects, files) = (try TestObjectServer.shared.get(), try TestFileServer.shared.get())
    let copies = [objects.location(try objects.makeBucket()), files.location(files.makeName())]
    let configured = try place.folder.write("copies: [\"\(copies[0])\", \"\(copies[1])\"]\n", to: "firn.yaml").string
    let taken = try place.snapshot("--config", configured)
    #expect(taken.status == 0, "\(taken)")
    try place.sql("UPDATE needle_table SET haystack = 'needle-new' WHERE id = 7")
    let second = try place.snapshot("--json", "--config", configured)
    let reports = try second.json()["copies"] as? [[String: Any]] ?? []
    #expect(second.status == 0 && reports.count == 2 && reports.allSatisfy { $0["bytes"] as? Int ?? .max < 200_000 }, "\(second)")
    let original = try place.sql(Self.digest)
    let identity = try Folder.contents(of: setting.used)

    // The machine burns, with store and cluster.
    try Folder.removeTree(place.store)
    try burning.destroy()
    for copy in copies {
      let home = try TemporaryFolder()
      try Folder.write(identity, to: home.path("identity"))
      let server = try TestServer(binaries: TestServer.binaries(at: 0))
      place.environment["HOME"] = home.path.string
      place.environment["FIRN_STORE"] = copy
      place.environment["DATABASE_URL"] = server.url("postgres")
      let refused = try place.restore(place.database)
      #expect(refused.status == 78 && refused.errors.contains("needs the identity"), "\(refused)")
      let restored = try place.restore(place.database, "--prove", "--identity", home.path("identity").string)
      #expect(restored.status == 0, "\(restored)")
      #expect(try server.sql(Self.digest, in: place.database) == original)
      // The application's role has its password, and what it was granted.
      let application = try Connection(
        ConnectionSettings(server.url(place.database, user: reader, password: "the old word")), applicationName: "app")
      try application.execute("SELECT FROM public.needle_table")
      #expect(try place.verify(place.database, "all", "--identity", home.path("identity").string).status == 0)
    }
  }

  @Test func `shows no byte of its contents to a listener on the network`() throws {
    let setting = try setting(rows: 5_000)
    var place = setting.place
    place.environment.merge(TestObjectServer.environment()) { _, new in new }
    let server = try TestObjectServer.shared.get()
    let words = ["needle", "haystack", "\(place.database)_reader", "CREATE TABLE"]
    /// The traffic of filling, copying, listing and reading the store.
    func wire(_ recipients: [String]) throws -> String {
      let bucket = try server.makeBucket()
      let proxy = try CountingProxy(to: server.port, recording: true)
      func run(_ result: CommandResult) { #expect(result.status == 0, "\(result)") }
      place.environment["FIRN_STORE"] = "s3://\(bucket)/straight?endpoint=http://127.0.0.1:\(proxy.port)"
      run(try place.run("firn", ["init"] + recipients.flatMap { ["--recipient", $0] }))
      run(try place.snapshot())
      run(try place.firn("list"))
      run(try place.verify("--quick"))
      run(try place.firn("copy", "--to", "s3://\(bucket)/copy?endpoint=http://127.0.0.1:\(proxy.port)"))
      run(try place.restore(place.database, "latest", "--as", "\(place.database)_\(bucket.suffix(4))", "--identity", setting.used.string))
      let counts = try proxy.stop()
      #expect(counts.sent > 300_000 && counts.requests["PUT"] ?? 0 > 10, "\(counts)")
      return String(decoding: try proxy.recorded(), as: Unicode.ASCII.self)
    }
    let encrypted = try wire(setting.recipients)
    for word in words { #expect(!encrypted.contains(word), "\(word)") }
    // The search would find them: a manifest in clear is clear.
    #expect(try wire([]).contains("needle_table"))
  }

  @Test func `reports a bad identity file without printing any of it`() throws {
    let setting = try setting(rows: 10)
    let place = setting.place
    _ = try place.takeSnapshot()
    let secret = String(decoding: try Folder.contents(of: setting.used), as: UTF8.self)
    func show(_ file: String) throws -> CommandResult { try place.firn("show", place.database, "--identity", file) }
    func write(_ text: String, _ name: String) throws -> String { try place.folder.write(text, to: name).string }
    for (file, words) in [
      (place.folder.path("nothing").string, "can't be read"), (try write("", "empty"), "line 1 is no age identity"),
      (try write(secret + "AGE-SECRET-KEY-1WRONG\n", "half"), "line 4 is no age identity"),
      (try write("-----BEGIN AGE ENCRYPTED FILE-----\nnonsense\n", "armor"), "it is no file of identities"),
    ] {
      let result = try show(file)
      #expect(result.status == 78 && result.errors.contains(words) && result.errors.contains("hint: "), "\(result)")
      #expect(!result.errors.contains("AGE-SECRET-KEY-1W") && !result.errors.contains("1WRONG"), "\(result)")
    }
    try Folder.write(AgeFile.encrypt(Array(secret.utf8), passphrase: "correct horse battery"), to: place.folder.path("sealed"))
    let asked = try show(place.folder.path("sealed").string)
    #expect(asked.status == 78 && asked.errors.contains("there is no terminal to ask for one"), "\(asked)")
    // A file that others can read is used, with a warning.
    try Folder.permitPassing(through: setting.used)
    let open = try show(setting.used.string)
    #expect(open.status == 0 && open.errors.contains("others can read the identity file"), "\(open)")
    let again = try place.firn("key", "new", setting.used.string)
    #expect(again.status == 64 && again.errors.contains("exists: nothing was written"), "\(again)")
  }
}
