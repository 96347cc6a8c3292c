internal import Compression
internal import Digests
package import Platform
internal import Synchronization

/// Compresses frames on several threads, fills objects with them, and stores these.
package final class ObjectPacker: Sendable {
  fileprivate struct Job: Sendable {
    let assembly: ObjectAssembly
    let frame: Int
    let bytes: [UInt8]
    let effort: EffortChoice
  }

  private let store: any Store
  private let encryption: StoreEncryption
  fileprivate let registry: ObjectRegistry
  fileprivate let format: RepositoryFormat
  private let queue: BoundedQueue<Job>
  private let threads: [WorkerThread]
  /// Objects on their way to a store that takes its time to answer.
  private let uploads: BoundedQueue<@Sendable () throws -> Void>?
  private let uploaders: [WorkerThread]
  private let failure: FirstFailure

  /// - Parameter failure: what fails here, or elsewhere in the same work: then nothing more is stored.
  package init(store: any Store, format: RepositoryFormat, registry: ObjectRegistry, threads count: Int, failure: FirstFailure) {
    self.store = store
    self.format = format
    self.registry = registry
    self.failure = failure
    let encryption = format.encryption
    self.encryption = encryption
    let queue = BoundedQueue<Job>(capacity: count + 1)
    self.queue = queue
    let uploads = store.requestsAtOnce > 1 ? BoundedQueue<@Sendable () throws -> Void>(capacity: 1) : nil
    self.uploads = uploads
    uploaders = (0..<(uploads == nil ? 0 : store.requestsAtOnce)).map { _ in
      WorkerThread(name: "upload") {
        while let upload = uploads?.pop() {
          if failure.error == nil { failure.capture(upload) }
        }
      }
    }
    threads = (0..<count).map { _ in
      WorkerThread(name: "compress") {
        failure.capture {
          var compressor = try ZstdCompressor()
          while let job = queue.pop() {
            // Taken from the queue even after a failure: those who push must not wait for ever.
            if failure.error != nil { continue }
            failure.capture {
              let compressed = try job.effort.compress(job.bytes, with: &compressor)
              if let object = job.assembly.add(compressed, frame: job.frame, plain: job.bytes.count) {
                try Self.store(object, of: job.assembly, in: store, encryption, registry, uploads)
              }
            }
          }
        }
        while queue.pop() != nil {}
      }
    }
  }

  fileprivate func submit(_ job: Job) throws {
    try failure.check()
    queue.push(job)
  }

  fileprivate func close(_ assembly: ObjectAssembly, frames: Int) throws {
    if let object = assembly.close(frames: frames) { try Self.store(object, of: assembly, in: store, encryption, registry, uploads) }
  }

  private static func store(
    _ frames: [ObjectAssembly.Frame], of assembly: ObjectAssembly, in store: any Store, _ encryption: StoreEncryption, _ registry: ObjectRegistry,
    _ uploads: BoundedQueue<@Sendable () throws -> Void>?
  ) throws {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(frames.reduce(0) { $0 + $1.bytes.count })
    for frame in frames { bytes += frame.bytes }
    bytes = try encryption.encrypted(bytes)
    let name = ObjectName(SHA256Digest(of: bytes), isEncrypted: encryption.isOn)
    let entry = ObjectEntry(
      name: name, storedBytes: Int64(bytes.count), usedBytes: 0,
      frames: frames.map { .init(stored: UInt32($0.bytes.count), plain: UInt32($0.plain)) })
    // Never skipped because the name is there: after a power cut what has the name may lack the bytes.
    let upload = { @Sendable [bytes, ordinal = assembly.ordinal] in
      try store.write(bytes, to: name.key, durability: .deferred)
      registry.complete(ordinal, entry)
    }
    if let uploads { uploads.push(upload) } else { try upload() }
  }

  /// Waits until everything is stored. Every sink must be closed.
  package func finish() throws {
    queue.close()
    for thread in threads { thread.join() }
    uploads?.close()
    for thread in uploaders { thread.join() }
    try failure.check()
  }
}

