internal import Foundation
package import Platform
package import SystemPackage

/// A folder for one test, gone with it.
package final class TemporaryFolder: Sendable {
  package let path: FilePath

  /// - Parameter inMemory: for a PostgreSQL server's files, of which it creates and deletes thousands. `scripts/test` names a folder if
  ///   there is enough memory.
  package init(inMemory: Bool = false) throws {
    let environment = ProcessInfo.processInfo.environment
    let root = (inMemory ? environment["FIRN_TEST_MEMORY"] : nil) ?? environment["TMPDIR"] ?? "/var/tmp"
    path = FilePath(root).appending("t-\(UUID().uuidString.prefix(8).lowercased())")
    try Folder.make(path)
  }

  deinit { try? Folder.removeTree(path) }

  package func path(_ name: String) -> FilePath { path.appending(name) }

  /// Creates a FIFO, mode 0600.
  package func makeFIFO(_ name: String) throws {
    if unsafe mkfifo(path(name).string, 0o600) != 0 { throw Unavailable("cannot create FIFO \(name)") }
  }

  /// Writes a text file and gives its path.
  @discardableResult package func write(_ text: String, to name: String) throws -> FilePath {
    let target = path(name)
    try Folder.write(Array(text.utf8), to: target)
    return target
  }
}

/// Every file under a folder, by its path from there.
package func filesByPath(under root: FilePath) throws -> [String: FileStatus] {
  var found: [String: FileStatus] = [:]
  func collect(_ folder: FilePath, _ prefix: String) throws {
    for name in try Folder.names(in: folder) {
      guard let status = try Folder.status(of: folder.appending(name)) else { continue }
      found[prefix + name] = status
      if status.kind == .folder { try collect(folder.appending(name), prefix + name + "/") }
    }
  }
  try collect(root, "")
  return found
}
