internal import CLinux
package import SystemPackage
internal import Glibc

/// Reports files in one folder as they are created and closed (inotify).
package struct FolderWatch: ~Copyable, Sendable {
  package enum Event: Sendable, Equatable {
    case created(String)
    /// A writer closed the file.
    case written(String)
    /// Events came faster than they were read and some are lost: look at the folder itself.
    case overflow
  }

  private let descriptor: Int32

  package init(_ path: FilePath) throws(SystemError) {
    descriptor = inotify_init1(Int32(IN_NONBLOCK) | Int32(IN_CLOEXEC))
    guard descriptor >= 0 else { throw SystemError("watch", path.string) }
    let mask = UInt32(IN_CREATE | IN_CLOSE_WRITE)
    if unsafe path.withPlatformString({ unsafe inotify_add_watch(descriptor, $0, mask) }) < 0 {
      let number = errno
      close(descriptor)
      throw SystemError("watch", path.string, number: number)
    }
  }

  deinit { close(descriptor) }

  /// The events since the last call; waits at most `timeout` for the first.
  package func next(timeout: Duration) throws(SystemError) -> [Event] {
    var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    let ready = unsafe poll(&waiting, 1, Int32(timeout.milliseconds))
    guard ready > 0 else { return [] }
    let capacity = 65536
    var buffer = [UInt8](repeating: 0, count: capacity)
    let got = unsafe buffer.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, capacity) }
    if got < 0 {
      if errno == EAGAIN || errno == EINTR { return [] }
      throw SystemError("watch", "a folder")
    }
    // struct inotify_event: int wd; uint32_t mask, cookie, len; char name[len] (inotify(7)).
    var events: [Event] = []
    var place = 0
    let bytes = unsafe buffer.span.bytes
    while place + 16 <= got {
      let mask = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: place + 4, as: UInt32.self)
      let length = Int(unsafe bytes.unsafeLoadUnaligned(fromByteOffset: place + 12, as: UInt32.self))
      let name = String(decoding: buffer[(place + 16)..<(place + 16 + length)].prefix { $0 != 0 }, as: UTF8.self)
      if mask & UInt32(IN_Q_OVERFLOW) != 0 {
        events.append(.overflow)
      } else if mask & UInt32(IN_CREATE) != 0 {
        events.append(.created(name))
      } else if mask & UInt32(IN_CLOSE_WRITE) != 0 {
        events.append(.written(name))
      }
      place += 16 + length
    }
    return events
  }
}

extension Duration {
  /// Whole milliseconds, rounded down.
  package var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }

  /// Seconds with their fraction.
  package var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
