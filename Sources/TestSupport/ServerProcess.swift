internal import Foundation
internal import Platform
package import SystemPackage

/// The user that servers run as: PostgreSQL and PgBouncer refuse to run as root.
package enum Account {
  /// The user for servers if this process runs as root, otherwise nil: then they run as our user.
  package static var unprivileged: (user: UInt32, group: UInt32)? { Host.isRoot ? Host.user(named: "postgres") : nil }

  /// For `setpriv`: another user where we are root, and an orderly end when the thread that started it is gone.
  package static var setprivArguments: [String] {
    let user = unprivileged.map { ["--reuid=\($0.user)", "--regid=\($0.group)", "--init-groups"] } ?? []
    return user + ["--pdeathsig", "INT"]
  }
}

/// A server that runs until it is ended, or until this process is gone.
package final class ServerProcess: Sendable {
  private let child = Monitor<ChildProcess?>(nil)
  private let lines = Monitor<[String]>([])

  package init(_ program: FilePath, _ arguments: [String], environment: [String: String] = [:]) throws {
    let outcome = Monitor<Result<Void, any Error>?>(nil)
    // The child ends with the thread that started it: this one stays.
    _ = WorkerThread(name: "server") { [child, lines] in
      do {
        let started = try ChildProcess(
          program, arguments: arguments, environment: environment.merging(["LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"]) { mine, _ in mine }
        ) { line in lines.update { if $0.count < 1000 { $0.append(line) } } }
        child.update { $0 = started }
        outcome.update { $0 = .success(()) }
        while started.exitCode() == nil { Thread.sleep(forTimeInterval: 0.02) }
      } catch {
        outcome.update { $0 = .failure(error) }
      }
    }
    try outcome.wait(until: { $0 != nil }) { try $0!.get() }
  }

  package var processID: Int32 { child.current?.id ?? 0 }
  package var isAlive: Bool { child.current?.exitCode() == nil }
  package var messages: [String] { lines.current }

  /// Sends a signal to the main process and waits for its end.
  package func end(by signal: Int32) {
    guard let process = child.current, process.exitCode() == nil else { return }
    ProcessTable.send(signal, to: process.id)
    while process.exitCode() == nil { Thread.sleep(forTimeInterval: 0.01) }
  }
}

/// Ports for servers of tests.
package enum Loopback {
  private static let taken = Monitor<Set<Int>>([])

  /// A free port on loopback.
  /// - Parameter range: below the ports that the system gives to outgoing connections.
  package static func freePort(in range: Range<Int> = 23000..<30000) throws -> Int {
    for _ in 0..<200 {
      let port = Int.random(in: range)
      guard taken.update({ $0.insert(port).inserted }) else { continue }
      // Listening sockets by address and port, in hexadecimal (proc(5)).
      let listed = (try? Folder.contents(of: "/proc/net/tcp")).map { String(decoding: $0, as: UTF8.self) } ?? ""
      let text = String(port, radix: 16, uppercase: true)
      if !listed.contains(":\(String(repeating: "0", count: 4 - text.count))\(text) ") { return port }
    }
    throw Unavailable("no free port")
  }
}

/// The processes of this machine.
package enum ProcessTable {
  /// The processes started by `parent`, by what proc(5) says.
  package static func children(of parent: Int32) -> [(id: Int32, name: String)] {
    ((try? Folder.names(in: "/proc")) ?? []).compactMap { entry in
      guard let id = Int32(entry), let bytes = try? Folder.contents(of: FilePath("/proc/\(id)/stat")) else { return nil }
      let text = String(decoding: bytes, as: UTF8.self)
      guard let open = text.firstIndex(of: "("), let close = text.lastIndex(of: ")") else { return nil }
      let fields = text[text.index(after: close)...].split(separator: " ")
      guard fields.count > 1, fields[0] != "Z", Int32(fields[1]) == parent else { return nil }
      return (id, String(text[text.index(after: open)..<close]))
    }
  }

  private static func commandLine(of id: Int32) -> String? {
    (try? Folder.contents(of: FilePath("/proc/\(id)/cmdline"))).map { String(decoding: $0.map { $0 == 0 ? 0x20 : $0 }, as: UTF8.self) }
  }

  /// The command lines of all processes.
  package static func commandLines() -> [String] {
    ((try? Folder.names(in: "/proc")) ?? []).compactMap { Int32($0).flatMap(commandLine) }
  }

  /// The command lines of a process and of all that it started.
  package static func commandLines(ofFamily id: Int32) -> [String] {
    [commandLine(of: id)].compactMap(\.self) + children(of: id).flatMap { commandLines(ofFamily: $0.id) }
  }

  package static func isAlive(_ id: Int32) -> Bool { Host.startTime(of: id) != nil }

  package static func send(_ signal: Int32, to id: Int32) { Host.send(signal, to: id) }
}
