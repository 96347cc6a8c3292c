internal import CLinux
internal import Foundation
package import SystemPackage
internal import Synchronization
internal import Glibc

/// A program in a process group of its own. The kernel sends it SIGTERM when the thread that started it ends, so
/// that thread must wait for it. So the program also ends if Firn is killed.
package final class ChildProcess: Sendable {
  package let id: Int32
  private let finished = Mutex<Int32?>(nil)
  private let errorReader: WorkerThread
  private let outputReader: WorkerThread?
  private let readers: [Pipe.End]
  private let output = Monitor<[UInt8]>([])
  private let watcher: Watcher?

  /// The destination of a program's standard output.
  package enum StandardOutput: Sendable {
    case discarded
    /// Kept in memory, for `standardOutput`.
    case kept
    /// Handled like standard error, in the order in which it was written.
    case withErrors
  }

  /// Starts `program`.
  /// - Parameters:
  ///   - environment: the whole environment of the child.
  ///   - input: the content of its standard input.
  ///   - makesPrivateFiles: whether its files are for this user alone; otherwise their modes follow the user's umask.
  ///   - isStopped: whether `stop()` may be called. A stopped child does not react to SIGTERM, so a watcher then ends
  ///     it if this process is killed.
  ///   - confinement: limits what it can do.
  ///   - onErrorLine: called with each line of its standard error, on a thread of its own.
  package init(
    _ program: FilePath, arguments: [String], environment: [String: String], input: [UInt8] = [],
    output destination: StandardOutput = .discarded, makesPrivateFiles: Bool = true, isStopped: Bool = false, confinement: Confinement? = nil,
    onErrorLine: @escaping @Sendable (String) -> Void
  ) throws(SystemError) {
    let null = try File("/dev/null", .readWrite)
    let given = try File(inMemory: input)
    let errors = try Pipe()
    let results = destination == .kept ? try Pipe() : nil
    let outputEnd = results?.writer.number ?? (destination == .withErrors ? errors.writer.number : null.rawDescriptor)
    let mask = makesPrivateFiles ? 0o077 : Host.umaskOfUser
    let strings = [program.string] + arguments
    let settings = environment.map { "\($0.key)=\($0.value)" }
    id = unsafe withCStrings(strings) { argv in
      unsafe withCStrings(settings) { envp in
        unsafe program.withPlatformString { path in
          unsafe Confinement.withLimits(confinement) { limits in
            unsafe firn_spawn(
              path, argv, envp, input.isEmpty ? null.rawDescriptor : given.rawDescriptor, outputEnd, errors.writer.number, mask, 1, limits)
          }
        }
      }
    }
    guard id > 0 else { throw SystemError("start", program.string, number: -id) }
    watcher = isStopped ? Watcher(over: id) : nil
    errors.writer.close()
    readers = [errors.reader] + (results.map { [$0.reader] } ?? [])
    errorReader = WorkerThread(name: "stderr") { errors.reader.forEachLine(onErrorLine) }
    if let results {
      results.writer.close()
      let kept = output
      outputReader = WorkerThread(name: "stdout") { results.reader.forEachPiece { piece in kept.update { $0 += piece } } }
    } else {
      outputReader = nil
    }
  }

  /// Sends a signal to the program and all that it started.
  package func signalGroup(_ number: Int32) {
    finished.withLock { if $0 == nil { _ = kill(-id, number) } }
  }

  package func stop() { signalGroup(SIGSTOP) }
  package func resume() { signalGroup(SIGCONT) }

  /// Ends the program and all that it started: first with a signal that it can handle, then with SIGKILL after `grace`.
  package func terminate(with signal: Int32 = SIGTERM, grace: Duration = .seconds(5)) {
    signalGroup(SIGCONT)
    signalGroup(signal)
    let deadline = ContinuousClock.now + grace
    while ContinuousClock.now < deadline {
      if exitCode() != nil { break }
      Thread.sleep(forTimeInterval: 0.01)
    }
    signalGroup(SIGKILL)
    wait()
  }

  /// The exit code if the program has ended (128 + the signal that ended it), otherwise nil.
  package func exitCode() -> Int32? {
    finished.withLock { known in
      if let known { return known }
      var status: Int32 = 0
      let found = unsafe waitpid(id, &status, WNOHANG)
      // Other code has already waited for it, so its exit code is lost.
      if found < 0, errno == ECHILD { known = 255 }
      if found == id, firn_exited(status) != 0 { known = firn_exit_code(status) }
      if known != nil { watcher?.end() }
      return known
    }
  }

  /// A process that ends a process group if this process is killed.
  private final class Watcher: Sendable {
    private let state: Mutex<(id: Int32, leash: Int32)?>

    /// If the watcher can't be started, the program runs without one: it is needed only if Firn is killed while the
    /// program is stopped.
    init(over leader: Int32) {
      var leash: Int32 = -1
      let id = unsafe firn_watch_over(leader, &leash)
      state = Mutex(id > 0 ? (id, leash) : nil)
    }

    /// Ends the watcher after the program has ended.
    func end() {
      guard
        let (id, leash) = state.withLock({ state in
          defer { state = nil }
          return state
        })
      else { return }
      var byte: UInt8 = 0
      _ = unsafe write(leash, &byte, 1)
      close(leash)
      var status: Int32 = 0
      while unsafe waitpid(id, &status, 0) < 0 && errno == EINTR {}
    }

    deinit { end() }
  }

  /// Waits until the program has ended and its output was read. If a process that it started in another session
  /// keeps the output open, reading stops after 2 s.
  /// - Parameters:
  ///   - grace: how long the program may take to end when `check` throws, before it is killed.
  ///   - check: called every few milliseconds while the program runs. If it throws, the program is ended.
  /// - Returns: the exit code, or 128 + the signal that ended it.
  package func wait(grace: Duration = .seconds(5), checking check: () throws -> Void) rethrows -> Int32 {
    var pause = 0.001
    while true {
      if let code = exitCode() {
        // Kill child processes that are still running.
        _ = kill(-id, SIGKILL)
        // A process in another session may keep the pipe open for ever.
        let deadline = ContinuousClock.now + .seconds(2)
        for reader in readers { reader.stop(at: deadline) }
        errorReader.join()
        outputReader?.join()
        return code
      }
      do { try check() } catch {
        terminate(grace: grace)
        throw error
      }
      Thread.sleep(forTimeInterval: pause)
      pause = min(pause * 1.5, 0.01)
    }
  }

  @discardableResult package func wait() -> Int32 { wait(checking: {}) }

  /// Its standard output, after `wait()`.
  package var standardOutput: [UInt8] { output.current }
}

