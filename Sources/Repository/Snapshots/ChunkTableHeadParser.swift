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

/// Upper limits for a frame, so that damaged numbers can't request all memory.
package enum ZstdLimits {
  package static let plainFrame = 1 << 26
  package static let storedFrame = 1 << 27
}

/// Reads tab-separated fields of a text, with nothing taken on trust.
struct FieldScanner {
  private let bytes: [UInt8]
  private let key: StoreKey
  private var place = 0

  init(_ bytes: [UInt8], key: StoreKey) {
    self.bytes = bytes
    self.key = key
  }

  var isAtEnd: Bool { place >= bytes.count }

  func malformed(_ reason: String) -> RepositoryError { .malformed(key: key, reason: reason) }

  func peek() throws -> UInt8 {
    guard place < bytes.count else { throw malformed("it is cut off") }
    return bytes[place]
  }

  mutating func letter() throws -> UInt8 {
    let letter = try peek()
    place += 1
    try skipTab()
    return letter
  }

  private mutating func skipTab() throws {
    guard try peek() == 0x09 else { throw malformed("a field is missing") }
    place += 1
  }

  /// The field up to the next tab or the line's end, and the tab.
  mutating func text() throws -> String {
    let start = place
    while try peek() != 0x09 && peek() != 0x0A { place += 1 }
    let field = String(decoding: bytes[start..<place], as: UTF8.self)
    if try peek() == 0x09 { place += 1 }
    return field
  }

  mutating func number(limit: Int64 = 1 << 59) throws -> Int64 {
    var value: Int64 = 0
    let start = place
    while case let digit = try peek(), digit >= 0x30 && digit <= 0x39 {
      value = value * 10 + Int64(digit - 0x30)
      guard value <= limit else { throw malformed("a number is too large") }
      place += 1
    }
    guard place > start else { throw malformed("a number is missing") }
    if try peek() == 0x09 { place += 1 }
    return value
  }

  mutating func chunkDigest() throws -> ChunkDigest {
    guard place + ChunkDigest.digits < bytes.count else { throw malformed("it is cut off") }
    func word(_ range: Range<Int>) throws -> UInt64 {
      var value: UInt64 = 0
      for index in range {
        let digit = bytes[index]
        switch digit {
        case 0x30...0x39: value = value << 4 | UInt64(digit - 0x30)
        case 0x61...0x66: value = value << 4 | UInt64(digit - 0x61 + 10)
        default: throw malformed("a digest is no such")
        }
      }
      return value
    }
    let end = place + ChunkDigest.digits
    let digest = ChunkDigest(high: try word(place..<(place + 16)), low: UInt32(try word((place + 16)..<end)))
    place = end
    if try peek() == 0x09 { place += 1 }
    return digest
  }

  mutating func endLine() throws {
    guard try peek() == 0x0A else { throw malformed("a line is too long") }
    place += 1
  }

  mutating func line() throws -> String {
    let start = place
    while try peek() != 0x0A { place += 1 }
    defer { place += 1 }
    return String(decoding: bytes[start..<place], as: UTF8.self)
  }
}
