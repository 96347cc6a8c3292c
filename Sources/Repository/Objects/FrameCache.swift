internal import Compression
internal import Digests
internal import Platform
internal import Synchronization

/// Plain bytes of frames, decoded when wanted, the last ones kept.
package final class FrameCache: Sendable {
  private typealias Key = FramePrefetcher.Frame

  private struct State: Sendable {
    var frames: [Key: (bytes: [UInt8], used: UInt64)] = [:]
    var bytes = 0
    var clock: UInt64 = 0
    var objects: Set<UInt32> = []
  }

  private let table: ChunkTable
  private let contents: StoredContents
  private let capacity: Int
  private let lengths: [StoredContents.Length]
  private let starts: [[Int64]]
  private let state = Mutex(State())

  /// - Parameter capacity: plain bytes kept at most.
  package init(table: ChunkTable, contents: StoredContents, capacity: Int = 48 << 20) {
    self.table = table
    self.contents = contents
    lengths = table.objects.map(\.length)
    self.capacity = capacity
    starts = table.objects.map { object in
      var place: Int64 = 0
      return object.frames.map { frame in
        defer { place += Int64(frame.stored) }
        return place
      }
    }
  }

  /// How many objects were read from.
  package var objectsRead: Int { state.withLock { $0.objects.count } }

  /// Begins to fetch the chunks that will be read, if that saves time.
  func ahead(of locations: some Sequence<ChunkLocation>, isNext: Bool) -> FramePrefetcher? {
    contents.store.requestsAtOnce > 1 ? FramePrefetcher(locations, isNext: isNext, table: table, starts: starts, lengths: lengths, contents) : nil
  }

  /// The plain bytes of the frame that holds `location`.
  /// - Throws: `RepositoryError.damagedObject`.
  func frame(of location: ChunkLocation, _ ahead: FramePrefetcher? = nil) throws -> [UInt8] {
    let key = Key(object: location.object, frame: location.frame)
    let known: [UInt8]? = state.withLock { state in
      state.clock += 1
      state.frames[key]?.used = state.clock
      return state.frames[key]?.bytes
    }
    if let known { return known }
    let bytes = try decode(key, ahead)
    state.withLock { state in
      state.objects.insert(key.object)
      if state.frames.updateValue((bytes, state.clock), forKey: key) == nil { state.bytes += bytes.count }
      while state.bytes > capacity, state.frames.count > 1, let oldest = state.frames.min(by: { $0.value.used < $1.value.used }) {
        state.frames.removeValue(forKey: oldest.key)
        state.bytes -= oldest.value.bytes.count
      }
    }
    return bytes
  }

  private func decode(_ key: Key, _ ahead: FramePrefetcher?) throws -> [UInt8] {
    let object = table.objects[Int(key.object)]
    let frame = object.frames[Int(key.frame)]
    return try RepositoryError.naming(object.name) {
      let fetched = try ahead?.stored(key)
      let start = starts[Int(key.object)][Int(key.frame)]
      let stored = try fetched ?? contents.read(object.name.key, start..<(start + Int64(frame.stored)), of: lengths[Int(key.object)])[...]
      return try ZstdDecompressor().decompress(stored.span, plainLength: Int(frame.plain))
    }
  }
}
