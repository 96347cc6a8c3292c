internal import Compression
package import Digests
internal import Platform
internal import Synchronization

/// Where a chunk's bytes are.
package struct ChunkLocation: Hashable, Sendable {
  /// The object, counted in the chunk table's list of objects.
  package var object: UInt32
  /// The frame, counted in the object.
  package var frame: UInt32
  /// The chunk's first byte, counted in the frame's plain bytes.
  package var offset: UInt32
  package var length: UInt32

  package init(object: UInt32, frame: UInt32, offset: UInt32, length: UInt32) {
    self.object = object
    self.frame = frame
    self.offset = offset
    self.length = length
  }
}

package struct ChunkRecord: Sendable {
  package let digest: ChunkDigest
  package let location: ChunkLocation

  package init(digest: ChunkDigest, location: ChunkLocation) { (self.digest, self.location) = (digest, location) }
}

/// An object as a chunk table lists it.
package struct ObjectEntry: Sendable {
  package struct Frame: Sendable, Equatable {
    /// Before it is encrypted.
    package let stored: UInt32
    package let plain: UInt32

    package init(stored: UInt32, plain: UInt32) {
      self.stored = stored
      self.plain = plain
    }
  }

  package let name: ObjectName
  package let storedBytes: Int64
  /// Plain bytes of it that the table's snapshot uses.
  package let usedBytes: Int64
  package let frames: [Frame]

  package init(name: ObjectName, storedBytes: Int64, usedBytes: Int64, frames: [Frame]) {
    self.name = name
    self.storedBytes = storedBytes
    self.usedBytes = usedBytes
    self.frames = frames
  }

  package var plainBytes: Int64 { frames.reduce(0) { $0 + Int64($1.plain) } }

  /// Before it is encrypted its frames fill it.
  var length: StoredContents.Length { .init(content: frames.reduce(0) { $0 + Int64($1.stored) }, stored: storedBytes) }

  /// Where a frame begins in the object, before that is encrypted.
  package func start(ofFrame number: Int) -> Int64 { frames[..<number].reduce(0) { $0 + Int64($1.stored) } }
}

/// A part of a file that lies in one segment of a chunk table.
package struct SegmentPart: Sendable {
  package let file: String
  /// The place of the first chunk in the file.
  package let offset: Int64
  package var chunks: [ChunkRecord] = []
  /// The lengths of ranges that end in this segment, and where in the file they end.
  var ranges: [RangeEnd] = []
  /// The file's length and digest, where its end lies in this segment.
  package var end: FileEnd?
  var bytes: Int64 { chunks.reduce(0) { $0 + Int64($1.location.length) } }

  struct RangeEnd: Sendable {
    let length: Int64
    let end: Int64
  }

  package struct FileEnd: Sendable, Equatable {
    package let bytes: Int64
    package let digest: SHA256Digest
  }
}

