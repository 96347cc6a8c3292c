import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// `firn setup`: roles for backups and restores.
@Suite struct `A setup` {
  private func statements(_ result: CommandResult) throws -> [String] { try result.json()["statements"] as? [String] ?? [] }

  @Test(arguments: [0, 1, 2]) func `makes roles that can take a snapshot and restore it, and no others`(_ version: Int) throws {
    let server = try TestServer(binaries: TestServer.binaries(at: version))
    try server.sql("CREATE ROLE app LOGIN; CREATE DATABASE shop OWNER app")
    try server.sql(
      "SET ROLE app; CREATE SCHEMA s; CREATE TABLE s.t AS SELECT generate_series(1, 9) a; CREATE TABLE private (a int); REVOKE ALL ON private FROM PUBLIC",
      in: "shop")
    var place = try Workplace(on: server, database: "shop")
    let file = place.folder.path(".config/firn/firn.yaml")
    try Folder.make(file.removingLastComponent())
    place.environment["DATABASE_URL"] = nil
    let url = server.url("shop", user: "firn", password: "backup")
    try Folder.write(Array("database-url: \(url)\nrestore: {role: firn_restore}\n".utf8), to: file)

    place.environment["PGPASSWORD"] = TestServer.password
    let superuser = server.address("postgres")
    let shown = try place.firn("setup", "--superuser-url", superuser, "--json")
    #expect(try shown.status == 0 && statements(shown).contains("CREATE ROLE \"firn\" LOGIN"), "\(shown)")
    #expect(try server.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'firn%'") == "0", "nothing was made yet")
    let made = try place.firn("setup", "--superuser-url", superuser, "--apply", "--json")
    #expect(made.status == 0, "\(made)")
    try server.sql("ALTER ROLE firn PASSWORD 'backup'")
    #expect(try statements(place.firn("setup", "--superuser-url", superuser, "--json")).isEmpty, "nothing is missing a second time")
    #expect(try server.sql("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname LIKE 'firn%' ORDER BY rolname") == "f|f\nf|t")

    #expect(try place.snapshot("shop").output.isEmpty == false)
    let doctor = try place.firn("doctor", "--json").json()["findings"] as? [[String: Any]] ?? []
    let rights = try #require(doctor.first { $0["name"] as? String == "restore-rights" })
    #expect(rights["verdict"] as? String == "pass", "\(rights)")
    try server.sql("DROP DATABASE shop")
    try server.sql("CREATE DATABASE shop OWNER app")
    let replaced = try place.restore("shop", "--confirm", "shop")
    // The snapshot of what is replaced is taken by the role that may read everything.
    #expect(replaced.status == 0 && !replaced.errors.contains("INCOMPLETE"), "\(replaced)")
    try server.sql("DROP DATABASE shop")
    let restored = try place.restore("shop", "latest:manual", "--prove")
    #expect(restored.status == 0, "\(restored)")
    #expect(try server.sql("SELECT tableowner FROM pg_tables WHERE schemaname = 's'", in: "shop") == "app")
  }

  @Test func `says what only a superuser can restore, and what a doctor misses without it`() throws {
    let server = try TestServer(binaries: TestServer.binaries(at: 0))
    try server.sql("CREATE DATABASE shop; CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT pg_read_all_data TO weak")
    try server.sql("CREATE TABLE t (a int); CREATE EXTENSION pageinspect", in: "shop")
    var place = try Workplace(on: server, database: "shop")
    place.environment["PGPASSWORD"] = TestServer.password
    let setup = try place.firn("setup", "--superuser-url", server.address("postgres"))
    #expect(setup.status == 0 && setup.errors.contains("restores need a superuser on this server, for shop: extension pageinspect"), "\(setup)")
    #expect(setup.output.contains("ALTER ROLE \"firn_restore\" SUPERUSER;") && setup.errors.contains("--apply runs this SQL"), "\(setup)")
    place.environment["DATABASE_URL"] = server.url("shop", user: "weak", password: "weak")
    let doctor = try place.firn("doctor")
    #expect(doctor.status == 6 && doctor.output.contains("weak may not create databases"), "\(doctor)")
    place.environment["PGPASSWORD"] = "weak"
    let refused = try place.firn("setup", "--superuser-url", server.address("postgres", user: "weak"))
    #expect(refused.status == 6 && refused.errors.contains("weak is not a superuser"), "\(refused)")
  }

  @Test func `gives a group of operators access to the store and to all that comes into it`() throws {
    let server = try TestServer(binaries: TestServer.binaries(at: 0))
    try server.sql("CREATE DATABASE shop")
    try server.sql("CREATE TABLE t AS SELECT generate_series(1, 9) a", in: "shop")
    var place = try Workplace(on: server, database: "shop")
    place.environment["PGPASSWORD"] = TestServer.password
    func setup(_ arguments: String...) throws -> CommandResult {
      try place.run("firn", ["setup", "--superuser-url", server.address("postgres")] + arguments)
    }
    // As root, the store is another user's; otherwise it is ours.
    let owner = Account.unprivileged
    let group = try #require(owner == nil ? Self.word("id", "-gn") : Self.word("id", "-gn", String(owner?.user ?? 0)))
    #expect(try setup("--store", place.folder.path("none").string, "--operators", group).errors.contains("create the repository first"))
    if let owner {
      #expect(try setup("--operators", group, "--apply").errors.contains("belongs to root"))
      for path in [""] + (try filesByPath(under: place.store).keys) {
        try Folder.changeOwner(of: place.store.appending(path), user: owner.user, group: owner.group)
      }
    }
    #expect(try place.snapshot("shop").status == 0)
    let unknown = try setup("--operators", "no-such-group")
    #expect(unknown.status == 64 && unknown.errors.contains("there is no group no-such-group"), "\(unknown)")
    let foreign = try setup("--operators", "daemon", "--apply")
    #expect(foreign.status == 64 && foreign.errors.contains("is not in the group daemon"), "\(foreign)")
    let folder = place.store.removingLastComponent()
    try Folder.permit(folder, 0o700)
    let closed = try setup("--operators", group, "--apply")
    #expect(closed.status == 64 && closed.errors.contains("cannot pass the folder"), "\(closed)")
    try Folder.permit(folder, 0o711)
    let link = place.folder.path("link")
    try FileManager.default.createSymbolicLink(atPath: link.string, withDestinationPath: place.store.string)
    #expect(try setup("--store", link.string, "--operators", group, "--apply").status == 64)
    let shown = try setup("--operators", group)
    #expect(shown.status == 0 && shown.output.contains("# chgrp -R \(group.shellWord) \(place.store.string.shellWord)"), "\(shown)")
    #expect(try filesByPath(under: place.store).values.allSatisfy { $0.mode & 0o070 == 0 })
    for _ in 0..<2 {
      let applied = try setup("--operators", group, "--apply")
      #expect(applied.status == 0 && applied.errors.contains("has access to"), "\(applied)")
      #expect(try Folder.status(of: place.store)?.mode == 0o2770)
      #expect(try place.snapshot("shop").status == 0 && place.verify("--read").status == 0)
      for (path, status) in try filesByPath(under: place.store) {
        #expect(status.mode == (status.kind == .folder ? 0o2770 : 0o660), "\(path)")
      }
    }
  }

  /// The output of a program that prints one word.
  private static func word(_ program: String, _ arguments: String...) throws -> String {
    let output = try ProgramResult.run(FilePath("/usr/bin/\(program)"), arguments, environment: [:]).output
    return String(decoding: output, as: UTF8.self).trimmingCharacters(in: .newlines)
  }
}
