internal import Compression
internal import Digests

/// Reads a chunk table's head: objects first, then segments.
struct ChunkTableHeadParser {
  private(set) var objects: [ObjectEntry] = []
  private(set) var segments: [ChunkTable.Segment] = []
  private var scanner: FieldScanner
  private var object: (name: ObjectName, stored: Int64, used: Int64)?
  private var frames: [ObjectEntry.Frame] = []
  private var segment: (stored: Int, plain: Int)?
  private var hooks: [ChunkDigest] = []
  private var offset: Int64 = 0

  private let objectsAreEncrypted: Bool

  init(_ text: [UInt8], key: StoreKey, objectsAreEncrypted: Bool) {
    scanner = FieldScanner(text, key: key)
    self.objectsAreEncrypted = objectsAreEncrypted
  }

  mutating func parse() throws {
    guard try scanner.line() == ChunkTable.signature else { throw scanner.malformed("it does not begin as a chunk table") }
    while !scanner.isAtEnd {
      try parseLine()
      try scanner.endLine()
    }
    try endObject()
    endSegment()
  }

  private mutating func parseLine() throws {
    switch try scanner.letter() {
    case UInt8(ascii: "O"):
      try endObject()
      guard segment == nil, segments.isEmpty else { throw scanner.malformed("an object among the segments") }
      guard let digest = SHA256Digest(hexadecimal: try scanner.text()) else { throw scanner.malformed("an object has no name") }
      object = (ObjectName(digest, isEncrypted: objectsAreEncrypted), try scanner.number(), try scanner.number())
    case UInt8(ascii: "f"):
      let stored = try scanner.number(limit: Int64(ZstdLimits.storedFrame))
      let plain = try scanner.number(limit: Int64(ZstdLimits.plainFrame))
      guard object != nil else { throw scanner.malformed("a frame without an object") }
      frames.append(.init(stored: UInt32(stored), plain: UInt32(plain)))
    case UInt8(ascii: "S"):
      try endObject()
      endSegment()
      let stored = try scanner.number(limit: Int64(ChunkTable.longestFrame))
      segment = (Int(stored), Int(try scanner.number(limit: Int64(ChunkTable.longestFrame))))
    case UInt8(ascii: "h"):
      guard segment != nil else { throw scanner.malformed("a hook without a segment") }
      hooks.append(try scanner.chunkDigest())
    default: throw scanner.malformed("an unknown line")
    }
  }

  private mutating func endObject() throws {
    guard let ended = object else { return }
    let content = frames.reduce(0) { $0 + Int64($1.stored) }
    guard objectsAreEncrypted ? content < ended.stored : content == ended.stored else {
      throw scanner.malformed("an object's frames do not fill it")
    }
    objects.append(ObjectEntry(name: ended.name, storedBytes: ended.stored, usedBytes: ended.used, frames: frames))
    frames = []
    object = nil
  }

  private mutating func endSegment() {
    guard let ended = segment else { return }
    segments.append(.init(offset: offset, storedBytes: ended.stored, plainBytes: ended.plain, hooks: hooks))
    offset += Int64(ended.stored)
    hooks = []
    segment = nil
  }
}
