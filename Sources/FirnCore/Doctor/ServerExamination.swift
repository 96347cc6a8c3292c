package import Foundation
internal import Platform
package import Postgres
package import SystemPackage

/// Whether a server can be backed up and restored: its version, its tools, what we may read. It changes nothing.
package struct ServerExamination: Sendable {
  private let settings: ConnectionSettings
  private let toolFolders: [FilePath]
  private let words: @Sendable (any Error) -> String
  private let now: @Sendable () -> Date
  private let anyDatabase: Bool
  private let restoreSettings: ConnectionSettings
  private let backedUp: @Sendable (_ server: Connection) -> Set<String>
  private let gain: @Sendable (_ database: Connection) -> IncrementalGain?
  private let incremental: @Sendable (_ database: String) -> SnapshotRequest.Incremental

  /// - Parameters:
  ///   - anyDatabase: whether no database was named, so that another will do if there is none of the role's name.
  ///   - restoreSettings: how firn-restore connects.
  ///   - backedUp: the databases of a server that have snapshots, which are examined too.
  ///   - incremental: the setting of a database.
  ///   - gain: what an incremental snapshot of the connected database would not have read.
  ///   - words: describes an error.
  package init(
    settings: ConnectionSettings, restoreSettings: ConnectionSettings, anyDatabase: Bool,
    backedUp: @escaping @Sendable (_ server: Connection) -> Set<String>,
    incremental: @escaping @Sendable (_ database: String) -> SnapshotRequest.Incremental,
    gain: @escaping @Sendable (_ database: Connection) -> IncrementalGain?, toolFolders: [FilePath],
    now: @escaping @Sendable () -> Date = { Date() }, words: @escaping @Sendable (any Error) -> String
  ) {
    self.settings = settings
    self.restoreSettings = restoreSettings
    self.backedUp = backedUp
    self.gain = gain
    self.incremental = incremental
    self.toolFolders = toolFolders
    self.anyDatabase = anyDatabase
    self.words = words
    self.now = now
  }

  /// - Throws: `Interruption`.
  package func run() throws -> [Finding] {
    let connection: Connection
    do {
      connection = try open()
      try connection.refusePooler()
    } catch {
      try Interruption.check()
      // The database may be what is gone.
      let others = (try? leftovers(ServerConnection.open(settings))) ?? []
      return [
        Finding(
          "server", .stop, words(error),
          hint: "check the address, which must be the server's own and not a pooler's; firn setup --apply creates the roles")
      ]
        + others
    }
    do {
      let version = try connection.versionText()
      var findings = [
        Finding("server", .pass, "PostgreSQL \(version) at \(connection.target), database \(connection.database), as \(connection.user)")
      ]
      findings += [
        support(version), tools(connection), try rights(connection), try restoreRights(connection), try globals(connection), try locks(connection),
      ]
      findings.append(try clock(connection))
      // The maintenance database is small: others matter, if there are any.
      let names = backedUp(connection)
      if connection.database != "postgres" || names.isSubset(of: ["postgres"]) { findings.append(try takeover(connection)) }
      findings += try leftovers(connection)
      return try findings + others(names, connection)
    } catch {
      try Interruption.check()
      return [Finding("server", .stop, words(error))]
    }
  }

  private func open() throws -> Connection {
    do { return try Connection(settings, applicationName: "firn doctor") } catch {
      guard anyDatabase, let connection = try? ServerConnection.open(settings) else { throw error }
      return connection
    }
  }

  /// Databases that restores in place left dropped, and unfinished ones of killed restores.
  private func leftovers(_ connection: Connection) throws -> [Finding] {
    try RestoreLeftover.findings(on: connection).map { leftover in
      switch leftover {
      case .loss(let text, let isCertain): Finding("restores", isCertain ? .stop : .warn, text)
      case .unfinished(let name):
        Finding(
          "restores", .warn, "database \(name) is a leftover of a killed restore",
          hint: "firn restore \(connection.database.shellWord) --recover drops it")
      }
    }
  }

  private func support(_ version: String) -> Finding {
    guard let (major, _) = ServerSupport.numbers(in: version), let support = ServerSupport.known[major] else {
      return Finding("server-version", .warn, "PostgreSQL \(version) was never tried with Firn", hint: "Firn is made for versions 13 to 18")
    }
    let today = now().formatted(.iso8601.year().month().day())
    return today > support.lastDay
      ? Finding(
        "server-version", .warn, "PostgreSQL \(major) gets no releases any more since \(support.lastDay)",
        hint: "faults in it are no longer fixed: plan the next version; a restore can move the database there")
      : Finding("server-version", .pass, "PostgreSQL \(major) is maintained until \(support.lastDay)")
  }

  private func tools(_ connection: Connection) -> Finding {
    do {
      let tools = try ServerTools.find("pg_dump", major: connection.serverMajor, configured: toolFolders)
      _ = try ServerTools.find("pg_restore", major: connection.serverMajor, configured: [tools.folder])
      let line = try tools.versionLine(of: "pg_dump")
      let text = "\(line) in \(tools.folder)"
      let found = line.firstRange(of: "(PostgreSQL) ").flatMap { ServerSupport.numbers(in: String(line[$0.upperBound...])) }
      guard let found, let support = ServerSupport.known[found.major] else { return Finding("tools", .pass, text) }
      if let least = support.firstSafeMinor, found.minor >= least {
        let server = connection.serverVersion % 10000
        guard found.minor < server else { return Finding("tools", .pass, text) }
        return Finding(
          "tools", .warn, "\(text) is older than the server, \(found.major).\(server)",
          hint: "update postgresql-client-\(found.major): an older pg_dump can misread what a newer server keeps in its catalogs")
      }
      let wanted = support.firstSafeMinor.map { "update to \(found.major).\($0) or later" } ?? "no version \(found.major) is without it"
      return Finding(
        "tools", .warn, text, hint: "a server in bad hands can harm this machine through it (CVE-2026-6477, CVE-2025-8714): \(wanted)")
    } catch {
      return Finding("tools", .stop, words(error), hint: "install Debian's postgresql-client-\(connection.serverMajor), or name a folder with pg-bin")
    }
  }

  /// The other databases of the server that are backed up.
  private func others(_ names: Set<String>, _ connection: Connection) throws -> [Finding] {
    // Databases that no longer exist are reported by firn status.
    return try names.filter { try $0 != connection.database && connection.databaseExists($0) }.sorted().flatMap { name in
      do {
        let other = try Connection(settings.with(database: name), applicationName: "firn doctor")
        return [try rights(other), try restoreRights(other), try locks(other)] + (name == "postgres" ? [] : [try takeover(other)])
      } catch {
        try Interruption.check()
        return [Finding("rights", .warn, "\(name): \(words(error))", hint: "there are snapshots of it: is it still to be backed up?")]
      }
    }
  }

  /// Whether pg_dump could read all of a database.
  private func rights(_ connection: Connection) throws -> Finding {
    let barriers = try connection.dumpBarriers()
    guard let first = barriers.first else { return Finding("rights", .pass, "\(connection.database): everything can be read") }
    let role = Connection.identifier(connection.user)
    let (count, example) = (first.count, first.example)
    func grant(_ what: String) -> String {
      connection.serverMajor < 14 ? "in each schema: GRANT SELECT ON ALL \(what) IN SCHEMA … TO \(role)" : "GRANT pg_read_all_data TO \(role)"
    }
    func objects(_ noun: String) -> String { count == 1 ? "the \(noun) \(example)" : "\(count) \(noun)s, as \(example)" }
    let (what, hint) =
      switch first.kind {
      case .table: ("may not read \(objects("table"))", grant("TABLES"))
      case .sequence: ("may not read \(objects("sequence"))", grant("SEQUENCES"))
      case .rowSecurity: ("does not see all rows of \(objects("table")): row security", "ALTER ROLE \(role) BYPASSRLS")
      case .largeObject: ("may not read \(objects("large object"))", "dump as their owner or a superuser, or grant each to \(role)")
      }
    let more = barriers.count > 1 ? ", and more once that is fixed" : ""
    return Finding("rights", .stop, "\(connection.database): \(connection.user) \(what)\(more)", hint: hint)
  }

  /// Whether a restore of the connected database, or of one that is gone, would be permitted.
  private func restoreRights(_ connection: Connection) throws -> Finding {
    let hint = RestoringRole.advice
    let restorer: Connection
    do { restorer = try ServerConnection.open(restoreSettings) } catch {
      try Interruption.check()
      return Finding("restore-rights", .stop, "firn-restore could not connect: \(words(error))", hint: hint)
    }
    let role = try restorer.currentRole()
    guard let rights = try restorer.rights(ofRole: role) else { return Finding("restore-rights", .warn, "the rights of \(role) are unknown") }
    if rights.isSuperuser { return Finding("restore-rights", .pass, "\(role) may restore everything") }
    guard rights.createsDatabases else {
      return Finding("restore-rights", .stop, "\(role) may not create databases, so a lost one could not be restored", hint: hint)
    }
    // Each server has its own database postgres.
    if connection.database == "postgres" { return Finding("restore-rights", .pass, "\(role) may create databases") }
    let needs = try connection.needsOfRestores()
    let foreign = try needs.owners.sorted().filter { try $0 != role && !restorer.isMember(role, of: $0) }
    let lacking = needs.privileged + foreign.map { "objects of \($0)" }
    guard !lacking.isEmpty else { return Finding("restore-rights", .pass, "\(role) may restore all of \(connection.database)") }
    return Finding(
      "restore-rights", .warn,
      "\(connection.database): a restore by \(role) would leave out, or give to \(role), \(lacking.prefix(3).joined(separator: ", "))\(lacking.count > 3 ? " and \(lacking.count - 3) more" : "")",
      hint: hint)
  }

  private func globals(_ connection: Connection) throws -> Finding {
    try connection.canReadPasswords()
      ? Finding("roles", .pass, "roles are kept with their passwords")
      : Finding(
        "roles", .warn, "\(connection.user) may not read the passwords of roles: snapshots have the roles without them",
        hint: "as a superuser they would be kept; else write them down elsewhere")
  }

  private func locks(_ connection: Connection) throws -> Finding {
    let (relations, capacity) = (try connection.relationCount(), try connection.lockTableCapacity())
    let text = "\(connection.database): \(relations) tables, room for about \(capacity) locks"
    let hint = "raise max_locks_per_transaction in postgresql.conf"
    if relations > capacity { return Finding("lock-table", .stop, text, hint: hint) }
    return relations * 2 > capacity ? Finding("lock-table", .warn, text, hint: hint) : Finding("lock-table", .pass, text)
  }

  /// Whether snapshots of the connected database can take over tables that have not changed.
  private func takeover(_ connection: Connection) throws -> Finding {
    let database = connection.database
    func all(_ reason: String) -> String {
      let known = gain(connection)?.text.map { "; \($0)" } ?? ""
      return "\(database): every snapshot reads all tables: \(reason)\(known)"
    }
    let mode = incremental(database)
    if mode == .no { return Finding("incremental", .pass, all("incremental is no in firn.yaml")) }
    let obstacles = try connection.obstaclesToIncremental()
    guard obstacles.isEmpty else {
      let missing = try connection.obstacleToFileTimes()
      if mode == .fileTimes {
        return missing.map { missing in
          Finding("incremental", .warn, all(missing.reason), hint: missing.canBeGranted ? "firn setup --apply grants what is missing" : nil)
        }
          ?? Finding("incremental", .pass, "\(database): snapshots read only tables whose files changed")
      }
      var hint: String?
      if obstacles.contains("summarize_wal is off") {
        hint = "as a superuser: psql -c 'ALTER SYSTEM SET summarize_wal = on' -c 'SELECT pg_reload_conf()'; then only changed tables are read"
      } else if connection.serverMajor < 17 {
        hint =
          "with incremental: file-times in firn.yaml only tables whose files changed are read"
          + (missing?.canBeGranted ?? false ? "; firn setup --apply then grants what it needs" : "")
      }
      return Finding("incremental", .pass, all(obstacles.joined(separator: ", ")), hint: hint)
    }
    let missing = try connection.rolesMissingForIncremental()
    guard missing.isEmpty else {
      return Finding(
        "incremental", .warn, all("\(connection.user) is not a member of \(missing.joined(separator: " and "))"),
        hint: "GRANT \(missing.joined(separator: ", ")) TO \(Connection.identifier(connection.user))")
    }
    return Finding(
      "incremental", .pass,
      "\(database): snapshots read only what changed\(mode == .auto ? ", if a dump has 64 MiB or more" : "")")
  }

  /// Snapshots are named by this machine's time, and their tables' contents by the server's.
  private func clock(_ connection: Connection) throws -> Finding {
    let before = now()
    let server = try connection.clock()
    let skew = abs(server.timeIntervalSince(before))
    return ClockFinding.of("server-clock", skew: skew, of: "the server's clock")
  }
}

/// How far two clocks are apart.
enum ClockFinding {
  static func of(_ name: String, skew: Double, of whose: String) -> Finding {
    let text = "\(whose) and this one differ by \(skew < 2 ? "less than 2" : String(Int(skew.rounded()))) s"
    return skew < 60 ? Finding(name, .pass, text) : Finding(name, .warn, text, hint: "look at NTP on both: snapshots are ordered by their times")
  }
}
