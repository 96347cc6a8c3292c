internal import Foundation
internal import Platform
package import SystemPackage

/// A PostgreSQL server made for one purpose, on a socket in a private folder, without a care for power cuts. It ends with the process
/// that started it; its folder goes with the folder it lies in.
package final class ThrowAwayServer {
  package let settings: ConnectionSettings
  private let process: ChildProcess
  private let messages: ToolMessages

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

    /// `postgres`, else `nobody`; nil where we are not root.
    package static var needed: Account? {
      guard Host.isRoot else { return nil }
      return ["postgres", "nobody"].compactMap { Host.user(named: $0) }.first.map { Account(user: $0.user, group: $0.group) }
    }
  }

  private static let superuser = "postgres"

  /// - Parameters:
  ///   - tools: of the version it is to have; their folder holds `initdb` and `postgres`, too.
  ///   - folder: a private folder of ours, which has to let the account through.
  ///   - sockets: another, with a short name: a socket's path has 107 bytes at most.
  ///   - locks: `max_locks_per_transaction`.
  ///   - connected: is told the application of each session that begins, in the order in which they do.
  /// - Throws: `PostgresError.toolFailed`, `.cannotConnect`.
  package init(
    tools: ServerTools, folder: FilePath, sockets: FilePath, account: Account?, locks: Int, patience: Duration = .seconds(60),
    connected: (@Sendable (String) -> Void)? = nil
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
    let environment = ["LC_ALL": "C", "PATH": "/usr/bin:/bin"]
    let initial = ToolMessages(tool: "initdb")
    let made = try Self.program(tools.path("initdb"), account)
    let maker = try ChildProcess(
      made.program,
      arguments: made.arguments + [
        "--pgdata", data.string, "--username", Self.superuser, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
      ], environment: environment
    ) { initial.add($0) }
    while maker.exitCode() == nil {
      if Interruption.signal != nil { maker.terminate() }
      try Interruption.check()
      Thread.sleep(forTimeInterval: 0.01)
    }
    let code = maker.wait()
    guard code == 0 else { throw PostgresError.toolFailed(tool: "initdb", exitCode: code, messages: initial.errors) }
    let options = [
      "listen_addresses=", "unix_socket_directories=\(socket)", "unix_socket_permissions=0700", "fsync=off", "full_page_writes=off",
      "synchronous_commit=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB", "autovacuum=off", "max_connections=40",
      "max_locks_per_transaction=\(locks)", "shared_buffers=256MB", "logging_collector=off", "log_min_messages=\(connected == nil ? "fatal" : "log")",
      "log_connections=\(connected == nil ? "off" : "on")",
      "log_checkpoints=off", "jit=off", "track_commit_timestamp=on",
    ]
    let started = try Self.program(tools.path("postgres"), account)
    process = try ChildProcess(
      started.program, arguments: started.arguments + ["-D", data.string, "-p", "5432"] + options.flatMap { ["-c", $0] }, environment: environment
    ) { [messages] line in
      if let connected, let application = Self.application(ofConnection: line) { connected(application) } else { messages.add(line) }
    }
    settings = ConnectionSettings(parameters: ["host": socket.string, "port": "5432", "user": Self.superuser, "dbname": "postgres"])
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

  deinit { stop() }

  /// Out of `log_connections`' line about a session that was let in; nil for any other line.
  private static func application(ofConnection line: String) -> String? {
    guard line.contains(" connection authorized: user=") else { return nil }
    return line.ranges(of: " application_name=").last.map { String(line[$0.upperBound...].prefix { $0 != " " }) } ?? ""
  }

  /// Ends the server at once: nothing in it is worth keeping.
  package func stop() {
    guard process.exitCode() == nil else { return }
    process.signalGroup(SIGQUIT)
    process.terminate(grace: .seconds(10))
  }

  /// As another user, and still to end when we do: what changes its user loses that tie, unless it is said anew.
  private static func program(_ path: FilePath, _ account: Account?) throws -> (program: FilePath, arguments: [String]) {
    let user = account.map { ["--reuid=\($0.user)", "--regid=\($0.group)", "--clear-groups"] } ?? []
    return ("/usr/bin/setpriv", user + ["--pdeathsig=QUIT", path.string])
  }
}
