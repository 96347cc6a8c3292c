import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// A database on a server with WAL summaries, whose snapshots take over what has not changed.
struct IncrementalPlace {
  let work: Workplace

  init(on server: TestServer, mode: String = "yes", _ sql: String) throws {
    let work = try Workplace(on: server)
    // So that tables of 300 kB are listed by themselves.
    try Folder.removeTree(work.store)
    let made = try work.firn("init", "--chunk-size", "1KiB")
    guard made.status == 0 else { throw Unavailable("firn init: \(made)") }
    try work.sql(sql)
    self.work = work
    try configure("incremental: \(mode)\nmetrics: \(work.folder.path("firn.prom"))\n")
  }

  func configure(_ text: String) throws {
    let file = work.folder.path(".config/firn/firn.yaml")
    try Folder.make(file.removingLastComponent())
    try Folder.write(Array(text.utf8), to: file)
  }

  static let settings = ["summarize_wal=on", "fsync=on", "max_prepared_transactions=10"]
  /// For servers without WAL summaries.
  static let olderSettings = ["fsync=on", "max_prepared_transactions=10"]
  /// Without autovacuum, which changes tables when it likes.
  static let shared = server(2)
  static let version17 = server(3)
  /// Servers of each major release with WAL summaries.
  static let all = [shared, version17]

  private static func server(_ place: Int) -> Result<TestServer, any Error> {
    Result { try TestServer(binaries: TestServer.binaries(at: place), settings: settings + ["autovacuum=off"]) }
  }

  struct Table {
    let sha256: String
    let isTaken: Bool
    /// Whether it was read only because its objects hold little else that is still used, as those of small tables soon do.
    var isReadForItsObjects = false
  }

  /// Takes a snapshot and reads what it says of each table.
  func snapshot(_ arguments: String...) throws -> [String: Table] {
    let result = try work.run("firn-snapshot", ["--json", "--verbose"] + arguments)
    // 3: tables lost many rows, as a test wanted.
    guard result.status == 0 || result.status == 3 else { throw Unavailable("firn-snapshot: \(result)") }
    var found = try tables(of: result.json()["id"] as? String ?? "")
    for line in result.errors.split(separator: "\n") where line.hasSuffix(": little of its objects in the store is still in use, or one is missing") {
      found[String(line.dropFirst("firn-snapshot: ".count).prefix { $0 != ":" })]?.isReadForItsObjects = true
    }
    return found
  }

  func tables(of id: String = "latest") throws -> [String: Table] {
    let listed = try work.firn("show", work.database, id, "--json").json()["tables"] as? [[String: Any]] ?? []
    return Dictionary(
      uniqueKeysWithValues: listed.map {
        ("\($0["schema"] ?? "").\($0["name"] ?? "")", Table(sha256: $0["sha256"] as? String ?? "", isTaken: $0["readIn"] != nil))
      })
  }

  /// The SHA-256 of each table's rows as stock pg_dump writes them now, by `sha256sum`.
  func stock() throws -> [String: String] {
    let folder = try TemporaryFolder()
    let archive = folder.path("stock")
    var environment = try work.server.environment(work.database, passFileIn: folder.path)
    environment["PGOPTIONS"] = """
      -c timezone=UTC -c bytea_output=hex -c lc_monetary=C -c intervalstyle=postgres -c array_nulls=on -c xmloption=content -c datestyle=ISO
      """
    let dumped = try ProgramResult.run(
      work.server.binaries.appending("pg_dump"), ["-Fd", "-Z0", "--no-sync", "-f", archive.string], environment: environment)
    guard dumped.exitCode == 0 else { throw Unavailable("pg_dump: \(dumped.errors)") }
    let listed = try Workplace.run(work.server.binaries.appending("pg_restore"), ["-l", archive.string], environment: environment)
    var files: [String: String] = [:]
    for line in listed.output.split(separator: "\n") {
      // As `3456; 0 16385 TABLE DATA public t3 postgres`.
      let words = line.split(separator: " ")
      guard words.count >= 8, words[3] == "TABLE", words[4] == "DATA" else { continue }
      files["\(words[0].dropLast()).dat"] = "\(words[5]).\(words[6])"
    }
    let sums = try Workplace.run(
      "/bin/sh", ["-c", "cd \"$1\" && exec sha256sum $2", "sh", archive.string, files.keys.joined(separator: " ")],
      environment: ["PATH": "/usr/bin:/bin"])
    guard files.isEmpty || sums.status == 0 else { throw Unavailable("sha256sum: \(sums)") }
    var digests: [String: String] = [:]
    for line in sums.output.split(separator: "\n") {
      let words = line.split(separator: " ")
      if words.count == 2, let name = files[String(words[1])] { digests[name] = String(words[0]) }
    }
    return digests
  }

  /// Everything that an archive restores, as stock pg_restore prints it.
  func script(of archive: FilePath) throws -> String {
    let printed = try Workplace.run(
      work.server.binaries.appending("pg_restore"), ["-f", "-", archive.string], environment: ["LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"])
    guard printed.status == 0 else { throw Unavailable("pg_restore: \(printed)") }
    // The newest releases frame their output with random keys.
    return printed.output.split(separator: "\n", omittingEmptySubsequences: false)
      .filter { !$0.hasPrefix("\\restrict") && !$0.hasPrefix("\\unrestrict") && !$0.hasPrefix("-- Dumped") && !$0.hasPrefix("-- Started") }
      .joined(separator: "\n")
  }

  /// The archive of a snapshot, fetched by its own script and the stock tools.
  func recovered(_ id: String) throws -> FilePath {
    let script = try #require(try filesByPath(under: work.store).keys.first { $0.hasSuffix("/\(id)/recover.sh") })
    let target = work.folder.path("recovered-\(UUID())")
    let result = try Workplace.run(
      "/bin/sh", [work.store.appending(script).string, target.string], environment: ["PATH": "\(work.server.binaries):/usr/bin:/bin"])
    guard result.status == 0 else { throw Unavailable("recover.sh: \(result)") }
    return target.appending("archive")
  }

  func expectRight(_ found: [String: Table], _ what: String) throws {
    #expect(found.mapValues(\.sha256) == (try stock()), "\(what)")
  }
}
