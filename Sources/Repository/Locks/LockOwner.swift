package import Foundation
package import Platform

/// The process that takes locks, with its clock and its way of waiting. Tests that simulate several machines have their own.
package struct LockOwner: Sendable {
  package let process: ProcessIdentity
  /// The owner's clock.
  package let now: @Sendable () -> Date
  /// A name no other lock has.
  package let newName: @Sendable () -> String
  /// When a process of this machine started; nil if there is none with that id.
  package let startTime: @Sendable (Int32) -> UInt64?
  /// Waits before another attempt.
  /// - Returns: false if the deadline has passed.
  package let waits: @Sendable (_ deadline: ContinuousClock.Instant) throws -> Bool
  /// Calls a body repeatedly while a lock is held. The returned closure ends that.
  package let repeats: @Sendable (@escaping @Sendable () -> Void) -> @Sendable () -> Void

  package init(
    process: ProcessIdentity, now: @escaping @Sendable () -> Date, newName: @escaping @Sendable () -> String,
    startTime: @escaping @Sendable (Int32) -> UInt64?, waits: @escaping @Sendable (ContinuousClock.Instant) throws -> Bool,
    repeats: @escaping @Sendable (@escaping @Sendable () -> Void) -> @Sendable () -> Void
  ) {
    self.process = process
    self.now = now
    self.newName = newName
    self.startTime = startTime
    self.waits = waits
    self.repeats = repeats
  }

  private static let refreshInterval: Duration = .seconds(60)

  /// This process.
  package static var current: LockOwner {
    LockOwner(
      process: .current, now: { Date() }, newName: { UUID().uuidString.lowercased() }, startTime: Host.startTime(of:),
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
