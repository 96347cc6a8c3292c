package import Digests

/// The name of an object: the SHA-256 of its stored bytes.
package struct ObjectName: Hashable, Sendable {
  package let digest: SHA256Digest
  /// Whether it is encrypted.
  package let isEncrypted: Bool

  package init(_ digest: SHA256Digest, isEncrypted: Bool) {
    self.digest = digest
    self.isEncrypted = isEncrypted
  }

  package static let root = "objects/"

  package var key: StoreKey {
    let text = digest.description
    return "\(Self.root)\(text.prefix(2))/\(text).zst\(isEncrypted ? SnapshotFiles.encryptedSuffix : "")"
  }

  package init?(hexadecimal text: String, isEncrypted: Bool) {
    guard let digest = SHA256Digest(hexadecimal: text[...]) else { return nil }
    self.init(digest, isEncrypted: isEncrypted)
  }

  private static let prefix = Array(root.utf8)
  private static let suffix = Array(".zst".utf8)
  private static let encryptedSuffix = Array(SnapshotFiles.encryptedSuffix.utf8)
  private static let clearLength = 8 + 3 + 64 + 4

  /// Nil where `key` is no object's.
  package init?(key: StoreKey) {
    guard let name = Self.name(in: key.utf8Span.span, at: 0), key.utf8.count == name.keyLength else { return nil }
    self = name
  }

  private var keyLength: Int { Self.clearLength + (isEncrypted ? Self.encryptedSuffix.count : 0) }

  /// The name of a key that begins in `text` at `start`.
  private static func name(in text: Span<UInt8>, at start: Int) -> ObjectName? {
    guard text.count >= start + clearLength else { return nil }
    for index in 0..<8 where text[start + index] != prefix[index] { return nil }
    guard text[start + 8] == text[start + 11], text[start + 9] == text[start + 12], text[start + 10] == UInt8(ascii: "/"),
      let digest = SHA256Digest(hexadecimal: text, at: start + 11)
    else { return nil }
    for index in 0..<4 where text[start + 75 + index] != suffix[index] { return nil }
    let end = start + clearLength
    let isEncrypted = text.count >= end + encryptedSuffix.count && encryptedSuffix.indices.allSatisfy { text[end + $0] == encryptedSuffix[$0] }
    return ObjectName(digest, isEncrypted: isEncrypted)
  }

  /// The length of an object's line in a list of checksums, with its end.
  var lineLength: Int { 64 + 2 + keyLength + 1 }
  static let shortestLine = 64 + 2 + clearLength + 1

  /// Parses a line of a list of checksums; nil if it names no object, or its checksum differs from the name.
  init?(line text: Span<UInt8>, at start: Int) {
    guard text.count >= start + Self.shortestLine, text[start + 64] == 0x20, text[start + 65] == 0x20,
      let name = Self.name(in: text, at: start + 66), text.count >= start + name.lineLength, text[start + name.lineLength - 1] == 0x0A,
      SHA256Digest(hexadecimal: text, at: start) == name.digest
    else { return nil }
    self = name
  }
}

/// Objects by number, in little memory: a store may have millions.
package struct ObjectTable: Sendable {
  private var names: [ObjectName] = []
  /// Where names hash to: a number and one, or 0 for none.
  private var slots = [UInt32](repeating: 0, count: 1 << 10)

  package init() {}

  package var count: Int { names.count }
  package subscript(number: Int) -> ObjectName { names[number] }

  private func slot(of name: ObjectName) -> Int {
    var slot = Int(truncatingIfNeeded: name.digest.first) & (slots.count - 1)
    while slots[slot] != 0, names[Int(slots[slot]) - 1] != name { slot = (slot + 1) & (slots.count - 1) }
    return slot
  }

  package func number(of name: ObjectName) -> Int? {
    let entry = slots[slot(of: name)]
    return entry == 0 ? nil : Int(entry) - 1
  }

  package func contains(_ name: ObjectName) -> Bool { slots[slot(of: name)] != 0 }

  /// The number of an object, a new one if it has none yet.
  @discardableResult package mutating func insert(_ name: ObjectName) -> Int {
    let place = slot(of: name)
    if slots[place] != 0 { return Int(slots[place]) - 1 }
    names.append(name)
    slots[place] = UInt32(names.count)
    if names.count * 2 > slots.count { grow() }
    return names.count - 1
  }

  private mutating func grow() {
    slots = [UInt32](repeating: 0, count: slots.count * 2)
    for (number, name) in names.enumerated() { slots[slot(of: name)] = UInt32(number + 1) }
  }
}
