package import SystemPackage

/// A file lock that the kernel releases when its holder ends, even by a crash.
package final class FileLock: Sendable {
  private let file: File

  /// Makes the file, mode 0600, and locks it.
  package init(making path: FilePath) throws(SystemError) {
    file = try File(path, .create)
    try file.lockExclusively(patience: .zero)
  }

  /// Locks an existing file.
  /// - Throws: `SystemError` if another process holds it.
  package init(taking path: FilePath) throws(SystemError) {
    file = try File(path, .readWrite)
    try file.lockExclusively(patience: .zero)
  }
}

extension SystemError {
  /// Whether a file system has no locks.
  package var isUnsupported: Bool { [.noFunction, .notSupportedOnSocket, .noLocks].contains(number) }
}
