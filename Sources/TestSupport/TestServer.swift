internal import Foundation
package import Platform
package import Postgres
package import SystemPackage

/// Why a test could not get what it needs. Never a reason to pass.
package struct Unavailable: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// A throw-away PostgreSQL server on loopback, with a password. It ends with this process.
package final class TestServer: Sendable {
  package let binaries: FilePath
  package let major: Int
  package let port: Int
  private let home: TemporaryFolder
  private let settings: [String]
  private let process = Monitor<ServerProcess?>(nil)

  /// Awkward for pass files, connection strings and URLs alike.
  package static let password = #"s3:c\re't %41 "#

  /// Servers that tests share: each test makes databases of its own in them.
  package static let system = Result { try TestServer(place: 0) }
  package static let version16 = Result { try TestServer(place: 1) }
  package static let version18 = Result { try TestServer(place: 2) }
  package static let version17 = Result { try TestServer(place: 3) }

  /// The folders of servers that `scripts/test` names: the system's, 16, 18, 17.
  package static func binaries(at place: Int) throws -> FilePath {
    let named = (ProcessInfo.processInfo.environment["FIRN_TEST_SERVERS"] ?? "").split(separator: ":")
    guard place < named.count else { throw Unavailable("no PostgreSQL server was named: run the tests by scripts/test") }
    return FilePath(String(named[place]))
  }

  private convenience init(place: Int) throws { try self.init(binaries: try Self.binaries(at: place)) }

  /// Makes a cluster and starts its server.
  /// - Parameter settings: as in `postgresql.conf`, such as `max_connections=20`.
  package init(binaries: FilePath, settings: [String] = []) throws {
    self.binaries = binaries
    self.settings = settings
    let version = try ProgramResult.run(binaries.appending("postgres"), ["--version"], environment: [:])
    let digits = String(decoding: version.output, as: UTF8.self).drop { !$0.isNumber }.prefix { $0.isNumber }
    guard let number = Int(digits) else { throw Unavailable("\(binaries) holds no PostgreSQL server") }
    major = number
    home = try TemporaryFolder(inMemory: true)
    port = try Loopback.freePort()
    let secret = try home.write(Self.password + "\n", to: "password")
    if let user = Account.unprivileged {
      for path in [home.path, secret] { try Folder.changeOwner(of: path, user: user.user, group: user.group) }
    }
    let made = try ProgramResult.run(
      "/usr/bin/setpriv",
      Account.setprivArguments + [
        binaries.appending("initdb").string, "--pgdata", data.string, "--username=postgres", "--auth=scram-sha-256",
        "--pwfile", secret.string, "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
      ], environment: ["LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"])
    guard made.exitCode == 0 else { throw Unavailable("initdb failed: \(made.errors.joined(separator: " "))") }
    try start()
  }

  private var data: FilePath { home.path("data") }

  /// Starts the server if it was stopped or killed, and waits until it accepts connections.
  package func start() throws {
    let arguments =
      [binaries.appending("postgres").string, "-D", data.string, "-p", "\(port)", "-k", home.path.string]
      + (["listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=64MB", "max_wal_size=4GB", "logging_collector=off"] + settings)
      .flatMap { ["-c", $0] }
    let started = try ServerProcess("/usr/bin/setpriv", Account.setprivArguments + arguments)
    process.update { $0 = started }
    let deadline = ContinuousClock.now + .seconds(60)
    while true {
      if (try? connect()) != nil { return }
      guard started.isAlive, ContinuousClock.now < deadline else {
        throw Unavailable("the server did not start: \(started.messages.suffix(5).joined(separator: " "))")
      }
      Thread.sleep(forTimeInterval: 0.05)
    }
  }

  /// Ends the server's main process at once, as a crash would; its others follow.
  package func crash() {
    let others = ProcessTable.children(of: process.current?.processID ?? 0).map(\.id)
    process.current?.end(by: 9)
    // Its other processes notice within a moment; the next start must find none of them.
    let deadline = ContinuousClock.now + .seconds(30)
    while others.contains(where: ProcessTable.isAlive), ContinuousClock.now < deadline { Thread.sleep(forTimeInterval: 0.02) }
  }

  /// Ends the server in an orderly way, sessions included.
  package func stop() { process.current?.end(by: 2) }

  /// Ends the server and deletes its cluster.
  package func destroy() throws {
    stop()
    try Folder.removeTree(data)
  }

  /// A URL as Rails has it, password and all. For the environment, never for an argument.
  package func url(_ database: String, user: String = "postgres", password: String = TestServer.password) -> String {
    "postgresql://\(user.urlComponent):\(password.urlComponent)@127.0.0.1:\(port)/\(database.urlComponent)"
  }

  /// A URL without a password, for arguments. The password goes into `PGPASSWORD`.
  package func address(_ database: String, user: String = "postgres") -> String {
    "postgresql://\(user.urlComponent)@127.0.0.1:\(port)/\(database.urlComponent)"
  }

  package func connect(_ database: String = "postgres") throws -> Connection {
    try Connection(try ConnectionSettings(url(database)), applicationName: "firn tests")
  }

  /// Runs SQL by psql, which stops at the first error.
  /// - Returns: the rows, fields divided by `|`.
  @discardableResult package func sql(_ text: String, in database: String = "postgres") throws -> String {
    let folder = try TemporaryFolder()
    return try psql(["-f", folder.write(text, to: "statements.sql").string], in: database)
  }

  @discardableResult package func psql(_ arguments: [String], in database: String) throws -> String {
    let result = try tool("psql", ["-XqAt", "-v", "ON_ERROR_STOP=1"] + arguments, in: database)
    guard result.exitCode == 0 else { throw Unavailable("psql: \(result.errors.joined(separator: " "))") }
    return String(decoding: result.output, as: UTF8.self).trimmingCharacters(in: .newlines)
  }

  /// Runs a tool of this server's version against a database of it.
  package func tool(_ name: String, _ arguments: [String], in database: String) throws -> ProgramResult {
    let folder = try TemporaryFolder()
    return try ProgramResult.run(
      toolPath(name), arguments, environment: try environment(database, passFileIn: folder.path))
  }

  private func toolPath(_ name: String) -> FilePath { binaries.appending(name) }

  /// Variables that lead PostgreSQL's tools to a database. The password is in a file.
  package func environment(_ database: String, passFileIn folder: FilePath) throws -> [String: String] {
    let file = folder.appending("pgpass")
    let escaped = Self.password.replacing("\\", with: "\\\\").replacing(":", with: "\\:")
    try Folder.write(Array("*:*:*:*:\(escaped)\n".utf8), to: file)
    return [
      "PGHOST": "127.0.0.1", "PGPORT": "\(port)", "PGUSER": "postgres", "PGPASSFILE": file.string, "PGDATABASE": database,
      "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "PGOPTIONS": "-c client_min_messages=warning -c statement_timeout=0 -c lock_timeout=0",
    ]
  }

  /// Makes an empty database with a name of its own.
  package func makeDatabase(_ prefix: String = "db") throws -> String {
    let name = "\(prefix)_\(UUID().uuidString.prefix(8).lowercased())"
    try sql("CREATE DATABASE \(Connection.identifier(name)) TEMPLATE template0")
    return name
  }

  package func databaseNames() throws -> Set<String> {
    Set(try sql("SELECT datname FROM pg_database").split(separator: "\n").map(String.init))
  }
}

extension String {
  package var urlComponent: String {
    addingPercentEncoding(withAllowedCharacters: .alphanumerics.intersection(CharacterSet(charactersIn: "\u{0}"..."\u{7F}"))) ?? self
  }
}
