internal import Crypto
internal import Foundation

/// The text part of an age file: for each recipient the file key, wrapped.
struct AgeHeader: Sendable {
  /// The data with which one recipient finds the file key.
  struct Stanza: Sendable, Equatable {
    let type: String
    let arguments: [String]
    let body: [UInt8]
  }

  static let version = "age-encryption.org/v1"
  /// A header longer than this is none: twenty recipients take 2 KB.
  static let sizeLimit = 1 << 16

  let stanzas: [Stanza]
  private let authenticated: [UInt8]
  private let code: [UInt8]
  /// Bytes of all of it, with its last line's end.
  let length: Int

  init(_ stanzas: [Stanza], fileKey: SymmetricKey) {
    self.stanzas = stanzas
    var text = Self.version + "\n"
    for stanza in stanzas {
      text += "-> " + ([stanza.type] + stanza.arguments).joined(separator: " ") + "\n"
      var body = Base64.encode(stanza.body)[...]
      while body.utf8.count >= 64 {
        text += body.prefix(64) + "\n"
        body = body.dropFirst(64)
      }
      text += body + "\n"
    }
    text += "---"
    authenticated = Array(text.utf8)
    code = Self.code(of: authenticated, fileKey)
    length = authenticated.count + 1 + Base64.encode(code).utf8.count + 1
  }

  var bytes: [UInt8] { authenticated + Array(" \(Base64.encode(code))\n".utf8) }

  /// Reads a header from the beginning of a file.
  /// - Throws: `AgeError.malformed`.
  init(parsing file: some Sequence<UInt8>) throws(AgeError) {
    let bytes = Array(file.prefix(Self.sizeLimit))
    var lines = LineReader(bytes)
    guard try lines.next() == Self.version else { throw .malformed(reason: "it does not begin as one") }
    var stanzas: [Stanza] = []
    while true {
      let start = lines.place
      let words = try lines.next().split(separator: " ", omittingEmptySubsequences: false).map(String.init)
      if words[0] == "---" {
        guard words.count == 2, let code = Base64.decode(words[1]), code.count == 32 else { throw .malformed(reason: "its header's end") }
        // A passphrase must be the only recipient, otherwise anyone else's stanza could stand beside it
        // unauthenticated.
        guard stanzas.count == 1 || !stanzas.contains(where: { $0.type == Passphrase.type }) else { throw .malformed(reason: "its recipients") }
        self.stanzas = stanzas
        self.code = code
        authenticated = Array(bytes[..<(start + 3)])
        length = lines.place
        return
      }
      guard words[0] == "->", words.count >= 2, words.dropFirst().allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy { (33...126).contains($0) } }) else {
        throw .malformed(reason: "a line of its header")
      }
      var body: [UInt8] = []
      while true {
        let line = try lines.next()
        guard line.utf8.count <= 64, let part = Base64.decode(line) else { throw .malformed(reason: "a recipient's part") }
        body += part
        if line.utf8.count < 64 { break }
      }
      stanzas.append(Stanza(type: words[1], arguments: Array(words.dropFirst(2)), body: body))
    }
  }

  /// Whether the header is as it was made with this key.
  func isAuthentic(_ fileKey: SymmetricKey) -> Bool {
    let expected = Self.code(of: authenticated, fileKey)
    // The codes have the same length; the comparison takes the same time wherever they differ.
    return zip(expected, code).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }

  private static func code(of bytes: [UInt8], _ fileKey: SymmetricKey) -> [UInt8] {
    let key = HKDF<SHA256>.deriveKey(inputKeyMaterial: fileKey, salt: Data(), info: Data("header".utf8), outputByteCount: 32)
    return Array(HMAC<SHA256>.authenticationCode(for: bytes, using: key))
  }
}

/// Base64 without padding, in the one form that age takes.
enum Base64 {
  static func encode(_ bytes: some Sequence<UInt8>) -> String {
    String(Data(bytes).base64EncodedString().prefix { $0 != "=" })
  }

  static func decode(_ text: String) -> [UInt8]? {
    guard text.utf8.count % 4 != 1 else { return nil }
    let padding = String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
    guard let data = Data(base64Encoded: text + padding), encode(data) == text else { return nil }
    return Array(data)
  }
}

private struct LineReader {
  private let bytes: [UInt8]
  private(set) var place = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func next() throws(AgeError) -> String {
    guard let end = bytes[place...].firstIndex(of: 0x0A) else { throw .malformed(reason: "its header is cut off") }
    defer { place = end + 1 }
    return String(decoding: bytes[place..<end], as: UTF8.self)
  }
}
