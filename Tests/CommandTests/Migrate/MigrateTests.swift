import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// A column of its own, which comes and goes with it.
private let good = "ALTER TABLE documents ADD COLUMN status text"
private let goodBack = "ALTER TABLE documents DROP COLUMN status"

@Suite struct `firn-migrate check` {
  private func findings(_ place: MigrationPlace, _ arguments: String...) throws -> (status: Int32, verdicts: [String: String]) {
    let result = try place.work.run("firn-migrate", place.arguments(["check", "--json"] + arguments))
    let found = try result.json()["findings"] as? [[String: Any]] ?? []
    let pairs = found.map { ($0["name"] as? String ?? "", $0["verdict"] as? String ?? "") }
    return (result.status, Dictionary(pairs, uniquingKeysWith: { $1 }))
  }

  @Test func `passes a sound database with a fresh snapshot that was verified, and stops without one`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let before = try findings(place)
    #expect(before.status == 6 && before.verdicts["snapshot"] == "stop")
    _ = try place.work.takeSnapshot()
    #expect(try findings(place).verdicts["snapshot"] == "warn")
    #expect(try place.work.verify("--read").status == 0)
    let after = try findings(place, "--expect-environment", "production")
    #expect(after.status == 0 && after.verdicts.values.allSatisfy { $0 == "pass" || $0 == "unknown" }, "\(after)")
  }

  @Test func `reports all obstacles at once`() throws {
    let server = try TestServer(binaries: TestServer.binaries(at: 0), settings: ["max_prepared_transactions=5"])
    let place = try MigrationPlace(on: server)
    _ = try place.work.takeSnapshot()
    try place.work.sql(
      "CREATE TABLE pairs AS SELECT 1 a, 1 b UNION ALL SELECT 1, 1; ALTER TABLE documents ADD CONSTRAINT positive CHECK (id > 0) NOT VALID")
    _ = try? place.work.sql("CREATE UNIQUE INDEX CONCURRENTLY pairs_a ON pairs (a)")
    let settings = try ConnectionSettings(server.url(place.work.database))
    let (idle, prepared, holder) = (try Connection(settings), try Connection(settings), try Connection(settings))
    try prepared.execute("BEGIN; UPDATE public.users SET name = name WHERE id = 1; PREPARE TRANSACTION 'forgotten'")
    try idle.execute("BEGIN; SELECT count(*) FROM public.users")
    try holder.execute("BEGIN; LOCK TABLE public.documents")
    let url = server.url(place.work.database)
    let waiter = WorkerThread(name: "waiter") { try? Connection(ConnectionSettings(url)).execute("SELECT count(*) FROM public.documents") }
    Thread.sleep(forTimeInterval: 1.5)
    let found = try findings(
      place, "--expect-environment", "staging", "--max-transaction", "1s", "--migrations", place.work.folder.path("migrations").string)
    try holder.execute("ROLLBACK")
    waiter.join()
    #expect(found.status == 6)
    for name in ["prepared-transactions", "blocked-sessions", "ungranted-locks", "environment"] {
      #expect(found.verdicts[name] == "stop", "\(name): \(found)")
    }
    for name in ["long-transactions", "invalid-indexes", "unvalidated-constraints", "schema-migrations"] {
      #expect(found.verdicts[name] == "warn" || found.verdicts[name] == "pass" && name == "schema-migrations", "\(name): \(found)")
    }
    _ = idle
  }

  @Test func `stops behind a pooler`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let pooler = try TestPooler(before: place.work.server)
    var work = place.work
    work.environment["DATABASE_URL"] = pooler.url(work.database)
    let result = try work.run("firn-migrate", place.arguments(["check"]))
    #expect(result.status == 6 && result.output.contains("pooler"), "\(result)")
  }
}

