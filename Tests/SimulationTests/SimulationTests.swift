import Foundation
import Platform
import Synchronization
import TestSupport
import Testing

/// Snapshots, prunes, verifications and copies beside each other, over two stores, with everything going wrong that a seed says.
private struct Simulation {
  let violations: [String]
  let trace: UInt64

  init(seed: UInt64) {
    let world = SimulatedWorld(seed: seed)
    do {
      let here = try SimulatedCommands(world: world, disk: world.makeDisk())
      let there = try SimulatedCommands(world: world, disk: world.makeDisk())
      world.run([
        ("a", 3, here.snapshot), ("b", 2, here.snapshot), ("c", 3, here.prune), ("a", 1, here.verify), ("e", 2, here.verify),
        ("a", 2, { try here.copy(to: there, $0) }),
        ("d", 1, { try here.copy(to: there, $0) }), ("d", 2, there.prune),
      ])
      if world.isOneMachine && world.chance(0.5) { world.cutPower() }
      world.isQuiet = true
      try here.findViolations()
      try there.findViolations()
    } catch {
      world.violations.append("the next run fails: \(error)")
    }
    violations = world.violations
    trace = world.trace
    world.end()
  }
}

@Suite struct `In simulated worlds` {
  /// scripts/soak sets them.
  private var first: UInt64 { Self.setting("FIRN_SIMULATION_FIRST") ?? 0 }
  private var seeds: UInt64 { Self.setting("FIRN_SIMULATION_SEEDS") ?? UInt64(Thoroughness.count(10_000, thorough: 20_000)) }

  private static func setting(_ name: String) -> UInt64? { ProcessInfo.processInfo.environment[name].flatMap(UInt64.init) }

  @Test func `every listed snapshot can be restored, whatever happens beside each other, and nothing is left over`() {
    let next = Atomic<UInt64>(first)
    let end = first + seeds
    let failed = Monitor<[(seed: UInt64, violations: [String])]>([])
    // A world's threads hand over to each other: several worlds fill the moments in between.
    let threads = (0..<4 * ProcessInfo.processInfo.activeProcessorCount).map { _ in
      WorkerThread(name: "simulation") {
        while failed.current.count < 5 {
          let seed = next.wrappingAdd(1, ordering: .relaxed).oldValue
          guard seed < end else { return }
          let violations = Simulation(seed: seed).violations
          if !violations.isEmpty { failed.update { $0.append((seed, violations)) } }
        }
      }
    }
    for thread in threads { thread.join() }
    for (seed, violations) in failed.current.sorted(by: { $0.seed < $1.seed }) {
      Issue.record("seed \(seed): \(violations.prefix(3).joined(separator: "; "))")
    }
    #expect(failed.current.isEmpty)
  }

  @Test func `the same seed makes the same world`() {
    for seed in UInt64(0)..<20 { #expect(Simulation(seed: seed).trace == Simulation(seed: seed).trace) }
  }
}
