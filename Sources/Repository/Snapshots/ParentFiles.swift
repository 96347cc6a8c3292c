package import Digests
internal import Platform

/// Files of an earlier snapshot that are taken over into a new one without being read.
extension ParentIndex {
  /// The files that can be taken over: every chunk is listed and lies in an object that may be used again. The length matches, and the
  /// digest too if it is known without reading a list.
  package func reusable(_ files: [String: (bytes: Int64, digest: SHA256Digest)]) throws -> Set<String> {
    var found: [String: FileParts] = [:]
    var objects: [String: Set<UInt32>] = [:]
    try forEachOwnPart(of: { files[$0] != nil }) { part in
      found[part.file, default: FileParts()].add(part)
      var last: UInt32?
      for chunk in part.chunks where chunk.location.object != last {
        objects[part.file, default: []].insert(chunk.location.object)
        last = chunk.location.object
      }
    }
    var damaged: Set<String> = []
    for list in table.lists where files[list.file] != nil {
      if list.damage != nil { damaged.insert(list.file) }
      found[list.file, default: FileParts()].add(offset: list.reference.offset, length: list.reference.length)
      objects[list.file, default: []].formUnion(list.objects.map(\.ordinal))
    }
    try examine(objects.values.reduce(into: Set()) { $0.formUnion($1) })
    let wanted = table.lists.filter { files[$0.file] != nil && $0.damage == nil }
    let missing = Monitor(damaged)
    try forEachInParallel(wanted, thread: "look", threads: store.requestsAtOnce) { [self] list in
      if !isPresent(list) { missing.update { _ = $0.insert(list.file) } }
    }
    return Set(
      found.filter { name, file in
        guard let wanted = files[name], !missing.current.contains(name), file.isWhole(bytes: wanted.bytes) else { return false }
        // The digest of a listed file stands in its last list, which is not read.
        guard file.end.map({ $0 == .init(bytes: wanted.bytes, digest: wanted.digest) }) ?? file.isListed else { return false }
        return objects[name, default: []].allSatisfy(mayUse)
      }.keys)
  }

  /// Lists the chunks of files in a new table. Their lists are shared.
  /// - Parameter names: the files' names here, by those in the earlier snapshot.
  /// - Throws: `RepositoryError.malformed` if one can't be used after all.
  package func takeOver(_ names: [String: String], into writer: ChunkTableWriter) throws {
    for list in table.lists {
      guard let name = names[list.file] else { continue }
      var reference = list.reference
      reference.file = name
      writer.share(reference, uses: try uses(of: list))
    }
    var builder = SegmentBuilder(writer: writer)
    var files: [String: FileChunks] = [:]
    try forEachOwnPart(of: { names[$0] != nil }) { part in
      var file = files.removeValue(forKey: part.file) ?? FileChunks(names[part.file] ?? part.file, writer: writer)
      guard file.length == part.offset else { throw RepositoryError.malformed(key: table.key, reason: "a part of \(part.file) is missing") }
      for chunk in part.chunks {
        var location = chunk.location
        location.object = try adopted(location.object, of: part.file)
        try file.add(ChunkRecord(digest: chunk.digest, location: location))
      }
      if let end = part.end { try builder.add(file, digest: end.digest) } else { files[part.file] = file }
    }
    try builder.flush()
  }

  /// Parts of files in the table's own segments.
  private func forEachOwnPart(of isWanted: (String) -> Bool, _ body: (SegmentPart) throws -> Void) throws {
    for number in table.segments.indices where table.segments[number].list == nil {
      for part in try parts(ofSegment: number) where isWanted(part.file) { try body(part) }
    }
  }
}