@Suite struct `firn-migrate run` {
  @Test func `by the script of the migration guide's name, rolls back what is not well`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    try place.add("20260101000000", "status", good, down: goodBack)
    var work = place.work
    let script = FirnProgram.projectFile("scripts/migrate-production.sh").string
    let folder = work.folder.path.string
    work.environment["FIRN_MIGRATE"] = FirnProgram.path("firn-migrate").string
    work.environment["FIRN_CONFIG"] = work.folder.path("firn.yaml").string
    work.environment["APP"] = folder
    work.environment["STOP"] = "echo \"it's stop\" >> \(folder)/services; rm -f \(folder)/running"
    work.environment["START"] = "echo start >> \(folder)/services; touch \(folder)/running"
    work.environment["HEALTH_URL"] = "test -e \(folder)/well"
    func run(_ arguments: String...) throws -> CommandResult {
      try Workplace.run("/bin/sh", [script] + arguments, environment: work.environment)
    }
    _ = try work.folder.write("", to: "well")
    let done = try run("--", MigrationPlace.runner)
    #expect(done.status == 0 && place.isRunning, "\(done)")
    #expect(try place.versions().last == "20260101000000")
    try place.add("20260102000000", "more", "ALTER TABLE documents ADD COLUMN more text", down: "ALTER TABLE documents DROP COLUMN more")
    try Folder.removeFile(work.folder.path("well"))
    work.environment["HEALTH_RETRIES"] = "1"
    let unwell = try run("--lock-timeout", "5s", "--", MigrationPlace.runner)
    #expect(unwell.status == 1 && place.isRunning, "\(unwell)")
    #expect(try place.versions().last == "20260101000000", "\(unwell)")
    #expect(place.services.contains("it's stop"), "\(place.services)")
    // Nothing is started in another environment.
    work.environment["RAILS_ENV"] = "staging"
    #expect(try run("--", MigrationPlace.runner).status == 6)
    #expect(try run("--help").output.contains("thin wrapper"))
    #expect(try Folder.names(in: work.spool).isEmpty)
  }

  @Test func `takes the database as an argument, as check and rehearse do`() throws {
    var place = try MigrationPlace(on: TestServer.system.get())
    let name = place.work.database
    _ = try place.work.takeSnapshot()
    // The server alone, by way of another database.
    place.work.environment["DATABASE_URL"] = place.work.server.url("postgres")
    let change = ["--", "/bin/sh", "-c", "\"$PSQL\" \"$DATABASE_URL\" -Xqc 'ALTER TABLE documents ADD COLUMN here int'"]
    #expect(try place.work.run("firn-migrate", place.arguments(["check", name])).output.hasPrefix("\(name) on "))
    let rehearsed = try place.work.run("firn-migrate", ["rehearse", name] + change)
    #expect(rehearsed.status == 0 && rehearsed.output.contains("of \(name)"), "\(rehearsed)")
    let run = try place.work.run("firn-migrate", place.arguments(["run", name]) + change)
    #expect(run.status == 0, "\(run)")
    #expect(try place.work.sql("SELECT count(*) FROM pg_attribute WHERE attname = 'here'") == "1")
    #expect(try place.work.run("firn-migrate", ["rehearse", name, "--database", name] + change).status == 64)
    // Or named as libpq's programs know it.
    place.work.environment["DATABASE_URL"] = nil
    place.work.environment["PGDATABASE"] = name
    let byVariable = try place.work.run("firn-migrate", ["rehearse"] + change)
    #expect(byVariable.status == 0 && byVariable.output.contains("of \(name)"), "\(byVariable)")
  }

  @Test func `by that script goes by what the configuration says to do on a failure`() throws {
    let folder = try TemporaryFolder()
    let stub = try folder.write("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", to: "stub")
    try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: stub.string)
    func run(_ configuration: String, _ arguments: String...) throws -> [String] {
      let file = try folder.write(configuration, to: "firn.yaml").string
      let environment = ["PATH": "/usr/bin:/bin", "FIRN_MIGRATE": stub.string, "FIRN_CONFIG": file, "APP": folder.path.string]
      let result = try Workplace.run(
        "/bin/sh", [FirnProgram.projectFile("scripts/migrate-production.sh").string] + arguments, environment: environment)
      return result.output.split(separator: "\n").map(String.init)
    }
    #expect(try run("").contains("--on-failure"))
    #expect(try !run("migrate:\n  on-failure: stop\n").contains("--on-failure"))
    #expect(try run("hooks:\n  on-failure: x\n").contains("--on-failure"))
    let inOneLine = try run("migrate: {on-failure: rollback, rollback: bin/undo}\n")
    #expect(!inOneLine.contains("--on-failure") && !inOneLine.contains("--rollback"), "\(inOneLine)")
    #expect(try run("", "--config", "/x").isEmpty && run("", "--config=/x").isEmpty)
    #expect(try run("", "--", "command", "--config", "x").suffix(3) == ["command", "--config", "x"])
    #expect(try run("", "--on-failure=stop").filter { $0.hasPrefix("--on-failure") } == ["--on-failure=stop"])
  }

  @Test func `and its sibling for restores pass options on, and no snapshot that does not apply`() throws {
    let folder = try TemporaryFolder()
    let stub = try folder.write("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", to: "stub")
    try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: stub.string)
    func run(_ arguments: String...) throws -> (status: Int32, words: [String]) {
      let result = try Workplace.run(
        "/bin/sh", [FirnProgram.projectFile("scripts/restore-from-backup.sh").string] + arguments,
        environment: ["PATH": "/usr/bin:/bin", "FIRN_RESTORE": stub.string, "HOME": folder.path.string])
      return (result.status, result.output.split(separator: "\n").map(String.init).filter { !$0.hasPrefix("/tmp") })
    }
    #expect(try run().words == ["a2d2_production", "latest", "--config"])
    #expect(try run("2026", "--prove").words == ["a2d2_production", "2026", "--config", "--prove"])
    for word in ["--undo", "--recover", "--forget-old"] { #expect(try run(word).words == ["a2d2_production", "--config", word]) }
    #expect(try run("--config", "/x").status == 64)
  }

  @Test func `snapshots, stops, migrates, starts, looks, and writes the checklist`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    try place.add("20250103000000", "status", good)
    let result = try place.migrate("run", "--expect-environment", "production", "--revision", "abc123", "--json", "--", MigrationPlace.runner)
    #expect(result.status == 0, "\(result)")
    let report = try result.json()
    #expect(report["applied"] as? [String] == ["20250103000000"] && report["healthy"] as? Bool == true)
    #expect(place.services == ["stop", "start"] && place.isRunning)
    let id = try #require(report["snapshot"] as? String)
    let shown = try place.work.firn("show", place.work.database, id, "--json").json()
    let tags = shown["tags"] as? [String: String] ?? [:]
    #expect(shown["kind"] as? String == "pre-migration" && tags["revision"] == "abc123" && tags["schema_version"] == "20250102000000")
    // As `printf '20250101000000\n20250102000000\n' | sha256sum` has it.
    let sum = try Workplace.run("/bin/sh", ["-c", #"printf '20250101000000\n20250102000000\n' | sha256sum | cut -d' ' -f1"#], environment: [:])
    #expect(tags["schema_migrations"] == sum.output)
    let checklist = try place.checklist()
    #expect(
      checklist.contains("- [x] Migration completed") && checklist.contains("- [x] Health checks passing") && !checklist.contains("### Rollback"))
  }

  @Test func `touches nothing where the checklist says stop`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    try place.add("20250103000000", "status", good)
    let result = try place.migrate("run", "--expect-environment", "staging", "--", MigrationPlace.runner)
    #expect(result.status == 6 && result.errors.contains("environment"), "\(result)")
    #expect(try place.services.isEmpty && place.versions().count == 2 && place.work.listedSnapshots().isEmpty)
  }

  @Test func `gives the command a lock_timeout, its URL, and what its sessions are called`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let statement = "SELECT current_setting('lock_timeout') || ' ' || current_setting('application_name') || ' ' || current_database()"
    let result = try place.migrate("run", "--lock-timeout", "7s", "--", "/bin/sh", "-c", "\"$PSQL\" \"$DATABASE_URL\" -AtXc \"\(statement)\"")
    #expect(result.status == 0 && result.errors.contains("7s firn-migration-") && result.errors.contains(place.work.database), "\(result)")
    #expect(!result.errors.contains(TestServer.password))
  }

  @Test func `starts the application again if the command fails, and shows both ways back`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    try place.add("20250103000000", "status", good, down: goodBack)
    try place.add("20250104000000", "bad", "ALTER TABLE nowhere ADD COLUMN x int")
    let result = try place.migrate("run", "--", MigrationPlace.runner)
    #expect(result.status == 1 && place.isRunning && place.services == ["stop", "start"], "\(result)")
    #expect(result.errors.contains("STEP=1") && result.errors.contains("firn-restore '\(place.work.database)'"), "\(result)")
    #expect(try place.versions().last == "20250103000000")
    #expect(try place.checklist().contains("### Incident"))
  }

  @Test func `rolls back just what was applied`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    try place.add("20250103000000", "status", good, down: goodBack)
    try place.add("20250104000000", "bad", "ALTER TABLE nowhere ADD COLUMN x int")
    let result = try place.migrate("run", "--on-failure", "rollback", "--", MigrationPlace.runner)
    #expect(result.status == 1 && result.errors.contains("rolled back by"), "\(result)")
    #expect(try place.versions() == ["20250101000000", "20250102000000"] && place.isRunning)
    // Nothing of this was applied: a rollback would take back the migration before.
    try Folder.removeFile(place.work.folder.path("migrations/20250103000000_status.sql"))
    let again = try place.migrate("run", "--on-failure", "rollback", "--", MigrationPlace.runner)
    #expect(again.status == 1 && again.errors.contains("nothing to roll back"), "\(again)")
    #expect(try place.versions() == ["20250101000000", "20250102000000"])
  }

  @Test func `answers an application that is not well afterwards, by each way`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    try place.add("20250103000000", "status", good, down: goodBack)
    let isBefore = "! \\\"$PSQL\\\" \\\"$DATABASE_URL\\\" -AtXc 'SELECT status FROM documents LIMIT 1' 2>/dev/null"
    try place.configure(health: isBefore)
    let stopped = try place.migrate("run", "--", MigrationPlace.runner)
    #expect(stopped.status == 1 && stopped.errors.contains("not well"), "\(stopped)")
    #expect(try place.versions().count == 3 && place.isRunning)
    try place.work.sql("ALTER TABLE documents DROP COLUMN status; DELETE FROM schema_migrations WHERE version > '20250102000000'")

    let rolledBack = try place.migrate("run", "--on-failure", "rollback", "--json", "--", MigrationPlace.runner)
    #expect(rolledBack.status == 1, "\(rolledBack)")
    #expect(try rolledBack.json()["healthy"] as? Bool == true && place.versions().count == 2)

    let restored = try place.migrate("run", "--restore-on-failure", place.work.database, "--json", "--", MigrationPlace.runner)
    #expect(restored.status == 1, "\(restored)")
    #expect(try restored.json()["healthy"] as? Bool == true && place.versions().count == 2 && place.isRunning)
    #expect(try place.work.server.sql("SELECT count(*) FROM pg_database WHERE datname LIKE '\(place.work.database)_before_%'", in: "postgres") == "1")

    let unconfirmed = try place.migrate("run", "--on-failure", "restore", "--", MigrationPlace.runner)
    #expect(unconfirmed.status == 1 && unconfirmed.errors.contains("not confirmed"), "\(unconfirmed)")
    #expect(try place.versions().count == 3 && place.isRunning)
  }

  @Test func `reports a command that does not exist, hangs, or is killed`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let missing = try place.migrate("run", "--", "no-such-command")
    #expect(missing.status == 1 && missing.errors.contains("was not found"), "\(missing)")
    let hanging = try place.migrate("run", "--time-limit", "1s", "--", "/bin/sleep", "60")
    #expect(hanging.status == 1 && hanging.errors.contains("took longer"), "\(hanging)")
    let killed = try place.migrate("run", "--", "/bin/sh", "-c", "kill -9 $$")
    #expect(killed.status == 1 && killed.errors.contains("signal 9"), "\(killed)")
    #expect(place.isRunning && place.services == ["stop", "start", "stop", "start", "stop", "start"])
  }

  @Test func `migrates nothing where stopping fails, and is loud where starting does`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    try place.add("20250103000000", "status", good)
    try place.configure(stop: "exit 3")
    let unstopped = try place.migrate("run", "--", MigrationPlace.runner)
    #expect(unstopped.status == 1 && unstopped.errors.contains("nothing was migrated"), "\(unstopped)")
    #expect(try place.versions().count == 2 && place.services == ["stop", "start"])
    try place.configure(start: "exit 4")
    let unstarted = try place.migrate("run", "--", MigrationPlace.runner)
    #expect(unstarted.status == 1 && unstarted.errors.contains("NOT STARTED"), "\(unstarted)")
    #expect(try place.checklist().contains("NOT STARTED"))
    // The next run starts it before anything else.
    try place.configure()
    let next = try place.migrate("recover")
    #expect(next.status == 3 && next.errors.contains("started again") == true, "\(next)")
  }

  @Test func `takes neither an application that comes and goes nor one that sends elsewhere for a well one`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    try place.configure(health: "test -e $PLACE/blink && rm $PLACE/blink || { touch $PLACE/blink; exit 1; }")
    let flapping = try place.migrate("run", "--", "/bin/true")
    #expect(flapping.status == 1 && flapping.errors.contains("not well"), "\(flapping)")
    let port = try Loopback.freePort()
    let web = try ServerProcess(
      "/usr/bin/perl",
      [
        "-MIO::Socket::INET", "-e",
        "my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => \(port), Listen => 5, ReuseAddr => 1) or die; "
          + "while (my $c = $s->accept) { while (my $l = <$c>) { last if $l =~ /^\\r/ } print $c \"HTTP/1.0 302 Found\\r\\nLocation: /soon\\r\\nContent-Length: 0\\r\\n\\r\\n\"; close $c }",
      ])
    defer { web.end(by: 9) }
    try place.configure(health: "http://127.0.0.1:\(port)/health")
    let redirecting = try place.migrate("run", "--", "/bin/true")
    #expect(redirecting.status == 1 && redirecting.errors.contains("not well"), "\(redirecting)")
  }

  @Test func `runs once at a time`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let first = try place.work.start("firn-migrate", place.arguments(["run", "--", "/bin/sh", "-c", "touch $PLACE/at-work; sleep 3"]))
    while !Folder.exists(place.work.folder.path("at-work")) { Thread.sleep(forTimeInterval: 0.02) }
    let second = try place.migrate("run", "--", "/bin/true")
    #expect(second.status == 7 && second.errors.contains("another migration"), "\(second)")
    #expect(first.wait() == 0)
  }

  @Test func `passes an interruption on, and starts the application again`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let run = try place.work.start(
      "firn-migrate", place.arguments(["run", "--", "/bin/sh", "-c", "trap 'touch $PLACE/told; exit 9' INT; touch $PLACE/at-work; sleep 30 & wait"]))
    while !Folder.exists(place.work.folder.path("at-work")) { Thread.sleep(forTimeInterval: 0.02) }
    ProcessTable.send(SIGINT, to: run.id)
    #expect(run.wait() == 130)
    #expect(Folder.exists(place.work.folder.path("told")) && place.isRunning)
  }

  @Test func `starts the application again although its notes can no longer be written`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let result = try place.migrate("run", "--", "/bin/sh", "-c", "mv $PLACE/state/firn $PLACE/state/elsewhere")
    #expect(result.status == 0 && place.isRunning && place.services == ["stop", "start"], "\(result)")
  }

  @Test func `does not go back if the wait for the application is interrupted`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    try place.add("20250103000000", "status", good, down: goodBack)
    try place.configure(health: "touch $PLACE/asked; exit 1")
    let run = try place.work.start(
      "firn-migrate", place.arguments(["run", "--on-failure", "rollback", "--", MigrationPlace.runner]))
    while !Folder.exists(place.work.folder.path("asked")) { Thread.sleep(forTimeInterval: 0.01) }
    ProcessTable.send(SIGINT, to: run.id)
    #expect(run.wait() == 130)
    #expect(try place.versions().count == 3 && place.isRunning)
  }

  @Test func `survives a migration that drops the tables it looks at`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let result = try place.migrate(
      "run", "--", "/bin/sh", "-c", "\"$PSQL\" \"$DATABASE_URL\" -qXc 'DROP TABLE schema_migrations, ar_internal_metadata, documents'")
    #expect(result.status == 0 && result.errors.contains("rolled back 20250101000000"), "\(result)")
  }

  @Test func `starts the application itself when it is killed, and the next run reports it`() throws {
    let place = try MigrationPlace(on: TestServer.system.get(), rows: 20_000)
    try place.add("20250103000000", "slow", "ALTER TABLE documents ADD COLUMN status text; SELECT pg_sleep(0.3); UPDATE documents SET status = 'x'")
    var random = SystemRandomNumberGenerator()
    var cutOff = 0
    var usual = 1.2
    for round in 0..<60 where cutOff < 20 {
      try? Folder.removeFile(place.work.folder.path("services"))
      let run = try place.work.start("firn-migrate", place.arguments(["run", "--", MigrationPlace.runner]))
      Thread.sleep(forTimeInterval: usual * Double.random(in: 0.05...1, using: &random))
      ProcessTable.send(SIGKILL, to: run.id)
      // One that was done already was killed too late: how long a run takes depends on what else the machine does.
      if run.wait() == 137 { cutOff += 1 } else { usual *= 0.85 }
      // The watchdog needs a moment, as the command and its sessions have to end first.
      let deadline = ContinuousClock.now + .seconds(20)
      func isQuiet() -> Bool { (place.services.last ?? "start") == "start" && !StoppedNotes.areThere(in: place) }
      while !isQuiet(), ContinuousClock.now < deadline { Thread.sleep(forTimeInterval: 0.05) }
      #expect(isQuiet(), "round \(round): \(place.services)")
      #expect((place.services.last ?? "start") == "start", "round \(round): \(place.services)")
      // Entirely before or entirely after it.
      let versions = try place.versions()
      let columns = try place.work.sql("SELECT count(*) FROM information_schema.columns WHERE table_name = 'documents' AND column_name = 'status'")
      let filled = columns == "1" ? try place.work.sql("SELECT count(*) FROM documents WHERE status = 'x'") : "0"
      #expect(versions.count == 3 ? filled == "20000" : columns == "0", "round \(round): \(versions) \(columns) \(filled)")
      if versions.count == 3 {
        try place.work.sql("ALTER TABLE documents DROP COLUMN status; DELETE FROM schema_migrations WHERE version > '20250102000000'")
      }
    }
    #expect(cutOff == 20)
    let next = try place.migrate("run", "--", MigrationPlace.runner)
    #expect(next.status == 0, "\(next)")
    #expect(try place.versions().count == 3 && place.isRunning && place.work.leftovers().isEmpty)
  }
}

