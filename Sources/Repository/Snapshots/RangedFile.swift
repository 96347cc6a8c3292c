package import Digests

/// A file of a new snapshot that is made of ranges: some were read, others are taken over from an earlier snapshot. All of its chunks are
/// in lists.
package struct RangedFile: Sendable {
  private var chunks: FileChunks

  package init(_ name: String, writer: ChunkTableWriter) { chunks = FileChunks(name, isLarge: true, writer: writer) }

  /// Adds a range that was read. It must not be empty.
  package mutating func add(_ records: [ChunkRecord]) throws {
    let start = chunks.length
    for record in records { try chunks.add(record) }
    chunks.endRange(length: chunks.length - start)
  }

  /// Adds ranges of a file of an earlier snapshot. Lists that have nothing else are shared.
  /// - Parameter bytes: of that file, from the beginning of a range to the end of one.
  /// - Throws: `RepositoryError.malformed` if they can't be used after all.
  package mutating func takeOver(_ bytes: Range<Int64>, of file: String, from parent: ParentIndex) throws {
    let before = chunks.length
    try parent.takeOver(bytes, of: file, into: &chunks)
    guard chunks.length - before == Int64(bytes.count) else {
      throw RepositoryError.malformed(key: parent.table.key, reason: "a part of \(file) is missing")
    }
  }

  package mutating func end(digest: SHA256Digest) throws { try chunks.end(digest: digest) }
}

extension ParentIndex {
  /// Parts of a listed file that cannot be taken over, because their list or an object can't be used.
  /// - Parameter bytes: the file's length.
  package func unusableParts(of file: String, bytes: Int64) throws -> [Range<Int64>] {
    var unusable: [Range<Int64>] = []
    var end: Int64 = 0
    let lists = lists(of: file)
    try examine(lists.reduce(into: Set()) { $0.formUnion($1.list.objects.map(\.ordinal)) })
    for (number, list) in lists {
      let reference = list.reference
      let (next, overflows) = reference.offset.addingReportingOverflow(reference.length)
      guard reference.offset == end, !overflows else { return [0..<bytes] }
      if list.damage != nil || !isPresent(list) {
        unusable.append(end..<next)
      } else if !list.objects.allSatisfy({ mayUse($0.ordinal) }) {
        unusable += try unusableParts(ofList: number) ?? [end..<next]
      }
      end = next
    }
    return end == bytes ? unusable : [0..<bytes]
  }

  /// The parts of a list that lie in objects that can't be used; nil if the list is damaged.
  private func unusableParts(ofList number: Int) throws -> [Range<Int64>]? {
    var unusable: [Range<Int64>] = []
    do {
      for segment in table.segments.indices where table.segments[segment].list == number {
        for part in try parts(ofSegment: segment) {
          var place = part.offset
          for chunk in part.chunks {
            let end = place + Int64(chunk.location.length)
            if !mayUse(chunk.location.object) {
              if let last = unusable.last, last.upperBound == place {
                unusable[unusable.count - 1] = last.lowerBound..<end
              } else {
                unusable.append(place..<end)
              }
            }
            place = end
          }
        }
      }
    } catch let error where (error as? StoreError)?.isOfOneFile ?? (error is RepositoryError) { return nil }
    return unusable
  }

  /// The lists of a file in its order, with their numbers in the table.
  private func lists(of file: String) -> [(number: Int, list: ChunkList)] {
    table.lists.enumerated().filter { $1.file == file }.map { (number: $0, list: $1) }
      .sorted { ($0.list.reference.offset, $0.list.reference.length) < ($1.list.reference.offset, $1.list.reference.length) }
  }

  fileprivate func takeOver(_ bytes: Range<Int64>, of file: String, into chunks: inout FileChunks) throws {
    let lists = lists(of: file)
    for (number, list) in lists {
      let reference = list.reference
      let range = reference.offset..<(reference.offset + reference.length)
      guard range.overlaps(bytes) else { continue }
      if range.lowerBound >= bytes.lowerBound, range.upperBound <= bytes.upperBound, number != lists.last?.number {
        // The last list has the file's end, and is never shared.
        try chunks.share(reference, uses: try uses(of: list))
      } else {
        try addRecords(ofList: number, within: bytes, to: &chunks)
      }
    }
  }

  /// The bytes that a list uses of objects of the new snapshot.
  func uses(of list: ChunkList) throws -> [UInt32: Int64] {
    var uses: [UInt32: Int64] = [:]
    for (object, used) in list.objects { uses[try adopted(object, of: list.file), default: 0] += used }
    return uses
  }

  func adopted(_ object: UInt32, of file: String) throws -> UInt32 {
    guard let object = adopt(object) else {
      throw RepositoryError.malformed(key: table.key, reason: "an object of \(file) can't be used any more")
    }
    return object
  }

  private func addRecords(ofList number: Int, within bytes: Range<Int64>, to chunks: inout FileChunks) throws {
    for segment in table.segments.indices where table.segments[segment].list == number {
      for part in try parts(ofSegment: segment) {
        var place = part.offset
        var ranges = part.ranges[...]
        func endRanges(_ chunks: inout FileChunks) {
          while let range = ranges.first, range.end <= place {
            if bytes.lowerBound < range.end, range.end <= bytes.upperBound { chunks.endRange(length: range.length) }
            ranges = ranges.dropFirst()
          }
        }
        endRanges(&chunks)
        for chunk in part.chunks {
          let end = place + Int64(chunk.location.length)
          if place >= bytes.lowerBound, end <= bytes.upperBound {
            var location = chunk.location
            location.object = try adopted(location.object, of: part.file)
            try chunks.add(ChunkRecord(digest: chunk.digest, location: location))
          }
          place = end
          endRanges(&chunks)
        }
      }
    }
  }
}
