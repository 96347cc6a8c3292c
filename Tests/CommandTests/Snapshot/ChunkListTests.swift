import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// Lists of chunks that snapshots of a large table share.
@Suite struct `Lists of chunks` {
  private func workplace() throws -> Workplace {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql(
      """
      CREATE TABLE large (id int, text text); INSERT INTO large SELECT g, md5(g::text) FROM generate_series(1, 200000) g;
      CREATE TABLE small (id int); INSERT INTO small SELECT generate_series(1, 9)
      """)
    return place
  }

  /// The folder of a snapshot.
  private func folder(of id: String, _ place: Workplace) throws -> FilePath {
    let list = try #require(try filesByPath(under: place.store).keys.first { $0.hasSuffix("/\(id)/SHA256SUMS") })
    return place.store.appending(list).removingLastComponent()
  }

  /// The lines of a snapshot's chunk table that name lists, by `zstd` alone.
  private func lists(of id: String, _ place: Workplace) throws -> [[Substring]] {
    let table = try folder(of: id, place).appending("chunks.tsv.zst")
    let text = String(decoding: try ProgramResult.run("/usr/bin/zstd", ["-dcq", table.string], environment: [:]).output, as: UTF8.self)
    return text.split(separator: "\n").filter { $0.hasPrefix("L\t") }.map { $0.split(separator: "\t") }
  }

  /// Compares what `recover.sh` writes with an archive of the same moment by pg_dump.
  private func expectRecovery(of id: String, _ place: Workplace, identity: FilePath? = nil) throws {
    let recovered = place.folder.path("recovered-\(id)")
    let script = try folder(of: id, place).appending("recover.sh").string
    let result = try Workplace.run(
      "/bin/sh", [script, recovered.string] + (identity.map { [$0.string] } ?? []), environment: ["PATH": "/usr/bin:/bin"])
    #expect(result.status == 0, "\(result)")
    let stock = place.folder.path("stock-\(id)")
    _ = try place.server.tool("pg_dump", ["-Fd", "-Z0", "-f", stock.string], in: place.database)
    let tables = try Folder.names(in: stock).filter { $0.hasSuffix(".dat") && $0 != "toc.dat" }
    #expect(tables.count >= 2)
    for name in tables {
      let files = [stock.appending(name).string, recovered.appending("archive").appending(name).string]
      #expect(try ProgramResult.run("/usr/bin/cmp", files, environment: [:]).exitCode == 0, "\(name)")
    }
  }

  @Test func `are shared by snapshots of an unchanged table, whatever its file is called`() throws {
    let place = try workplace()
    let first = try place.takeSnapshot()
    let large = try #require(try lists(of: first, place).first)
    // Its file has another number now, and its rows are read again: PostgreSQL 15 does not say what changed.
    try place.sql("CREATE TABLE before AS SELECT 1 AS a; CREATE TABLE between AS SELECT 1 AS a; INSERT INTO small VALUES (10)")
    let second = try place.snapshot("--json").json()
    #expect(second["storedBytes"] as? Int ?? .max < 40_000, "\(second)")
    let id = try #require(second["id"] as? String)
    let again = try #require(try lists(of: id, place).first)
    #expect(large[1] == again[1] && large[6] != again[6], "\(large), \(again)")
    try expectRecovery(of: id, place)
    #expect(try place.verify("--read").status == 0 && place.verify("--quick").status == 0)
    let sums = try ProgramResult.run(
      "/bin/sh", ["-c", "cd \"$STORE\" && sha256sum --quiet -c \"$LIST\""],
      environment: ["STORE": place.store.string, "LIST": try folder(of: id, place).appending("SHA256SUMS").string, "PATH": "/usr/bin:/bin"])
    #expect(sums.exitCode == 0, "\(sums.errors)")
    // The list stays as long as a snapshot names it.
    #expect(try place.prune(place.database, "--remove", first, "--apply", "--confirm", "remove 1 snapshot of \(place.database)").status == 0)
    #expect(try place.verify("--read").status == 0)
    let restored = try place.restore(place.database, "--as", "\(place.database)_b", "--prove")
    #expect(restored.status == 0, "\(restored)")
    // A changed table has a list of its own.
    try place.sql("UPDATE large SET text = 'new' WHERE id = 100000")
    let third = try place.takeSnapshot()
    #expect(try lists(of: third, place).first?[1] != large[1])
    try expectRecovery(of: third, place)
  }

