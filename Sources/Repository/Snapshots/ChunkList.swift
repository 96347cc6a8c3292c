internal import Digests

/// An object that lists the chunks of a large file, or of a part of it. Snapshots of an unchanged table share it.
///
/// Like the head of a chunk table, its head names its segments; it also names the objects (`o`, with the bytes that it uses of each).
/// Its segments number objects by their order in this head, and count bytes from the start of the list, so that it does not depend on
/// the snapshot.
package struct ChunkList: Sendable {
  static let signature = "firn-list\t1"
  /// The file's name in its segments, whatever it is in a snapshot.
  static let fileName = "rows"
  /// A very large file has several lists. Each has at least this many chunks, unless ranges of the file are taken over after it, and ends at a chunk that is chosen by its digest. So after
  /// a change in the file, the later lists except the last are the same as before.
  static let shortest = 2 * ChunkTable.segmentLimit
  static let longest = 8 * shortest
  private static let endMask: UInt64 = 8191

  /// Whether a list with this many chunks ends after this one.
  static func ends(after digest: ChunkDigest, count: Int) -> Bool {
    count >= shortest && (count >= longest || (digest.high >> 16) & endMask == 0)
  }

  /// Bytes of a head's text at most: more than 65,536 chunks could need.
  static let longestHead = 1 << 24
  /// Files with fewer chunks are listed in the table itself.
  static let fewestChunks = 512

  /// A list as a chunk table names it.
  package struct Reference: Sendable, Equatable {
    package let name: ObjectName
    package let storedBytes: Int64
    /// Before it is encrypted.
    let bytes: Int64
    let headBytes: Int64
    /// The SHA-256 of its bytes before they are encrypted.
    let digest: SHA256Digest
    /// The file's name in the snapshot, and the part of it that is listed.
    package var file: String
    var offset: Int64
    let length: Int64

    var storedLength: StoredContents.Length { .init(content: bytes, stored: storedBytes) }

    /// Its line in a chunk table.
    var line: [UInt8] {
      Array("L\t\(name.digest)\t\(storedBytes)\t\(bytes)\t\(headBytes)\t\(digest)\t\(file)\t\(offset)\t\(length)\n".utf8)
    }
  }

  package let reference: Reference
  let key: StoreKey
  /// The objects that its segments name, by their numbers in the chunk table, with the bytes that it uses of each.
  private(set) var objects: [(ordinal: UInt32, used: Int64)] = []
  /// Why it can't be read.
  package internal(set) var damage: RepositoryError?

  init(_ reference: Reference, key: StoreKey) {
    self.reference = reference
    self.key = key
  }

  package var name: ObjectName { reference.name }
  package var file: String { reference.file }
  var headBytes: Int64 { reference.headBytes }
  var length: StoredContents.Length { reference.storedLength }

  /// - Parameters:
  ///   - ordinals: the objects of the chunk table.
  ///   - number: of this list in the table.
  mutating func parse(head text: [UInt8], _ ordinals: [ObjectName: UInt32], number: Int) throws -> [ChunkTable.Segment] {
    var head = ChunkTableHeadParser(text, key: key, objectsAreEncrypted: name.isEncrypted, list: number)
    try head.parse()
    objects = try head.named.map { object in
      guard let ordinal = ordinals[object.name] else { throw RepositoryError.malformed(key: key, reason: "an object is not in the chunk table") }
      return (ordinal, object.used)
    }
    guard Set(objects.map(\.ordinal)).count == objects.count else { throw RepositoryError.malformed(key: key, reason: "an object is named twice") }
    let end = head.segments.last.map { $0.offset + Int64($0.storedBytes) } ?? 0
    guard headBytes + end == reference.bytes else { throw RepositoryError.malformed(key: key, reason: "its length is wrong") }
    return head.segments
  }
}
