internal import CLinux
package import SystemPackage

/// A lock on a file that ends with its holder, however that ends.
package final class FileLock: Sendable {
  private let file: File

  /// Makes the file, mode 0600, and locks it.
  package init(making path: FilePath) throws(SystemError) {
    file = try File(path, .create)
    try Self.take(file)
  }

  /// Locks a file that is there.
  /// - Throws: `SystemError` where somebody else holds it.
  package init(taking path: FilePath) throws(SystemError) {
    file = try File(path, .readWrite)
    try Self.take(file)
  }

  private static func take(_ file: borrowing File) throws(SystemError) {
    if firn_try_lock(file.rawDescriptor) != 0 { throw SystemError("lock", file.path.string) }
  }
}

extension SystemError {
  /// Whether a file system has no locks.
  package var isUnsupported: Bool { [.noFunction, .notSupportedOnSocket, .noLocks].contains(number) }
}
