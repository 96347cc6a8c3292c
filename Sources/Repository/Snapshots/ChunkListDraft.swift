internal import Digests
internal import Platform
internal import SystemPackage

/// A list that is being filled. Its bytes depend on the chunks and their places in the objects, those of a file's last list also on
/// the file's length and digest, and not on the snapshot.
struct ChunkListDraft: Sendable {
  var file: String
  let offset: Int64
  /// Bytes of the part of the file that it lists.
  private(set) var length: Int64 = 0
  private let path: FilePath
  private var segments: [StoredSegment] = []
  private var segment = SegmentText()
  /// Objects of the snapshot in the order in which the list came to name them, and their numbers there.
  private var objects: [UInt32] = []
  private var numbers: [UInt32: UInt32] = [:]
  private var uses: [Int64] = []

  init(file: String, offset: Int64, path: FilePath) {
    (self.file, self.offset, self.path) = (file, offset, path)
    segment.beginFile(ChunkList.fileName, at: 0)
  }

  /// Chunks that it lists.
  private(set) var count = 0
  var usesByObject: [UInt32: Int64] { Dictionary(uniqueKeysWithValues: zip(objects, uses)) }

  mutating func add(_ digest: ChunkDigest, at location: ChunkLocation) throws {
    var location = location
    location.object = number(of: location.object)
    uses[Int(location.object)] += Int64(location.length)
    segment.add(digest, at: location, offset: offset + length)
    length += Int64(location.length)
    count += 1
    if segment.count >= ChunkTable.segmentLimit {
      try flush()
      segment.beginFile(ChunkList.fileName, at: length)
    }
  }

  private mutating func number(of object: UInt32) -> UInt32 {
    if let known = numbers[object] { return known }
    let number = UInt32(objects.count)
    objects.append(object)
    uses.append(0)
    numbers[object] = number
    return number
  }

  mutating func endRange(length: Int64) { segment.endRange(length: length) }

  mutating func endFile(digest: SHA256Digest) throws {
    segment.endFile(bytes: offset + length, digest: digest)
    try end()
  }

  /// Ends the list, also in the middle of its file. It waits for the end of the dump, so it gives back what it was filled with.
  mutating func end() throws {
    if segment.count > 0 { try flush() }
    segment = SegmentText()
    numbers = [:]
  }

  private mutating func flush() throws {
    let frame = try segment.compressed()
    try File(path, .append).write(frame.span)
    segments.append(.init(stored: frame.count, plain: segment.text.count, hooks: segment.hooks))
    segment.clear()
  }

  /// Writes the list to a file of its own.
  /// - Parameter entries: the objects of the snapshot.
  func finish(_ entries: [ObjectEntry]) throws -> (path: FilePath, headBytes: Int64, bytes: Int64, digest: SHA256Digest) {
    let target = path.removingLastComponent().appending("\(path.lastComponent?.string ?? "list").zst")
    var output = try TableOutput(target, signature: ChunkList.signature)
    for (object, used) in zip(objects, uses) { output.text += Array("o\t\(entries[Int(object)].name.digest)\t\(used)\n".utf8) }
    let headBytes = try output.end(with: segments)
    try output.append(contentsOf: path)
    try Folder.removeFile(path)
    let bytes = output.bytes
    return (target, headBytes, bytes, output.hasher.finalize())
  }
}

/// The chunks of a file that is under way. Those of a large file go into lists of its own.
struct FileChunks {
  let name: String
  /// Bytes of the chunks so far.
  private(set) var length: Int64 = 0
  /// Chunks of a file that may turn out small.
  private(set) var pending: [ChunkRecord] = []
  private(set) var isLarge = false
  private var draft: ChunkListDraft?
  /// Whether the list ends before the next chunk.
  private var isFull = false
  private let writer: ChunkTableWriter

  /// - Parameter isLarge: whether it has lists however few chunks it has.
  init(_ name: String, isLarge: Bool = false, writer: ChunkTableWriter) {
    self.name = name
    self.isLarge = isLarge
    self.writer = writer
  }

  mutating func add(_ chunk: ChunkRecord) throws {
    if isLarge {
      try list(chunk, at: length)
    } else {
      pending.append(chunk)
    }
    length += Int64(chunk.location.length)
    guard !isLarge, pending.count >= ChunkList.fewestChunks else { return }
    isLarge = true
    var offset: Int64 = 0
    for chunk in pending {
      try list(chunk, at: offset)
      offset += Int64(chunk.location.length)
    }
    pending = []
  }

  private mutating func list(_ chunk: ChunkRecord, at offset: Int64) throws {
    if isFull { try closeList() }
    if draft == nil { draft = writer.beginList(of: name, at: offset) }
    try draft?.add(chunk.digest, at: chunk.location)
    isFull = ChunkList.ends(after: chunk.digest, count: draft?.count ?? 0)
  }

  private mutating func closeList() throws {
    if var full = draft {
      try full.end()
      writer.add(full)
    }
    (draft, isFull) = (nil, false)
  }

  /// Ends a range. Its line stands in the list that has its last chunk.
  mutating func endRange(length: Int64) { draft?.endRange(length: length) }

  /// Shares a list of the parent that begins here.
  /// - Parameter uses: the bytes that it uses of objects of this snapshot.
  mutating func share(_ reference: ChunkList.Reference, uses: [UInt32: Int64]) throws {
    try closeList()
    var reference = reference
    (reference.file, reference.offset) = (name, length)
    writer.share(reference, uses: uses)
    length += reference.length
  }

  /// Ends a large file.
  mutating func end(digest: SHA256Digest) throws {
    var last = draft ?? writer.beginList(of: name, at: length)
    try last.endFile(digest: digest)
    writer.add(last)
  }
}
