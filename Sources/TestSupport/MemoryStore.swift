internal import Foundation
internal import Platform
package import Repository
package import SystemPackage

/// A store in memory that simulates power cuts and failures.
package final class MemoryStore: Store {
  private struct File: Sendable {
    var bytes: [UInt8]
    /// The durable bytes; nil if there are none.
    var durable: [UInt8]?
    /// Seconds since 1970.
    var modified: Double
  }

  private struct State: Sendable {
    var files: [StoreKey: File] = [:]
    var operations = 0
    var failure: (at: Int, error: StoreError)?
    var refusal: (error: StoreError, room: StoreKey?)?
    var keeps: StoreError?
    var losesWrites: (@Sendable (StoreKey) -> Bool)?
    /// Seconds since 1970.
    var clock = Date().timeIntervalSince1970
  }

  private let state = Monitor(State())

  package let isDurableWhenVisible: Bool

  package let requestsAtOnce: Int

  /// - Parameter requestsAtOnce: more than one for a store that is asked by way of a network.
  package init(isDurableWhenVisible: Bool = false, requestsAtOnce: Int = 1) {
    self.isDurableWhenVisible = isDurableWhenVisible
    self.requestsAtOnce = requestsAtOnce
  }

  package var location: String { "memory" }

  /// Operations so far.
  package var operations: Int { state.current.operations }

  /// Lets the operation of that number, and all after it, fail.
  package func fail(at operation: Int, with error: StoreError) { state.update { $0.failure = (operation, error) } }
  /// Makes writes fail, and deletions too if nothing may be changed; if `room` is named, until that is deleted.
  package func refuseWrites(with error: StoreError?, untilDeleted room: StoreKey? = nil) {
    state.update { $0.refusal = error.map { ($0, room) } }
  }

  /// Lets deletions fail, and nothing else.
  package func refuseDeletions(with error: StoreError) { state.update { $0.keeps = error } }

  /// Confirms writes of these keys and stores nothing, as a faulty gateway does.
  package func loseWrites(where isLost: (@Sendable (StoreKey) -> Bool)?) { state.update { $0.losesWrites = isLost } }

  package func mend() { state.update { $0.failure = nil } }

  /// Loses everything that was not flushed: names may stay without their bytes.
  package func cutPower(keepsNames: Bool) {
    state.update { state in
      for (key, file) in state.files {
        if let durable = file.durable {
          state.files[key] = File(bytes: durable, durable: durable, modified: file.modified)
        } else if keepsNames {
          state.files[key] = File(bytes: [], durable: [], modified: file.modified)
        } else {
          state.files[key] = nil
        }
      }
      state.failure = nil
    }
  }

  /// Changes a file's bytes behind everyone's back.
  package func damage(_ key: StoreKey, _ body: (inout [UInt8]) -> Void) {
    state.update { state in
      guard var file = state.files[key] else { return }
      body(&file.bytes)
      file.durable = file.bytes
      state.files[key] = file
    }
  }

  /// Lets time pass, in seconds.
  package func wait(_ seconds: Double) { state.update { $0.clock += seconds } }

  private func step<Result>(_ body: (inout State) throws -> Result) throws -> Result {
    try state.update { state in
      state.operations += 1
      state.clock += 1
      if let failure = state.failure, state.operations >= failure.at { throw failure.error }
      return try body(&state)
    }
  }

  /// A change, which a read-only store refuses.
  private func change<Result>(_ body: (inout State) throws -> Result) throws -> Result {
    try step { state in
      if let error = state.refusal?.error, case .readOnly = error { throw error }
      return try body(&state)
    }
  }

  package func read(_ key: StoreKey, limit: Int) throws -> [UInt8] {
    try step { state in
      guard let file = state.files[key] else { throw StoreError.missing(key) }
      guard file.bytes.count <= limit else { throw StoreError.tooLarge(key) }
      return file.bytes
    }
  }

  package func read(_ key: StoreKey, from offset: Int64, count: Int) throws -> [UInt8] {
    try step { state in
      guard let file = state.files[key] else { throw StoreError.missing(key) }
      guard file.bytes.count >= Int(offset) + count else { throw StoreError.truncated(key) }
      return Array(file.bytes[Int(offset)..<(Int(offset) + count)])
    }
  }

  package func write(_ bytes: [UInt8], to key: StoreKey, durability: Durability) throws {
    try step { state in
      if let refusal = state.refusal, refusal.room.map({ state.files[$0] != nil }) ?? true { throw refusal.error }
      if state.losesWrites?(key) ?? false { return }
      let before = state.files[key]?.durable
      state.files[key] = File(bytes: bytes, durable: durability == .immediate ? bytes : before, modified: state.clock)
    }
  }

  package func write(contentsOf file: FilePath, to key: StoreKey) throws {
    try write(try Folder.contents(of: file, limit: 1 << 30), to: key, durability: .deferred)
  }

  package func create(_ bytes: [UInt8], at key: StoreKey) throws -> Bool {
    try step { state in
      guard state.files[key] == nil else { return false }
      state.files[key] = File(bytes: bytes, durable: bytes, modified: state.clock)
      return true
    }
  }

  package func list(_ prefix: String, _ body: (StoreEntry) throws -> Void) throws {
    let entries = try step { state in
      state.files.filter { $0.key.hasPrefix(prefix) }.map { StoreEntry(key: $0.key, size: Int64($0.value.bytes.count), modified: $0.value.modified) }
        .sorted { $0.key < $1.key }
    }
    for entry in entries { try body(entry) }
  }

  package func rename(_ key: StoreKey, as aside: StoreKey) throws -> Bool {
    try change { state in
      if let error = state.keeps { throw error }
      guard let file = state.files.removeValue(forKey: key) else { return false }
      if state.losesWrites?(aside) ?? false { return true }
      state.files[aside] = File(bytes: file.bytes, durable: file.bytes, modified: file.modified)
      return true
    }
  }

  package func size(of key: StoreKey) throws -> Int64? { try step { $0.files[key].map { Int64($0.bytes.count) } } }
  package func delete(_ keys: [StoreKey], _ mayGoOn: @escaping @Sendable () throws -> Void) throws {
    if !keys.isEmpty { try mayGoOn() }
    try change { state in
      if let error = state.keeps { throw error }
      for key in keys { state.files[key] = nil }
    }
  }

  package func flush() throws {
    try step { state in state.files = state.files.mapValues { File(bytes: $0.bytes, durable: $0.bytes, modified: $0.modified) } }
  }

  package func removeLeftovers() throws {}
}
