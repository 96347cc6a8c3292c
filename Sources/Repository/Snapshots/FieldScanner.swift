internal import Compression
internal import Digests

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
        default: throw malformed("a digest is malformed")
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
