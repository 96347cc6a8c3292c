package import Digests
internal import Platform
internal import Synchronization

/// Finds chunks of an earlier snapshot in bounded memory, following it as a new stream follows the old one.
///
/// A sample of its digests is kept, with the segment of the chunk table each lies in. When a sampled chunk is found, its
/// segment is loaded, and the chunks after it are found there. (Sparse indexing: Lillibridge et al., FAST 2009.)
package final class ParentIndex: Sendable {
  package let table: ChunkTable
  let contents: StoredContents
  let store: any Store
  private let registry: ObjectRegistry
  private let hooks: [ChunkDigest: Int32]
  /// Its readable lists by the digests of their bytes.
  private let lists: [SHA256Digest: Int]
  /// Objects that were found damaged once: they are read before they are used again.
  private let suspects: Set<ObjectName>
  /// For each of its objects, how it is used.
  private let adopted: Mutex<[Adoption]>
  private let missing = Mutex<[String]>([])
  private let isTableDamaged = Mutex(false)
  /// Lists, by number, of which a segment could not be read.
  private let damagedLists = Mutex<Set<Int>>([])

  private enum Adoption: Sendable, Equatable {
    case untried
    case refused
    case usable
    case adopted(UInt32)
  }

  /// Sampled digests that are kept at most: 500,000 take about 25 MB.
  private static let hookLimit = 500_000

  /// - Parameters:
  ///   - contents: where the table lies.
  ///   - store: holds the objects.
  package init(
    table: ChunkTable, in contents: StoredContents, objectsIn store: any Store, registry: ObjectRegistry, suspects: Set<ObjectName> = []
  ) {
    self.table = table
    self.contents = contents
    self.suspects = suspects
    self.store = store
    self.registry = registry
    let total = table.segments.reduce(0) { $0 + $1.hooks.count }
    var thinning: UInt64 = 0
    while total >> thinning.nonzeroBitCount > Self.hookLimit { thinning = thinning << 1 | 1 }
    var hooks: [ChunkDigest: Int32] = [:]
    hooks.reserveCapacity(total >> thinning.nonzeroBitCount)
    for (number, segment) in table.segments.enumerated() {
      for (index, hook) in segment.hooks.enumerated() where index == 0 || (hook.high >> 8) & thinning == 0 {
        hooks[hook] = Int32(number)
      }
    }
    self.hooks = hooks
    lists = Dictionary(
      table.lists.enumerated().filter { $1.damage == nil }.map { ($1.reference.digest, $0) }, uniquingKeysWith: { first, _ in first })
    adopted = Mutex(
      table.objects.map { object in
        // Objects that are mostly unused are not reused, so that they can be deleted. (History-aware rewriting: Fu et al.,
        // USENIX ATC 2014.)
        object.usedBytes * 2 < object.plainBytes ? .refused : .untried
      })
  }

  /// Warnings about the earlier snapshot: missing or damaged objects, and its table.
  package var warnings: [String] {
    missing.withLock { $0 }.map { "object \($0) of the parent was gone or damaged; its bytes are stored again" }
      + (isTableDamaged.withLock { $0 } || table.lists.contains { $0.damage != nil }
        ? ["the parent's chunk table can't be read in parts; the data of these parts is stored again"] : [])
  }

  fileprivate func segment(of hook: ChunkDigest) -> Int? { hooks[hook].map(Int.init) }

  /// Empty if the segment is damaged.
  fileprivate func load(_ number: Int) throws -> [ChunkDigest: ChunkLocation] {
    var chunks: [ChunkDigest: ChunkLocation] = [:]
    do {
      for part in try parts(ofSegment: number) {
        for chunk in part.chunks { chunks[chunk.digest] = chunk.location }
      }
    } catch let error where Self.isDamage(error) {
      isTableDamaged.withLock { $0 = true }
      return [:]
    }
    return chunks
  }

  private static func isDamage(_ error: any Error) -> Bool {
    (error as? StoreError)?.isOfOneFile ?? (error as? RepositoryError)?.isDamage ?? false
  }

  /// The parts of files in a segment. A list with a damaged segment is not shared: the new one may have the same name, and takes its place.
  func parts(ofSegment number: Int) throws -> [SegmentPart] {
    do { return try table.parts(ofSegment: number, contents) } catch let error where Self.isDamage(error) {
      if let list = table.segments[number].list { damagedLists.withLock { _ = $0.insert(list) } }
      throw error
    }
  }

  private func isIntact(_ entry: ObjectEntry) -> Bool {
    guard let bytes = try? store.read(entry.name.key, limit: Int(entry.storedBytes)) else { return false }
    return SHA256Digest(of: bytes) == entry.name.digest
  }

  /// The object's place in the new snapshot, if it may be used again.
  func adopt(_ ordinal: UInt32) -> UInt32? {
    adopted.withLock { adopted in
      examine(ordinal, &adopted)
      switch adopted[Int(ordinal)] {
      case .untried, .refused: return nil
      case .adopted(let known): return known
      case .usable:
        let place = registry.adopt(table.objects[Int(ordinal)])
        adopted[Int(ordinal)] = .adopted(place)
        return place
      }
    }
  }

  /// Whether the object may be used again.
  func mayUse(_ ordinal: UInt32) -> Bool {
    adopted.withLock { adopted in
      examine(ordinal, &adopted)
      return adopted[Int(ordinal)] != .refused
    }
  }

  /// A list of the earlier snapshot with these bytes, if it may be used again.
  func list(digest: SHA256Digest) -> ChunkList.Reference? {
    guard let number = lists[digest], !damagedLists.withLock({ $0.contains(number) }), isPresent(table.lists[number]) else { return nil }
    return table.lists[number].reference
  }

  func isPresent(_ list: ChunkList) -> Bool {
    guard let size = try? store.size(of: list.name.key) else { return false }
    return size == list.reference.storedBytes && !suspects.contains(list.name)
  }

  /// Asks the store for objects, several at once.
  func examine(_ ordinals: Set<UInt32>) throws {
    let untried = adopted.withLock { adopted in ordinals.filter { adopted[Int($0)] == .untried } }
    guard store.requestsAtOnce > 1, untried.count > 1 else { return }
    try forEachInParallel(untried.sorted(), thread: "look", threads: store.requestsAtOnce) { [self] ordinal in
      let isUsable = isPresent(ordinal)
      adopted.withLock { adopted in if adopted[Int(ordinal)] == .untried { note(ordinal, isUsable: isUsable, &adopted) } }
    }
  }

  private func examine(_ ordinal: UInt32, _ adopted: inout [Adoption]) {
    if adopted[Int(ordinal)] == .untried { note(ordinal, isUsable: isPresent(ordinal), &adopted) }
  }

  private func isPresent(_ ordinal: UInt32) -> Bool {
    let entry = table.objects[Int(ordinal)]
    guard let size = try? store.size(of: entry.name.key) else { return false }
    return size == entry.storedBytes && (!suspects.contains(entry.name) || isIntact(entry))
  }

  private func note(_ ordinal: UInt32, isUsable: Bool, _ adopted: inout [Adoption]) {
    adopted[Int(ordinal)] = isUsable ? .usable : .refused
    if !isUsable { missing.withLock { $0.append(table.objects[Int(ordinal)].name.digest.description) } }
  }
}

