import Dispatch
import Foundation
import Platform
import Repository
import TestSupport

/// Why an operation of a process came to nothing: the process is dead.
struct ProcessDied: Error {}

/// The possible faults of a world, each with its chance per operation.
struct Faults {
  /// An operation fails; every second time it was carried out all the same.
  var errors = 0.0
  /// It is carried out twice, and the second answer counts, as where an answer was lost on the way.
  var repeats = 0.0
  var crashes = 0.0
  /// Its answer comes late.
  var delays = 0.0
  /// Its process stands still for an hour.
  var standstills = 0.0
  /// The power of the machine that has the stores fails. Everything in this world runs there.
  var powerCuts = 0.0
  /// The clock of its process jumps, by up to two days.
  var clockJumps = 0.0
  /// No fault: the stores copy and delete where others rename.
  var movesInTwoSteps = false
  /// No fault: others may go on before it.
  var turns = 0.0

  init(_ random: inout SeededRandom) {
    func chance(_ highest: Double) -> Double { Bool.random(using: &random) ? Double.random(in: 0...highest, using: &random) : 0 }
    errors = chance(0.03)
    repeats = chance(0.05)
    crashes = chance(0.02)
    delays = chance(0.3)
    clockJumps = chance(0.02)
    turns = [0.05, 0.2, 0.7].randomElement(using: &random)!
    if Bool.random(using: &random) { standstills = chance(0.01) } else { powerCuts = chance(0.006) }
    movesInTwoSteps = standstills > 0 && Bool.random(using: &random)
  }
}

/// Processes of which one goes on at a time, and a clock; what happens is for a seed to say.
final class SimulatedWorld: @unchecked Sendable {
  // Sound: of the threads at work one runs, and hands over to the next. Nobody else touches what is here.
  private(set) var random: SeededRandom
  /// Seconds since 1970.
  var clock = 1_800_000_000.0
  let faults: Faults
  /// All on one machine, whose disk the stores are on; else each on one of its own, and what is written is durable at once.
  let isOneMachine: Bool
  /// No more faults, and no other process at work.
  var isQuiet = false
  /// A digest of all that happened.
  private(set) var trace: UInt64 = 0xCBF2_9CE4_8422_2325
  /// Violated rules.
  var violations: [String] = []

  private var disks: [SimulatedDisk] = []
  private var living: [SimulatedProcess] = []
  private var waiting: [Turn] = []
  private var boots = 0
  private var counter = 0
  private let ended = DispatchSemaphore(value: 0)

  /// A thread's place in the row.
  private final class Turn: @unchecked Sendable {
    // Sound: as the world.
    let semaphore = DispatchSemaphore(value: 0)
    /// When a real process would have gone on, however busy its machine is.
    var latest = Double.infinity
  }

