import Platform
import Repository
import SystemPackage

/// Files of a store, as they are seen and as a power cut would leave them.
final class SimulatedDisk: @unchecked Sendable {
  // Sound: as `SimulatedWorld`, whose threads alone use it.
  struct File {
    var bytes: [UInt8]
    /// The durable bytes; nil if there are none.
    var durable: [UInt8]?
    var modified: Double
    var writer: Int32
  }

  fileprivate let world: SimulatedWorld
  fileprivate(set) var files: [StoreKey: File] = [:]
  /// In order.
  fileprivate var keys: [StoreKey] = []
  /// Deleted files that may exist again after a power cut.
  fileprivate var ghosts: [StoreKey: [UInt8]] = [:]
  /// Folders in which a process changed names that it did not flush.
  fileprivate var touched: [Int32: Set<Substring>] = [:]

  init(world: SimulatedWorld) { self.world = world }

  fileprivate func place(of key: StoreKey) -> Int {
    var (low, high) = (0, keys.count)
    while low < high {
      let middle = (low + high) / 2
      if keys[middle] < key { low = middle + 1 } else { high = middle }
    }
    return low
  }

  fileprivate func put(_ file: File, _ key: StoreKey) {
    if files.updateValue(file, forKey: key) == nil { keys.insert(key, at: place(of: key)) }
  }

  @discardableResult fileprivate func take(_ key: StoreKey) -> File? {
    guard let file = files.removeValue(forKey: key) else { return nil }
    keys.remove(at: place(of: key))
    return file
  }

  fileprivate static func folder(_ key: StoreKey) -> Substring { key[..<(key.lastIndex(of: "/") ?? key.startIndex)] }

  /// Makes the names in folders durable, including other processes' changes.
  fileprivate func synchronize(_ folders: Set<Substring>) {
    ghosts = ghosts.filter { !folders.contains(Self.folder($0.key)) }
  }

  /// Files that were not flushed may exist, be truncated, or be missing; deleted ones may be back.
  func cutPower() {
    for key in keys {
      guard var file = files[key], file.durable != file.bytes else { continue }
      switch world.pick(below: 3) {
      case 0: file.durable = file.bytes
      // A name may survive its bytes.
      case 1 where file.durable == nil: file.durable = []
      default: break
      }
      guard let durable = file.durable else {
        take(key)
        continue
      }
      file.bytes = durable
      files[key] = file
    }
    for (key, ghost) in ghosts.sorted(by: { $0.key < $1.key }) where files[key] == nil && world.chance(0.5) {
      put(File(bytes: ghost, durable: ghost, modified: world.clock, writer: 0), key)
    }
    ghosts = [:]
  }
}

/// A store as one process sees it. Every operation is a place where others may go on, or something may go wrong.
struct SimulatedStore: Store {
  let disk: SimulatedDisk
  let process: SimulatedProcess

  var location: String { "simulated" }
  private var world: SimulatedWorld { process.world }

  private func perform<Result>(_ name: String, _ key: StoreKey, canStandStill: Bool = true, _ body: () throws -> Result) throws -> Result {
    // Also for the refresh of its lock, which may come in the middle.
    let couldStandStill = process.canStandStill
    process.canStandStill = couldStandStill && canStandStill
    defer { process.canStandStill = couldStandStill }
    try world.pass(process)
    world.note("\(process.id) \(name) \(key)")
    if world.isQuiet { return try body() }
    let faults = world.faults
    if process.canStandStill, world.chance(faults.standstills) { try world.standStill(process) }
    if world.chance(faults.clockJumps) { process.clockOffset = Double(world.pick(below: 4 * 86400) - 2 * 86400) }
    if world.chance(faults.powerCuts) {
      world.cutPower()
      throw ProcessDied()
    }
    let dies = world.chance(faults.crashes)
    let fails = world.chance(faults.errors)
    if (dies || fails) && world.chance(0.5) {
      if dies { process.isAlive = false }
      throw StoreError.unreachable(location: location, reason: "simulated")
    }
    if world.chance(faults.repeats) { _ = try? body() }
    let result = Swift.Result { try body() }
    if dies { process.isAlive = false }
    if dies || fails { throw StoreError.unreachable(location: location, reason: "simulated, and done") }
    if world.chance(faults.delays) { try world.pass(process) }
    return try result.get()
  }

