package import Digests

/// Files of an earlier snapshot that are taken over into a new one without being read.
extension ParentIndex {
  /// Those of the files all of whose chunks the table lists, with that length and digest, in objects that may be used again.
  package func reusable(_ files: [String: (bytes: Int64, digest: SHA256Digest)]) throws -> Set<String> {
    struct Found {
      var parts: [(offset: Int64, bytes: Int64)] = []
      var objects: Set<UInt32> = []
      var end: SegmentPart.FileEnd?
    }
    var found: [String: Found] = [:]
    try forEachPart(of: { files[$0] != nil }) { part in
      var file = found.removeValue(forKey: part.file) ?? Found()
      file.parts.append((part.offset, part.bytes))
      var last: UInt32?
      for chunk in part.chunks where chunk.location.object != last {
        file.objects.insert(chunk.location.object)
        last = chunk.location.object
      }
      if let end = part.end { file.end = end }
      found[part.file] = file
    }
    try examine(found.values.reduce(into: Set()) { $0.formUnion($1.objects) })
    return Set(
      found.filter { name, file in
        guard let wanted = files[name], file.end == .init(bytes: wanted.bytes, digest: wanted.digest) else { return false }
        var place: Int64 = 0
        for part in file.parts.sorted(by: { ($0.offset, $0.bytes) < ($1.offset, $1.bytes) }) {
          guard part.offset == place else { return false }
          place += part.bytes
        }
        return place == wanted.bytes && file.objects.allSatisfy(mayUse)
      }.keys)
  }

  /// Lists the chunks of files in a new table.
  /// - Parameter names: the files' names here, by those in the earlier snapshot.
  /// - Throws: `RepositoryError.malformed` if one can't be used after all.
  package func takeOver(_ names: [String: String], into writer: ChunkTableWriter) throws {
    var builder = SegmentBuilder(writer: writer)
    try forEachPart(of: { names[$0] != nil }) { part in
      try builder.resumeFile(names[part.file] ?? part.file, at: part.offset)
      for chunk in part.chunks {
        guard let object = adopt(chunk.location.object) else {
          throw RepositoryError.malformed(key: table.key, reason: "an object of \(part.file) can't be used any more")
        }
        var location = chunk.location
        location.object = object
        try builder.add(chunk.digest, at: location)
      }
      if let end = part.end { try builder.endFile(digest: end.digest) }
    }
    try builder.flush()
  }

  private func forEachPart(of isWanted: (String) -> Bool, _ body: (SegmentPart) throws -> Void) throws {
    for number in table.segments.indices {
      for part in try table.parts(ofSegment: number, contents) where isWanted(part.file) { try body(part) }
    }
  }
}