  @Test func `are shared without an identity, and are opened with one`() throws {
    let place = try workplace()
    try Folder.removeTree(place.store)
    let identity = place.folder.path("identity")
    let recipient = try place.firn("key", "new", identity.string).output
    #expect(try place.firn("init", "--recipient", recipient).status == 0)
    #expect(try place.snapshot().status == 0)
    try place.sql("INSERT INTO small VALUES (10)")
    var last: [String: Any] = [:]
    for _ in 0..<2 {
      last = try place.snapshot("--json").json()
      #expect(last["storedBytes"] as? Int ?? .max < 40_000, "\(last)")
    }
    try expectRecovery(of: try #require(last["id"] as? String), place, identity: identity)
    #expect(try place.verify("--read", "--identity", identity.string).status == 0)
    // A machine that knows nothing of the earlier ones stores everything once more.
    try Folder.removeTree(place.folder.path(".cache"))
    let alone = try place.snapshot("--json").json()
    #expect(alone["storedBytes"] as? Int ?? 0 > 1_000_000, "\(alone)")
    #expect(try place.verify("--read", "--identity", identity.string).status == 0)
  }

  @Test func `that are damaged are named with their table, and repaired from a copy`() throws {
    let place = try workplace()
    let copy = place.folder.path("copy")
    let id = try place.takeSnapshot("--copy-to", copy.string)
    let name = try #require(try lists(of: id, place).first?[1])
    let path = place.store.appending("objects/\(name.prefix(2))/\(name).zst")
    let sound = try Folder.contents(of: path)
    for damaged in [Array(sound.dropLast()), [0] + sound.dropFirst(), Array(sound.prefix(sound.count - 200)) + [UInt8](repeating: 1, count: 200)] {
      try Folder.write(damaged, to: path)
      let found = try place.verify("--read", "--json")
      #expect(found.status == 4 && found.output.contains("public.large") && found.output.contains(name), "\(found)")
      let repaired = try place.verify("--repair", "--from", copy.string)
      #expect(repaired.status == 3, "\(repaired)")
      #expect(try Folder.contents(of: path) == sound)
    }
    let target = "\(place.database)_b"
    for cut in [0, sound.count - 200] {
      try Folder.removeFile(path)
      if cut > 0 { try Folder.write(Array(sound.prefix(cut)) + [UInt8](repeating: 1, count: 200), to: path) }
      let refused = try place.restore(place.database, "--as", target)
      #expect(refused.status == 4 && refused.errors.contains(name) && refused.errors.contains("public.large"), "\(refused)")
      #expect(try place.restore(place.database, "--as", target, "--table", "large").status == 4)
      // Other tables come back all the same.
      let rest = try place.restore(place.database, "--as", target, "--only-intact")
      #expect(rest.status == 3 && rest.errors.contains("public.large"), "\(rest)")
      #expect(try place.server.sql("SELECT count(*) FROM small", in: target) == "9")
      try place.server.sql("DROP DATABASE \"\(target)\"")
      #expect(try place.restore(place.database, "--table", "small").status == 0)
      #expect(try place.restore(place.database, "--only-intact", "--export", place.folder.path("export-\(cut)").string).status == 3)
    }
    try Folder.removeFile(path)
    #expect(try place.verify("--quick").status == 4)
    // The next snapshot stores it again.
    _ = try place.snapshot()
    #expect(try place.verify(place.database, "latest", "--read").status == 0)
  }

  @Test func `of a large object leave the tables restorable when they are damaged`() throws {
    let place = try workplace()
    try place.sql("SELECT lo_from_bytea(0, string_agg(sha256(g::text::bytea), '')) FROM generate_series(1, 200000) g")
    let id = try place.takeSnapshot()
    let name = try #require(try lists(of: id, place).first { $0[6].hasPrefix("blob_") }?[1])
    let path = place.store.appending("objects/\(name.prefix(2))/\(name).zst")
    try Folder.removeFile(path)
    let found = try place.verify("--read", "--json")
    #expect(found.status == 4 && found.output.contains("blob_") && !found.output.contains("the manifest says"), "\(found)")
    let target = "\(place.database)_b"
    let refused = try place.restore(place.database, "--as", target)
    #expect(refused.status == 4 && refused.errors.contains("large objects"), "\(refused)")
    #expect(try place.restore(place.database, "--as", target, "--table", "large").status == 0)
    try place.server.sql("DROP DATABASE \"\(target)\"")
    #expect(try place.restore(place.database, "--export", place.folder.path("part").string, "--table", "small").status == 0)
    let rest = try place.restore(place.database, "--as", target, "--only-intact")
    #expect(rest.status == 3, "\(rest)")
    #expect(try place.server.sql("SELECT count(*) FROM large", in: target) == "200000")
  }

  @Test func `are made beside snapshots of version 1, which can still be read`() throws {
    let server = try TestServer.system.get()
    try server.sql("CREATE DATABASE \"shop\"")
    defer { _ = try? server.sql("DROP DATABASE IF EXISTS \"shop\" WITH (FORCE)") }
    var place = try Workplace(on: server, database: "shop")
    try Folder.removeTree(place.store)
    try Folder.make(place.store)
    let fixture = FirnProgram.projectFile("Tests/CommandTests/Version1/store.tar.zst").string
    _ = try ProgramResult.run("/usr/bin/tar", ["--zstd", "-xf", fixture, "-C", place.store.string], environment: ["PATH": "/usr/bin:/bin"])
    place.environment["HOME"] = place.folder.path.string
    #expect(try place.verify("--read").status == 0)
    let restored = try place.restore("old/shop", "20261129T191633Z-co7l", "--into", "shop", "--prove")
    #expect(restored.status == 0, "\(restored)")
    #expect(
      try place.sql("SELECT count(*), min(note) FROM readings; SELECT count(*) FROM names")
        == "1000000|\(String(repeating: "the same reading ", count: 4))\n51")
    let next = try place.snapshot("--source", "old", "--json").json()
    #expect(next["storedBytes"] as? Int ?? .max < 40_000, "\(next)")
    let id = try #require(next["id"] as? String)
    #expect(try !lists(of: id, place).isEmpty)
    #expect(try place.verify("--read").status == 0)
    try expectRecovery(of: id, place)
    #expect(try place.prune("old/shop", "--keep-last", "1", "--apply", "--confirm", "remove 2 snapshots of shop").status == 0)
    #expect(try place.verify("--read").status == 0)
  }
}
