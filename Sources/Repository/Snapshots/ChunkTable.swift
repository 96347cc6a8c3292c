internal import Compression
package import Digests
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
  /// The file's length and digest, where its end lies in this segment.
  package var end: FileEnd?
  var bytes: Int64 { chunks.reduce(0) { $0 + Int64($1.location.length) } }

  package struct FileEnd: Sendable, Equatable {
    package let bytes: Int64
    package let digest: SHA256Digest
  }
}

/// Which bytes of which object make up which file: a text in zstd frames, read by Firn in pieces and by `recover.sh` in a row.
///
/// The head lists objects (`O`, with their frames, `f`) and segments (`S`, with sampled digests of their chunks, `h`).
/// After it every segment is one frame: parts of files (`F`), runs of chunks that lie one behind the other (`@`), chunks,
/// and the ends of files (`E`). The guide to the repository format has the grammar.
package struct ChunkTable: Sendable {
  package struct Segment: Sendable {
    /// Counted from the end of the head, stored bytes.
    package let offset: Int64
    package let storedBytes: Int
    package let plainBytes: Int
    package let hooks: [ChunkDigest]
  }

  static let signature = "firn-chunks\t1"
  /// Chunks in a segment at most.
  package static let segmentLimit = 4096
  /// One digest in this many is a hook.
  static let hookMask: UInt64 = 63
  static let longestFrame = 1 << 24

  package let key: StoreKey
  package let headBytes: Int64
  package let objects: [ObjectEntry]
  package let segments: [Segment]

  /// As it is before it is encrypted.
  private let length: StoredContents.Length
  private let blocks = SegmentBlocks()

  /// Reads the head.
  /// - Parameter objectsAreEncrypted: whether the objects of the table are encrypted.
  package init(_ contents: StoredContents, key: StoreKey, place: Manifest.ChunkTablePlace, objectsAreEncrypted: Bool) throws {
    self.key = key
    length = place.length
    headBytes = place.headBytes
    guard place.headBytes > 0, place.headBytes <= place.bytes, place.headBytes < 1 << 31 else {
      throw RepositoryError.malformed(key: key, reason: "its head has no sound length")
    }
    let stored = try contents.read(key, 0..<place.headBytes, of: place.length)
    let text: [UInt8]
    do {
      text = try ZstdDecompressor().decompressAll(stored, limit: 1 << 30)
    } catch {
      throw RepositoryError.malformed(key: key, reason: error.reason)
    }
    (objects, segments) = try Self.parse(head: text, key: key, objectsAreEncrypted: objectsAreEncrypted)
    let segmentsEnd = segments.last.map { $0.offset + Int64($0.storedBytes) } ?? 0
    guard headBytes + segmentsEnd == place.bytes else { throw RepositoryError.malformed(key: key, reason: "its length is wrong") }
  }

  /// A table with the head of that text.
  package init(head text: [UInt8], key: StoreKey) throws {
    self.key = key
    headBytes = 0
    length = .init(content: 0, stored: 0)
    (objects, segments) = try Self.parse(head: text, key: key, objectsAreEncrypted: false)
  }

  private static func parse(head text: [UInt8], key: StoreKey, objectsAreEncrypted: Bool) throws -> ([ObjectEntry], [Segment]) {
    var head = ChunkTableHeadParser(text, key: key, objectsAreEncrypted: objectsAreEncrypted)
    try head.parse()
    return (head.objects, head.segments)
  }

  /// Reads one segment.
  package func parts(ofSegment number: Int, _ contents: StoredContents) throws -> [SegmentPart] {
    let segment = segments[number]
    let start = headBytes + segment.offset
    // A result of a faulty transfer is not cached.
    if let stored = try storedTogether(number, contents), let text = try? ZstdDecompressor().decompress(stored.span, plainLength: segment.plainBytes)
    {
      return try parts(inSegment: text)
    }
    let stored = try contents.read(key, start..<(start + Int64(segment.storedBytes)), of: length)
    let text: [UInt8]
    do {
      text = try ZstdDecompressor().decompress(stored.span, plainLength: segment.plainBytes)
    } catch {
      throw RepositoryError.malformed(key: key, reason: error.reason)
    }
    return try parts(inSegment: text)
  }

  /// The stored bytes of a segment, read together with its neighbours if requests to the store are slow.
  /// - Returns: nil if it has to be read alone.
  private func storedTogether(_ number: Int, _ contents: StoredContents) throws -> ArraySlice<UInt8>? {
    guard contents.store.requestsAtOnce > 1 else { return nil }
    let segment = segments[number]
    let id = segment.offset / SegmentBlocks.size
    if let block = blocks.block(id) { return block.bytes(of: segment) }
    var (first, last) = (number, number)
    while first > 0, segments[first - 1].offset / SegmentBlocks.size == id { first -= 1 }
    while last + 1 < segments.count, segments[last + 1].offset / SegmentBlocks.size == id { last += 1 }
    let start = segments[first].offset
    let end = segments[last].offset + Int64(segments[last].storedBytes)
    // Damage to one is no damage to those beside it.
    let bytes: [UInt8]
    do { bytes = try contents.read(key, (headBytes + start)..<(headBytes + end), of: length) } catch let error as StoreError where error.isOfOneFile {
      return nil
    } catch is RepositoryError { return nil }
    let block = SegmentBlocks.Block(id: id, start: start, bytes: bytes)
    blocks.keep(block)
    return block.bytes(of: segment)
  }

  /// The parts listed in the text of a segment.
  package func parts(inSegment text: [UInt8]) throws -> [SegmentPart] {
    var scanner = FieldScanner(text, key: key)
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
        part = SegmentPart(file: name, offset: try scanner.number())
      case UInt8(ascii: "@"):
        _ = try scanner.letter()
        let object = Int(try scanner.number(limit: Int64(UInt32.max)))
        let frame = Int(try scanner.number(limit: Int64(UInt32.max)))
        let offset = try scanner.number(limit: Int64(ZstdLimits.plainFrame))
        guard object < objects.count, frame < objects[object].frames.count else { throw scanner.malformed("a place outside its objects") }
        next = (UInt32(object), UInt32(frame), UInt32(offset))
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
  struct Block: Sendable {
    let id: Int64
    /// Counted as a segment's offset.
    let start: Int64
    let bytes: [UInt8]

    func bytes(of segment: ChunkTable.Segment) -> ArraySlice<UInt8> {
      let place = Int(segment.offset - start)
      return bytes[place..<(place + segment.storedBytes)]
    }
  }

  /// Segments whose offset is the same multiple of this, in bytes, come together.
  static let size: Int64 = 1 << 20
  /// As many as files are read at once, and more.
  private static let capacity = 16
  /// The last used one last.
  private let kept = Mutex<[Block]>([])

  func block(_ id: Int64) -> Block? {
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
