internal import Compression
package import Digests
internal import Encryption
internal import Platform
package import SystemPackage
internal import Synchronization

/// Collects the segments of a new chunk table, and of its lists, in files of this machine, from several threads.
package final class ChunkTableWriter: Sendable {
  private struct State: Sendable {
    var segments: [StoredSegment] = []
    var drafts: [ChunkListDraft] = []
    var numberOfDrafts = 0
    /// Lists of the parent that this table shares.
    var shared: [ChunkList.Reference] = []
  }

  /// A finished table.
  package struct Outcome: Sendable {
    package let place: Manifest.ChunkTablePlace
    /// The SHA-256 of its stored file.
    package let digest: SHA256Digest
    /// The local file that holds it unencrypted.
    package let file: FilePath
    /// Its lists, whether they were stored for it, and the local files that hold those unencrypted.
    package let lists: [List]

    package struct List: Sendable {
      package let name: ObjectName
      package let storedBytes: Int64
      package let isNew: Bool
      let file: FilePath?
    }

    /// Stored bytes of the lists of earlier snapshots that it shares, by key.
    package var reused: [StoreKey: Int64] { bytes(new: false) }
    /// Stored bytes of the lists that were written for it, by key.
    package var written: [StoreKey: Int64] { bytes(new: true) }
    /// Bytes that it added to the store.
    package var storedBytes: Int64 { place.storedBytes + written.values.reduce(0, +) }

    private func bytes(new: Bool) -> [StoreKey: Int64] {
      Dictionary(lists.filter { $0.isNew == new }.map { ($0.name.key, $0.storedBytes) }, uniquingKeysWith: { first, _ in first })
    }
  }

  private let scratch: FilePath
  private let registry: ObjectRegistry
  private let parent: ParentIndex?
  private let state = Mutex(State())

  /// - Parameters:
  ///   - scratch: a folder for temporary files.
  ///   - parent: its lists are used again if they would be the same.
  package init(scratch: FilePath, registry: ObjectRegistry, parent: ParentIndex? = nil) {
    self.scratch = scratch
    self.registry = registry
    self.parent = parent
  }

  private var segmentsPath: FilePath { scratch.appending("chunks.segments") }

  fileprivate func add(_ segment: SegmentText) throws {
    let frame = try segment.compressed()
    registry.addUses(segment.uses)
    try state.withLock { state in
      try File(segmentsPath, .append).write(frame.span)
      state.segments.append(.init(stored: frame.count, plain: segment.text.count, hooks: segment.hooks))
    }
  }

  func beginList(of file: String, at offset: Int64) -> ChunkListDraft {
    let number = state.withLock { state in
      state.numberOfDrafts += 1
      return state.numberOfDrafts
    }
    return ChunkListDraft(file: file, offset: offset, path: scratch.appending("list-\(number)"))
  }

  func add(_ draft: ChunkListDraft) {
    registry.addUses(draft.usesByObject)
    state.withLock { $0.drafts.append(draft) }
  }

  /// Shares a list of the parent.
  /// - Parameters:
  ///   - reference: with the file's name in this snapshot.
  ///   - uses: the bytes that it uses of objects of this snapshot.
  func share(_ reference: ChunkList.Reference, uses: [UInt32: Int64]) {
    registry.addUses(uses)
    state.withLock { $0.shared.append(reference) }
  }

  /// Gives large files, all of whose chunks are in lists, other names.
  package func rename(_ names: [String: String]) {
    state.withLock { state in
      for place in state.drafts.indices { state.drafts[place].file = names[state.drafts[place].file] ?? state.drafts[place].file }
      for place in state.shared.indices { state.shared[place].file = names[state.shared[place].file] ?? state.shared[place].file }
    }
  }

  /// Stores the table. Every object must already be in the store.
  package func finish(store: any Store, key: StoreKey, encryption: StoreEncryption) throws -> Outcome {
    let path = scratch.appending("chunks.tsv.zst")
    let (segments, drafts, shared) = state.withLock { ($0.segments, $0.drafts, $0.shared) }
    let objects = try registry.completed()
    let stored = try storeLists(drafts, objects, in: store, encryption)
    var output = try TableOutput(path, signature: ChunkTable.signature)
    for object in objects {
      output.text += Array("O\t\(object.name.digest)\t\(object.storedBytes)\t\(object.usedBytes)\n".utf8)
      for frame in object.frames { output.text += Array("f\t\(frame.stored)\t\(frame.plain)\n".utf8) }
      if output.text.count > 1 << 20 { try output.flushText() }
    }
    // In the files' order, not in that in which threads came to them.
    for reference in (stored.map(\.reference) + shared).sorted(by: { ($0.file, $0.offset) < ($1.file, $1.offset) }) {
      output.text += reference.line
    }
    let headBytes = try output.end(with: segments)
    if !segments.isEmpty { try output.append(contentsOf: segmentsPath) }
    var place = Manifest.ChunkTablePlace(headBytes: headBytes, bytes: output.bytes)
    let encrypted = try Self.encrypted(path, encryption)
    place.sealedBytes = encrypted?.bytes
    try store.write(contentsOf: encrypted?.file ?? path, to: key)
    let digest = encrypted?.digest ?? output.hasher.finalize()
    let lists = stored.map(\.list) + shared.map { Outcome.List(name: $0.name, storedBytes: $0.storedBytes, isNew: false, file: nil) }
    return Outcome(place: place, digest: digest, file: path, lists: lists)
  }

  /// Stores lists, except those that the parent has in the same form.
  private func storeLists(
    _ drafts: [ChunkListDraft], _ objects: [ObjectEntry], in store: any Store, _ encryption: StoreEncryption
  ) throws -> [(reference: ChunkList.Reference, list: Outcome.List)] {
    let found = Monitor<[Int: (reference: ChunkList.Reference, list: Outcome.List)]>([:])
    try forEachInParallel(Array(drafts.enumerated()), thread: "lists", threads: store.requestsAtOnce) { [self] number, draft in
      let (path, headBytes, bytes, digest) = try draft.finish(objects)
      func note(_ reference: ChunkList.Reference, isNew: Bool) {
        let list = Outcome.List(name: reference.name, storedBytes: reference.storedBytes, isNew: isNew, file: path)
        found.update { $0[number] = (reference, list) }
      }
      func reference(_ name: ObjectName, storedBytes: Int64) -> ChunkList.Reference {
        .init(
          name: name, storedBytes: storedBytes, bytes: bytes, headBytes: headBytes, digest: digest, file: draft.file, offset: draft.offset,
          length: draft.length)
      }
      if let known = parent?.list(digest: digest) { return note(reference(known.name, storedBytes: known.storedBytes), isNew: false) }
      let encrypted = try Self.encrypted(path, encryption)
      let name = ObjectName(encrypted?.digest ?? digest, isEncrypted: encrypted != nil)
      try store.write(contentsOf: encrypted?.file ?? path, to: name.key)
      if let encrypted { try Folder.removeFile(encrypted.file) }
      note(reference(name, storedBytes: encrypted?.bytes ?? bytes), isNew: true)
    }
    return found.current.sorted { $0.key < $1.key }.map(\.value)
  }

  /// Encrypts a file into one beside it.
  /// - Returns: nil if nothing is encrypted.
  private static func encrypted(
    _ path: FilePath, _ encryption: StoreEncryption
  ) throws -> (file: FilePath, digest: SHA256Digest, bytes: Int64)? {
    guard var encryptor = try encryption.encryptor() else { return nil }
    let encrypted = FilePath("\(path)\(SnapshotFiles.encryptedSuffix)")
    var hasher = SHA256Hasher()
    var length: Int64 = 0
    let output = try File(encrypted, .replace)
    var pending = encryptor.begin()
    func put() throws {
      hasher.update(pending.span)
      try output.write(pending.span)
      length += Int64(pending.count)
      pending.removeAll(keepingCapacity: true)
    }
    let input = try File(path, .read)
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while case let got = try input.read(into: &buffer, at: 0, count: buffer.count), got > 0 {
      encryptor.encrypt(buffer[..<got], into: &pending)
      try put()
    }
    encryptor.finish(into: &pending)
    try put()
    return (encrypted, hasher.finalize(), length)
  }
}

