internal import Foundation
internal import Platform
package import SystemPackage

/// A note of a process about itself, for those who find it afterwards.
protocol ProcessNote: Codable {
  var process: Int32 { get }
  var processStart: UInt64 { get }
  var boot: String { get }
}

extension ProcessNote {
  /// Processes of an earlier boot are dead, even if their ids are in use again.
  var isOfDeadProcess: Bool { boot != Host.bootID || Host.startTime(of: process) != processStart }
}

/// Where this machine remembers what must not be forgotten, from one run to the next.
package enum StateFolder {
  /// `$XDG_STATE_HOME/firn`, else `~/.local/state/firn`.
  package static var path: FilePath {
    if let state = ProcessInfo.processInfo.environment["XDG_STATE_HOME"], state.hasPrefix("/") { return FilePath(state).appending("firn") }
    return (Host.homeFolder ?? "/var/tmp").appending(".local/state/firn")
  }

  /// Replaces a file durably and atomically.
  static func write(_ value: some Encodable, to path: FilePath) throws {
    let passing = path.removingLastComponent().appending(".\(UInt32.random(in: 0 ... .max))")
    let file = try File(passing, .create)
    try file.write(Array(try JSONEncoder().encode(value)).span)
    try file.synchronize()
    try Folder.rename(passing, to: path)
    try Folder.synchronize(path.removingLastComponent())
  }

  /// Files of ours whose names begin with this: what they say is acted on, so they must be no other's to write.
  static func files(namedWith prefix: String) -> [(path: FilePath, bytes: [UInt8])] {
    ((try? Folder.names(in: path)) ?? []).filter { $0.hasPrefix(prefix) && $0.hasSuffix(".json") }.sorted().compactMap { name in
      let path = path.appending(name)
      guard let status = try? Folder.status(of: path), status.kind == .file, status.owner == Host.userID, status.mode & 0o022 == 0,
        let bytes = try? Folder.contents(of: path, limit: 1 << 20)
      else { return nil }
      return (path, bytes)
    }
  }
}
