/// Whether a process is alive, as far as this machine can know.
package enum Liveness: Sendable { case alive, dead, unknown }

/// Identifies a process among those of all machines, containers and boots.
package struct ProcessIdentity: Hashable, Sendable {
  /// The host name, for messages.
  package let host: String
  package let machine: String
  package let boot: String
  /// The process-id namespace: ids are compared within one only.
  package let space: String
  package let process: Int32
  /// The start of the process, in the kernel's clock ticks since the boot.
  package let start: UInt64

  package init(host: String, machine: String, boot: String, space: String, process: Int32, start: UInt64) {
    self.host = host
    self.machine = machine
    self.boot = boot
    self.space = space
    self.process = process
    self.start = start
  }

  /// This process.
  package static var current: ProcessIdentity {
    ProcessIdentity(
      host: Host.name, machine: Host.machineID, boot: Host.bootID, space: Host.processSpace, process: Host.processID,
      start: Host.startTime(of: Host.processID) ?? 0)
  }

  /// Whether the process is alive, seen by another; unknown for a process of another machine or container.
  /// - Parameter startTime: the start of a process of the observer's machine; nil if there is none with that id.
  package func liveness(
    seenBy observer: ProcessIdentity = .current, startTime: (Int32) -> UInt64? = Host.startTime(of:)
  ) -> Liveness {
    // Cloned machines share an id, and other machines may share a name.
    guard machine == observer.machine, host == observer.host else { return .unknown }
    // A machine without an id has only its name, which another machine may share.
    guard boot == observer.boot else { return machine == Host.machineIDWithoutOne ? .unknown : .dead }
    guard space == observer.space else { return .unknown }
    return startTime(process) == start ? .alive : .dead
  }
}
