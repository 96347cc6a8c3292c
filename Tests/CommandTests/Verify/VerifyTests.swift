import Digests
import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

@Suite struct `firn-verify` {
  /// Two nights of one database.
  private func workplace() throws -> Workplace {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql(
      """
      CREATE TABLE large AS SELECT g id, md5(g::text) || md5((g * 7)::text) x FROM generate_series(1, 40000) g;
      CREATE TABLE small (id int, body text); INSERT INTO small VALUES (1, 'one'), (2, 'two');
      """)
    _ = try place.takeSnapshot()
    try place.sql("INSERT INTO small VALUES (3, 'three')")
    _ = try place.takeSnapshot()
    return place
  }

  private func files(_ place: Workplace, _ isWanted: (String) -> Bool) throws -> [FilePath] {
    try filesByPath(under: place.store).filter { $0.value.kind == .file && isWanted($0.key) }.keys.sorted().map { place.store.appending($0) }
  }

  @Test func `finds an intact store intact, and remembers it`() throws {
    let place = try workplace()
    for level in ["--quick", "--read"] {
      let result = try place.verify(place.database, "all", level, "--json")
      #expect(result.status == 0, "\(result)")
      let report = try result.json()
      let snapshots = try #require(report["snapshots"] as? [[String: Any]])
      #expect(snapshots.count == 2)
      #expect(snapshots.allSatisfy { $0["ok"] as? Bool == true && $0["level"] as? String == String(level.dropFirst(2)) })
      #expect(report["objectsChecked"] as? Int ?? 0 > 0)
      if level == "--read" { #expect(report["bytesChecked"] as? Int ?? 0 > 1_000_000) }
    }
    let listed = try #require(place.firn("list", "--json").json()["snapshots"] as? [[String: Any]])
    #expect(listed.allSatisfy { $0["verifiedAt"] is String })
    #expect(try place.firn("show", place.database, "latest:verified").status == 0)
  }

  /// Damages one file in a way, checks what each level reports, and repairs it.
  private func expectDamage(
    _ place: Workplace, _ file: FilePath, seenByQuick: Bool, naming expected: [String] = [], _ damage: (inout [UInt8]) -> Void
  ) throws {
    let intact = try Folder.contents(of: file)
    var bytes = intact
    damage(&bytes)
    try Folder.write(bytes, to: file)
    let read = try place.verify(place.database, "all", "--read")
    #expect(read.status == 4, "\(file): \(read)")
    for word in expected { #expect((read.output + read.errors).contains(word), "\(word) in \(read)") }
    if seenByQuick { #expect(try place.verify(place.database, "all", "--quick").status == 4, "\(file)") }
    try Folder.write(intact, to: file)
  }

  @Test func `names snapshot, table and object of every bit that flips`() throws {
    let place = try workplace()
    let ids = try place.listedSnapshots()
    let objects = try files(place) { $0.hasPrefix("objects/") }
    #expect(objects.count >= 2)
    for object in objects {
      let name = try #require(object.lastComponent?.stem)
      for position in [0, 5, 100] {
        try expectDamage(place, object, seenByQuick: false, naming: [String(name.prefix(12))]) { $0[min(position, $0.count - 1)] ^= 0x10 }
      }
      try expectDamage(place, object, seenByQuick: false) { $0[$0.count - 1] ^= 1 }
      try expectDamage(place, object, seenByQuick: true) { $0.removeLast() }
      try expectDamage(place, object, seenByQuick: true) { $0.append(0) }
    }
    let largest = try #require(try objects.max { try Folder.status(of: $0)?.size ?? 0 < Folder.status(of: $1)?.size ?? 0 })
    try expectDamage(place, largest, seenByQuick: false, naming: ids + ["public.large"]) { $0[$0.count / 2] ^= 0x40 }
  }

  @Test func `finds every change in a snapshot's own files`() throws {
    let place = try workplace()
    for name in ["manifest.json", "chunks.tsv.zst", "globals.sql.zst", "recover.sh", "SHA256SUMS"] {
      for file in try files(place, { $0.hasSuffix(name) && $0.hasPrefix("snapshots/") }) {
        try expectDamage(place, file, seenByQuick: true) { $0[$0.count / 2] ^= 0x04 }
        try expectDamage(place, file, seenByQuick: true) { $0.removeLast($0.count / 3) }
        if name != "SHA256SUMS" { try expectDamage(place, file, seenByQuick: true) { $0 = [] } }
      }
    }
    #expect(try place.verify(place.database, "all", "--read").status == 0)
  }

  @Test func `finds a missing object, and tables whose bytes were swapped`() throws {
    let place = try workplace()
    let objects = try files(place) { $0.hasPrefix("objects/") }
    for object in objects {
      let aside = place.folder.path("aside")
      try Folder.rename(object, to: aside)
      for level in ["--quick", "--read"] {
        let result = try place.verify(place.database, "all", level)
        #expect(result.status == 4)
        #expect((result.output + result.errors).contains("missing"))
      }
      try Folder.rename(aside, to: object)
    }
    let (first, second) = (objects[0], objects[1])
    let aside = place.folder.path("aside")
    try Folder.rename(first, to: aside)
    try Folder.rename(second, to: first)
    try Folder.rename(aside, to: second)
    #expect(try place.verify(place.database, "all", "--read").status == 4)
  }

  @Test func `does not restore from a damaged snapshot, and drops what it began`() throws {
    let place = try workplace()
    let objects = try files(place) { $0.hasPrefix("objects/") }
    let largest = try #require(try objects.max { try Folder.status(of: $0)?.size ?? 0 < Folder.status(of: $1)?.size ?? 0 })
    var bytes = try Folder.contents(of: largest)
    bytes[bytes.count / 2] ^= 1
    try Folder.write(bytes, to: largest)
    let copy = "\(place.database)_copy"
    let result = try place.restore(place.database, "latest", "--as", copy)
    #expect(result.status == 4, "\(result)")
    #expect(try !place.server.databaseNames().contains(copy))
    #expect(try place.leftovers().isEmpty)
  }

  @Test func `lets the next snapshot repair what it found, and pruning keep what is sound`() throws {
    let place = try workplace()
    let ids = try place.listedSnapshots()
    let objects = try files(place) { $0.hasPrefix("objects/") }
    let largest = try #require(try objects.max { try Folder.status(of: $0)?.size ?? 0 < Folder.status(of: $1)?.size ?? 0 })
    let sound = try Folder.contents(of: largest)
    var bytes = sound
    bytes[bytes.count / 2] ^= 1
    #expect(try place.verify(place.database, "all", "--read").status == 0)
    // Checks are distinguished by the second.
    Thread.sleep(forTimeInterval: 1.1)
    try Folder.write(bytes, to: largest)
    #expect(try place.verify(place.database, ids[1], "--read").status == 4)
    // The other shares that object: what was said of it before is no longer true.
    let verified = try place.restore(place.database, "latest:verified", "--as", "\(place.database)_no")
    #expect(verified.status == 10, "\(verified)")
    // It was repaired, and read since: a result of one is no result of the other.
    Thread.sleep(forTimeInterval: 1.1)
    try Folder.write(sound, to: largest)
    #expect(try place.verify(place.database, ids[0], "--read").status == 0)
    let repaired = try place.restore(place.database, "latest:verified", "--as", "\(place.database)_mended", "--json")
    #expect(try repaired.status == 0 && repaired.json()["id"] as? String == ids[0], "\(repaired)")
    Thread.sleep(forTimeInterval: 1.1)
    try Folder.write(bytes, to: largest)
    #expect(try place.verify(place.database, ids[1], "--read").status == 4)
    #expect(try place.firn("list").output.contains("FOUND DAMAGED"))
    // The newest is damaged: it counts for nothing, and the one before stays.
    let plan = try place.prune(place.database, "--keep-last", "1", "--json").json()
    #expect((plan["remove"] as? [Any])?.isEmpty == true, "\(plan)")
    let third = try place.snapshot("--json")
    #expect(third.status == 3, "\(third)")
    #expect((try third.json()["warnings"] as? [String] ?? []).contains { $0.contains("gone or damaged") })
    #expect(try place.verify(place.database, "latest", "--read").status == 0)
    #expect(try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--prove").status == 0)
  }

  @Test func `says so where its result can't be written down`() throws {
    let place = try workplace()
    let id = try place.listedSnapshots()[1]
    let snapshot = try #require(files(place) { $0.contains(id) && $0.hasSuffix("SHA256SUMS") }.first).removingLastComponent()
    // No folder can be made there.
    try Folder.write([], to: snapshot.appending("checks"))
    let sound = try place.verify(place.database, id, "--read")
    #expect(sound.status == 3 && sound.output.contains("intact") && sound.errors.contains("will not count as verified"), "\(sound)")
    let drilled = try place.verify(place.database, id, "--drill")
    #expect(drilled.status == 3 && drilled.errors.contains("will not count as a proof"), "\(drilled)")
    for object in try files(place, { $0.hasPrefix("objects/") }) {
      var bytes = try Folder.contents(of: object)
      bytes[bytes.count / 2] ^= 1
      try Folder.write(bytes, to: object)
    }
    let damaged = try place.verify(place.database, id, "--read")
    #expect(damaged.status == 4 && damaged.errors.contains("COULD NOT BE RECORDED"), "\(damaged)")
  }

  @Test func `has its dates reported, and which are too old`() throws {
    var place = try workplace()
    func status() throws -> (CommandResult, [String]) {
      let result = try place.firn("status", "--json")
      let entry = try #require((result.json()["databases"] as? [[String: Any]])?.first { $0["database"] as? String == place.database })
      return (result, entry["problems"] as? [String] ?? [])
    }
    var (result, problems) = try status()
    #expect(result.status == 3 && problems == ["no snapshot was ever verified"], "\(result)")
    #expect(try place.verify(place.database, "latest", "--read").status == 0)
    (result, problems) = try status()
    #expect(result.status == 0 && problems.isEmpty, "\(result)")
    #expect(try place.firn("status").output.contains("ok"))
    place.environment["HOME"] = place.folder.path.string
    try Folder.make(place.folder.path(".config/firn"))
    try Folder.write(Array("max-age: 1ms\nmax-proof-age: 1ms\n".utf8), to: place.folder.path(".config/firn/firn.yaml"))
    Thread.sleep(forTimeInterval: 1.1)
    (result, problems) = try status()
    #expect(result.status == 3 && problems.count == 2, "\(result)")
    try Folder.removeFile(place.folder.path(".config/firn/firn.yaml"))
    try place.sql("DELETE FROM large")
    #expect(try place.snapshot().status == 3)
    (result, problems) = try status()
    #expect(result.status == 3 && problems.contains { $0.hasPrefix("public.large has 0 rows, it had 40000") }, "\(result)")
  }

  @Test func `has older damage reported for as long as it exists`() throws {
    let place = try workplace()
    let ids = try place.listedSnapshots()
    let only = try #require(files(place) { $0.hasPrefix("objects/") }.first)
    let bytes = try Folder.contents(of: only)
    try Folder.write(Array(bytes.dropLast()), to: only)
    #expect(try place.verify(place.database, "all", "--read").status == 4)
    // It stores damaged objects again, and is whole.
    #expect([0, 3].contains(try place.snapshot().status))
    // Of two checks within one second, the one that found damage counts.
    Thread.sleep(forTimeInterval: 1.1)
    #expect(try place.verify(place.database, "latest", "--read").status == 0)
    let status = try place.firn("status")
    #expect(status.status == 3 && status.output.contains("found damaged"), "\(status)")
    #expect(ids.contains { status.output.contains($0) } && !status.output.contains("the newest snapshot was"), "\(status)")
    try Folder.write(bytes, to: only)
    Thread.sleep(forTimeInterval: 1.1)
    #expect(try place.verify(place.database, "all", "--read").status == 0)
    let repaired = try place.firn("status")
    #expect(repaired.status == 0, "\(repaired)")
  }

  @Test func `repairs a store from a copy of it, and keeps the replaced files`() throws {
    let place = try workplace()
    let copy = place.folder.path("copy")
    _ = try Workplace.run("/bin/cp", ["-a", place.store.string, copy.string], environment: [:])
    let objects = try files(place) { $0.hasPrefix("objects/") }
    var bytes = try Folder.contents(of: objects[0])
    bytes[3] ^= 1
    try Folder.write(bytes, to: objects[0])
    try Folder.removeFile(objects[1])
    let manifest = try #require(files(place) { $0.hasSuffix("manifest.json") }.first)
    try Folder.write([1], to: manifest)

    let nothing = try place.verify("--repair", "--from", place.folder.path("nowhere").string)
    #expect(nothing.status == 10, "\(nothing)")
    #expect(try place.verify("--repair").status == 64)
    let repaired = try place.verify("--repair", "--from", copy.string, "--json")
    #expect(repaired.status == 3, "\(repaired)")
    let report = try repaired.json()
    #expect((report["repaired"] as? [[String: Any]])?.count == 3 && (report["unrepaired"] as? [Any])?.isEmpty == true, "\(repaired)")
    #expect(try place.verify().status == 0)
    let aside = try files(place) { $0.hasPrefix("quarantine/") }
    #expect(aside.count == 2)
    #expect(try Folder.contents(of: try #require(aside.first { $0.string.hasSuffix(".zst") })) == bytes)
    #expect(try place.restore(place.database, "latest", "--as", "\(place.database)_copy", "--prove").status == 0)
  }

  @Test func `samples the store, at a rate, night after night`() throws {
    let place = try workplace()
    let result = try place.verify("--sample", "50%", "--max-rate", "100MB", "--json")
    #expect(result.status == 0, "\(result)")
    #expect(try result.json()["objectsChecked"] as? Int ?? 0 > 0)
    for arguments in [
      ["--sample", "0%"], ["--sample", "5"], [place.database, "--sample", "5%"], ["--max-rate", "fast"], ["--sample", "5%", "--read"],
    ] {
      #expect(try place.run("firn-verify", arguments).status == 64, "\(arguments)")
    }
    // A share is no proof of a snapshot.
    #expect(try place.firn("show", place.database, "latest:verified").status == 10)
  }

  @Test func `compares columns in the snapshot's order, which a restore does not keep for heirs`() throws {
    var place = try Workplace(on: TestServer.system.get())
    place.environment["PGPASSWORD"] = TestServer.password
    try place.sql(
      """
      CREATE TABLE parent (a int); CREATE TABLE child (b int, "c,d" text) INHERITS (parent); ALTER TABLE parent ADD COLUMN z int;
      INSERT INTO child VALUES (1, 2, 'x', 3)
      """)
    let id = try place.takeSnapshot()
    let copy = "\(place.database)_copy"
    #expect(try place.restore(place.database, id, "--as", copy).status == 0)
    let same = try place.verify(place.database, id, "--against", place.server.address(copy))
    #expect(same.status == 0, "\(same)")
    try place.server.sql("UPDATE child SET b = 7", in: copy)
    let other = try place.verify(place.database, id, "--against", place.server.address(copy))
    #expect(other.status == 4 && other.output.contains("public.child"), "\(other)")
  }

  @Test func `compares with a live database, and two snapshots with each other`() throws {
    var place = try workplace()
    place.environment["PGPASSWORD"] = TestServer.password
    let url = place.server.address(place.database)
    let same = try place.verify(place.database, "latest", "--against", url)
    #expect(same.status == 0 && same.output.contains("every table is as in"), "\(same)")
    try place.sql(
      """
      UPDATE large SET x = 'y' WHERE id = 7; DROP TABLE small; CREATE TABLE fresh AS SELECT 1 id;
      CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'; ALTER TABLE large ADD COLUMN later int;
      CREATE SEQUENCE counter; SELECT setval('counter', 42); SELECT lo_from_bytea(0, 'x');
      """)
    let result = try place.verify(place.database, "latest", "--against", url, "--json")
    #expect(result.status == 4, "\(result)")
    let tables = try #require(result.json()["tables"] as? [[String: Any]])
    #expect(
      tables.map { "\($0["name"] ?? "") \($0["state"] ?? "") \($0["rowsThen"] ?? "") \($0["rowsNow"] ?? "")" } == [
        "public.large differs 40000 40000", "public.small missing 3 ", "public.fresh new  1",
      ], "\(tables)")
    #expect(try place.leftovers().isEmpty)

    let ids = try place.listedSnapshots() + [try place.takeSnapshot()]
    let shown = try place.firn("show", place.database, ids[1], ids[2], "--json").json()
    let changed = try #require(shown["tables"] as? [[String: Any]]).filter { $0["same"] as? Bool == false }
    #expect(changed.map { $0["name"] as? String } == ["public.fresh", "public.large", "public.small"])
    let schema = try #require(shown["schema"] as? [[String: Any]])
    #expect(
      schema.map { $0["object"] as? String } == [
        "FUNCTION public.twice(integer)", "SEQUENCE public.counter", "TABLE public.fresh", "TABLE public.large", "TABLE public.small",
      ], "\(schema)")
    #expect(
      schema[3]["added"] as? [String] == ["    x text,", "    later integer"] && schema[3]["removed"] as? [String] == ["    x text"], "\(schema)")
    let values = try #require(shown["sequences"] as? [[String: Any]])
    #expect(values.count == 1 && values[0]["name"] as? String == "public.counter" && values[0]["after"] as? Int == 42, "\(values)")
    #expect(shown["largeObjects"] as? [String: Int] == ["before": 0, "after": 1])
    let words = try place.firn("show", place.database, ids[1], ids[2])
    #expect(words.output.contains("public.counter  - > 42") && words.output.contains("large objects: 0 > 1"), "\(words)")
    let text = try place.firn("show", place.database, ids[0], ids[1])
    #expect(text.output.contains("the schema is the same") && text.output.contains("2 > 3"), "\(text)")
  }