  func read(_ key: StoreKey, limit: Int) throws -> [UInt8] {
    try perform("read", key) {
      guard let file = disk.files[key] else { throw StoreError.missing(key) }
      guard file.bytes.count <= limit else { throw StoreError.tooLarge(key) }
      return file.bytes
    }
  }

  func read(_ key: StoreKey, from offset: Int64, count: Int) throws -> [UInt8] {
    let bytes = try read(key, limit: .max)
    guard bytes.count >= Int(offset) + count else { throw StoreError.truncated(key) }
    return Array(bytes[Int(offset)..<(Int(offset) + count)])
  }

  func write(_ bytes: [UInt8], to key: StoreKey, durability: Durability) throws {
    try perform("write", key) {
      let isDurable = durability == .immediate || !world.isOneMachine
      // As the driver for folders: what has the name already goes only when the new bytes are on the disk.
      let durable = isDurable || disk.files[key] != nil ? bytes : nil
      disk.put(.init(bytes: bytes, durable: durable, modified: world.clock, writer: process.id), key)
      if isDurable { disk.synchronize([SimulatedDisk.folder(key)]) }
    }
  }

  func write(contentsOf file: FilePath, to key: StoreKey) throws {
    try write(try Folder.contents(of: file, limit: 1 << 30), to: key, durability: .deferred)
  }

  func create(_ bytes: [UInt8], at key: StoreKey) throws -> Bool {
    try perform("create", key) {
      guard disk.files[key] == nil else { return false }
      disk.put(.init(bytes: bytes, durable: bytes, modified: world.clock, writer: process.id), key)
      disk.synchronize([SimulatedDisk.folder(key)])
      return true
    }
  }

  func list(_ prefix: String, _ body: (StoreEntry) throws -> Void) throws {
    let entries = try perform("list", prefix) {
      disk.keys[disk.place(of: prefix)...].prefix { $0.hasPrefix(prefix) }.compactMap { key in
        disk.files[key].map { StoreEntry(key: key, size: Int64($0.bytes.count), modified: $0.modified) }
      }
    }
    for entry in entries { try body(entry) }
  }

  func size(of key: StoreKey) throws -> Int64? { try perform("size", key) { disk.files[key].map { Int64($0.bytes.count) } } }

  func rename(_ key: StoreKey, as aside: StoreKey) throws -> Bool {
    if world.faults.movesInTwoSteps {
      // As servers that can only copy.
      let isThere = try perform("copy", key) {
        guard var file = disk.files[key] else { return false }
        (file.durable, file.modified) = (file.bytes, world.clock)
        disk.put(file, aside)
        return true
      }
      if isThere { try delete([key]) }
      return isThere
    }
    return try perform("set aside", key) {
      guard var file = disk.take(key) else { return false }
      file.durable = file.bytes
      disk.put(file, aside)
      disk.synchronize([SimulatedDisk.folder(key), SimulatedDisk.folder(aside)])
      return true
    }
  }

  /// Not all at once, and in any order.
  func delete(_ keys: [StoreKey], _ mayGoOn: @escaping @Sendable () throws -> Void) throws {
    var asked = -Double.infinity
    for key in keys.count < 2 ? keys : keys.sorted(by: { _, _ in world.chance(0.5) }) {
      if world.clock - asked > 60 {
        asked = world.clock
        try mayGoOn()
      }
      // Nobody can keep a process from standing still between its last look at its lock and this.
      try perform("delete", key, canStandStill: false) {
        disk.touched[process.id, default: []].insert(SimulatedDisk.folder(key))
        guard let file = disk.take(key), let durable = file.durable, world.isOneMachine else { return }
        disk.ghosts[key] = durable
      }
    }
  }

  func flush() throws {
    try perform("flush", "") {
      for key in disk.keys {
        guard let file = disk.files[key], file.writer == process.id else { continue }
        disk.files[key]?.durable = file.bytes
      }
      disk.synchronize(disk.touched.removeValue(forKey: process.id) ?? [])
    }
  }

  func removeLeftovers() throws {}
}
