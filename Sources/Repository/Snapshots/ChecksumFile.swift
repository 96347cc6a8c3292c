package import Digests

/// A snapshot's `SHA256SUMS`: every object and every file of the snapshot, in the format of coreutils' sha256sum,
/// with paths from the store's root, and their number in a comment at the end. A snapshot exists if and only if this
/// file does.
package struct ChecksumFile: Sendable {
  /// In order.
  package let objects: [ObjectName]
  /// The snapshot's own.
  package let files: [StoreKey: SHA256Digest]
  /// Facts about the snapshot that are known without its manifest, in a comment; only if the manifest is encrypted.
  package let summary: Manifest.Summary?
  /// The digest of the file itself.
  package let digest: SHA256Digest

  package init(objects: some Sequence<ObjectName>, files: [StoreKey: SHA256Digest], summary: Manifest.Summary? = nil) {
    self.objects = Set(objects).sorted { $0.digest < $1.digest }
    self.files = files
    self.summary = summary
    digest = SHA256Digest(of: Self.bytes(self.objects, files, summary))
  }

  package static let sizeLimit = 1 << 29

  /// - Throws: `RepositoryError.malformed` for a line of another form, a repeated path, or a line too few.
  package init(parsing bytes: [UInt8], key: StoreKey) throws {
    (objects, files, summary) = try Self.contents(of: bytes, key: key)
    digest = SHA256Digest(of: bytes)
  }

  package var bytes: [UInt8] { Self.bytes(objects, files, summary) }

  /// Whether it names an object.
  package func contains(_ object: ObjectName) -> Bool {
    var (low, high) = (0, objects.count)
    while low < high {
      let middle = (low + high) / 2
      if objects[middle].digest < object.digest { low = middle + 1 } else { high = middle }
    }
    return low < objects.count && objects[low] == object
  }

  private static func bytes(_ objects: [ObjectName], _ files: [StoreKey: SHA256Digest], _ summary: Manifest.Summary?) -> [UInt8] {
    let lines = objects.map { "\($0.digest)  \($0.key)\n" } + files.sorted { $0.key < $1.key }.map { "\($0.value)  \($0.key)\n" }
    let comment = summary.map { "\(summaryMark)\($0.line)\n" } ?? ""
    return Array((lines.joined() + comment + count(lines.count)).utf8)
  }

  static let summaryMark = "# summary "

  private static func count(_ lines: Int) -> String { "# \(lines) checksums\n" }

  // MARK: Reading

  /// Reads no more than what the file says: a collection goes through the lists of thousands of snapshots.
  static func contents(of bytes: [UInt8], key: StoreKey) throws -> (
    objects: [ObjectName], files: [StoreKey: SHA256Digest], summary: Manifest.Summary?
  ) {
    func malformed(_ reason: String) -> RepositoryError { .malformed(key: key, reason: reason) }
    guard bytes.last == 0x0A else { throw malformed("it is cut off") }
    let span = bytes.span
    var objects: [ObjectName] = []
    objects.reserveCapacity(bytes.count / ObjectName.shortestLine)
    var files: [StoreKey: SHA256Digest] = [:]
    var summary: Manifest.Summary?
    let owned = SnapshotPath(key: key)?.possibleFiles
    var isAscending = true
    var place = 0
    while place < bytes.count {
      if let object = ObjectName(line: span, at: place) {
        if let last = objects.last, !(last.digest < object.digest) { isAscending = false }
        objects.append(object)
        place += object.lineLength
        continue
      }
      let end = bytes[place...].firstIndex(of: 0x0A)!
      let text = String(decoding: bytes[place..<end], as: UTF8.self)
      place = end + 1
      if summary == nil, text.hasPrefix(summaryMark) {
        guard let told = Manifest.Summary(line: text.dropFirst(summaryMark.count)) else { throw malformed("a line of it is no summary") }
        summary = told
        continue
      }
      if text.hasPrefix("#") {
        guard place == bytes.count, text + "\n" == count(objects.count + files.count) else { throw malformed("it has lost lines, or gained some") }
        guard isAscending || Set(objects).count == objects.count else { throw malformed("it names an object twice") }
        // The snapshot files that it names must be among its own.
        if let owned {
          guard let own = owned.first(where: { Set($0.all) == Set(files.keys) }) else {
            throw malformed("it does not name the files of its snapshot, and those alone")
          }
          guard objects.allSatisfy({ $0.isEncrypted == own.areEncrypted }) else { throw malformed("it names what is encrypted and what is not") }
        }
        return (isAscending ? objects : objects.sorted { $0.digest < $1.digest }, files, summary)
      }
      guard text.utf8.count > 66, let digest = SHA256Digest(hexadecimal: text.prefix(64)), text.dropFirst(64).hasPrefix("  ") else {
        throw malformed("a line of it is no checksum")
      }
      let path = String(text.dropFirst(66))
      guard owned?.contains(where: { $0.all.contains(path) }) ?? (SnapshotPath(key: path) != nil), files.updateValue(digest, forKey: path) == nil
      else {
        throw malformed("it names \(path), which can't belong to it")
      }
    }
    throw malformed("it is cut off")
  }
}
