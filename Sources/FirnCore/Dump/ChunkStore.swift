internal import Digests
internal import Repository

/// Cuts bytes into chunks and stores those that are not known. One thread's.
struct ChunkStore {
  private let cutter: Cutter
  private var sink: ChunkSink
  private var parent: ParentCursor?

  init(cutter: Cutter, packer: ObjectPacker, parent: ParentIndex?) {
    self.cutter = cutter
    sink = ChunkSink(packer: packer)
    self.parent = parent.map { ParentCursor(index: $0) }
  }

  /// The chunker for a file or a range of one.
  /// - Parameter beginning: its first `Cutter.sampleSize` bytes, or all of it.
  mutating func chunker(for name: String, beginning: Span<UInt8>) throws -> Chunker {
    try cutter.chunker(for: name, beginning: beginning, parent: &parent)
  }

  /// Stores the chunks that `bytes` begins with.
  /// - Parameter chunks: they are added to these.
  /// - Returns: where the last of them ends.
  mutating func store(_ bytes: Span<UInt8>, with chunker: Chunker, isLast: Bool, into chunks: inout [ChunkRecord]) throws -> Int {
    var start = 0
    while let end = chunker.boundary(in: bytes, from: start, isLast: isLast) {
      let chunk = bytes.extracting(start..<end)
      let digest = cutter.hasher.digest(of: chunk)
      if let known = try parent?.find(digest, length: end - start) {
        sink.skip()
        chunks.append(ChunkRecord(digest: digest, location: known))
      } else {
        chunks.append(ChunkRecord(digest: digest, location: try sink.append(chunk)))
      }
      start = end
    }
    return start
  }

  /// Says that what comes is of another kind than what came.
  mutating func startNewStream() throws { try sink.startNewStream() }

  /// Hands over what is not yet full. Nothing may be stored after it.
  mutating func finish() throws { try sink.closeObject() }
}
