package import Digests

/// A snapshot's `SHA256SUMS`: every object and every file it consists of, in the format of coreutils' sha256sum,
/// with paths from the store's root. That it is there is what makes a snapshot one.
package struct ChecksumFile: Sendable {
  package let entries: [StoreKey: SHA256Digest]
  /// Of the file itself.
  package let digest: SHA256Digest

  package init(entries: [StoreKey: SHA256Digest]) {
    self.entries = entries
    digest = SHA256Digest(of: Self.bytes(of: entries))
  }

  package static let sizeLimit = 1 << 29

  /// - Throws: `RepositoryError.malformed` for a line of another form, a repeated path, or a cut-off end.
  package init(parsing bytes: [UInt8], key: StoreKey) throws {
    var entries: [StoreKey: SHA256Digest] = [:]
    guard bytes.last == 0x0A else { throw RepositoryError.malformed(key: key, reason: "it is cut off") }
    for line in bytes.dropLast().split(separator: 0x0A, omittingEmptySubsequences: false) {
      let text = String(decoding: line, as: UTF8.self)
      guard text.utf8.count > 66, let digest = SHA256Digest(hexadecimal: text.prefix(64)), text.dropFirst(64).hasPrefix("  ") else {
        throw RepositoryError.malformed(key: key, reason: "a line of it is no checksum")
      }
      let path = String(text.dropFirst(66))
      let known = ObjectName(key: path).map { $0.digest == digest } ?? (SnapshotPlace(key: path) != nil)
      guard known, entries.updateValue(digest, forKey: path) == nil else {
        throw RepositoryError.malformed(key: key, reason: "it names \(path), which can't belong to it")
      }
    }
    // A list of another snapshot, or one that lost its end, which is where these are.
    if let place = SnapshotPlace(key: key) {
      guard Set(entries.keys.filter { ObjectName(key: $0) == nil }) == Set(place.ownFiles) else {
        throw RepositoryError.malformed(key: key, reason: "it does not name the files of its snapshot, and those alone")
      }
    }
    self.entries = entries
    digest = SHA256Digest(of: bytes)
  }

  package var bytes: [UInt8] { Self.bytes(of: entries) }

  private static func bytes(of entries: [StoreKey: SHA256Digest]) -> [UInt8] {
    Array(entries.sorted { $0.key < $1.key }.map { "\($0.value)  \($0.key)\n" }.joined().utf8)
  }

  package var objects: [ObjectName] { entries.keys.compactMap { ObjectName(key: $0) } }
}
