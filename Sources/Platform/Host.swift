internal import CLinux
internal import Foundation
package import SystemPackage
internal import Synchronization
internal import Glibc

/// The machine and process we are.
package enum Host {
  package static var name: String { ProcessInfo.processInfo.hostName }
  package static var processID: Int32 { getpid() }
  package static var isRoot: Bool { geteuid() == 0 }
  package static var userID: UInt32 { geteuid() }

  /// Differs after every boot, so a process id recorded before it can't be mistaken for a live one.
  package static var bootID: String {
    guard let bytes = try? Folder.contents(of: "/proc/sys/kernel/random/boot_id") else { return "unknown" }
    return String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// The id for a machine that has none, such as a small container.
  package static var machineIDWithoutOne: String { "named \(name)" }

  /// An id that distinguishes this machine from others of the same name.
  package static var machineID: String {
    guard let bytes = try? Folder.contents(of: "/etc/machine-id"), bytes.count >= 32 else { return machineIDWithoutOne }
    return String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// Within which process ids mean something: containers of one machine have each their own (namespaces(7)).
  package static var processSpace: String { (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/pid")) ?? "unknown" }

  /// When a process started, in clock ticks since boot (proc(5), field 22); nil when there is no such process.
  package static func startTime(of process: Int32) -> UInt64? {
    statistics(of: process).flatMap { UInt64($0[19]) }
  }

  /// The fields of proc(5)'s stat from the state (field 3) on; nil if there is no such process, or only its exit
  /// code is left.
  private static func statistics(of process: Int32) -> [Substring]? {
    guard let bytes = try? Folder.contents(of: FilePath("/proc/\(process)/stat")) else { return nil }
    // The name, in parentheses, may hold spaces and parentheses.
    let text = String(decoding: bytes, as: UTF8.self)
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    return fields.count > 19 && fields[0] != "Z" && fields[0] != "X" ? fields : nil
  }

  /// Peak resident memory of this process, in bytes.
  package static var peakMemory: Int64 {
    var usage = rusage()
    unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return Int64(usage.ru_maxrss) * 1024
  }

  package static var homeFolder: FilePath? {
    if let home = ProcessInfo.processInfo.environment["HOME"], home.hasPrefix("/") { return FilePath(home) }
    return unsafe getpwuid(getuid()).map { unsafe FilePath(platformString: $0.pointee.pw_dir) }
  }

  /// A path as people write it: in a configuration and after an `=` no shell makes the home of a `~/`.
  package static func path(_ text: String) -> FilePath {
    guard text.hasPrefix("~/"), let home = homeFolder else { return FilePath(text) }
    return home.pushing(FilePath(String(text.dropFirst(2))))
  }

  /// The ids of a user, or nil if there is none of that name.
  package static func user(named name: String) -> (user: UInt32, group: UInt32)? {
    unsafe getpwnam(name).map { unsafe (user: $0.pointee.pw_uid, group: $0.pointee.pw_gid) }
  }

  /// The id of a group; nil if there is none of that name.
  package static func group(named name: String) -> UInt32? { unsafe getgrnam(name).map { unsafe $0.pointee.gr_gid } }

  /// The name of a user; its number if it has none.
  package static func name(ofUser id: UInt32) -> String { unsafe getpwuid(id).map { unsafe String(cString: $0.pointee.pw_name) } ?? "\(id)" }

  /// The groups that a user is in.
  package static func groups(ofUser id: UInt32) -> Set<UInt32> {
    guard let entry = unsafe getpwuid(id) else { return [] }
    var groups = [UInt32](repeating: 0, count: 4096)
    var count = Int32(groups.count)
    guard unsafe getgrouplist(entry.pointee.pw_name, entry.pointee.pw_gid, &groups, &count) >= 0 else { return [] }
    return Set(groups.prefix(Int(count)))
  }

  /// The name of the user who runs this.
  package static var userName: String {
    name(ofUser: geteuid())
  }

  package static func raiseFileLimit() -> Int {
    var limit = rlimit()
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 256 }
    limit.rlim_cur = min(limit.rlim_max, 65536)
    _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Int(limit.rlim_cur)
  }

  /// Opens standard input, output and error if they are closed, to /dev/null; otherwise one of our files would take
  /// the number, and messages would be written into it.
  package static func holdStandardStreams() {
    while case let number = unsafe firn_open("/dev/null", O_RDWR, 0), number >= 0 {
      if number > 2 {
        close(number)
        return
      }
    }
  }

  /// Large buffers come and go all the time: the C library keeps what was freed for the next.
  package static func keepFreedMemory() { firn_keep_memory() }

  /// Makes every file created from here on accessible to this user alone.
  package static func makeFilesPrivate() {
    let before = umask(0o077)
    userMask.withLock { $0 = before }
  }

  private static let userMask = Mutex<mode_t>(0o077)
  /// The umask this process was started with.
  static var umaskOfUser: mode_t { userMask.withLock { $0 } }

  /// Replaces this process by another program; returns only if that fails.
  package static func become(_ program: FilePath, arguments: [String]) {
    let copies: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
    _ = unsafe program.withPlatformString { path in unsafe copies.withUnsafeBufferPointer { unsafe execv(path, $0.baseAddress!) } }
  }

  /// Runs `body` with the effective ids of another user, which servers on local sockets see. Only root can do this.
  /// - Throws: `SystemError`, and what `body` throws.
  package static func acting<Result>(as user: (user: UInt32, group: UInt32), _ body: () throws -> Result) throws -> Result {
    guard setegid(user.group) == 0 else { throw SystemError("change the group of", "this process") }
    defer { _ = setegid(getgid()) }
    guard seteuid(user.user) == 0 else { throw SystemError("change the user of", "this process") }
    defer { _ = seteuid(getuid()) }
    return try body()
  }

  /// Sends a signal to one process.
  package static func send(_ signal: Int32, to process: Int32) { _ = kill(process, signal) }

  /// From now on processes that this one's children leave behind become its own children, and can be ended.
  package static func adoptOrphans() { _ = firn_adopt_orphans() }

  /// Ends children of this process that run as another user, adopted ones too, until there are none.
  package static func endChildren(ofUser user: UInt32) {
    for _ in 0..<100 {
      let children = ((try? Folder.names(in: "/proc")) ?? []).compactMap(Int32.init).filter { process in
        guard let fields = statistics(of: process), Int32(fields[1]) == processID else { return false }
        return (try? Folder.status(of: FilePath("/proc/\(process)")))?.owner == user
      }
      if children.isEmpty { return }
      for child in children { send(SIGKILL, to: child) }
      Thread.sleep(forTimeInterval: 0.01)
    }
  }

  /// Sends a signal to every process of a group.
  package static func send(_ signal: Int32, toGroup group: Int32) { _ = kill(-group, signal) }

  /// Whether any process of the group lives, as far as we may signal it.
  package static func groupExists(_ group: Int32) -> Bool { kill(-group, 0) == 0 || errno == EPERM }

  /// Ends this process as the signal would have.
  package static func endBySignal(_ number: Int32) -> Never {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    unsafe sigaddset(&set, number)
    _ = Glibc.signal(number, SIG_DFL)
    kill(getpid(), number)
    unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
    exit(128 + number)
  }
}
