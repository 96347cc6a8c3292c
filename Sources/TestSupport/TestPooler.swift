internal import Foundation
internal import Platform
internal import SystemPackage

/// PgBouncer before a server, in transaction mode.
package final class TestPooler: Sendable {
  package let port: Int
  private let folder: TemporaryFolder
  private let process: ServerProcess

  /// - Parameter alias: the port in the pool's own name for the server; nil for another than the server's.
  package init(before server: TestServer) throws {
    folder = try TemporaryFolder()
    port = try Loopback.freePort()
    let secret = TestServer.password.replacing("\"", with: "\"\"")
    try folder.write("\"postgres\" \"\(secret)\"\n", to: "users.txt")
    let configuration = try folder.write(
      """
      [databases]
      * = host=127.0.0.1 port=\(server.port)
      [pgbouncer]
      listen_addr = 127.0.0.1
      listen_port = \(port)
      unix_socket_dir =
      auth_type = scram-sha-256
      auth_file = \(folder.path("users.txt").string)
      pool_mode = transaction
      default_pool_size = 4
      ignore_startup_parameters = extra_float_digits,search_path,options

      """, to: "pgbouncer.ini")
    if let user = Account.unprivileged {
      for path in [folder.path, folder.path("users.txt"), configuration] {
        try Folder.changeOwner(of: path, user: user.user, group: user.group)
      }
    }
    process = try ServerProcess("/usr/bin/setpriv", Account.setprivArguments + ["/usr/sbin/pgbouncer", configuration.string])
    let deadline = ContinuousClock.now + .seconds(20)
    while !process.messages.contains(where: { $0.contains("process up") }) {
      guard process.isAlive, ContinuousClock.now < deadline else {
        throw Unavailable("pgbouncer did not start: \(process.messages.suffix(5).joined(separator: " "))")
      }
      Thread.sleep(forTimeInterval: 0.05)
    }
  }

  deinit { process.end(by: 2) }

  /// A URL through the pool.
  package func url(_ database: String) -> String {
    "postgresql://postgres:\(TestServer.password.urlComponent)@127.0.0.1:\(port)/\(database.urlComponent)"
  }
}
