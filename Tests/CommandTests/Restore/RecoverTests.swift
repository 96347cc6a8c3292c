import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// The script beside every snapshot, with nothing but stock tools.
@Suite struct `recover.sh` {
  /// A folder with coreutils, sh, awk, perl, zstd and PostgreSQL's tools, and nothing else.
  private func stockTools(_ folder: TemporaryFolder, _ server: TestServer) throws -> FilePath {
    let path = folder.path("stock")
    try Folder.make(path)
    let packages = try Workplace.run("/usr/bin/dpkg", ["-L", "coreutils"], environment: ["PATH": "/usr/bin:/bin"])
    var tools = packages.output.split(separator: "\n").map(String.init).filter { $0.contains("/bin/") || $0.contains("/sbin/") }
    tools += ["/bin/sh", "/usr/bin/awk", "/usr/bin/perl", "/usr/bin/zstd"]
    tools += try Folder.names(in: server.binaries).map { server.binaries.appending($0).string }
    for tool in tools {
      _ = try Workplace.run("/bin/ln", ["-sf", tool, path.appending(FilePath(tool).lastComponent!.string).string], environment: [:])
    }
    return path
  }

  private func recover(_ place: Workplace, _ id: String, into target: FilePath, path: FilePath) throws -> CommandResult {
    let scripts = try filesByPath(under: place.store).keys.filter { $0.hasSuffix("/\(id)/recover.sh") }
    #expect(scripts.count == 1)
    return try Workplace.run(
      path.appending("sh"), [place.store.appending(scripts.first ?? "").string, target.string],
      environment: ["PATH": path.string, "LC_ALL": "C"])
  }

  private func expectSame(_ place: Workplace, _ archive: FilePath, as name: String, _ wanted: String) throws {
    let server = place.server
    try server.sql("CREATE DATABASE \"\(name)\" TEMPLATE template0")
    let restored = try server.tool("pg_restore", ["--exit-on-error", "--jobs=2", "-d", name, archive.string], in: name)
    #expect(restored.exitCode == 0, "\(restored.errors)")
    #expect(try server.sql(Self.digest, in: name) == wanted)
  }

  private static let digest = """
    SELECT count(*), md5(string_agg(t::text, '' ORDER BY id)) FROM public.t
    UNION ALL SELECT count(*), md5(string_agg(encode(data, 'hex'), '' ORDER BY id)) FROM public.files
    UNION ALL SELECT count(*), md5(string_agg(md5(lo_get(oid)), '' ORDER BY oid)) FROM pg_largeobject_metadata
    """

  @Test func `gives the same database back, from the first night and from the thirtieth`() throws {
    let server = try TestServer.system.get()
    let place = try Workplace(on: server)
    try place.sql(
      """
      CREATE TABLE t AS SELECT g id, md5(g::text) || repeat('x', g % 40) body FROM generate_series(1, 60000) g;
      CREATE TABLE files AS SELECT g id, sha512(g::text::bytea) data FROM generate_series(1, 5000) g;
      SELECT lo_from_bytea(0, decode(repeat('00ff0a5c', 50000), 'hex')), lo_from_bytea(0, '');
      """)
    let first = (id: try place.takeSnapshot(), wanted: try place.sql(Self.digest))
    for night in 2...30 {
      try place.sql(
        """
        UPDATE t SET body = md5(body || \(night)) WHERE id % 200 = \(night);
        INSERT INTO t SELECT \(night * 100_000) + g, md5((g + \(night))::text) FROM generate_series(1, 300) g;
        """)
      if night < 30 { _ = try place.takeSnapshot() }
    }
    let last = (id: try place.takeSnapshot(), wanted: try place.sql(Self.digest))
    #expect(first.wanted != last.wanted)
    let path = try stockTools(place.folder, server)
    for (number, night) in [first, last].enumerated() {
      let target = place.folder.path("recovered to \(number)")
      let result = try recover(place, night.id, into: target, path: path)
      #expect(result.status == 0, "\(result)")
      #expect(result.output.contains("pg_restore"))
      #expect(try Folder.names(in: target) == ["archive", "globals.sql"])
      try expectSame(place, target.appending("archive"), as: "\(place.database)_\(number)", night.wanted)
      let globals = String(decoding: try Folder.contents(of: target.appending("globals.sql")), as: UTF8.self)
      #expect(globals.contains("CREATE ROLE"))
    }
  }

  @Test func `fails loudly where the store is damaged or the target is taken`() throws {
    let server = try TestServer.system.get()
    let place = try Workplace(on: server)
    try place.sql("CREATE TABLE t AS SELECT g id, md5(g::text) body FROM generate_series(1, 20000) g")
    let id = try place.takeSnapshot()
    let path = try stockTools(place.folder, server)
    let taken = place.folder.path("taken")
    try Folder.make(taken)
    #expect(try recover(place, id, into: taken, path: path).status == 1)

    let object = try #require(try filesByPath(under: place.store).filter { $0.key.hasPrefix("objects/") && $0.value.size > 10000 }.keys.first)
    var bytes = try Folder.contents(of: place.store.appending(object))
    bytes[bytes.count / 2] ^= 1
    try Folder.write(bytes, to: place.store.appending(object))
    let damaged = try recover(place, id, into: place.folder.path("damaged"), path: path)
    #expect(damaged.status == 1)
    #expect(damaged.errors.contains("damaged"))
    try Folder.removeFile(place.store.appending(object))
    #expect(try recover(place, id, into: place.folder.path("missing"), path: path).status == 1)
  }
}
