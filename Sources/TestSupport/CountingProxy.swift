internal import Foundation
internal import Platform
internal import SystemPackage

/// A proxy on loopback that counts what goes through it to a server, and can keep every byte.
package final class CountingProxy: Sendable {
  package struct Counts: Decodable, Sendable {
    package let sent: Int
    package let received: Int
    /// By method.
    package let requests: [String: Int]
  }

  package let port: Int
  private let process: ServerProcess
  private let folder: TemporaryFolder

  /// - Parameter target: the server's port.
  package init(to target: Int, recording: Bool = false) throws {
    folder = try TemporaryFolder()
    port = try Loopback.freePort()
    let arguments = [FirnProgram.projectFile("scripts/proxy.py").string, "\(port)", "\(target)", folder.path("report").string]
    process = try ServerProcess(
      "/usr/bin/setpriv",
      ["--pdeathsig", "KILL", "/usr/bin/python3", "-B"] + arguments + (recording ? ["--record", folder.path("record").string] : []))
    for _ in 0..<200 where !Folder.exists(folder.path("report")) { Thread.sleep(forTimeInterval: 0.05) }
    guard Folder.exists(folder.path("report")) else { throw Unavailable("the proxy did not start: \(process.messages)") }
  }

  /// Ends it.
  package func stop() throws -> Counts {
    process.end(by: 15)
    return try JSONDecoder().decode(Counts.self, from: Data(Folder.contents(of: folder.path("report"))))
  }

  /// The recorded traffic, both ways. Call it after the proxy has ended.
  package func recorded() throws -> [UInt8] { try Folder.contents(of: folder.path("record"), limit: 1 << 30) }
}
