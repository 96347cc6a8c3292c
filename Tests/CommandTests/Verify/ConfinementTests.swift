import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// Code of a restored database runs as superuser in a drill: in checks, triggers and functions of indexes.
@Suite struct `A drill's server` {
  @Test func `lets code of the database change and read nothing outside its own folder, and reach no other server`() throws {
    let place = try Workplace(on: TestServer.system.get())
    // As open as can be: what is refused is refused by the confinement.
    for (path, mode) in [(place.folder.path, 0o755), (place.store, 0o777)] {
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path.string)
    }
    let open = place.folder.path("open")
    try Folder.make(open)
    let secret = try place.folder.write("AGE-SECRET", to: "open/identity")
    for (path, mode) in [(open, 0o777), (secret, 0o644)] {
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path.string)
    }
    // A process and shared memory of the user that the server will have.
    let account = Account.unprivileged.map { _ in ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] } ?? []
    let victim = try ChildProcess("/usr/bin/env", arguments: account + ["sleep", "600"], environment: ["PATH": "/usr/bin:/bin"]) { _ in }
    defer { victim.terminate(); _ = victim.wait() }
    let memory = try Workplace.run("/usr/bin/env", account + ["ipcmk", "-M", "64"], environment: ["PATH": "/usr/bin:/bin"])
    let segment = try #require(memory.output.split(separator: " ").last, "\(memory)")
    defer { _ = try? Workplace.run("/usr/bin/env", account + ["ipcrm", "-m", String(segment)], environment: ["PATH": "/usr/bin:/bin"]) }
    // Each attack that works is an error of its own; those that fail are passed over.
    let attacks =
      [
        ("program", "COPY (SELECT 1) TO PROGRAM 'touch \(open)/by-program'"),
        ("copy", "COPY (SELECT 1) TO '\(open)/by-copy'"),
        ("lo_export", "PERFORM lo_export(lo_from_bytea(0, 'x'), '\(open)/by-lo')"),
        ("read", "PERFORM pg_read_file('\(secret)')"),
        ("store", "PERFORM pg_read_file('\(place.store)/firn.json')"),
        ("delete", "COPY (SELECT 1) TO PROGRAM 'rm -r \(place.store)/objects'"),
        ("tcp", "COPY (SELECT 1) TO PROGRAM 'bash -c \"exec 3<>/dev/tcp/127.0.0.1/\(place.server.port)\"'"),
        ("background", "COPY (SELECT 1) TO PROGRAM '(setsid sleep 971 >/dev/null 2>&1 &) ; false'"),
        ("limits", "COPY (SELECT 1) TO PROGRAM 'prlimit --pid \(victim.id) --fsize=0'"),
        ("priority", "COPY (SELECT 1) TO PROGRAM 'renice -n 19 -p \(victim.id)'"),
        ("processors", "COPY (SELECT 1) TO PROGRAM 'taskset -p 1 \(victim.id)'"),
        ("disk priority", "COPY (SELECT 1) TO PROGRAM 'ionice -c 3 -p \(victim.id)'"),
        ("namespace", "COPY (SELECT 1) TO PROGRAM 'unshare --user true'"),
        ("queue", "COPY (SELECT 1) TO PROGRAM 'ipcmk -Q'"),
        ("shared memory", "COPY (SELECT 1) TO PROGRAM 'ipcrm -m \(segment)'"),
        ("passwords", "COPY (SELECT 1) TO PROGRAM 'cat /etc/shadow /root/.bashrc'"),
      ] + (Host.isRoot ? [("signal", "COPY (SELECT 1) TO PROGRAM 'kill -0 \(Host.processID)'")] : [])
    let tries = attacks.map { name, sql in
      "BEGIN \(sql); found := found || ' \(name)'; EXCEPTION WHEN OTHERS THEN NULL; END;"
    }
    // On the server of the test it does nothing.
    try place.sql(
      """
      CREATE FUNCTION evil(i int) RETURNS bool LANGUAGE plpgsql AS $evil$ DECLARE found text := ''; BEGIN
        IF current_setting('is_superuser') = 'on' AND current_database() LIKE 'firn_unfinished%' THEN
          \(tries.joined(separator: "\n      "))
          IF found <> '' THEN RAISE EXCEPTION 'got out by%', found; END IF;
        END IF;
        RETURN true;
      END $evil$;
      CREATE TABLE t (i int CHECK (evil(i))); INSERT INTO t VALUES (1); CREATE INDEX ON t (i) WHERE true
      """)
    _ = try place.takeSnapshot()
    let before = try Set(filesByPath(under: place.store).keys.filter { $0.hasPrefix("objects/") })
    let drill = try place.verify(place.database, "--drill")
    #expect(drill.status == 0 && !drill.output.contains("got out"), "\(drill)")
    #expect(try Folder.names(in: open) == ["identity"])
    #expect(victim.exitCode() == nil)
    // Nothing that it started outlives it, if it has a user of its own.
    if Host.isRoot { #expect(!ProcessTable.commandLines().contains { $0.contains("sleep 971") }) }
    #expect(try Set(filesByPath(under: place.store).keys.filter { $0.hasPrefix("objects/") }) == before)
  }

  @Test func `is confined also with the system calls that the packaged unit allows`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT g id FROM generate_series(1, 10) g")
    _ = try place.takeSnapshot()
    let script = FirnProgram.projectFile("Tests/CommandTests/Package/as_unit.py")
    let unit = FirnProgram.projectFile("scripts/package/common.conf")
    func asUnit(_ program: FilePath, _ arguments: String...) throws -> CommandResult {
      // Debian's own Python has the package for it.
      try Workplace.run(
        "/usr/bin/python3", ["-B", script.string, unit.string, program.string] + arguments,
        environment: place.environment.merging(["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]) { $1 })
    }
    let drill = try asUnit(FirnProgram.path("firn-verify"), place.database, "--drill")
    #expect(drill.status == 0 && drill.output.contains("as dumped"), "\(drill)")
    // The filter is in force.
    let refused = try asUnit("/usr/bin/python3", "-c", "import os; os.chroot('/')")
    #expect(refused.status != 0 && refused.errors.contains("not permitted"), "\(refused)")
  }
}