/// The finished table, or a list, as it is written: its length and digest are known at the end.
struct TableOutput: ~Copyable {
  var text: [UInt8]
  private(set) var bytes: Int64 = 0
  private(set) var hasher = SHA256Hasher()
  private let file: File
  private var compressor: ZstdCompressor

  init(_ path: FilePath, signature: String) throws {
    let file = try File(path, .replace)
    let compressor = try ZstdCompressor()
    text = Array((signature + "\n").utf8)
    self.file = file
    self.compressor = compressor
  }

  /// Ends the head.
  /// - Returns: its length.
  mutating func end(with segments: [StoredSegment]) throws -> Int64 {
    for segment in segments {
      text += Array("S\t\(segment.stored)\t\(segment.plain)\n".utf8)
      for hook in segment.hooks {
        text += [UInt8(ascii: "h"), 0x09]
        hook.appendHexadecimal(to: &text)
        text.append(0x0A)
      }
      if text.count > 1 << 20 { try flushText() }
    }
    try flushText()
    return bytes
  }

  mutating func flushText() throws {
    guard !text.isEmpty else { return }
    let pending = text
    let frame = try compressor.compress(pending.span, effort: .table)
    try append(frame.span)
    text.removeAll(keepingCapacity: true)
  }

  private mutating func append(_ piece: Span<UInt8>) throws {
    hasher.update(piece)
    try file.write(piece)
    bytes += Int64(piece.count)
  }

