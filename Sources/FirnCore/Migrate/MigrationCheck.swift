package import Foundation
internal import Platform
package import Postgres
package import Repository
package import SystemPackage

/// The state of a database before a migration.
package struct MigrationSurvey: Sendable {
  package let server: String
  package let database: String
  package let findings: [Finding]
  package let applied: AppliedMigrations

  package var mustStop: Bool { findings.contains { $0.verdict == .stop } }
  package var hasWarnings: Bool { findings.contains { $0.verdict == .warn } }
}

/// The checklist before a migration, carried out. It changes nothing.
package struct MigrationCheck: Sendable {
  package struct Limits: Sendable, Equatable {
    /// A transaction open for longer is worth a warning; one of ten times that stops.
    package var transaction: Duration = .seconds(30)
    package var replicaDelay: Duration = .seconds(30)
    package var snapshots = StoreStatus.Limits()

    package init() {}
  }

  package struct Request: Sendable {
    package var settings: ConnectionSettings
    /// The name of the cluster; nil for its system identifier.
    package var source: String?
    /// The expected value in `ar_internal_metadata`; nil to skip the check.
    package var expectedEnvironment: String?
    /// The folder of the application's migrations; nil if unknown.
    package var migrations: FilePath?
    package var limits = Limits()
    /// Whether a snapshot is made before anything is migrated: then none has to be there yet.
    package var takesSnapshot = false
    package var toolFolders: [FilePath] = []
    package var now: @Sendable () -> Date = { Date() }

    package init(settings: ConnectionSettings) { self.settings = settings }
  }

  private let repository: Result<Repository, any Error>
  private let request: Request
  /// For ages and sizes in words.
  private let words: Words

  package struct Words: Sendable {
    let size: @Sendable (Int64) -> String
    let span: @Sendable (Double) -> String
    let failure: @Sendable (any Error) -> String

    package init(
      size: @escaping @Sendable (Int64) -> String, span: @escaping @Sendable (Double) -> String,
      failure: @escaping @Sendable (any Error) -> String
    ) {
      self.size = size
      self.span = span
      self.failure = failure
    }

    func span(_ duration: Duration) -> String { span(duration.inSeconds) }
  }

  package init(repository: Result<Repository, any Error>, request: Request, words: Words) {
    self.repository = repository
    self.request = request
    self.words = words
  }

  /// - Throws: `PostgresError` if there is no connection, `Interruption`.
  package func run() throws -> MigrationSurvey {
    let connection = try Connection(request.settings, applicationName: "firn-migrate")
    var findings = [direct(connection), try standby(connection), tools(connection), try snapshot(connection), try disk(connection)]
    findings += try sessions(connection)
    findings += [try prepared(connection), try indexes(connection), try constraints(connection)]
    findings += try tables(connection)
    findings.append(try replication(connection))
    findings.append(try environment(connection))
    var applied = AppliedMigrations.noTable
    do {
      applied = try connection.appliedMigrations()
      findings.append(migrations(applied))
    } catch let error as PostgresError where error.isLockTimeout {
      findings.append(Self.locked("schema-migrations", "schema_migrations"))
    }
    return MigrationSurvey(
      server: "PostgreSQL \(try connection.versionText()) at \(connection.target)", database: connection.database, findings: findings,
      applied: applied)
  }

  private func direct(_ connection: Connection) -> Finding {
    do {
      try connection.refusePooler()
      return Finding("connection", .pass, "direct, as \(connection.user)")
    } catch {
      return Finding("connection", .stop, words.failure(error), hint: "give the server's own address, not the pooler's")
    }
  }

  private func standby(_ connection: Connection) throws -> Finding {
    try connection.isInRecovery()
      ? Finding("primary", .stop, "the server is a standby: nothing can be changed in it", hint: "give the address of the primary")
      : Finding("primary", .pass, "the server takes changes")
  }

  private func tools(_ connection: Connection) -> Finding {
    do {
      let tools = try ServerTools.find("pg_restore", major: connection.serverMajor, configured: request.toolFolders)
      return Finding("tools", .pass, "pg_dump and pg_restore \(tools.major) in \(tools.folder)")
    } catch {
      return Finding("tools", .stop, words.failure(error), hint: "without them there is neither a snapshot nor a way back")
    }
  }

  private func snapshot(_ connection: Connection) throws -> Finding {
    let lack: Finding.Verdict = request.takesSnapshot ? .pass : .stop
    let comes = request.takesSnapshot ? "; one is made before anything is migrated" : ""
    do {
      let repository = try repository.get()
      let source = try ServerSource(of: connection, named: request.source, in: repository.catalog).folder
      let places = try repository.catalog.snapshots(source: source, database: connection.database)
      let status = try StoreStatus(of: places, in: repository, limits: request.limits.snapshots, now: request.now(), age: { "\($0)" })
      guard let state = status.databases.first, let newest = state.newest else {
        return Finding(
          "snapshot", lack, "there is none of this database\(comes)", hint: request.takesSnapshot ? nil : "make one with firn-snapshot")
      }
      let age = request.now().timeIntervalSince(newest.startedAt)
      let proof =
        state.proof.map { "newest proof (\($0.level.rawValue)) \(words.span(request.now().timeIntervalSince($0.checkedAt))) old" }
        ?? "none was ever verified"
      let text = "\(newest.id), \(words.span(age)) old; \(proof)"
      if state.newestIsDamaged {
        return Finding(
          "snapshot", request.takesSnapshot ? .warn : .stop, "\(text); it was found damaged\(comes)",
          hint: "firn-verify --repair repairs it from another store")
      }
      if !request.takesSnapshot, age > request.limits.snapshots.snapshotAge.inSeconds {
        return Finding("snapshot", .stop, text, hint: "make a fresh one with firn-snapshot")
      }
      if !request.takesSnapshot, !newest.complete {
        return Finding("snapshot", .stop, "\(text); it is incomplete", hint: "firn show lists what is missing")
      }
      let proofAge = state.proof.map { request.now().timeIntervalSince($0.checkedAt) } ?? .infinity
      if proofAge > request.limits.snapshots.proofAge.inSeconds {
        return Finding("snapshot", .warn, text, hint: "firn-verify --drill shows that it can be restored, and how long that takes")
      }
      return Finding("snapshot", .pass, text + comes)
    } catch {
      return Finding("snapshot", .stop, words.failure(error), hint: "the way back needs a store")
    }
  }

  /// A table that is rewritten needs its own size once more.
  private func disk(_ connection: Connection) throws -> Finding {
    let largest = try connection.largestTables(1).first
    guard let disk = try ServerDisk(of: connection) else {
      return Finding("disk", .unknown, "the server is on another machine, or doesn't tell where its data lies", hint: "look there with df")
    }
    let text = "\(words.size(disk.free)) free" + (largest.map { ", the largest table takes \(words.size($0.bytes))" } ?? "")
    if disk.free < 256 << 20 { return Finding("disk", .stop, text, hint: "make room first") }
    guard let largest, disk.free < largest.bytes + largest.bytes / 4 else { return Finding("disk", .pass, text) }
    return Finding("disk", .warn, text, hint: "a migration that rewrites \(largest.name) would fill the disk")
  }

  /// Looks twice: what is over within half a second is daily life.
  private func sessions(_ connection: Connection) throws -> [Finding] {
    let first = try connection.sessions()
    let awaitedFirst = Set(try connection.awaitedLocks())
    if first.contains(where: { !$0.blockers.isEmpty }) || !awaitedFirst.isEmpty {
      try Interruption.sleep(until: ContinuousClock.now + .milliseconds(500))
    }
    let sessions = try connection.sessions()
    let blocked = Set(first.filter { !$0.blockers.isEmpty }.map(\.process))
    let stuck = sessions.filter { !$0.blockers.isEmpty && blocked.contains($0.process) }
    let awaited = awaitedFirst.intersection(try connection.awaitedLocks()).sorted()
    let limit = request.limits.transaction
    let long = sessions.filter { ($0.transaction ?? .zero) > limit }
    let seesAll = try connection.seesOthersSessions()
    func name(_ session: SessionState) -> String {
      "process \(session.process) (\(session.application.isEmpty ? session.user : session.application), \(session.state))"
    }
    return [
      long.isEmpty && !seesAll
        ? Self.hidden("long-transactions", connection)
        : long.isEmpty
          ? Finding("long-transactions", .pass, "none is open for longer than \(words.span(limit))")
          : Finding(
            "long-transactions", long.contains { ($0.transaction ?? .zero) > limit * 10 } ? .stop : .warn,
            some(long.map { "\(name($0)) for \(words.span($0.transaction ?? .zero))" }),
            hint: "a change of a table they have used waits for their end, and everybody else behind it: firn-migrate watch --end PID"),
      stuck.isEmpty && !seesAll
        ? Self.hidden("blocked-sessions", connection)
        : none(
          "blocked-sessions", of: stuck.map { "\(name($0)) waits for \($0.blockers.map(String.init).joined(separator: ", "))" }, else: .stop,
          hint: "firn-migrate watch shows who is in whose way"),
      none("ungranted-locks", of: awaited, else: .stop, hint: "firn-migrate watch shows who is in whose way"),
    ]
  }

  private static func hidden(_ name: String, _ connection: Connection) -> Finding {
    Finding(
      name, .unknown, "\(connection.user) is not shown what others do", hint: "GRANT pg_monitor TO \(Connection.identifier(connection.user))")
  }

  /// Passes if there is none.
  private func none(_ name: String, of found: [String], else verdict: Finding.Verdict, hint: String) -> Finding {
    found.isEmpty ? Finding(name, .pass, "none") : Finding(name, verdict, some(found), hint: hint)
  }

  private func prepared(_ connection: Connection) throws -> Finding {
    none(
      "prepared-transactions", of: try connection.preparedTransactions(), else: .stop,
      hint: "they keep their locks until COMMIT PREPARED or ROLLBACK PREPARED, even if their session ends")
  }

  private func indexes(_ connection: Connection) throws -> Finding {
    none(
      "invalid-indexes", of: try connection.invalidIndexes(), else: .warn,
      hint: "left by a CREATE INDEX CONCURRENTLY that failed: drop them, then build them again")
  }

  private func constraints(_ connection: Connection) throws -> Finding {
    none(
      "unvalidated-constraints", of: try connection.unvalidatedConstraints(), else: .warn, hint: "ALTER TABLE … VALIDATE CONSTRAINT, when it is quiet"
    )
  }

  private func tables(_ connection: Connection) throws -> [Finding] {
    let tables = try connection.largestTables(20)
    let bloated = tables.filter { $0.bytes > 10 << 20 && $0.deadRows > 10_000 && $0.deadRows * 4 > $0.liveRows }
    let largest = tables.prefix(3).map { "\($0.name) \(words.size($0.bytes))" }
    return [
      Finding("largest-tables", .pass, largest.isEmpty ? "no table" : largest.joined(separator: ", ")),
      bloated.isEmpty
        ? Finding("bloat", .pass, "no large table has a quarter of dead rows")
        : Finding(
          "bloat", .warn, some(bloated.map { "\($0.name): \($0.deadRows) dead rows of \($0.deadRows + $0.liveRows)" }), hint: "VACUUM them"),
    ]
  }

  private func replication(_ connection: Connection) throws -> Finding {
    let replicas = try connection.replicas()
    let idle = try connection.idleSlots().filter { ($0.bytesKept ?? 0) > 100 << 20 }
    var late: [String] = []
    for replica in replicas where (replica.behind ?? .zero) > request.limits.replicaDelay || (replica.bytesBehind ?? 0) > 100 << 20 {
      late.append("\(replica.name) is \(words.size(replica.bytesBehind ?? 0)) behind" + (replica.behind.map { " (\(words.span($0)))" } ?? ""))
    }
    late += idle.map { "slot \($0.name) keeps \(words.size($0.bytesKept ?? 0)) of log, and no client reads it" }
    if late.isEmpty, !replicas.isEmpty, try !connection.seesOthersSessions() { return Self.hidden("replication", connection) }
    if !late.isEmpty { return Finding("replication", .warn, some(late), hint: "a migration writes much: let them catch up first") }
    return Finding(
      "replication", .pass, replicas.isEmpty ? "no replicas" : "\(replicas.count) follow\(replicas.count == 1 ? "s" : "") closely")
  }

  private static func locked(_ name: String, _ table: String) -> Finding {
    Finding(name, .stop, "another session holds a lock on \(table)", hint: "is a migration running? firn-migrate watch shows it")
  }

  private func environment(_ connection: Connection) throws -> Finding {
    let found: String?
    do { found = try connection.railsEnvironment() } catch let error as PostgresError where error.isLockTimeout {
      return Self.locked("environment", "ar_internal_metadata")
    }
    guard let expected = request.expectedEnvironment else {
      return Finding("environment", .pass, found.map { "ar_internal_metadata says \($0)" } ?? "not a Rails database, or an old one")
    }
    if found == expected { return Finding("environment", .pass, "ar_internal_metadata says \(expected), as expected") }
    return Finding(
      "environment", .stop,
      found.map { "ar_internal_metadata says \($0), not \(expected)" } ?? "there is no ar_internal_metadata that says \(expected)",
      hint: "is this the database you mean?")
  }

  private func migrations(_ applied: AppliedMigrations) -> Finding {
    guard case .versions(let versions) = applied else {
      return Finding("schema-migrations", .pass, "there is no table schema_migrations")
    }
    let state = "\(versions.count) applied" + (versions.last.map { ", the newest \($0)" } ?? "")
    guard let folder = request.migrations else { return Finding("schema-migrations", .pass, state) }
    guard let names = try? Folder.names(in: folder) else {
      return Finding("schema-migrations", .warn, "\(state); \(folder) can't be read", hint: "name the folder with --migrations")
    }
    // As Rails names them: 20251028120000_add_status.rb.
    let files = Set(names.filter { $0.hasSuffix(".rb") || $0.hasSuffix(".sql") }.map { String($0.prefix { $0.isNumber }) }.filter { !$0.isEmpty })
    let pending = files.subtracting(versions).sorted()
    let unknown = versions.filter { !files.contains($0) }
    let text = state + "; " + (pending.isEmpty ? "none pending" : "pending: \(some(pending))")
    guard unknown.isEmpty || files.isEmpty else {
      return Finding(
        "schema-migrations", .warn, "\(text); applied, and without a file here: \(some(unknown))", hint: "is this the revision you mean to deploy?")
    }
    return Finding("schema-migrations", .pass, text)
  }

  private func some(_ texts: [String]) -> String {
    texts.prefix(5).joined(separator: ", ") + (texts.count > 5 ? " and \(texts.count - 5) more" : "")
  }
}
