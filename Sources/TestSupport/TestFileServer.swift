internal import Foundation
internal import Platform
package import SystemPackage

/// A server on loopback that speaks SFTP and gives no shell: OpenSSH's. It ends with this process.
package final class TestFileServer: Sendable {
  /// The server that tests share: each has a folder of its own in it.
  package static let shared = Result { try TestFileServer() }

  package let port: Int
  /// The user who may log in.
  package let user: String
  private let folder: TemporaryFolder
  private let process = Monitor<ServerProcess?>(nil)

  package init() throws {
    folder = try TemporaryFolder()
    port = try Loopback.freePort()
    let account = Account.unprivileged
    user = try account == nil ? Self.output("/usr/bin/id", ["-un"]) : "postgres"
    try Folder.permitPassing(through: folder.path)
    for name in ["host", "other", "user"] {
      _ = try Self.output("/usr/bin/ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", folder.path(name).string])
    }
    try Folder.make(folder.path("data"))
    try folder.write(try text("user.pub"), to: "authorized")
    for name in ["host", "data", "authorized"] { try give(name) }
    for (name, key) in [("known", "host.pub"), ("changed", "other.pub")] {
      try folder.write("[127.0.0.1]:\(port) \(try text(key).split(separator: " ").prefix(2).joined(separator: " "))\n", to: name)
    }
    try folder.write("", to: "none")
    try start()
  }

  /// Lets the server have a file.
  private func give(_ name: String) throws {
    guard let account = Account.unprivileged else { return }
    try Folder.changeOwner(of: folder.path(name), user: account.user, group: account.group)
  }

  private func text(_ name: String) throws -> String { String(decoding: try Folder.contents(of: folder.path(name)), as: UTF8.self) }

  private static func output(_ program: FilePath, _ arguments: [String]) throws -> String {
    let result = try Workplace.run(program, arguments, environment: ["PATH": "/usr/bin:/bin"])
    guard result.status == 0 else { throw Unavailable("\(program): \(result)") }
    return result.output
  }

  /// Starts it if it was ended, and waits until it answers.
  package func start() throws {
    guard let program = ProcessInfo.processInfo.environment["FIRN_TEST_SSHD"], program.hasPrefix("/") else {
      throw Unavailable("no sshd was named: run the tests by scripts/test")
    }
    // Later versions are of several programs, which an unpacked one has beside it.
    let parts = [("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")].compactMap { option, name -> String? in
      let path = FilePath(program).removingLastComponent().removingLastComponent().appending("lib/openssh").appending(name)
      return Folder.exists(path) ? "\(option) \(path)\n" : nil
    }
    try folder.write(
      """
      Port \(port)
      ListenAddress 127.0.0.1
      HostKey \(folder.path("host"))
      AuthorizedKeysFile \(folder.path("authorized"))
      StrictModes no
      UsePAM no
      PidFile none
      PasswordAuthentication no
      KbdInteractiveAuthentication no
      Subsystem sftp internal-sftp
      ForceCommand internal-sftp -u 0077
      MaxStartups 200
      LogLevel ERROR
      \(parts.joined())
      """, to: "config")
    try give("config")
    let libraries = FilePath(program).removingLastComponent().removingLastComponent().appending("lib")
    let started = try ServerProcess(
      "/usr/bin/setpriv", Account.setprivArguments + [program, "-D", "-e", "-f", folder.path("config").string],
      environment: program == "/usr/sbin/sshd" ? [:] : ["LD_LIBRARY_PATH": libraries.string])
    process.update { $0 = started }
    let deadline = ContinuousClock.now + .seconds(30)
    let listening = ":\(String(port, radix: 16, uppercase: true)) 00000000:0000 0A"
    while !String(decoding: (try? Folder.contents(of: "/proc/net/tcp")) ?? [], as: UTF8.self).contains(listening) {
      guard started.isAlive, ContinuousClock.now < deadline else {
        throw Unavailable("sshd did not start: \(started.messages.suffix(5).joined(separator: " "))")
      }
      Thread.sleep(forTimeInterval: 0.05)
    }
  }

  /// Ends it at once, with all who are logged in, as a crash would.
  package func crash() {
    guard let main = process.current?.processID else { return }
    let sessions = ProcessTable.children(of: main).flatMap { [$0.id] + ProcessTable.children(of: $0.id).map(\.id) }
    process.current?.end(by: 9)
    for session in sessions { ProcessTable.send(9, to: session) }
  }

  /// Lets it stand still meanwhile: connections are taken, and nothing is answered.
  package func whileItHangs<Result>(_ body: () throws -> Result) rethrows -> Result {
    let main = process.current?.processID ?? 0
    ProcessTable.send(SIGSTOP, to: main)
    defer { ProcessTable.send(SIGCONT, to: main) }
    return try body()
  }

  /// The server's key in the client's list of known hosts.
  package enum KnownHosts: String { case known, changed, none }

  /// A location as users write it.
  package func location(_ name: String, knownHosts: KnownHosts = .known, key: String = "user") -> String {
    location(name, port, folder.path(key), folder.path(knownHosts.rawValue))
  }

  private func location(_ name: String, _ port: Int, _ key: FilePath, _ knownHosts: FilePath) -> String {
    "sftp://\(user)@127.0.0.1:\(port)\(path(name))?key=\(key)&known-hosts=\(knownHosts)"
  }

  /// The same by way of a proxy's port.
  package func location(_ name: String, through proxy: Int) throws -> String {
    let known = try folder.write(try text("known").replacing("]:\(port) ", with: "]:\(proxy) "), to: "known-\(proxy)")
    return location(name, proxy, folder.path("user"), known)
  }

  /// An unused folder name.
  package func makeName() -> String { "store-\(UUID().uuidString.prefix(8).lowercased())" }

  /// Where a store's files lie.
  package func path(_ name: String) -> FilePath { folder.path("data").appending(name) }
}
