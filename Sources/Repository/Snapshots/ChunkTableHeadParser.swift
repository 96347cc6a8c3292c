internal import Compression
internal import Digests

/// Reads the head of a chunk table or of a list: objects first, then lists, then segments.
struct ChunkTableHeadParser {
  private(set) var objects: [ObjectEntry] = []
  /// The objects of a list.
  private(set) var named: [(name: ObjectName, used: Int64)] = []
  private(set) var lists: [ChunkList.Reference] = []
  private(set) var segments: [ChunkTable.Segment] = []
  private var scanner: FieldScanner
  private var object: (name: ObjectName, stored: Int64, used: Int64)?
  private var frames: [ObjectEntry.Frame] = []
  private var segment: (stored: Int, plain: Int)?
  private var hooks: [ChunkDigest] = []
  private var offset: Int64 = 0

  private let objectsAreEncrypted: Bool
  /// The number of the list that it is the head of; nil for a chunk table.
  private let list: Int?

  init(_ text: [UInt8], key: StoreKey, objectsAreEncrypted: Bool, list: Int? = nil) {
    scanner = FieldScanner(text, key: key)
    self.objectsAreEncrypted = objectsAreEncrypted
    self.list = list
  }

  mutating func parse() throws {
    let signatures = list == nil ? [ChunkTable.firstSignature, ChunkTable.signature] : [ChunkList.signature]
    guard signatures.contains(try scanner.line()) else { throw scanner.malformed("it does not begin as a chunk table") }
    while !scanner.isAtEnd {
      try parseLine()
      try scanner.endLine()
    }
    try endObject()
    endSegment()
  }

  private mutating func parseLine() throws {
    switch try scanner.letter() {
    case UInt8(ascii: "o") where list != nil:
      guard segment == nil, segments.isEmpty else { throw scanner.malformed("an object among the segments") }
      guard let digest = SHA256Digest(hexadecimal: try scanner.text()) else { throw scanner.malformed("an object has no name") }
      named.append((ObjectName(digest, isEncrypted: objectsAreEncrypted), try scanner.number()))
    case UInt8(ascii: "L") where list == nil:
      try endObject()
      guard segment == nil, segments.isEmpty else { throw scanner.malformed("a list among the segments") }
      lists.append(try parseList())
    case UInt8(ascii: "O") where list == nil:
      try endObject()
      guard lists.isEmpty, segment == nil, segments.isEmpty else { throw scanner.malformed("an object among the segments") }
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

  private mutating func parseList() throws -> ChunkList.Reference {
    guard let name = SHA256Digest(hexadecimal: try scanner.text()) else { throw scanner.malformed("a list has no name") }
    let (stored, bytes, head) = (try scanner.number(), try scanner.number(), try scanner.number(limit: Int64(ChunkList.longestHead)))
    guard let digest = SHA256Digest(hexadecimal: try scanner.text()) else { throw scanner.malformed("a list has no digest") }
    let file = try scanner.text()
    guard ChunkTable.isFileName(file) else { throw scanner.malformed("a file's name is malformed") }
    guard head > 0, head <= bytes, objectsAreEncrypted ? bytes < stored : bytes == stored && name == digest else {
      throw scanner.malformed("a list has no sound length")
    }
    return .init(
      name: ObjectName(name, isEncrypted: objectsAreEncrypted), storedBytes: stored, bytes: bytes, headBytes: head, digest: digest, file: file,
      offset: try scanner.number(), length: try scanner.number())
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
    segments.append(.init(list: list, offset: offset, storedBytes: ended.stored, plainBytes: ended.plain, hooks: hooks))
    offset += Int64(ended.stored)
    hooks = []
    segment = nil
  }
}
