internal import CLinux
package import SystemPackage
internal import Glibc

/// An open file. It is closed when the value ends.
package struct File: ~Copyable, Sendable {
  private let descriptor: Int32
  package let path: FilePath

  package enum Mode: Sendable {
    case read
    /// Create with mode 0600; an existing file is an error.
    case create
    /// Create with mode 0600 if missing, otherwise empty it.
    case replace
    /// Create with mode 0600 if missing; writes go to the end.
    case append
    case readWrite

    fileprivate var flags: Int32 {
      switch self {
      case .read: O_RDONLY
      case .create: O_WRONLY | O_CREAT | O_EXCL
      case .replace: O_WRONLY | O_CREAT | O_TRUNC
      case .append: O_WRONLY | O_CREAT | O_APPEND
      case .readWrite: O_RDWR
      }
    }
  }

  package init(_ path: FilePath, _ mode: Mode) throws(SystemError) {
    descriptor = unsafe path.withPlatformString { unsafe firn_open($0, mode.flags, 0o600) }
    self.path = path
    if descriptor < 0 { throw SystemError("open", path.string) }
  }

  /// A file in memory with these bytes, to be read from its beginning.
  init(inMemory bytes: [UInt8]) throws(SystemError) {
    descriptor = firn_memory_file()
    path = "a file in memory"
    if descriptor < 0 { throw SystemError("make", path.string) }
    try write(bytes.span)
    if lseek(descriptor, 0, SEEK_SET) != 0 { throw SystemError("read", path.string) }
  }

  deinit { close(descriptor) }

  package var rawDescriptor: Int32 { descriptor }

  /// Reads up to `count` bytes to `buffer[start...]`; 0 at the end of the file.
  package func read(into buffer: inout [UInt8], at start: Int, count: Int) throws(SystemError) -> Int {
    precondition(start >= 0 && count >= 0 && start + count <= buffer.count)
    while true {
      let got = unsafe buffer.withUnsafeMutableBytes { bytes in
        unsafe Glibc.read(descriptor, bytes.baseAddress.map { unsafe $0 + start }, count)
      }
      if got >= 0 { return got }
      if errno != EINTR { throw SystemError("read", path.string) }
    }
  }

  /// Reads `count` bytes from `offset` on; fewer only where the file ends.
  package func read(count: Int, from offset: Int64) throws(SystemError) -> [UInt8] {
    var failure: Int32 = 0
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      filled = 0
      while filled < count {
        let got = unsafe pread(
          descriptor, buffer.baseAddress.map { unsafe $0 + filled }, count - filled, off_t(offset) + off_t(filled))
        if got > 0 {
          filled += got
        } else if got == 0 {
          break
        } else if errno != EINTR {
          failure = errno
          break
        }
      }
    }
    if failure != 0 { throw SystemError("read", path.string, number: failure) }
    return bytes
  }

  /// Writes all of `bytes` at the file's current place.
  package func write(_ bytes: Span<UInt8>) throws(SystemError) {
    var done = 0
    while done < bytes.count {
      let rest = bytes.extracting(droppingFirst: done)
      let written = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if written >= 0 {
        done += written
      } else if errno != EINTR {
        throw SystemError("write", path.string)
      }
    }
  }

  /// Writes all of `bytes` at the beginning of the file, where it must stand, bypassing the page cache if the file
  /// system can: the bytes will not be read soon, and copying them would cost more than compressing them did.
  package func writeUncached(_ bytes: Span<UInt8>) throws(SystemError) {
    let whole = bytes.count & ~(Self.alignment - 1)
    var done = 0
    if whole > 0, firn_set_direct(descriptor, 1) == 0 {
      var aligned: UnsafeMutableRawPointer?
      if unsafe posix_memalign(&aligned, Self.alignment, Self.uncachedPiece) == 0, let buffer = unsafe aligned {
        defer { unsafe free(buffer) }
        while done < whole {
          let count = min(Self.uncachedPiece, whole - done)
          let piece = bytes.extracting(done..<(done + count))
          unsafe piece.withUnsafeBytes { unsafe buffer.copyMemory(from: $0.baseAddress!, byteCount: count) }
          let written = unsafe Glibc.write(descriptor, buffer, count)
          if written < 0 && errno == EINTR { continue }
          // The ordinary way succeeds or gives the reason.
          if written <= 0 || written % Self.alignment != 0 {
            done += max(0, written)
            break
          }
          done += written
        }
      }
      if firn_set_direct(descriptor, 0) != 0 { throw SystemError("write", path.string) }
    }
    try write(bytes.extracting(droppingFirst: done))
  }

  private static let alignment = 4096
  private static let uncachedPiece = 2 << 20

  /// Returns when the file's bytes are on the disk.
  package func synchronize() throws(SystemError) {
    if fsync(descriptor) != 0 { throw SystemError("synchronize", path.string) }
  }

  package func changeOwner(user: UInt32, group: UInt32) throws(SystemError) {
    if fchown(descriptor, user, group) != 0 { throw SystemError("change the owner of", path.string) }
  }

  /// Asks the kernel to begin writing the file out, without waiting.
  package func startWriteback() {
    _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
  }

  /// Gives the disk space of these bytes back; the file keeps its length.
  /// - Returns: whether the file system can.
  package func punchHole(from offset: Int64, count: Int64) -> Bool {
    firn_punch_hole(descriptor, off_t(offset), off_t(count)) == 0
  }

  /// Sets the length; bytes added are a hole.
  package func truncate(to length: Int64) throws(SystemError) {
    if ftruncate(descriptor, off_t(length)) != 0 { throw SystemError("resize", path.string) }
  }

  /// Locks the file against other processes that lock it, until the value ends.
  /// - Throws: an error if another process still holds it after `patience`.
  package func lockExclusively(patience: Duration) throws(SystemError) {
    let deadline = ContinuousClock.now + patience
    while firn_try_lock(descriptor) != 0 {
      guard errno == EWOULDBLOCK || errno == EINTR, ContinuousClock.now < deadline else { throw SystemError("lock", path.string) }
      usleep(20_000)
    }
  }

  /// Sets its mode.
  package func permit(_ mode: UInt32) throws(SystemError) {
    if fchmod(descriptor, mode) != 0 { throw SystemError("change the mode of", path.string) }
  }

  /// Lets every user read it.
  package func permitReading() throws(SystemError) { try permit(0o644) }

  /// Lets those read it whom the user's umask lets.
  package func permitAsUsual() throws(SystemError) {
    if fchmod(descriptor, 0o666 & ~Host.umaskOfUser) != 0 { throw SystemError("change the mode of", path.string) }
  }

  package func size() throws(SystemError) -> Int64 {
    var status = stat()
    if unsafe fstat(descriptor, &status) != 0 { throw SystemError("examine", path.string) }
    return Int64(status.st_size)
  }
}
