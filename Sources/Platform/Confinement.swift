internal import CLinux
internal import Glibc
package import SystemPackage

/// Limits for a program and all that it starts: it reaches some folders, and unless `mayConnect` no network and no socket of other
/// programs.
///
/// Landlock confines files (Linux 5.13 and later) and signals to other programs (6.12 and later); seccomp confines connections and
/// changes to other processes. System V objects of the user's other programs are out of reach if the kernel allows a namespace for them.
package struct Confinement: Sendable {
  /// Folders that it may read, and run programs from.
  package var readable: [FilePath]
  /// Folders that it may change as it likes.
  package var writable: [FilePath]
  /// Whether it may connect to sockets. TCP is still forbidden if Landlock can forbid it; on older kernels it is allowed.
  package var mayConnect = false

  package init(readable: [FilePath], writable: [FilePath]) {
    self.readable = readable
    self.writable = writable
  }

  /// Whether the kernel can confine a program.
  package static var isSupported: Bool { firn_landlock_version() > 0 }

  /// Whether signals to other programs of the same user are refused as well.
  package static var confinesSignals: Bool { firn_landlock_version() >= 6 }

  /// Calls `body` with what the C function takes; nil for no limits.
  static func withLimits(_ confinement: Confinement?, _ body: (UnsafePointer<firn_confinement>?) -> Int32) -> Int32 {
    guard let confinement else { return body(nil) }
    let rules = firn_landlock_create()
    guard rules >= 0 else { return -errno }
    defer { close(rules) }
    for path in confinement.readable {
      // A path that is missing can't be read either.
      if unsafe path.withPlatformString({ unsafe firn_landlock_allow(rules, $0, 0) }) != 0, errno != ENOENT { return -errno }
    }
    for path in confinement.writable {
      if unsafe path.withPlatformString({ unsafe firn_landlock_allow(rules, $0, 1) }) != 0 { return -errno }
    }
    var limits = firn_confinement(rules: rules, connects: confinement.mayConnect ? 1 : 0)
    return unsafe body(&limits)
  }
}