/// Which bytes of which object make up which file: a text in zstd frames, read by Firn in pieces and by `recover.sh` in a row.
///
/// The head lists objects (`O`, with their frames, `f`), lists (`L`) and segments (`S`, with sampled digests of their chunks, `h`).
/// After it every segment is one frame: parts of files (`F`), runs of chunks that lie one behind the other (`@`), chunks,
/// and the ends of ranges (`R`) and files (`E`). A list is an object with segments of a large file, which snapshots share. The guide to the
/// repository format has the grammar.
package struct ChunkTable: Sendable {
  package struct Segment: Sendable {
    /// The list that it lies in, counted in `lists`; nil if it lies in the table's own file.
    let list: Int?
    /// Counted from the end of the head, stored bytes.
    package let offset: Int64
    package let storedBytes: Int
    package let plainBytes: Int
    package let hooks: [ChunkDigest]
  }

  static let signature = "firn-chunks\t2"
  /// The first line of tables without lists.
  static let firstSignature = "firn-chunks\t1"
  /// Chunks in a segment at most.
  package static let segmentLimit = 4096
  /// One digest in this many is a hook.
  static let hookMask: UInt64 = 63
  static let longestFrame = 1 << 24

  package let key: StoreKey
  package let headBytes: Int64
  package let objects: [ObjectEntry]
  /// Those of the table's own file first, then those of its lists.
  package let segments: [Segment]
  package let lists: [ChunkList]

  /// As it is before it is encrypted.
  private let length: StoredContents.Length
  private let blocks = SegmentBlocks()

  /// Reads the head, and those of its lists.
  /// - Parameters:
  ///   - objectsAreEncrypted: whether the objects of the table are encrypted.
  ///   - folder: where the lists lie; nil if they lie beside the other objects.
  package init(
    _ contents: StoredContents, key: StoreKey, place: Manifest.ChunkTablePlace, objectsAreEncrypted: Bool, listsIn folder: StoreKey? = nil
  ) throws {
    self.key = key
    length = place.length
    headBytes = place.headBytes
    guard place.headBytes > 0, place.headBytes <= place.bytes, place.headBytes < 1 << 31 else {
      throw RepositoryError.malformed(key: key, reason: "its head has no sound length")
    }
    let text = try Self.headText(contents, key: key, place.headBytes, of: place.length, limit: 1 << 30)
    var head = ChunkTableHeadParser(text, key: key, objectsAreEncrypted: objectsAreEncrypted)
    try head.parse()
    objects = head.objects
    let segmentsEnd = head.segments.last.map { $0.offset + Int64($0.storedBytes) } ?? 0
    guard headBytes + segmentsEnd == place.bytes else { throw RepositoryError.malformed(key: key, reason: "its length is wrong") }
    (lists, segments) = try Self.read(head, contents, listsIn: folder)
  }

  /// A table with the head of that text, without the contents of its lists.
  package init(head text: [UInt8], key: StoreKey) throws {
    self.key = key
    headBytes = 0
    length = .init(content: 0, stored: 0)
    var head = ChunkTableHeadParser(text, key: key, objectsAreEncrypted: false)
    try head.parse()
    (objects, segments, lists) = (head.objects, head.segments, [])
  }

  private static func headText(
    _ contents: StoredContents, key: StoreKey, _ bytes: Int64, of length: StoredContents.Length, limit: Int
  ) throws -> [UInt8] {
    let stored = try contents.read(key, 0..<bytes, of: length)
    do { return try ZstdDecompressor().decompressAll(stored, limit: limit) } catch {
      throw RepositoryError.malformed(key: key, reason: error.reason)
    }
  }

  /// Reads the heads of the lists, several at once if requests to the store are slow. A damaged list has no segments.
  private static func read(
    _ head: ChunkTableHeadParser, _ contents: StoredContents, listsIn folder: StoreKey?
  ) throws -> (lists: [ChunkList], segments: [Segment]) {
    guard !head.lists.isEmpty else { return ([], head.segments) }
    let ordinals = Dictionary(head.objects.enumerated().map { ($1.name, UInt32($0)) }, uniquingKeysWith: { first, _ in first })
    let found = Monitor<[Int: (list: ChunkList, segments: [Segment])]>([:])
    try forEachInParallel(Array(head.lists.enumerated()), thread: "lists", threads: contents.store.requestsAtOnce) { number, reference in
      var list = ChunkList(reference, key: folder.map { "\($0)\(reference.name.digest)" } ?? reference.name.key)
      var segments: [Segment] = []
      do {
        try RepositoryError.naming(reference.name) {
          let text = try headText(
            contents, key: list.key, reference.headBytes, of: reference.storedLength, limit: ChunkList.longestHead)
          segments = try list.parse(head: text, ordinals, number: number)
        }
      } catch let error as RepositoryError where error.isDamage {
        list.damage = error
      }
      found.update { [list, segments] in $0[number] = (list, segments) }
    }
    let inOrder = found.current.sorted { $0.key < $1.key }.map(\.value)
    return (inOrder.map(\.list), head.segments + inOrder.flatMap(\.segments))
  }

  /// Reads one segment.
  package func parts(ofSegment number: Int, _ contents: StoredContents) throws -> [SegmentPart] {
    let segment = segments[number]
    let list = segment.list.map { lists[$0] }
    // A result of a faulty transfer is not cached.
    if let stored = try storedTogether(number, contents), let text = try? ZstdDecompressor().decompress(stored.span, plainLength: segment.plainBytes)
    {
      return try parts(inSegment: text, of: list)
    }
    guard let list else { return try parts(alone: segment, contents, of: nil) }
    return try RepositoryError.naming(list.name) { try parts(alone: segment, contents, of: list) }
  }

  private func parts(alone segment: Segment, _ contents: StoredContents, of list: ChunkList?) throws -> [SegmentPart] {
    let key = list?.key ?? key
    let start = (list?.headBytes ?? headBytes) + segment.offset
    let stored = try contents.read(key, start..<(start + Int64(segment.storedBytes)), of: list?.length ?? length)
    let text: [UInt8]
    do {
      text = try ZstdDecompressor().decompress(stored.span, plainLength: segment.plainBytes)
    } catch {
      throw RepositoryError.malformed(key: key, reason: error.reason)
    }
    return try parts(inSegment: text, of: list)
  }

  /// The stored bytes of a segment, read together with its neighbours if requests to the store are slow.
  /// - Returns: nil if it has to be read alone.
  private func storedTogether(_ number: Int, _ contents: StoredContents) throws -> ArraySlice<UInt8>? {
    guard contents.store.requestsAtOnce > 1 else { return nil }
    let segment = segments[number]
    let id = SegmentBlocks.ID(of: segment)
    if let block = blocks.block(id) { return block.bytes(of: segment) }
    var (first, last) = (number, number)
    while first > 0, SegmentBlocks.ID(of: segments[first - 1]) == id { first -= 1 }
    while last + 1 < segments.count, SegmentBlocks.ID(of: segments[last + 1]) == id { last += 1 }
    let start = segments[first].offset
    let end = segments[last].offset + Int64(segments[last].storedBytes)
    let list = segment.list.map { lists[$0] }
    let head = list?.headBytes ?? headBytes
    // Damage to one is no damage to those beside it.
    let bytes: [UInt8]
    do {
      bytes = try contents.read(list?.key ?? key, (head + start)..<(head + end), of: list?.length ?? length)
    } catch let error as StoreError where error.isOfOneFile {
      return nil
    } catch is RepositoryError { return nil }
    let block = SegmentBlocks.Block(id: id, start: start, bytes: bytes)
    blocks.keep(block)
    return block.bytes(of: segment)
  }

  /// The parts listed in the text of a segment.
  /// - Parameter list: the list that it lies in; nil for the table's own file.
  package func parts(inSegment text: [UInt8], of list: ChunkList? = nil) throws -> [SegmentPart] {
    var scanner = FieldScanner(text, key: list?.key ?? key)
    var parts: [SegmentPart] = []
    var part: SegmentPart?
    var next: (object: UInt32, frame: UInt32, offset: UInt32)?
    while !scanner.isAtEnd {
      switch try scanner.peek() {
      case UInt8(ascii: "F"):
        _ = try scanner.letter()
        if let part { parts.append(part) }
        let name = try scanner.text()
        guard Self.isFileName(name) else { throw scanner.malformed("a file's name is malformed") }
        part = SegmentPart(file: list?.file ?? name, offset: (list?.reference.offset ?? 0) + (try scanner.number()))
      case UInt8(ascii: "@"):
        _ = try scanner.letter()
        var object = Int(try scanner.number(limit: Int64(UInt32.max)))
        if let list {
          guard object < list.objects.count else { throw scanner.malformed("a place outside its objects") }
          object = Int(list.objects[object].ordinal)
        }
        let frame = Int(try scanner.number(limit: Int64(UInt32.max)))
        let offset = try scanner.number(limit: Int64(ZstdLimits.plainFrame))
        guard object < objects.count, frame < objects[object].frames.count else { throw scanner.malformed("a place outside its objects") }
        next = (UInt32(object), UInt32(frame), UInt32(offset))
      case UInt8(ascii: "R"):
        _ = try scanner.letter()
        let length = try scanner.number()
        guard let known = part, known.end == nil else { throw scanner.malformed("a range without a file") }
        part?.ranges.append(.init(length: length, end: known.offset + known.bytes))
      case UInt8(ascii: "E"):
        _ = try scanner.letter()
        let bytes = try scanner.number()
        guard let digest = SHA256Digest(hexadecimal: try scanner.text()), part != nil, part?.end == nil else {
          throw scanner.malformed("a file's end is malformed")
        }
        part?.end = .init(bytes: bytes, digest: digest)
      default:
        let digest = try scanner.chunkDigest()
        let length = UInt32(try scanner.number(limit: Int64(ZstdLimits.plainFrame)))
        guard let place = next, part != nil, part?.end == nil else { throw scanner.malformed("a chunk without a place") }
        guard place.offset + length <= objects[Int(place.object)].frames[Int(place.frame)].plain else {
          throw scanner.malformed("a chunk outside its frame")
        }
        part?.chunks.append(
          ChunkRecord(
            digest: digest, location: .init(object: place.object, frame: place.frame, offset: place.offset, length: length)))
        next = (place.object, place.frame, place.offset + length)
      }
      try scanner.endLine()
    }
    if let part { parts.append(part) }
    return parts
  }

  /// Whether `name` is a plain file name, as pg_dump makes them: it will be made in a folder of ours.
  static func isFileName(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.count < 100 && !name.hasPrefix(".")
      && name.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) || $0 == 0x5F || $0 == 0x2E }
  }
}

