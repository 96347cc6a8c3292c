import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// The installed files.
@Suite struct `Firn installed` {
  @Test func `from its Debian package works, is confined, and goes again without its snapshots`() throws {
    let package = try #require(ProcessInfo.processInfo.environment["FIRN_TEST_DEB"], "scripts/test builds it")
    let result = try run("installed.sh", package)
    let lines = result.output.split(separator: "\n").map(String.init)
    let programs = ["firn", "firn-snapshot", "firn-verify", "firn-restore", "firn-prune", "firn-migrate"]
    #expect(lines.filter { $0 == "version: \(Self.version)" }.count == programs.count, "\(result)")
    let wanted =
      programs.map { "manual and completion: \($0)" } + ["snapshot", "verify", "prune"].map { "confined: \($0)" }
      + [
        "firn snapshot is firn-snapshot", "guides", "manual: firn.yaml", "units are sound", "a store is made", "others can't read it",
        "user nobody is refused", "a stranger makes no store", "a store that root makes is firn's",
        "configuration kept", "removed", "purged, snapshots kept",
      ]
    for line in wanted { #expect(lines.contains(line), "\(line): \(result)") }
    #expect(result.status == 0, "\(result)")
  }

  private static let version = "0.1.0"

  private func run(_ script: String, _ package: String) throws -> CommandResult {
    let folder = try TemporaryFolder()
    let arguments = [FirnProgram.projectFile("Tests/CommandTests/Package/\(script)").string, package, folder.path("root").string]
    let environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]
    return try Host.isRoot
      ? Workplace.run("/bin/sh", arguments, environment: environment)
      : Workplace.run("/usr/bin/sudo", ["-n", "/bin/sh"] + arguments, environment: environment)
  }

  @Test func `on Debian 13 snapshots, restores, drills and replaces with PostgreSQL 17, one database and all of a server`() throws {
    let package = try #require(ProcessInfo.processInfo.environment["FIRN_TEST_DEB"], "scripts/test builds it")
    let result = try run("debian13.sh", package)
    let lines = result.output.split(separator: "\n").map(String.init)
    let jobs = ["snapshot", "restored: the same rows", "restored: the schema that pg_restore makes", "drilled", "replaced", "undone"]
    let server = [
      "roles are made", "a doctor finds the rights", "every database has a snapshot", "a new database is missed", "a new database is found",
      "a lost server is back", "runs are recorded",
    ]
    for line in jobs + server { #expect(lines.contains(line), "\(line): \(result)") }
    #expect(result.status == 0, "\(result)")
  }

  @Test func `by scripts/install into a folder, twice, and taken away again`() throws {
    let package = try #require(ProcessInfo.processInfo.environment["FIRN_TEST_DEB"], "scripts/test builds it")
    _ = package
    let folder = try TemporaryFolder()
    let target = folder.path("a root")
    let install = FirnProgram.projectFile("scripts/install").string
    func run(_ arguments: String...) throws -> CommandResult {
      try Workplace.run(
        "/bin/sh", [install, "--destdir", target.string, "--prefix", "/opt/firn"] + arguments, environment: ProcessInfo.processInfo.environment)
    }
    let dry = try run("--dry-run")
    #expect(dry.status == 0 && !Folder.exists(target) && dry.output.contains("would run: install"), "\(dry)")
    for _ in 0..<2 {
      let made = try run()
      #expect(made.status == 0, "\(made)")
      let called = try Workplace.run(target.appending("opt/firn/bin/firn-verify"), ["--version"], environment: [:])
      #expect(called.output == Self.version, "\(called)")
    }
    for name in ["firn-snapshot@.timer", "firn-snapshot.timer"] { #expect(Folder.exists(target.appending("etc/systemd/system/\(name)"))) }
    let gone = try run("--uninstall")
    #expect(gone.status == 0, "\(gone)")
    let left = try Workplace.run("/usr/bin/find", [target.string, "-not", "-type", "d"], environment: [:]).output
    #expect(left == target.appending("etc/firn/firn.yaml").string)
    let odd = try Workplace.run("/bin/sh", [install, "--perfix", "/x"], environment: ProcessInfo.processInfo.environment)
    #expect(odd.status == 1 && odd.errors.contains("there is no option --perfix"))
  }
}
