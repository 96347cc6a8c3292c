internal import Compression
package import Digests
internal import Encryption
internal import Platform
package import SystemPackage
internal import Synchronization

/// Collects the segments of a new chunk table in a file of this machine, from several threads.
package final class ChunkTableWriter: Sendable {
  private struct State: Sendable {
    var segments: [(stored: Int, plain: Int, hooks: [ChunkDigest])] = []
  }

  private let scratch: FilePath
  private let registry: ObjectRegistry
  private let state = Mutex(State())

  /// - Parameter scratch: a folder for temporary files.
  package init(scratch: FilePath, registry: ObjectRegistry) {
    self.scratch = scratch
    self.registry = registry
  }

  private var segmentsPath: FilePath { scratch.appending("chunks.segments") }

  fileprivate func add(_ text: [UInt8], hooks: [ChunkDigest], uses: [UInt32: Int64]) throws {
    var compressor = try ZstdCompressor()
    let frame = try compressor.compress(text.span, effort: .table)
    registry.addUses(uses)
    try state.withLock { state in
      try File(segmentsPath, .append).write(frame.span)
      state.segments.append((frame.count, text.count, hooks))
    }
  }

  /// Stores the table. Every object must already be in the store.
  /// - Returns: its location, the digest of its file, and the local file that holds it unencrypted.
  package func finish(
    store: any Store, key: StoreKey, encryption: StoreEncryption
  ) throws -> (place: Manifest.ChunkTablePlace, digest: SHA256Digest, file: FilePath) {
    let path = scratch.appending("chunks.tsv.zst")
    let segments = state.withLock { $0.segments }
    let objects = try registry.completed()
    var output = try TableOutput(path)
    for object in objects {
      output.text += Array("O\t\(object.name.digest)\t\(object.storedBytes)\t\(object.usedBytes)\n".utf8)
      for frame in object.frames { output.text += Array("f\t\(frame.stored)\t\(frame.plain)\n".utf8) }
      if output.text.count > 1 << 20 { try output.flushText() }
    }
    for segment in segments {
      output.text += Array("S\t\(segment.stored)\t\(segment.plain)\n".utf8)
      for hook in segment.hooks {
        output.text += [UInt8(ascii: "h"), 0x09]
        hook.appendHexadecimal(to: &output.text)
        output.text.append(0x0A)
      }
      if output.text.count > 1 << 20 { try output.flushText() }
    }
    try output.flushText()
    let headBytes = output.bytes
    if !segments.isEmpty { try output.append(contentsOf: segmentsPath) }
    var place = Manifest.ChunkTablePlace(headBytes: headBytes, bytes: output.bytes)
    guard let encryptor = try encryption.encryptor() else {
      try store.write(contentsOf: path, to: key)
      return (place, output.hasher.finalize(), path)
    }
    let encrypted = scratch.appending("chunks.tsv.zst.age")
    let digest = try Self.encrypt(path, with: encryptor, to: encrypted, &place)
    try store.write(contentsOf: encrypted, to: key)
    return (place, digest, path)
  }

  private static func encrypt(
    _ path: FilePath, with encryptor: AgeEncryptor, to encrypted: FilePath, _ place: inout Manifest.ChunkTablePlace
  ) throws -> SHA256Digest {
    var encryptor = encryptor
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
    place.sealedBytes = length
    return hasher.finalize()
  }
}

/// The finished table as it is written: its length and digest are known at the end.
private struct TableOutput: ~Copyable {
  var text = Array((ChunkTable.signature + "\n").utf8)
  private(set) var bytes: Int64 = 0
  private(set) var hasher = SHA256Hasher()
  private let file: File
  private var compressor: ZstdCompressor

  init(_ path: FilePath) throws {
    let file = try File(path, .replace)
    let compressor = try ZstdCompressor()
    self.file = file
    self.compressor = compressor
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

/// One thread's view of a `ChunkTableWriter`: the lines of the segment it is filling.
package struct SegmentBuilder {
  private let writer: ChunkTableWriter
  private var text: [UInt8] = []
  private var hooks: [ChunkDigest] = []
  private var uses: [UInt32: Int64] = [:]
  private var count = 0
  private var file: String?
  private var filesInSegment: Set<String> = []
  private var fileOffset: Int64 = 0
  private var next: ChunkLocation?

  package init(writer: ChunkTableWriter) { self.writer = writer }

  /// - Parameter offset: of the part of the file that follows.
  package mutating func beginFile(_ name: String, at offset: Int64 = 0) {
    file = name
    fileOffset = offset
    writeFileLine()
  }

  /// Goes on with a file whose parts come from another table. A segment never has two parts of a file.
  package mutating func resumeFile(_ name: String, at offset: Int64) throws {
    // Its line stands there already, perhaps in a segment that has just begun.
    if file == name && fileOffset == offset { return }
    if filesInSegment.contains(name) { try flush() }
    beginFile(name, at: offset)
  }

  private mutating func writeFileLine() {
    guard let file else { return }
    filesInSegment.insert(file)
    text += Array("F\t\(file)\t\(fileOffset)\n".utf8)
  }

  package mutating func add(_ digest: ChunkDigest, at location: ChunkLocation) throws {
    if let next, next.object == location.object, next.frame == location.frame, next.offset == location.offset {
    } else {
      text += Array("@\t\(location.object)\t\(location.frame)\t\(location.offset)\n".utf8)
    }
    // A later stream starts at the first chunk of a segment, and the first chunks of a file decide how it is cut.
    if count == 0 || fileOffset < Cutter.sampleSize || digest.high & ChunkTable.hookMask == 0 { hooks.append(digest) }
    digest.appendHexadecimal(to: &text)
    text += Array("\t\(location.length)\n".utf8)
    uses[location.object, default: 0] += Int64(location.length)
    next = ChunkLocation(object: location.object, frame: location.frame, offset: location.offset + location.length, length: 0)
    fileOffset += Int64(location.length)
    count += 1
    if count >= ChunkTable.segmentLimit {
      try flush()
      writeFileLine()
    }
  }

  package mutating func endFile(digest: SHA256Digest) throws {
    text += Array("E\t\(fileOffset)\t\(digest)\n".utf8)
    file = nil
    // Files without chunks must not make a segment grow for ever.
    count += 1
    if count >= ChunkTable.segmentLimit { try flush() }
  }

  package mutating func flush() throws {
    if !text.isEmpty { try writer.add(text, hooks: hooks, uses: uses) }
    text.removeAll(keepingCapacity: true)
    hooks.removeAll(keepingCapacity: true)
    uses.removeAll(keepingCapacity: true)
    filesInSegment.removeAll(keepingCapacity: true)
    next = nil
    count = 0
  }
}
