package import Digests
internal import Platform

/// Reads the files of a committed snapshot.
package struct SnapshotReader: Sendable {
  /// A file of the archive.
  package struct FileEntry: Sendable {
    package let name: String
    package let bytes: Int64
    package let digest: SHA256Digest
    /// The lengths of the ranges that the digest is made of, in bytes; empty if the file is not divided.
    package let ranges: [Int64]
    /// The segments that list its parts, in the file's order.
    fileprivate let segments: [Int32]
  }

  package let manifest: Manifest
  package let table: ChunkTable
  private let contents: StoredContents
  private let cache: FrameCache
  /// The segments used most recently, with their numbers, because one may hold thousands of small files. The most recent is at the end.
  private let parsed = Monitor<[(number: Int, parts: [String: [SegmentPart]])]>([])
  private static let parsedAtOnce = 8

  package init(_ contents: StoredContents, manifest: Manifest) throws {
    self.contents = contents
    self.manifest = manifest
    table = try ChunkTable(
      contents, key: contents.files(of: manifest.place).chunkTable, place: manifest.chunkTable, objectsAreEncrypted: contents.areEncrypted)
    cache = FrameCache(table: table, contents: contents)
  }

  /// How many of its objects were read from.
  package var objectsRead: Int { cache.objectsRead }

  /// Every file of the archive, by name. Reads the whole chunk table once.
  /// - Parameter skipped: files that are not wanted.
  /// - Throws: `RepositoryError.damagedObject` if a list can't be read.
  package func files(without skipped: Set<String> = []) throws -> [String: FileEntry] {
    for list in table.lists where !skipped.contains(list.file) { if let damage = list.damage { throw damage } }
    var found: [String: FileParts] = [:]
    for number in table.segments.indices {
      if let list = table.segments[number].list, skipped.contains(table.lists[list].file) { continue }
      for part in try table.parts(ofSegment: number, contents) where !skipped.contains(part.file) {
        found[part.file, default: FileParts()].add(part, segment: number)
      }
    }
    var files: [String: FileEntry] = [:]
    for (name, file) in found {
      guard let (segments, bytes) = file.segments() else {
        throw RepositoryError.malformed(key: table.key, reason: "a part of \(name) is missing")
      }
      guard let end = file.end, end.bytes == bytes else {
        throw RepositoryError.malformed(key: table.key, reason: "the end of \(name) is missing")
      }
      files[name] = FileEntry(name: name, bytes: end.bytes, digest: end.digest, ranges: file.rangeLengths, segments: segments)
    }
    return files
  }

  /// The files, and those whose list is damaged, with the damage.
  package func listedFiles() throws -> (files: [String: FileEntry], unlisted: [String: RepositoryError]) {
    var unlisted: [String: RepositoryError] = [:]
    for list in table.lists { if let damage = list.damage { unlisted[list.file] = damage } }
    while true {
      do { return (try files(without: Set(unlisted.keys)), unlisted) } catch RepositoryError.damagedObject(let name, let reason) {
        let lists = table.lists.filter { $0.name.digest.description == name && unlisted[$0.file] == nil }
        guard !lists.isEmpty else { throw RepositoryError.damagedObject(name: name, reason: reason) }
        for list in lists { unlisted[list.file] = .damagedObject(name: name, reason: reason) }
      }
    }
  }

  /// Hands out the file's bytes in order and checks them against its digest.
  /// - Throws: what `body` throws, or `RepositoryError` for damage. An error may come after bytes that were right.
  package func read(_ file: FileEntry, _ body: (Span<UInt8>) throws -> Void) throws {
    var hasher = RangedHasher(ranges: file.ranges)
    var done: Int64 = 0
    var next = try file.segments.first.map { try open(file, $0, at: 0, isNext: false) }
    for number in file.segments.indices {
      guard let (part, ahead) = next else { break }
      defer { ahead?.end() }
      ahead?.begin()
      // The next segment is fetched while this one is read.
      next = try number + 1 < file.segments.count ? open(file, file.segments[number + 1], at: done + part.bytes, isNext: true) : nil
      var index = 0
      while index < part.chunks.count {
        // Chunks that follow each other in a frame are one piece.
        let first = part.chunks[index].location
        var end = first.offset + first.length
        index += 1
        while index < part.chunks.count, case let next = part.chunks[index].location, next.object == first.object,
          next.frame == first.frame, next.offset == end
        {
          end += next.length
          index += 1
        }
        let frame = try cache.frame(of: first, ahead)
        let piece = frame.span.extracting(Int(first.offset)..<Int(end))
        hasher.update(piece)
        done += Int64(piece.count)
        try body(piece)
      }
    }
    guard done == file.bytes, hasher.finalize() == file.digest else {
      throw RepositoryError.malformed(key: table.key, reason: "the bytes of \(file.name) differ from those that were dumped")
    }
  }

  /// Finds a part of a file, and starts fetching its frames if that saves time.
  private func open(_ file: FileEntry, _ segment: Int32, at offset: Int64, isNext: Bool) throws -> (part: SegmentPart, ahead: FramePrefetcher?) {
    let parts = try parts(of: file.name, inSegment: Int(segment)).filter { $0.offset == offset && !$0.chunks.isEmpty }
    guard let part = parts.first else {
      throw RepositoryError.malformed(key: table.key, reason: "a part of \(file.name) is missing")
    }
    return (part, cache.ahead(of: part.chunks.lazy.map(\.location), isNext: isNext))
  }

  private func parts(of file: String, inSegment number: Int) throws -> [SegmentPart] {
    let known: [SegmentPart]?? = parsed.update { parsed in
      guard let place = parsed.firstIndex(where: { $0.number == number }) else { return nil }
      let segment = parsed.remove(at: place)
      parsed.append(segment)
      return .some(segment.parts[file])
    }
    if let known { return known ?? [] }
    let parts = Dictionary(grouping: try table.parts(ofSegment: number, contents), by: \.file)
    parsed.update { parsed in
      parsed.removeAll { $0.number == number }
      parsed.append((number, parts))
      if parsed.count > Self.parsedAtOnce { parsed.removeFirst() }
    }
    return parts[file] ?? []
  }

  /// The objects that hold any byte of the file, and its lists.
  package func objects(of file: FileEntry) throws -> Set<ObjectName> {
    var ordinals: Set<UInt32> = []
    for segment in Set(file.segments) {
      for part in try table.parts(ofSegment: Int(segment), contents) where part.file == file.name {
        for chunk in part.chunks { ordinals.insert(chunk.location.object) }
      }
    }
    return Set(ordinals.map { table.objects[Int($0)].name }).union(table.lists.filter { $0.file == file.name }.map(\.name))
  }
}