/// A command of the user's, run by `/bin/sh`. It may leave programs running, such as a service it starts, and the
/// modes of its files follow the user's umask. Its output goes to our standard error.
package enum ShellCommand {
  /// Runs it to its end, even if a signal arrives.
  /// - Returns: its exit code, or 128 + the signal that ended it.
  package static func run(_ command: String) throws(SystemError) -> Int32 {
    let null = try File("/dev/null", .read)
    let settings = ProcessInfo.processInfo.environment.map { "\($0.key)=\($0.value)" }
    let id = unsafe withCStrings(["/bin/sh", "-c", command]) { argv in
      unsafe withCStrings(settings) { envp in
        unsafe firn_spawn("/bin/sh", argv, envp, null.rawDescriptor, 2, 2, Host.umaskOfUser, 0, nil)
      }
    }
    guard id > 0 else { throw SystemError("start", "/bin/sh", number: -id) }
    var status: Int32 = 0
    while unsafe waitpid(id, &status, 0) != id {
      if errno != EINTR { throw SystemError("wait for", "/bin/sh") }
    }
    return firn_exit_code(status)
  }
}

/// A program that keeps running after this process has ended, and writes to the same standard error.
package enum BackgroundProgram {
  package static func start(_ program: FilePath, arguments: [String], environment: [String: String]) throws(SystemError) {
    let null = try File("/dev/null", .readWrite)
    let settings = environment.map { "\($0.key)=\($0.value)" }
    let id = unsafe withCStrings([program.string] + arguments) { argv in
      unsafe withCStrings(settings) { envp in
        unsafe program.withPlatformString { path in
          unsafe firn_spawn(path, argv, envp, null.rawDescriptor, null.rawDescriptor, 2, Host.umaskOfUser, 0, nil)
        }
      }
    }
    guard id > 0 else { throw SystemError("start", program.string, number: -id) }
  }
}

private func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  let pointers: [UnsafeMutablePointer<CChar>?] = unsafe strings.map { unsafe strdup($0) } + [nil]
  defer { unsafe pointers.forEach { unsafe free($0) } }
  return unsafe pointers.withUnsafeBufferPointer { unsafe body($0.baseAddress!) }
}

/// The two ends of a pipe.
private struct Pipe {
  final class End: Sendable {
    private let state: Mutex<Int32>
    private let deadline = Mutex<ContinuousClock.Instant?>(nil)
    init(_ number: Int32) { state = Mutex(number) }
    deinit { close() }
    var number: Int32 { state.withLock { $0 } }

    /// Makes the reader stop at this time, even if more output follows.
    func stop(at instant: ContinuousClock.Instant) { deadline.withLock { $0 = instant } }

    /// Waits until there is something to read, the end, or the deadline.
    /// - Returns: whether there is something to read.
    private func waitForMore() -> Bool {
      while true {
        if let last = deadline.withLock({ $0 }), ContinuousClock.now > last { return false }
        var wanted = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
        // Poll for a short time only, because the deadline may be set in the meantime.
        if unsafe poll(&wanted, 1, 100) != 0 { return true }
      }
    }

    func close() {
      state.withLock {
        if $0 >= 0 { _ = Glibc.close($0) }
        $0 = -1
      }
    }

    func forEachPiece(_ body: ([UInt8]) -> Void) {
      var buffer = [UInt8](repeating: 0, count: 16384)
      while waitForMore() {
        let got = unsafe buffer.withUnsafeMutableBytes { unsafe read(number, $0.baseAddress, $0.count) }
        if got > 0 {
          body(Array(buffer[..<got]))
        } else if got == 0 || errno != EINTR {
          return close()
        }
      }
      close()
    }

    func forEachLine(_ body: (String) -> Void) {
      var line: [UInt8] = []
      forEachPiece { piece in
        for byte in piece {
          if byte == 0x0A {
            body(String(decoding: line, as: UTF8.self))
            line.removeAll(keepingCapacity: true)
          } else if line.count < 65536 {
            line.append(byte)
          }
        }
      }
      if !line.isEmpty { body(String(decoding: line, as: UTF8.self)) }
    }
  }

  let reader: End
  let writer: End

  init() throws(SystemError) {
    var ends: [Int32] = [-1, -1]
    if unsafe ends.withUnsafeMutableBufferPointer({ unsafe firn_pipe($0.baseAddress!) }) != 0 { throw SystemError("make", "a pipe") }
    reader = End(ends[0])
    writer = End(ends[1])
  }
}
