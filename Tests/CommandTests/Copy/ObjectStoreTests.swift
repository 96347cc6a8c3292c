import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// Stores in buckets, on a real server that wants signatures.
@Suite struct `A store in a bucket` {
  private struct Bucket {
    let place: Workplace
    let server: TestObjectServer
    let location: String
  }

  /// A database with rows, a store in a folder, and a bucket.
  private func workplace(rows: Int = 20_000) throws -> Bucket {
    var place = try Workplace(on: TestServer.system.get())
    let server = try TestObjectServer.shared.get()
    place.environment.merge(TestObjectServer.environment()) { _, new in new }
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) || md5((g * 3)::text) x FROM generate_series(1, \(rows)) g")
    return Bucket(place: place, server: server, location: server.location(try server.makeBucket()))
  }

  @Test func `is filled straight from the server, and gives it back to a machine that has nothing but its location and a key`() throws {
    let bucket = try workplace()
    var place = bucket.place
    try Folder.removeTree(place.store)
    place.environment["FIRN_STORE"] = bucket.location
    #expect(try place.firn("init").status == 0)
    #expect(try place.firn("init").status == 6)
    let first = try place.takeSnapshot("--kind", "nightly")
    try place.sql("UPDATE t SET x = 'new' WHERE id = 7")
    let second = try place.snapshot("--json").json()
    #expect(second["newObjects"] as? Int ?? 0 > 0 && second["storedBytes"] as? Int ?? .max < 200_000, "\(second)")
    #expect(try place.listedSnapshots().first == first)
    #expect(try place.verify(place.database, "all", "--read").status == 0)
    #expect(!Folder.exists(place.store), "it needs no folder")

    // A machine that has nothing.
    let home = try TemporaryFolder()
    place.environment["HOME"] = home.path.string
    // A key that may only read is enough.
    place.environment["AWS_ACCESS_KEY_ID"] = TestObjectServer.readerKeyID
    let restored = try place.restore(place.database, "latest", "--as", "\(place.database)_back", "--prove")
    #expect(restored.status == 0, "\(restored)")
    #expect(try place.server.sql("SELECT count(*) FROM t WHERE x = 'new'", in: "\(place.database)_back") == "1")
    let refused = try place.snapshot()
    #expect(refused.status == 9 && refused.errors.contains("denies writing"), "\(refused)")
    place.environment["AWS_ACCESS_KEY_ID"] = TestObjectServer.keyID
    #expect(try place.prune("--keep-last", "1", "--apply").status == 0)
    #expect(try place.listedSnapshots() == [second["id"] as? String])
    #expect(try place.verify(place.database, "all", "--read").status == 0)
  }

  @Test func `takes copies: one store that fails keeps no other from its own, and is named`() throws {
    let bucket = try workplace()
    let place = bucket.place
    let missing = bucket.server.location("no-such-bucket")
    let configured = try place.folder.write("copies: [\"\(bucket.location)\", \"\(missing)\"]\n", to: "firn.yaml").string
    let first = try place.snapshot("--config", configured)
    #expect(first.status == 3 && first.errors.contains("no copy in s3://no-such-bucket/firn?endpoint="), "\(first)")
    #expect(first.errors.contains("there is no bucket no-such-bucket"), "\(first)")
    #expect(first.errors.contains("copied to s3://"), "\(first)")
    // The second night sends what is new.
    try place.sql("UPDATE t SET x = 'new' WHERE id = 7")
    let second = try place.snapshot("--json", "--copy-to", bucket.location)
    let copies = try second.json()["copies"] as? [[String: Any]]
    #expect(second.status == 0 && copies?.count == 1 && copies?.first?["bytes"] as? Int ?? .max < 200_000, "\(second)")
    let again = try place.firn("copy", "--to", bucket.location)
    #expect(again.status == 0 && again.errors.contains("already has this snapshot"), "\(again)")
    #expect(try place.firn("copy", "--to", missing).status == 9)
    #expect(try place.firn("copy", "--to", place.store.string).status == 64)

    // Objects damaged here are repaired from there.
    let objects = try filesByPath(under: place.store).filter { $0.key.hasPrefix("objects/") && $0.value.kind == .file }
    for object in objects.keys { try Folder.removeFile(place.store.appending(object)) }
    #expect(try place.verify(place.database, "all", "--read").status == 4)
    let repaired = try place.verify(place.database, "all", "--repair", "--from", bucket.location)
    #expect(repaired.status == 3 || repaired.status == 0, "\(repaired)")
    #expect(try place.verify(place.database, "all", "--read").status == 0)
    // And what is gone here comes back from there.
    try Folder.removeTree(place.store)
    let restored = try place.restore(place.database, "latest", "--as", "\(place.database)_back", "--prove", "--store", bucket.location)
    #expect(restored.status == 0, "\(restored)")
    #expect(try place.firn("copy", "--init", "--from", bucket.location, "--to", place.store.string, "latest").status == 0)
    #expect(try place.listedSnapshots().count == 1)
    #expect(try place.verify(place.database, "all", "--read").status == 0)
  }

  @Test func `reports a bad location, key or server without printing a secret`() throws {
    let bucket = try workplace(rows: 2)
    var place = bucket.place
    #expect(try place.firn("init", "--store", bucket.location).status == 0)
    let endpoint = "endpoint=http://127.0.0.1:\(bucket.server.port)"
    func expect(_ status: Int32, _ words: String, _ location: String, _ changes: [String: String] = [:]) throws {
      var other = place
      other.environment.merge(changes) { _, new in new }
      let result = try other.firn("list", "--store", location)
      #expect(result.status == status && result.errors.contains(words) && result.errors.contains("\nhint: "), "\(result)")
      #expect(!result.errors.contains(TestObjectServer.secret) && result.errors.split(separator: "\n").count == 2, "\(result)")
    }
    try expect(9, "there is no bucket nothing-here", "s3://nothing-here/firn?\(endpoint)")
    try expect(10, "there is no repository", bucket.server.location(String(bucket.location.dropFirst(5).prefix { $0 != "/" }), prefix: "elsewhere"))
    try expect(9, "does not know the key", bucket.location, ["AWS_ACCESS_KEY_ID": "stranger"])
    try expect(9, "the secret does not match the key", bucket.location, ["AWS_SECRET_ACCESS_KEY": "wrong"])
    try expect(9, "no key was found", bucket.location, ["AWS_ACCESS_KEY_ID": "", "AWS_EC2_METADATA_DISABLED": "true"])
    try expect(9, "can't be reached", "s3://bucket/firn?endpoint=http://127.0.0.1:1")
    try expect(9, "can't be reached", "s3://bucket/firn?endpoint=http://no.such.host.invalid")
    try expect(64, "names no bucket", "s3://")
    try expect(64, "a bucket's name has 3 letters at least", "s3://ab/firn")
    try expect(64, "a parameter endpont", "s3://bucket/firn?endpont=http://127.0.0.1:1")
    try expect(64, "its endpoint is no", "s3://bucket/firn?endpoint=127.0.0.1")
    try expect(64, "neither a folder nor a bucket", "gopher://host/firn")

    // Keys that lie elsewhere.
    place.environment["AWS_ACCESS_KEY_ID"] = nil
    place.environment["AWS_SECRET_ACCESS_KEY"] = nil
    try Folder.make(place.folder.path(".aws"))
    let profile = "aws_access_key_id = \(TestObjectServer.keyID)\naws_secret_access_key = \(TestObjectServer.secret)\n"
    try place.folder.write("[other]\naws_access_key_id = x\naws_secret_access_key = y\n[backup]\n\(profile)", to: ".aws/credentials")
    try expect(9, "has no key for a profile", bucket.location + "&profile=none")
    #expect(try place.firn("list", "--store", bucket.location + "&profile=backup").status == 0)
    let answer = #"{"Version": 1, "AccessKeyId": "\#(TestObjectServer.keyID)", "SecretAccessKey": "\#(TestObjectServer.secret)"}"#
    let file = try place.folder.write(answer, to: "key.json")
    let configured = try place.folder.write("credentials-command: cat \(file)\n", to: "firn.yaml").string
    #expect(try place.firn("list", "--store", bucket.location, "--config", configured).status == 0)
  }

  @Test func `goes on with a copy when its server was gone for a while`() throws {
    var place = try Workplace(on: TestServer.system.get())
    place.environment.merge(TestObjectServer.environment()) { _, new in new }
    let server = try TestObjectServer()
    let location = server.location(try server.makeBucket())
    try place.sql(
      """
      CREATE TABLE t AS SELECT g id, (SELECT string_agg(md5((g * i)::text), '') FROM generate_series(1, 30) i) x FROM generate_series(1, 60000) g
      """)
    _ = try place.takeSnapshot()
    let lines = Monitor<[String]>([])
    let copy = try place.start("firn", ["copy", "--to", location, "--max-rate", "6MiB"]) { line in lines.update { $0.append(line) } }
    Thread.sleep(forTimeInterval: 2)
    server.crash()
    try server.start()
    #expect(copy.wait() == 0, "\(lines.current)")
    #expect(try place.verify(place.database, "all", "--read", "--store", location).status == 0)
  }
}