/// Stored bytes of segments that lie beside each other, the last ones kept.
private final class SegmentBlocks: Sendable {
  /// Segments of one file whose offset is the same multiple of this, in bytes, are read together.
  private static let size: Int64 = 1 << 20

  struct ID: Equatable, Sendable {
    private let list: Int?
    private let number: Int64

    init(of segment: ChunkTable.Segment) {
      list = segment.list
      number = segment.offset / SegmentBlocks.size
    }
  }

  struct Block: Sendable {
    let id: ID
    /// Counted as a segment's offset.
    let start: Int64
    let bytes: [UInt8]

    func bytes(of segment: ChunkTable.Segment) -> ArraySlice<UInt8> {
      let place = Int(segment.offset - start)
      return bytes[place..<(place + segment.storedBytes)]
    }
  }

  /// As many as files are read at once, and more.
  private static let capacity = 16
  /// The last used one last.
  private let kept = Mutex<[Block]>([])

  func block(_ id: ID) -> Block? {
    kept.withLock { kept in
      guard let place = kept.firstIndex(where: { $0.id == id }) else { return nil }
      let block = kept.remove(at: place)
      kept.append(block)
      return block
    }
  }

  func keep(_ block: Block) {
    kept.withLock { kept in
      kept.removeAll { $0.id == block.id }
      kept.append(block)
      if kept.count > Self.capacity { kept.removeFirst() }
    }
  }
}
