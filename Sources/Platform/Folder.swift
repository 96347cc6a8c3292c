internal import CLinux
package import SystemPackage
internal import Glibc

/// The properties of a file that are known without opening it.
package struct FileStatus: Sendable {
  package enum Kind: Sendable { case file, folder, other }
  package let kind: Kind
  package let size: Int64
  /// Disk space it takes, in bytes.
  package let allocated: Int64
  /// Seconds since 1970.
  package let modified: Double
  package let mode: UInt32
  package let owner: UInt32
  package let group: UInt32
}

/// Operations on names in the file system.
package enum Folder {
  /// Makes the folder and those above it that are missing, mode 0700. Others may be making, or removing, the same ones.
  package static func make(_ path: FilePath) throws(SystemError) {
    var number: Int32 = 0
    for _ in 0..<10 {
      if unsafe path.withPlatformString({ unsafe mkdir($0, 0o700) }) == 0 { return }
      number = errno
      guard number == ENOENT else { break }
      let parent = path.removingLastComponent()
      guard parent != path, !parent.isEmpty else { break }
      try make(parent)
    }
    if number == EEXIST, let status = try status(of: path, followingLinks: true), status.kind == .folder { return }
    throw SystemError("make folder", path.string, number: number == EEXIST ? ENOTDIR : number)
  }

  /// The mode bit of a folder that passes its group on to what is created in it.
  package static let setGroupID: UInt32 = 0o2000

  /// Sets the group and the mode of a folder or file. A link is an error: it may lead anywhere.
  /// - Parameter group: nil to keep it.
  package static func permit(_ path: FilePath, _ mode: UInt32, group: UInt32? = nil) throws(SystemError) {
    let descriptor = unsafe path.withPlatformString { unsafe open($0, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) }
    guard descriptor >= 0 else { throw SystemError("open", path.string) }
    defer { close(descriptor) }
    // The group first: a change of it may clear the set-group-ID bit.
    if let group, fchown(descriptor, UInt32.max, group) != 0 { throw SystemError("change the group of", path.string) }
    if fchmod(descriptor, mode) != 0 { throw SystemError("change the mode of", path.string) }
  }

  /// Creates a folder with mode 0700; an existing folder is an error.
  package static func makeNew(_ path: FilePath) throws(SystemError) {
    if unsafe path.withPlatformString({ unsafe mkdir($0, 0o700) }) != 0 { throw SystemError("make folder", path.string) }
  }

  /// The status of `path`, or nil if it does not exist.
  package static func status(of path: FilePath, followingLinks: Bool = false) throws(SystemError) -> FileStatus? {
    var status = stat()
    let failed = unsafe path.withPlatformString { followingLinks ? unsafe stat($0, &status) : unsafe lstat($0, &status) } != 0
    if failed {
      if errno == ENOENT || errno == ENOTDIR { return nil }
      throw SystemError("examine", path.string)
    }
    let kind: FileStatus.Kind =
      switch status.st_mode & S_IFMT {
      case S_IFREG: .file
      case S_IFDIR: .folder
      default: .other
      }
    return FileStatus(
      kind: kind, size: Int64(status.st_size), allocated: Int64(status.st_blocks) * 512,
      modified: Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) / 1e9,
      mode: status.st_mode & 0o7777, owner: status.st_uid, group: status.st_gid)
  }

  package static func exists(_ path: FilePath) -> Bool {
    unsafe path.withPlatformString { unsafe access($0, F_OK) } == 0
  }

  package static func isExecutable(_ path: FilePath) -> Bool {
    guard let status = try? status(of: path, followingLinks: true), status.kind == .file else { return false }
    return unsafe path.withPlatformString { unsafe access($0, X_OK) } == 0
  }

  /// The names in a folder, without `.` and `..`, in byte order.
  package static func names(in path: FilePath) throws(SystemError) -> [String] {
    guard let stream = unsafe path.withPlatformString({ unsafe opendir($0) }) else { throw SystemError("list", path.string) }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    // readdir(3) also reports errors by nil.
    while true {
      errno = 0
      guard let entry = unsafe readdir(stream) else {
        if errno != 0 { throw SystemError("list", path.string) }
        break
      }
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  package static func removeFile(_ path: FilePath) throws(SystemError) {
    if unsafe path.withPlatformString({ unsafe unlink($0) }) != 0 && errno != ENOENT { throw SystemError("remove", path.string) }
  }

  /// Removes an empty folder; one that is missing or not empty stays as it is.
  package static func removeIfEmpty(_ path: FilePath) {
    _ = unsafe path.withPlatformString { unsafe rmdir($0) }
  }

  /// Removes a folder and all in it, following no links. A missing one is no error.
  package static func removeTree(_ path: FilePath) throws(SystemError) {
    guard let status = try status(of: path) else { return }
    guard status.kind == .folder else { return try removeFile(path) }
    for name in try names(in: path) { try removeTree(path.appending(name)) }
    if unsafe path.withPlatformString({ unsafe rmdir($0) }) != 0 && errno != ENOENT { throw SystemError("remove", path.string) }
  }

  /// Moves `source` to `target` in one step, replacing what is there.
  package static func rename(_ source: FilePath, to target: FilePath) throws(SystemError) {
    let failed =
      unsafe source.withPlatformString { from in
        unsafe target.withPlatformString { to in unsafe Glibc.rename(from, to) }
      } != 0
    if failed { throw SystemError("rename", source.string) }
  }

  /// Gives `source` the further name `target` in one step.
  /// - Returns: false where the name is taken.
  package static func link(_ source: FilePath, as target: FilePath) throws(SystemError) -> Bool {
    let failed =
      unsafe source.withPlatformString { from in
        unsafe target.withPlatformString { to in unsafe Glibc.link(from, to) }
      } != 0
    if failed && errno == EEXIST { return false }
    if failed { throw SystemError("make", target.string) }
    return true
  }

  /// Returns when the names in the folder are on the disk.
  package static func synchronize(_ path: FilePath) throws(SystemError) {
    try File(path, .read).synchronize()
  }

  /// Bytes that an ordinary user may still write there.
  package static func freeSpace(at path: FilePath) throws(SystemError) -> Int64 {
    var status = statvfs()
    if unsafe path.withPlatformString({ unsafe statvfs($0, &status) }) != 0 { throw SystemError("examine", path.string) }
    return Int64(status.f_bavail) * Int64(status.f_frsize)
  }

  /// Gives a file or folder to a user and group; a link itself, not its target. Only root can.
  package static func changeOwner(of path: FilePath, user: UInt32, group: UInt32) throws(SystemError) {
    if unsafe path.withPlatformString({ unsafe lchown($0, user, group) }) != 0 { throw SystemError("change the owner of", path.string) }
  }

  /// Lets other users through a folder to names in it that they know, and see nothing.
  package static func permitPassing(through path: FilePath) throws(SystemError) {
    if unsafe path.withPlatformString({ unsafe chmod($0, 0o711) }) != 0 { throw SystemError("change the mode of", path.string) }
  }

  /// Reads a file of at most `limit` bytes whole.
  package static func contents(of path: FilePath, limit: Int = 1 << 26) throws(SystemError) -> [UInt8] {
    let file = try File(path, .read)
    let size = try file.size()
    guard size <= limit else { throw SystemError("read", path.string, number: EFBIG) }
    // Files of /proc have no size, nor have pipes: read on until nothing comes.
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Int(size))
    var piece = [UInt8](repeating: 0, count: max(4096, Int(min(size, 1 << 20))))
    while true {
      let got = try file.read(into: &piece, at: 0, count: piece.count)
      if got == 0 { return bytes }
      bytes += piece[..<got]
      guard bytes.count <= limit else { throw SystemError("read", path.string, number: EFBIG) }
    }
  }

  /// Writes a new file of mode 0600 whole.
  package static func write(_ bytes: [UInt8], to path: FilePath) throws(SystemError) {
    try File(path, .replace).write(bytes.span)
  }
}