/// One thread's place in a `ParentIndex`.
package struct ParentCursor {
  private let index: ParentIndex
  private var loaded: [(segment: Int, chunks: [ChunkDigest: ChunkLocation])] = []
  private static let capacity = 6

  package init(index: ParentIndex) { self.index = index }

  /// Where the chunk lies, if the earlier snapshot has it and it may be used again.
  package mutating func find(_ digest: ChunkDigest, length: Int) throws -> ChunkLocation? {
    guard var location = try lookUp(digest), location.length == UInt32(length), let object = index.adopt(location.object) else {
      return nil
    }
    location.object = object
    return location
  }

  /// Whether the earlier snapshot has such a chunk near what was looked for last.
  package mutating func knows(_ digest: ChunkDigest) throws -> Bool { try lookUp(digest) != nil }

  private mutating func lookUp(_ digest: ChunkDigest) throws -> ChunkLocation? {
    for (place, entry) in loaded.enumerated() {
      guard let location = entry.chunks[digest] else { continue }
      if place > 0 { loaded.swapAt(0, place) }
      return location
    }
    guard let number = index.segment(of: digest), !loaded.contains(where: { $0.segment == number }) else { return nil }
    let chunks = try index.load(number)
    if loaded.count >= Self.capacity { loaded.removeLast() }
    loaded.insert((number, chunks), at: 0)
    return chunks[digest]
  }
}
