internal import Platform
package import Foundation

/// The name of a snapshot: its start in UTC and four random characters, as `20261122T020000Z-k3f9`.
/// Names sort by time.
package struct SnapshotID: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  package let description: String

  private static let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567")

  package init(startedAt date: Date, random: inout some RandomNumberGenerator) {
    let suffix = String((0..<4).map { _ in Self.alphabet.randomElement(using: &random)! })
    description = "\(Self.stamp(date))-\(suffix)"
  }

  /// An id that also sorts after `newest` if both are from the same second, so that the later snapshot is the
  /// latest.
  package init(startedAt date: Date, after newest: SnapshotID?, random: inout some RandomNumberGenerator) {
    var id = SnapshotID(startedAt: date, random: &random)
    if let newest, newest.description.hasPrefix(Self.stamp(date)) {
      var tries = 0
      while id <= newest && tries < 10_000 {
        id = SnapshotID(startedAt: date, random: &random)
        tries += 1
      }
    }
    self = id
  }

  /// Nil where `text` is not of the form.
  package init?(_ text: some StringProtocol) {
    var place = 0
    for byte in text.utf8 {
      let fits =
        switch place {
        case 8: byte == UInt8(ascii: "T")
        case 15: byte == UInt8(ascii: "Z")
        case 16: byte == UInt8(ascii: "-")
        case 0..<15: (0x30...0x39).contains(byte)
        default: (0x61...0x7A).contains(byte) || (0x32...0x37).contains(byte)
        }
      guard fits, place < 21 else { return nil }
      place += 1
    }
    guard place == 21 else { return nil }
    description = String(text)
  }

  package init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let id = SnapshotID(text) else {
      throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "not a snapshot's id"))
    }
    self = id
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }

  /// When it started, in seconds since 1970.
  package var startedAt: Int64 {
    let digits = description.utf8.prefix(15).filter { $0 != UInt8(ascii: "T") }.map { Int($0) - 0x30 }
    func number(_ start: Int, _ length: Int) -> Int { digits[start..<(start + length)].reduce(0) { $0 * 10 + $1 } }
    let parts = DateComponents(
      year: number(0, 4), month: number(4, 2), day: number(6, 2), hour: number(8, 2), minute: number(10, 2), second: number(12, 2))
    return Int64(Calendar.utc.date(from: parts)?.timeIntervalSince1970 ?? 0)
  }

  package var startDate: Date { Date(timeIntervalSince1970: Double(startedAt)) }

  /// `date` in UTC as `20261122T020000Z`.
  package static func stamp(_ date: Date) -> String {
    let parts = Calendar.utc.dateComponents([.year, .month, .day, .hour, .minute, .second], from: date)
    func padded(_ number: Int?, _ width: Int) -> String {
      let digits = String(number ?? 0)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    return padded(parts.year, 4) + padded(parts.month, 2) + padded(parts.day, 2) + "T" + padded(parts.hour, 2)
      + padded(parts.minute, 2) + padded(parts.second, 2) + "Z"
  }

  package static func < (left: Self, right: Self) -> Bool { left.description < right.description }
}

extension Date {
  /// The time in UTC as it stands in ids: `20261122T020000Z`.
  package var idStamp: String { SnapshotID.stamp(self) }
}

/// The keys of a snapshot's own files: what its list of checksums names besides objects.
package struct SnapshotFiles: Sendable, Equatable {
  /// The suffix of encrypted files.
  static let encryptedSuffix = ".age"
  static let manifestName = "manifest.json"

  package let manifest: StoreKey
  package let chunkTable: StoreKey
  package let globals: StoreKey
  package let recoverScript: StoreKey
  package let areEncrypted: Bool

  init(_ prefix: StoreKey, areEncrypted: Bool) {
    let suffix = areEncrypted ? Self.encryptedSuffix : ""
    manifest = prefix + Self.manifestName + suffix
    chunkTable = prefix + "chunks.tsv.zst" + suffix
    globals = prefix + "globals.sql.zst" + suffix
    recoverScript = prefix + "recover.sh"
    self.areEncrypted = areEncrypted
  }

  package var all: [StoreKey] { [manifest, chunkTable, globals, recoverScript] }
}

extension String {
  /// The text as one component of a key: bytes but letters, digits, `_`, `-` and inner `.` are written `%XX`.
  package var keyComponent: String {
    // As a rule nothing of it has to be encoded.
    if utf8.allSatisfy(Self.isPlain) { return self }
    var result = ""
    for (index, byte) in utf8.enumerated() {
      if Self.isPlain(byte) || byte == UInt8(ascii: ".") && index > 0 {
        result.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        let digits = String(byte, radix: 16, uppercase: true)
        result += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
      }
    }
    return result
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "_"), UInt8(ascii: "-"): true
    default: false
    }
  }

  /// The inverse of `keyComponent`; nil for what it never makes.
  package init?(keyComponent: some StringProtocol) {
    // As a rule nothing of it is encoded.
    if keyComponent.utf8.allSatisfy(Self.isPlain), !keyComponent.isEmpty {
      self = String(keyComponent)
      return
    }
    guard let text = String(keyComponent).removingPercentEncoding, !text.isEmpty, text.keyComponent == keyComponent else { return nil }
    self = text
  }
}
