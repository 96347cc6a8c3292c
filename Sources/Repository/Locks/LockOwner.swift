package import Foundation
internal import Platform

/// The process that takes locks, with its clock and its way of waiting. Tests that simulate several machines have their own.
package struct LockOwner: Sendable {
  /// The host name, for messages.
  package let host: String
  package let machine: String
  package let boot: String
  /// The process-id namespace: ids are compared within one only.
  package let space: String
  package let process: Int32
  package let processStart: UInt64
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
    host: String, machine: String, boot: String, space: String, process: Int32, processStart: UInt64, now: @escaping @Sendable () -> Date,
    newName: @escaping @Sendable () -> String,
    startTime: @escaping @Sendable (Int32) -> UInt64?, waits: @escaping @Sendable (ContinuousClock.Instant) throws -> Bool,
    repeats: @escaping @Sendable (@escaping @Sendable () -> Void) -> @Sendable () -> Void
  ) {
    self.host = host
    self.machine = machine
    self.boot = boot
    self.space = space
    self.process = process
    self.processStart = processStart
    self.now = now
    self.newName = newName
    self.startTime = startTime
    self.waits = waits
    self.repeats = repeats
  }

  /// Whether a process is alive; nil for a process of another machine or container.
  package func tellsAlive(host: String, machine: String, boot: String, space: String, process: Int32, start: UInt64) -> Bool? {
    // Cloned machines share an id, and other machines may share a name.
    guard machine == self.machine, host == self.host else { return nil }
    // A machine without an id has only its name, which another machine may share.
    guard boot == self.boot else { return machine == Host.machineIDWithoutOne ? nil : false }
    return space == self.space ? startTime(process) == start : nil
  }

  private static let refreshInterval: Duration = .seconds(60)

  /// This process.
  package static var current: LockOwner {
    LockOwner(
      host: Host.name, machine: Host.machineID, boot: Host.bootID, space: Host.processSpace, process: Host.processID,
      processStart: Host.startTime(of: Host.processID) ?? 0, now: { Date() },
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