  /// Seconds for which others go on before a process that does not stand still.
  private static let longestTurn = 600.0

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
    faults = Faults(&random)
    isOneMachine = faults.standstills == 0
  }

  func chance(_ probability: Double) -> Bool { probability > 0 && Double.random(in: 0..<1, using: &random) < probability }
  func pick(below limit: Int) -> Int { Int.random(in: 0..<limit, using: &random) }

  func makeDisk() -> SimulatedDisk {
    let disk = SimulatedDisk(world: self)
    disks.append(disk)
    return disk
  }

  /// Whether to print all that happens. scripts/soak explains it.
  private static let prints = ProcessInfo.processInfo.environment["FIRN_SIMULATION_PRINT"] != nil

  func note(_ text: String) {
    if Self.prints { print("\(Int(clock) - 1_800_000_000) \(text)") }
    for byte in text.utf8 { trace = (trace ^ UInt64(byte)) &* 0x100_0000_01B3 }
  }

  // MARK: Processes

  /// Runs lives of processes beside each other, to their ends. Each is called with a new process, and again after that, `lives` times.
  func run(_ roles: [(host: String, lives: Int, body: (SimulatedProcess) throws -> Void)]) {
    nonisolated(unsafe) let roles = roles
    for role in unsafe 0..<roles.count {
      let turn = Turn()
      waiting.append(turn)
      let thread = Thread { [self] in
        turn.semaphore.wait()
        for _ in 0..<(unsafe roles[role].lives) {
          let process = start(host: unsafe roles[role].host)
          process.turn = turn
          do { try unsafe roles[role].body(process) } catch {}
          living.removeAll { $0 === process }
          // One that died may hold locks, which hold it.
          process.signs = [:]
        }
        handOver(from: nil)
      }
      thread.stackSize = 1 << 20
      thread.start()
    }
    handOver(from: nil)
    ended.wait()
  }

  func start(host: String) -> SimulatedProcess {
    counter += 1
    let process = SimulatedProcess(world: self, host: isOneMachine ? "here" : host, id: Int32(counter), boot: "\(boots)")
    living.append(process)
    return process
  }

  fileprivate func isAlive(_ id: Int32, on host: String) -> Bool { living.contains { $0.id == id && $0.host == host && $0.isAlive } }

  fileprivate func newName() -> String {
    counter += 1
    return "\(counter)"
  }

  /// Lets one of those that wait go on; one that ended waits no more.
  private func handOver(from process: SimulatedProcess?) {
    guard let turn = process?.turn as? Turn else {
      if waiting.isEmpty { ended.signal() } else { waiting.remove(at: pick(below: waiting.count)).semaphore.signal() }
      return
    }
    turn.latest = process?.canStandStill == false ? clock + Self.longestTurn : .infinity
    let choice = waiting.firstIndex { $0.latest < clock } ?? pick(below: waiting.count + 1)
    guard choice < waiting.count else { return }
    let next = waiting[choice]
    waiting[choice] = turn
    next.semaphore.signal()
    turn.semaphore.wait()
  }

  /// Lets others go on, and time pass.
  /// - Throws: `ProcessDied`.
  func pass(_ process: SimulatedProcess) throws {
    guard process.isAlive else { throw ProcessDied() }
    clock += Double(pick(below: 16))
    if isQuiet { return }
    if chance(faults.turns) {
      handOver(from: process)
      guard process.isAlive else { throw ProcessDied() }
    }
    process.showLife()
    // The power may have failed meanwhile.
    guard process.isAlive else { throw ProcessDied() }
  }

  func standStill(_ process: SimulatedProcess) throws {
    let end = clock + 3600
    while clock < end {
      guard process.isAlive else { throw ProcessDied() }
      if waiting.isEmpty { clock = end } else { clock += 20 }
      handOver(from: process)
    }
    note("stood still")
  }

  /// Lets go of what belongs to it, which holds it: a million worlds are more than memory holds.
  func end() {
    living = []
    disks = []
  }

  func cutPower() {
    note("power cut")
    boots += 1
    for process in living { process.isAlive = false }
    for disk in disks { disk.cutPower() }
  }
}

/// One run of a command, on some machine.
final class SimulatedProcess: @unchecked Sendable {
  // Sound: as `SimulatedWorld`, whose threads alone use it.
  let world: SimulatedWorld
  let host: String
  let id: Int32
  private let boot: String
  var isAlive = true
  /// Whether the operation at work may stand still for an hour.
  var canStandStill = true
  /// Seconds by which its clock is ahead.
  var clockOffset = 0.0
  fileprivate var turn: (any AnyObject & Sendable)?
  fileprivate var signs: [Int: @Sendable () -> Void] = [:]
  private var lastSign: Double
  private var isShowingLife = false

  init(world: SimulatedWorld, host: String, id: Int32, boot: String) {
    self.world = world
    self.host = host
    self.id = id
    self.boot = boot
    lastSign = world.clock
  }

  var now: Date { Date(timeIntervalSince1970: (world.clock + clockOffset).rounded(.down)) }

  /// The refresh that a real process does every five minutes.
  fileprivate func showLife() {
    guard world.clock - lastSign > 300, !isShowingLife else { return }
    isShowingLife = true
    defer { isShowingLife = false }
    lastSign = world.clock
    for (_, sign) in signs.sorted(by: { $0.key < $1.key }) { sign() }
  }

  /// As lock owner.
  var owner: LockOwner {
    LockOwner(
      process: .init(host: host, machine: host, boot: boot, space: "", process: id, start: UInt64(id)), now: { self.now },
      newName: { self.world.newName() },
      startTime: { self.world.isAlive($0, on: self.host) ? UInt64($0) : nil },
      waits: { _ in
        try self.world.pass(self)
        return self.world.chance(0.7)
      },
      repeats: { body in
        let number = self.world.pick(below: 1 << 30)
        self.signs[number] = body
        return { self.signs[number] = nil }
      })
  }
}