/// One thread's access to an `ObjectPacker`: takes chunks in order and returns the location of each.
package struct ChunkSink {
  private let packer: ObjectPacker
  private var effort = EffortChoice()
  private var buffer: [UInt8] = []
  private var assembly: ObjectAssembly?
  private var frame = 0
  private var gaps = 0

  package init(packer: ObjectPacker) { self.packer = packer }

  /// Appends a new chunk.
  package mutating func append(_ chunk: Span<UInt8>) throws -> ChunkLocation {
    if buffer.count + chunk.count > frameLimit { try flushFrame() }
    let assembly = openAssembly()
    let location = ChunkLocation(
      object: assembly.ordinal, frame: UInt32(frame), offset: UInt32(buffer.count), length: UInt32(chunk.count))
    buffer.append(chunk)
    return location
  }

  /// Says that chunks known already lie between the last new one and the next.
  package mutating func skip() { gaps += 1 }

  /// Scattered chunks go in smaller frames: a later reader wants one of them here and there, and must decode the rest.
  private var frameLimit: Int { gaps > 8 ? packer.format.frameBytes / 4 : packer.format.frameBytes }

  private mutating func openAssembly() -> ObjectAssembly {
    if let assembly { return assembly }
    let opened = ObjectAssembly(ordinal: packer.registry.reserve())
    assembly = opened
    frame = 0
    return opened
  }

  private mutating func flushFrame() throws {
    guard let assembly, !buffer.isEmpty else { return }
    assembly.willAdd(plain: buffer.count)
    let full = buffer
    buffer = []
    buffer.reserveCapacity(packer.format.frameBytes)
    try packer.submit(.init(assembly: assembly, frame: frame, bytes: full, effort: effort))
    frame += 1
    gaps = 0
    if assembly.expectedBytes >= packer.format.objectBytes { try closeObject() }
  }

  /// Says that what comes is of another kind than what came: it goes into an object of its own, with an effort of its own.
  package mutating func startNewStream() throws {
    try closeObject()
    effort = EffortChoice()
  }

  /// Ends the object being filled, so that the next chunk begins another.
  package mutating func closeObject() throws {
    try flushFrame()
    if let assembly, frame > 0 { try packer.close(assembly, frames: frame) }
    assembly = nil
  }
}

/// An object that waits for its frames.
private final class ObjectAssembly: Sendable {
  struct Frame: Sendable {
    let bytes: [UInt8]
    let plain: Int
  }

  private struct State: Sendable {
    var frames: [Int: Frame] = [:]
    var stored = 0
    var plain = 0
    var pendingPlain = 0
    var total: Int?

    mutating func takeIfWhole() -> [Frame]? {
      guard let total, frames.count == total else { return nil }
      defer { frames = [:] }
      return (0..<total).map { frames[$0]! }
    }
  }

  let ordinal: UInt32
  private let state = Mutex(State())

  init(ordinal: UInt32) { self.ordinal = ordinal }

  func willAdd(plain: Int) { state.withLock { $0.pendingPlain += plain } }

  /// Adds a compressed frame.
  /// - Returns: all frames where this was the last that was missing.
  func add(_ bytes: [UInt8], frame: Int, plain: Int) -> [Frame]? {
    state.withLock { state in
      state.frames[frame] = Frame(bytes: bytes, plain: plain)
      state.stored += bytes.count
      state.plain += plain
      state.pendingPlain -= plain
      return state.takeIfWhole()
    }
  }

  func close(frames: Int) -> [Frame]? {
    state.withLock { state in
      state.total = frames
      return state.takeIfWhole()
    }
  }

  /// Stored bytes, those of frames under way estimated.
  var expectedBytes: Int {
    state.withLock { state in
      let ratio = state.plain > 0 ? Double(state.stored) / Double(state.plain) : 0.4
      return state.stored + Int(Double(state.pendingPlain) * ratio)
    }
  }
}
