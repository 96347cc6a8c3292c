package import Digests

/// The name of an object: the SHA-256 of its stored bytes.
package struct ObjectName: Hashable, Sendable {
  package let digest: SHA256Digest

  package init(_ digest: SHA256Digest) { self.digest = digest }

  package static let root = "objects/"

  package var key: StoreKey {
    let text = digest.description
    return "\(Self.root)\(text.prefix(2))/\(text).zst"
  }

  package init?(hexadecimal text: String) {
    guard let digest = SHA256Digest(hexadecimal: text[...]) else { return nil }
    self.init(digest)
  }

  /// Nil where `key` is no object's.
  package init?(key: StoreKey) {
    guard key.hasPrefix(Self.root), key.hasSuffix(".zst") else { return nil }
    let parts = key.dropFirst(Self.root.count).dropLast(4).split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let digest = SHA256Digest(hexadecimal: parts[1]), parts[1].hasPrefix(parts[0]), parts[0].count == 2
    else { return nil }
    self.init(digest)
  }
}
