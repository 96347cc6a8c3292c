package import Foundation
internal import Platform

/// Whose locks are, and how their owner tells time and waits. Tests that play several machines bring their own.
package struct LockOwner: Sendable {
  package let host: String
  package let process: Int32
  package let processStart: UInt64
  package let boot: String
  /// The owner's clock.
  package let now: @Sendable () -> Date
  /// A name no other lock has.
  package let newName: @Sendable () -> String
  /// When a process of this machine started; nil where there is none of that number.
  package let startTime: @Sendable (Int32) -> UInt64?
  /// Waits before another try.
  /// - Returns: false where the deadline has passed.
  package let waits: @Sendable (_ deadline: ContinuousClock.Instant) throws -> Bool
  /// Has a body called now and then while a lock is held. What it returns ends that.
  package let repeats: @Sendable (@escaping @Sendable () -> Void) -> @Sendable () -> Void

  package init(
    host: String, process: Int32, processStart: UInt64, boot: String, now: @escaping @Sendable () -> Date, newName: @escaping @Sendable () -> String,
    startTime: @escaping @Sendable (Int32) -> UInt64?, waits: @escaping @Sendable (ContinuousClock.Instant) throws -> Bool,
    repeats: @escaping @Sendable (@escaping @Sendable () -> Void) -> @Sendable () -> Void
  ) {
    self.host = host
    self.process = process
    self.processStart = processStart
    self.boot = boot
    self.now = now
    self.newName = newName
    self.startTime = startTime
    self.waits = waits
    self.repeats = repeats
  }

  private static let refreshInterval: Duration = .seconds(300)

  /// This process.
  package static var current: LockOwner {
    LockOwner(
      host: Host.name, process: Host.processID, processStart: Host.startTime(of: Host.processID) ?? 0, boot: Host.bootID, now: { Date() },
      newName: { UUID().uuidString.lowercased() }, startTime: Host.startTime(of:),
      waits: { deadline in
        guard ContinuousClock.now < deadline else { return false }
        try Interruption.check()
        Thread.sleep(forTimeInterval: Double.random(in: 0.1...0.5))
        return true
      },
      repeats: { body in
        let ended = Monitor(false)
        let thread = WorkerThread(name: "lock") { while !ended.wait(atMost: refreshInterval, until: { $0 }) { body() } }
        return {
          ended.update { $0 = true }
          thread.join()
        }
      })
  }
}