/// Notes of interrupted runs that wait for an operator.
private enum StoppedNotes {
  static func areThere(in place: MigrationPlace) -> Bool {
    ((try? Folder.names(in: place.work.folder.path("state").appending("firn"))) ?? []).contains {
      $0.hasPrefix("stopped-") || $0.hasPrefix("migrating-")
    }
  }
}

@Suite struct `firn-migrate watch` {
  @Test func `shows which sessions block which, and ends a session after a confirmation`() throws {
    let place = try MigrationPlace(on: TestServer.system.get())
    let url = place.work.server.url(place.work.database)
    let holder = try Connection(try ConnectionSettings(url), applicationName: "forgotten console")
    try holder.execute("BEGIN; SELECT count(*) FROM public.documents")
    let waiter = WorkerThread(name: "waiter") {
      try? Connection(ConnectionSettings(url), applicationName: "migration").execute("ALTER TABLE public.documents ADD COLUMN x int")
    }
    var shown = try place.migrate("watch")
    for _ in 0..<50 where !shown.output.contains("waits:") {
      Thread.sleep(forTimeInterval: 0.1)
      shown = try place.migrate("watch")
    }
    #expect(shown.output.contains("forgotten console") && shown.output.contains("waits:") && shown.output.contains("ALTER TABLE"), "\(shown)")
    let sessions = try place.migrate("watch", "--json").json()["sessions"] as? [[String: Any]] ?? []
    let blocker = try #require(sessions.first { $0["application"] as? String == "forgotten console" }?["pid"] as? Int)
    #expect(try place.migrate("watch", "--end", "\(blocker)").status == 5)
    #expect(try place.migrate("watch", "--end", "\(blocker)", "--confirm", "end \(blocker + 1)").status == 5)
    #expect(try place.migrate("watch", "--end", "\(blocker)", "--confirm", "end \(blocker)").status == 0)
    waiter.join()
    #expect(try place.work.sql("SELECT count(*) FROM information_schema.columns WHERE table_name = 'documents' AND column_name = 'x'") == "1")
    #expect(try place.migrate("watch", "--end", "\(blocker)").status == 6)
  }
}
