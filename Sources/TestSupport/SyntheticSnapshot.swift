package import Digests
package import Encryption
package import Foundation
internal import Platform
package import Repository

/// Snapshots of bytes made up by a test, through the same cutter and packer as those of a database.
package struct SyntheticSnapshots {
  package let repository: Repository
  private let scratch: TemporaryFolder

  /// - Parameter identities: encrypt to the first, open with all; none for snapshots in clear.
  package init(
    in store: any Store, chunkAverage: Int = 8192, frameBytes: Int = 1 << 20, objectBytes: Int = 1 << 20, identities: [AgeIdentity] = []
  ) throws {
    var random = SeededRandom(seed: 0)
    var format = RepositoryFormat(repositoryID: "test", createdAt: Date(timeIntervalSince1970: 1_700_000_000), random: &random)
    format.chunking = .init(average: chunkAverage)
    format.frameBytes = frameBytes
    format.objectBytes = objectBytes
    format.recipients = identities.prefix(1).map(\.recipient.description)
    repository = try Repository(creatingIn: store, format: format, identities: { identities })
    scratch = try TemporaryFolder()
  }

  package static func date(night: Int) -> Date { Date(timeIntervalSince1970: 1_700_000_000 + Double(night) * 86400) }

  /// A range of a file that is divided.
  package enum FileRange: Sendable {
    case read([UInt8])
    /// These bytes of the parent's file of that name.
    case taken(Range<Int64>)
  }

  /// Stores files as a committed snapshot.
  /// - Parameter divided: further files, in ranges.
  @discardableResult package func take(
    _ files: [String: [UInt8]], divided: [String: [FileRange]] = [:], night: Int, database: String = "app", source: String = "s",
    kind: String = "nightly"
  ) throws -> Manifest {
    let lock = try RepositoryLock(.shared, on: repository.store, purpose: "a test")
    defer { lock.release() }
    var random = SeededRandom(seed: UInt64(night))
    let place = SnapshotPath(source: source, database: database, id: SnapshotID(startedAt: Self.date(night: night), random: &random))
    let parent = try repository.catalog.snapshots(source: source, database: database).last.map { try repository.catalog.manifest(of: $0) }
    let registry = ObjectRegistry()
    let index = try parent.map {
      try ParentSnapshot(manifest: $0, contents: repository.contents, chunkTable: repository.files(of: $0.place).chunkTable)
        .index(objectsIn: repository.store, objectsAreEncrypted: repository.format.isEncrypted, registry: registry)
    }
    let folder = scratch.path("night-\(night)-\(database)")
    try Folder.make(folder)
    let writer = ChunkTableWriter(scratch: folder, registry: registry, parent: index)
    let packer = ObjectPacker(store: repository.store, format: repository.format, registry: registry, threads: 2, failure: FirstFailure())
    var sink = ChunkSink(packer: packer)
    var segments = SegmentBuilder(writer: writer)
    var cursor = index.map { ParentCursor(index: $0) }
    let cutter = Cutter(repository.format)
    for (name, bytes) in files.sorted(by: { $0.key < $1.key }) {
      segments.beginFile(name)
      let beginning = bytes.span.extracting(first: min(bytes.count, Cutter.sampleSize))
      let chunker = try cutter.chunker(for: name, beginning: beginning, parent: &cursor)
      var start = 0
      while let end = chunker.boundary(in: bytes.span, from: start, isLast: true) {
        let chunk = Array(bytes[start..<end])
        let digest = cutter.hasher.digest(of: chunk.span)
        if let known = try cursor?.find(digest, length: chunk.count) {
          sink.skip()
          try segments.add(digest, at: known)
        } else {
          try segments.add(digest, at: try sink.append(chunk.span))
        }
        start = end
      }
      try segments.endFile(digest: SHA256Digest(of: bytes))
    }
    for (name, ranges) in divided {
      var file = RangedFile("rows.1", writer: writer)
      var digests: [SHA256Digest] = []
      let whole = try parent.flatMap { try self.files(of: $0)[name] } ?? []
      let unusable = try index?.unusableParts(of: name, bytes: Int64(whole.count)) ?? []
      for range in ranges {
        switch range {
        case .taken(let bytes) where !unusable.contains(where: { $0.overlaps(bytes) }):
          guard let index else { continue }
          try file.takeOver(bytes, of: name, from: index)
          digests.append(SHA256Digest(of: Array(whole[Int(bytes.lowerBound)..<Int(bytes.upperBound)])))
        case .read, .taken:
          let bytes =
            switch range {
            case .read(let bytes): bytes
            case .taken(let bytes): Array(whole[Int(bytes.lowerBound)..<Int(bytes.upperBound)])
            }
          let chunker = try cutter.chunker(for: name, beginning: bytes.span.extracting(first: min(bytes.count, Cutter.sampleSize)), parent: &cursor)
          var (start, chunks): (Int, [ChunkRecord]) = (0, [])
          while let end = chunker.boundary(in: bytes.span, from: start, isLast: true) {
            let digest = cutter.hasher.digest(of: bytes.span.extracting(start..<end))
            let location = try cursor?.find(digest, length: end - start) ?? sink.append(bytes.span.extracting(start..<end))
            chunks.append(ChunkRecord(digest: digest, location: location))
            start = end
          }
          try file.add(chunks)
          digests.append(SHA256Digest(of: bytes))
        }
      }
      try file.end(digest: RangedHasher.digest(of: digests))
      writer.rename(["rows.1": name])
    }
    try sink.closeObject()
    try segments.flush()
    try packer.finish()
    let own = repository.files(of: place)
    let encryption = repository.format.encryption
    let table = try writer.finish(store: repository.store, key: own.chunkTable, encryption: encryption)
    var manifest = Manifest(
      place: place, kind: kind, startedAt: Self.date(night: night), finishedAt: Self.date(night: night),
      versions: .init(firn: "test", pgDump: "none", server: "15.0", serverNumber: 150000),
      properties: DatabaseProperties(
        owner: "o", encoding: "UTF8", localeProvider: "c", collate: "C", ctype: "C", tablespace: "pg_default", connectionLimit: -1),
      chunkTable: table.place)
    manifest.parent = parent?.id
    manifest.tables = files.filter { $0.key != "toc.dat" }.sorted { $0.key < $1.key }.map { name, bytes in
      // Three lines end the rows.
      Manifest.Table(
        schema: "public", name: String(name.dropLast(4)), file: name, rows: max(0, Int64(bytes.count { $0 == 0x0A }) - 3), bytes: Int64(bytes.count),
        sha256: "\(SHA256Digest(of: bytes))")
    }
    manifest.storedBytes = registry.added.bytes + table.written.values.reduce(0, +)
    var checksums = [own.chunkTable: table.digest]
    var written = registry.written.merging(table.written) { $1 }
    written[own.chunkTable] = table.place.storedBytes
    try repository.catalog.begin(place, holding: lock)
    for (key, bytes) in [(own.manifest, try encryption.encrypted(JSON.bytes(manifest))), (own.globals, []), (own.recoverScript, [])] {
      try repository.store.write(bytes, to: key, durability: .deferred)
      checksums[key] = SHA256Digest(of: bytes)
      written[key] = Int64(bytes.count)
    }
    let list = ChecksumFile(
      objects: try registry.completed().map(\.name) + table.lists.map(\.name), files: checksums, summary: encryption.isOn ? .init(of: manifest) : nil)
    try repository.catalog.commit(list, of: place, reused: registry.reused.merging(table.reused) { $1 }, written: written, holding: lock)
    return manifest
  }

  /// The files of a snapshot, read back.
  package func files(of manifest: Manifest) throws -> [String: [UInt8]] {
    let reader = try SnapshotReader(repository.contents, manifest: manifest)
    return try reader.files().mapValues { file in
      var bytes: [UInt8] = []
      try reader.read(file) { bytes.append($0) }
      return bytes
    }
  }

  /// Stored bytes of all objects.
  package func objectBytes() throws -> Int64 { try repository.store.list(ObjectName.root).reduce(0) { $0 + $1.size } }
}

/// File names in an unencrypted repository.
extension SnapshotPath {
  package var clearFiles: SnapshotFiles { files(areEncrypted: false) }
  package var manifest: StoreKey { clearFiles.manifest }
  package var chunkTable: StoreKey { clearFiles.chunkTable }
  package var globals: StoreKey { clearFiles.globals }
  package var recoverScript: StoreKey { clearFiles.recoverScript }
  package var ownFiles: [StoreKey] { clearFiles.all }
}

extension ObjectName {
  package init(_ digest: SHA256Digest) { self.init(digest, isEncrypted: false) }
  package init?(hexadecimal text: String) { self.init(hexadecimal: text, isEncrypted: false) }
}