  mutating func append(contentsOf path: FilePath) throws {
    let input = try File(path, .read)
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while case let got = try input.read(into: &buffer, at: 0, count: buffer.count), got > 0 {
      try append(buffer.span.extracting(first: got))
    }
  }
}

/// A segment that was written to a file of this machine.
struct StoredSegment: Sendable {
  let stored: Int
  let plain: Int
  let hooks: [ChunkDigest]
}

/// The lines of a segment that is being filled.
struct SegmentText: Sendable {
  private(set) var text: [UInt8] = []
  private(set) var hooks: [ChunkDigest] = []
  /// Bytes that it uses of each object.
  private(set) var uses: [UInt32: Int64] = [:]
  /// Chunks, and ends of files: files without chunks must not make a segment grow for ever.
  private(set) var count = 0
  private var next: ChunkLocation?
  /// Whether the next chunk is the first one of a range.
  private var beginsRange = false

  var isEmpty: Bool { text.isEmpty }

  mutating func beginFile(_ name: String, at offset: Int64) { text += Array("F\t\(name)\t\(offset)\n".utf8) }

  /// - Parameter offset: of the chunk in its file.
  mutating func add(_ digest: ChunkDigest, at location: ChunkLocation, offset: Int64) {
    if let next, next.object == location.object, next.frame == location.frame, next.offset == location.offset {
    } else {
      text += Array("@\t\(location.object)\t\(location.frame)\t\(location.offset)\n".utf8)
    }
    // A later snapshot finds a segment by its first chunk, decides by a file's first chunks how to cut it, and may read ranges by themselves.
    if count == 0 || beginsRange || offset < Cutter.sampleSize || digest.high & ChunkTable.hookMask == 0 { hooks.append(digest) }
    beginsRange = false
    digest.appendHexadecimal(to: &text)
    text += Array("\t\(location.length)\n".utf8)
    uses[location.object, default: 0] += Int64(location.length)
    next = ChunkLocation(object: location.object, frame: location.frame, offset: location.offset + location.length, length: 0)
    count += 1
  }

  mutating func endRange(length: Int64) {
    text += Array("R\t\(length)\n".utf8)
    count += 1
    beginsRange = true
  }

  mutating func endFile(bytes: Int64, digest: SHA256Digest) {
    text += Array("E\t\(bytes)\t\(digest)\n".utf8)
    count += 1
  }

  mutating func clear() {
    text.removeAll(keepingCapacity: true)
    hooks.removeAll(keepingCapacity: true)
    uses.removeAll(keepingCapacity: true)
    next = nil
    count = 0
  }

  func compressed() throws -> [UInt8] {
    var compressor = try ZstdCompressor()
    return try compressor.compress(text.span, effort: .table)
  }
}

/// One thread's view of a `ChunkTableWriter`: the segment that it fills with small files, and the file that is under way.
package struct SegmentBuilder {
  private let writer: ChunkTableWriter
  private var segment = SegmentText()
  private var file: FileChunks?

  package init(writer: ChunkTableWriter) { self.writer = writer }

  package mutating func beginFile(_ name: String) { file = FileChunks(name, writer: writer) }

  package mutating func add(_ digest: ChunkDigest, at location: ChunkLocation) throws {
    try file?.add(ChunkRecord(digest: digest, location: location))
  }

  package mutating func endFile(digest: SHA256Digest) throws {
    if let file { try add(file, digest: digest) }
    file = nil
  }

  /// Adds a whole file.
  mutating func add(_ file: FileChunks, digest: SHA256Digest) throws {
    var file = file
    if file.isLarge { return try file.end(digest: digest) }
    if segment.count + file.pending.count > ChunkTable.segmentLimit { try flush() }
    segment.beginFile(file.name, at: 0)
    var offset: Int64 = 0
    for chunk in file.pending {
      segment.add(chunk.digest, at: chunk.location, offset: offset)
      offset += Int64(chunk.location.length)
    }
    segment.endFile(bytes: file.length, digest: digest)
  }

  package mutating func flush() throws {
    if !segment.isEmpty { try writer.add(segment) }
    segment.clear()
  }
}