  @Test func `finds tables and large objects that a forged manifest leaves out, though its checksum is right`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE kept AS SELECT 1 a; CREATE TABLE hidden AS SELECT 2 b; SELECT lo_from_bytea(0, 'x')")
    let id = try place.takeSnapshot()
    let folder = try #require(filesByPath(under: place.store).keys.first { $0.contains(id) && $0.hasSuffix("/manifest.json") })
    let (path, list) = (place.store.appending(folder), place.store.appending(folder.replacing("manifest.json", with: "SHA256SUMS")))
    let (original, sums) = (try Folder.contents(of: path), String(decoding: try Folder.contents(of: list), as: UTF8.self))
    func forge(_ change: (inout [String: Any]) -> Void) throws {
      var manifest = try #require(JSONSerialization.jsonObject(with: Data(original)) as? [String: Any])
      change(&manifest)
      let bytes = Array(try JSONSerialization.data(withJSONObject: manifest))
      try Folder.write(bytes, to: path)
      try Folder.write(
        Array(sums.replacing("\(SHA256Digest(of: original))", with: "\(SHA256Digest(of: bytes))").utf8), to: list)
    }
    for (words, change) in [
      ("is of no table of the manifest", { $0["tables"] = ($0["tables"] as? [[String: Any]])?.filter { $0["name"] as? String == "kept" } }),
      ("large objects, the manifest says 0", { $0["largeObjects"] = 0 }),
      ("toc.dat is another than the manifest's", { $0["contentsSHA256"] = String(repeating: "0", count: 64) }),
    ] as [(String, (inout [String: Any]) -> Void)] {
      try forge(change)
      let read = try place.verify(place.database, "latest", "--read")
      #expect(read.status == 4 && read.output.contains(words), "\(read)")
      let restored = try place.restore(place.database, "latest", "--as", "\(place.database)_forged")
      #expect(restored.status == 9 && restored.errors.contains(words), "\(restored)")
    }
  }

  @Test func `calls no snapshot of a newer format damaged, and hides no other for it`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT 1 a")
    let older = try place.takeSnapshot()
    let id = try place.takeSnapshot()
    let key = try #require(filesByPath(under: place.store).keys.first { $0.contains(id) && $0.hasSuffix("/manifest.json") })
    let (path, list) = (place.store.appending(key), place.store.appending(key.replacing("manifest.json", with: "SHA256SUMS")))
    let original = try Folder.contents(of: path)
    var manifest = try #require(JSONSerialization.jsonObject(with: Data(original)) as? [String: Any])
    manifest["formatVersion"] = 99
    let bytes = Array(try JSONSerialization.data(withJSONObject: manifest))
    let sums = String(decoding: try Folder.contents(of: list), as: UTF8.self)
    try Folder.write(bytes, to: path)
    try Folder.write(Array(sums.replacing("\(SHA256Digest(of: original))", with: "\(SHA256Digest(of: bytes))").utf8), to: list)
    let read = try place.verify(place.database, "all", "--read")
    #expect(read.status == 3 && read.errors.contains("newer than this program") && !read.output.contains("DAMAGED"), "\(read)")
    let listed = try place.firn("list")
    #expect(listed.status == 3 && listed.output.contains(older) && !listed.output.contains("DAMAGED"), "\(listed)")
    // Its bytes are checked all the same.
    try Folder.write([1], to: place.store.appending(key.replacing("manifest.json", with: "recover.sh")))
    #expect(try place.verify(place.database, id, "--read").status == 4)
  }
}
