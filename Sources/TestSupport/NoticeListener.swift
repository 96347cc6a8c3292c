internal import Foundation
internal import Platform
internal import SystemPackage

/// A web server that keeps what it is sent.
package final class NoticeListener: Sendable {
  package let port: Int
  private let folder: TemporaryFolder
  private let process: ServerProcess

  package init() throws {
    port = try Loopback.freePort()
    folder = try TemporaryFolder()
    let script = FirnProgram.projectFile("Tests/CommandTests/Stub/notices.py")
    process = try ServerProcess(
      "/usr/bin/setpriv", ["--pdeathsig", "KILL", "/usr/bin/python3", "-B", script.string, "\(port)", folder.path("heard").string])
    for _ in 0..<200 {
      if try Workplace.run("/usr/bin/curl", ["-s", "http://127.0.0.1:\(port)/"], environment: [:]).status == 0 { return }
      Thread.sleep(forTimeInterval: 0.05)
    }
    throw Unavailable("the listener did not start: \(process.messages)")
  }

  /// Waits until the requests that came so far are as wished, for half a minute at most.
  package func waits(until paths: ([String]) -> Bool) -> Bool {
    let deadline = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < deadline {
      if paths(((try? entries()) ?? []).map(\.path)) { return true }
      Thread.sleep(forTimeInterval: 0.005)
    }
    return false
  }

  /// The requests since the last call.
  package func heard() throws -> [(path: String, query: String, type: String, body: String)] {
    let all = try entries()
    if !all.isEmpty { try Folder.removeFile(folder.path("heard")) }
    return all
  }

  private func entries() throws -> [(path: String, query: String, type: String, body: String)] {
    guard Folder.exists(folder.path("heard")) else { return [] }
    return try Folder.contents(of: folder.path("heard")).split(separator: 0x0A).map { line in
      guard let entry = try JSONSerialization.jsonObject(with: Data(line)) as? [String: String] else { throw Unavailable("no JSON") }
      return (entry["path"] ?? "", entry["query"] ?? "", entry["type"] ?? "", entry["body"] ?? "")
    }
  }
}
