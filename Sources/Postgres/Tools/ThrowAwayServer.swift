internal import Foundation
internal import Platform
package import SystemPackage

/// A PostgreSQL server made for one purpose, on a socket in a private folder, without a care for power cuts. It ends with the process
/// that started it; its folder goes with the folder it lies in.
///
/// Code of the restored database runs in it as superuser: checks, triggers, functions in indexes. So it is confined: it can change its own
/// folders only, reads the system's programs only, and opens no connection.
package final class ThrowAwayServer {
  package let settings: ConnectionSettings
  private var process: ChildProcess
  private let messages: ToolMessages
  private let start: ([String]) throws -> ChildProcess
  private let account: Account?

  /// The user it runs as where we are root, which PostgreSQL refuses to be.
  package struct Account: Sendable {
    fileprivate let user: UInt32
    fileprivate let group: UInt32

    /// Whether it may pass through a folder and all those above it.
    package func canReach(_ folder: FilePath) -> Bool {
      var path = folder
      while true {
        guard let status = try? Folder.status(of: path, followingLinks: true) else { return false }
        if status.mode & (status.owner == user ? 0o100 : 0o001) == 0 { return false }
        if path.components.isEmpty { return true }
        path.removeLastComponent()
      }
    }

    /// The user `nobody`, which owns no store and no cluster; nil if this process does not run as root.
    package static var needed: Account? {
      guard Host.isRoot else { return nil }
      return Host.user(named: "nobody").map { Account(user: $0.user, group: $0.group) }
    }
  }

  private static let superuser = "postgres"

  /// - Parameters:
  ///   - tools: the tools of the wanted version; their folder also holds `initdb` and `postgres`.
  ///   - folder: a private folder that the account can enter.
  ///   - sockets: a folder with a short name: a socket's path has at most 107 bytes.
  ///   - locks: `max_locks_per_transaction`.
  ///   - isConfined: false only if the operator asked for it.
  ///   - connected: called with the application name of each session, in the order in which they begin.
  /// - Throws: `PostgresError.toolFailed`, `.cannotConnect`.
  package init(
    tools: ServerTools, folder: FilePath, sockets: FilePath, account: Account?, locks: Int, isConfined: Bool = true,
    patience: Duration = .seconds(60), connected: (@Sendable (String) -> Void)? = nil
  ) throws {
    let home = folder.appending("server")
    let data = home.appending("data")
    let socket = sockets.appending("s")
    for (outer, inner) in [(folder, home), (sockets, socket)] {
      try Folder.make(inner)
      guard let account else { continue }
      try Folder.permitPassing(through: outer)
      try Folder.changeOwner(of: inner, user: account.user, group: account.group)
    }
    messages = ToolMessages(tool: "postgres")
    self.account = account
    if account != nil { Host.adoptOrphans() }
    let environment = ["LC_ALL": "C", "PATH": "/usr/bin:/bin"]
    let confinement = isConfined ? Self.confinement(tools, home: home, socket: socket) : nil
    let initial = ToolMessages(tool: "initdb")
    let made = try Self.program(tools.path("initdb"), account)
    let maker = try ChildProcess(
      made.program,
      arguments: made.arguments + [
        "--pgdata", data.string, "--username", Self.superuser, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
      ], environment: environment, confinement: confinement
    ) { initial.add($0) }
    let code = try maker.wait(checking: Interruption.check)
    guard code == 0 else { throw PostgresError.toolFailed(tool: "initdb", exitCode: code, messages: initial.errors) }
    let options = [
      "listen_addresses=", "unix_socket_directories=\(socket)", "unix_socket_permissions=0700", "fsync=off", "full_page_writes=off",
      "synchronous_commit=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB", "autovacuum=off", "max_connections=40",
      "max_locks_per_transaction=\(locks)", "shared_buffers=256MB", "logging_collector=off", "log_min_messages=\(connected == nil ? "fatal" : "log")",
      "log_connections=\(connected == nil ? "off" : "on")",
      "log_checkpoints=off", "jit=off", "dynamic_shared_memory_type=mmap", "track_commit_timestamp=on",
    ]
    let started = try Self.program(tools.path("postgres"), account)
    start = { [messages] more in
      try ChildProcess(
        started.program,
        arguments: started.arguments + ["-D", data.string, "-p", "5432"] + (options + more).flatMap { ["-c", $0] }, environment: environment,
        confinement: confinement
      ) { line in
        if let connected, let application = Self.application(ofConnection: line) { connected(application) } else { messages.add(line) }
      }
    }
    process = try start([])
    settings = ConnectionSettings(parameters: ["host": socket.string, "port": "5432", "user": Self.superuser, "dbname": "postgres"])
    try waitForStart(patience)
  }

  private func waitForStart(_ patience: Duration) throws {
    let deadline = ContinuousClock.now + patience
    while true {
      do {
        try Interruption.check()
        _ = try Connection(settings.with("connect_timeout", "2"), applicationName: "firn")
        return
      } catch let error as PostgresError {
        guard process.exitCode() == nil else {
          throw PostgresError.toolFailed(tool: "postgres", exitCode: process.wait(), messages: messages.errors)
        }
        guard ContinuousClock.now < deadline else { throw error }
        Thread.sleep(forTimeInterval: 0.05)
      }
    }
  }

  /// Starts the server again with libraries that it loads when it starts. If it does not start with them, it runs without.
  /// - Returns: whether it runs with them.
  package func restart(preloading libraries: [String]) throws -> Bool {
    stop()
    process = try start(["shared_preload_libraries=\(libraries.joined(separator: ","))"])
    do {
      try waitForStart(.seconds(60))
      return true
    } catch PostgresError.toolFailed {
      process = try start([])
      try waitForStart(.seconds(60))
      return false
    }
  }

  deinit { stop() }

  /// The folders of the libraries that programs load, which may lie outside the system's.
  private static func libraryFolders(of programs: [FilePath]) -> [FilePath] {
    let folders = programs.flatMap { program -> [FilePath] in
      guard let result = try? ProgramResult.run("/usr/bin/ldd", [program.string], environment: ["LC_ALL": "C"]) else { return [] }
      return String(decoding: result.output, as: UTF8.self).split(separator: "\n").compactMap { line in
        guard let path = line.split(separator: " ").first(where: { $0.hasPrefix("/") }) else { return nil }
        let real = URL(fileURLWithPath: String(path)).resolvingSymlinksInPath().deletingLastPathComponent().path
        return real == "/" ? nil : FilePath(real)
      }
    }
    return Array(Set(folders))
  }

  /// The parts of the system that the server needs: programs, libraries, time zones, dictionaries.
  private static func confinement(_ tools: ServerTools, home: FilePath, socket: FilePath) -> Confinement {
    let program = URL(fileURLWithPath: tools.path("postgres").string).resolvingSymlinksInPath()
    let etc = [
      "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "passwd", "group", "nsswitch.conf", "localtime", "timezone", "locale.alias", "alternatives",
      "perl",
      "python3", "python3.11", "python3.13", "postgresql-common",
    ]
    let system = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/dev/urandom", "/dev/random", "/var/cache/postgresql"] + etc.map { "/etc/\($0)" }
    // Debian's tree, wherever it is unpacked: programs in usr/lib/postgresql/15/bin, data in usr/share.
    let folder = program.deletingLastPathComponent().deletingLastPathComponent().path
    let prefix = folder.range(of: "/lib/postgresql/", options: .backwards).map { String(folder[..<$0.lowerBound]) } ?? folder
    var confinement = Confinement(
      readable: (system + [prefix]).map { FilePath($0) } + libraryFolders(of: [tools.path("initdb"), tools.path("postgres")]),
      writable: [home, socket, "/dev/null", "/dev/zero"])
    // Until version 14 statistics go to a process of the server's over UDP.
    confinement.mayConnect = tools.major < 15
    return confinement
  }

  /// Out of `log_connections`' line about a session that was let in; nil for any other line.
  private static func application(ofConnection line: String) -> String? {
    guard line.contains(" connection authorized: user=") else { return nil }
    return line.ranges(of: " application_name=").last.map { String(line[$0.upperBound...].prefix { $0 != " " }) } ?? ""
  }

  /// Ends the server at once: nothing in it is worth keeping.
  package func stop() {
    if process.exitCode() == nil {
      process.signalGroup(SIGQUIT)
      process.terminate(grace: .seconds(10))
    }
    // Background processes started by code of the database have the server's user, if it is not ours.
    if let account { Host.endChildren(ofUser: account.user) }
  }

  /// Runs the program as another user. Changing the user clears the parent-death signal, so setpriv sets it again.
  private static func program(_ path: FilePath, _ account: Account?) throws -> (program: FilePath, arguments: [String]) {
    let user = account.map { ["--reuid=\($0.user)", "--regid=\($0.group)", "--clear-groups"] } ?? []
    return ("/usr/bin/setpriv", user + ["--pdeathsig=QUIT", path.string])
  }
}
