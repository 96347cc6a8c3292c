internal import Foundation
internal import Platform
internal import Synchronization
package import SystemPackage

/// A private folder for temporary files of a run. Its name identifies the process, and a lock in it shows that the
/// process is alive, so the next run can remove what a killed one left.
package final class WorkFolder: Sendable {
  package let path: FilePath
  private let lock: Mutex<FileLock?>

  package static let usualPrefix = "firn-run-"
  private static let lockName = ".lock"
  /// Seconds in which a folder that was just made may not have its lock yet.
  private static let youth: Double = 60

  /// Makes the folder, and removes those of dead runs of this user beside it.
  package init(in root: FilePath, prefix: String = WorkFolder.usualPrefix) throws {
    try Folder.make(root)
    Self.removeLeftovers(in: root, prefix)
    // In a folder that all may write to, others could make it first, did they know its name.
    let secret = String(UInt64.random(in: 0 ... .max), radix: 36) + String(UInt64.random(in: 0 ... .max), radix: 36)
    let name = "\(prefix)\(Host.processID)-\(Host.startTime(of: Host.processID) ?? 0)-\(Host.bootID.prefix(8))-\(secret)"
    let path = root.appending(name)
    try Folder.makeNew(path)
    self.path = path
    do { lock = Mutex(try FileLock(making: path.appending(Self.lockName))) } catch {
      guard error.isUnsupported else {
        try? Folder.removeTree(path)
        throw error
      }
      // On a file system without locks, the name alone identifies the process.
      lock = Mutex(nil)
    }
  }

  /// Leaves the folder to be another's: it is a work folder no more.
  package func leave() throws {
    lock.withLock { $0 = nil }
    try Folder.removeFile(path.appending(Self.lockName))
  }

  /// The folder of a run.
  /// - Throws: `FirnError.noFolder`.
  package static func forRun(in root: FilePath) throws -> WorkFolder {
    do { return try WorkFolder(in: root) } catch { throw FirnError.noFolder(path: root.string, reason: "\(error)") }
  }

  package func remove() {
    // On some file systems a file that is open can't go.
    lock.withLock { $0 = nil }
    try? Self.clear(path)
  }

  /// Takes a folder away, its lock last: one that is there without it is not known to be of a dead run for a while.
  private static func clear(_ folder: FilePath) throws(SystemError) {
    for name in (try? Folder.names(in: folder)) ?? [] where name != lockName { try Folder.removeTree(folder.appending(name)) }
    try Folder.removeTree(folder)
  }

  deinit { remove() }

  /// The default folder for temporary files.
  package static var defaultRoot: FilePath {
    if let folder = ProcessInfo.processInfo.environment["TMPDIR"], folder.hasPrefix("/") { return FilePath(folder) }
    return "/var/tmp"
  }

  private static func removeLeftovers(in root: FilePath, _ prefix: String) {
    for name in (try? Folder.names(in: root)) ?? [] where name.hasPrefix(prefix) {
      let parts = name.dropFirst(prefix.count).split(separator: "-")
      guard parts.count == 4, let process = Int32(parts[0]), let start = UInt64(parts[1]),
        let status = try? Folder.status(of: root.appending(name)), status.kind == .folder, status.owner == Host.userID
      else { continue }
      let isAlive = parts[2] == Host.bootID.prefix(8) && Host.startTime(of: process) == start
      guard !isAlive, isFree(root.appending(name), status) else { continue }
      // Processes that it started may take a moment to end, and still write.
      for _ in 0..<50 {
        if (try? clear(root.appending(name))) != nil { break }
        Thread.sleep(forTimeInterval: 0.1)
      }
    }
  }

  /// Whether its lock is free: folders of other containers and machines are not ours to remove.
  private static func isFree(_ folder: FilePath, _ status: FileStatus) -> Bool {
    let file = folder.appending(lockName)
    guard Folder.exists(file) else { return Date().timeIntervalSince1970 - status.modified > youth }
    do { _ = try FileLock(taking: file) } catch { return error.isUnsupported }
    return true
  }
}
