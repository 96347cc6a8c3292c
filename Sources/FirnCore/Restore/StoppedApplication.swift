internal import Foundation
internal import Platform
internal import SystemPackage

/// A note on the disk that an application is stopped, and how it is started again: should this process be killed, the next one
/// finds it.
package struct StoppedApplication: Sendable {
  private struct Record: Codable {
    let database: String
    let start: [String]
    let process: Int32
    let processStart: UInt64
    let boot: String

    /// What is stopped in another boot was started by the boot.
    var isOfDeadProcess: Bool { boot != Host.bootID || Host.startTime(of: process) != processStart }
  }

  private let path: FilePath

  /// Writes the note, durably.
  init(database: String, start: [String]) throws {
    let folder = Self.folder
    do {
      try Folder.make(folder)
      path = folder.appending("stopped-\(Host.processID)-\(UInt32.random(in: 0 ... .max)).json")
      let record = Record(
        database: database, start: start, process: Host.processID, processStart: Host.startTime(of: Host.processID) ?? 0, boot: Host.bootID)
      let file = try File(path, .create)
      try file.write(Array(try JSONEncoder().encode(record)).span)
      try file.synchronize()
      try Folder.synchronize(folder)
    } catch let error as SystemError {
      throw FirnError.noFolder(path: folder.string, reason: "\(error)")
    }
  }

  func remove() { try? Folder.removeFile(path) }

  /// `$XDG_STATE_HOME/firn`, else `~/.local/state/firn`.
  private static var folder: FilePath {
    if let state = ProcessInfo.processInfo.environment["XDG_STATE_HOME"], state.hasPrefix("/") { return FilePath(state).appending("firn") }
    return (Host.homeFolder ?? "/var/tmp").appending(".local/state/firn")
  }

  /// Starts what runs that were killed had stopped.
  /// - Returns: what was found and done, in words.
  package static func startAgain(_ progress: WorkProgress) -> [String] {
    var told: [String] = []
    for name in (try? Folder.names(in: folder)) ?? [] where name.hasPrefix("stopped-") && name.hasSuffix(".json") {
      let path = folder.appending(name)
      // Its commands are run: it must be ours, and no other's to write.
      guard let status = try? Folder.status(of: path), status.kind == .file, status.owner == Host.userID, status.mode & 0o022 == 0,
        let bytes = try? Folder.contents(of: path, limit: 1 << 20)
      else { continue }
      guard let record = try? JSONDecoder().decode(Record.self, from: Data(bytes)) else {
        // Cut off before anything was stopped: it is written first.
        try? Folder.removeFile(path)
        continue
      }
      guard record.isOfDeadProcess else { continue }
      told.append("a restore of \(record.database) was killed while the application was stopped: it was started again")
      told += Maintenance.startAll(record.start, progress)
      try? Folder.removeFile(path)
    }
    return told
  }
}
