internal import Crypto
internal import Foundation

/// The bytes after the header, in pieces of 64 KiB (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár).
struct AgePayload: Sendable {
  static let nonceLength = 16
  static let piece = 1 << 16
  static let tagLength = 16
  static let encryptedPiece = piece + tagLength

  private let key: SymmetricKey

  init(_ fileKey: SymmetricKey, nonce: [UInt8]) {
    key = HKDF<SHA256>.deriveKey(inputKeyMaterial: fileKey, salt: nonce, info: Data("payload".utf8), outputByteCount: 32)
  }

  /// How many pieces so many plain bytes take: an empty file has one.
  static func pieces(of plain: Int) -> Int { max(1, (plain + piece - 1) / piece) }

  static func encryptedLength(of plain: Int) -> Int { plain + tagLength * pieces(of: plain) }

  private static func nonce(_ piece: Int, isLast: Bool) -> [UInt8] {
    let counter = UInt64(piece)
    return [0, 0, 0] + (0..<8).map { UInt8(truncatingIfNeeded: counter >> UInt64(8 * (7 - $0))) } + [isLast ? 1 : 0]
  }

  func encrypt(_ plain: ArraySlice<UInt8>, piece: Int, isLast: Bool, into encrypted: inout [UInt8]) {
    // It fails for no input.
    let box = try! ChaChaPoly.seal(plain, using: key, nonce: .init(data: Self.nonce(piece, isLast: isLast)))
    encrypted += box.combined.dropFirst(12)
  }

  /// - Throws: `AgeError.damaged`.
  func open(_ encrypted: ArraySlice<UInt8>, piece: Int, isLast: Bool) throws(AgeError) -> Data {
    do {
      var combined = Data(Self.nonce(piece, isLast: isLast))
      combined.append(contentsOf: encrypted)
      return try ChaChaPoly.open(ChaChaPoly.SealedBox(combined: combined), using: key)
    } catch {
      throw .damaged
    }
  }
}

/// Encrypts bytes that come in parts.
package struct AgeEncryptor: Sendable {
  private let header: AgeHeader
  private let nonce: [UInt8]
  private let payload: AgePayload
  /// Bytes whose piece is not known to be the last or not.
  private var waiting: [UInt8] = []
  private var piece = 0

  /// - Throws: `AgeError.notARecipient`.
  package init(to recipients: [AgeRecipient]) throws(AgeError) {
    precondition(!recipients.isEmpty, "at least one recipient is needed")
    let fileKey = SymmetricKey(size: .bits128)
    var stanzas: [AgeHeader.Stanza] = []
    for recipient in recipients { stanzas.append(try recipient.wrap(fileKey)) }
    self.init(stanzas, fileKey)
  }

  init(passphrase: String) {
    let fileKey = SymmetricKey(size: .bits128)
    self.init([Passphrase.wrap(fileKey, passphrase)], fileKey)
  }

  private init(_ stanzas: [AgeHeader.Stanza], _ fileKey: SymmetricKey) {
    header = AgeHeader(stanzas, fileKey: fileKey)
    nonce = Passphrase.randomBytes(AgePayload.nonceLength)
    payload = AgePayload(fileKey, nonce: nonce)
  }

  /// The first bytes of the file.
  package func begin() -> [UInt8] { header.bytes + nonce }

  package mutating func encrypt(_ plain: ArraySlice<UInt8>, into encrypted: inout [UInt8]) {
    var rest = plain
    if !waiting.isEmpty {
      let taken = rest.prefix(AgePayload.piece - waiting.count)
      waiting += taken
      rest = rest.dropFirst(taken.count)
      guard !rest.isEmpty else { return }
      // Full, and something follows.
      put(waiting[...], isLast: false, into: &encrypted)
      waiting.removeAll(keepingCapacity: true)
    }
    while rest.count > AgePayload.piece {
      put(rest.prefix(AgePayload.piece), isLast: false, into: &encrypted)
      rest = rest.dropFirst(AgePayload.piece)
    }
    waiting += rest
  }

  package mutating func finish(into encrypted: inout [UInt8]) {
    put(waiting[...], isLast: true, into: &encrypted)
    waiting = []
  }

  private mutating func put(_ plain: ArraySlice<UInt8>, isLast: Bool, into encrypted: inout [UInt8]) {
    payload.encrypt(plain, piece: piece, isLast: isLast, into: &encrypted)
    piece += 1
  }
}

/// An age file whose key is known: any part of it can be read.
package struct OpenedAgeFile: Sendable {
  private let payload: AgePayload
  /// Where the encrypted bytes begin in the file.
  package let payloadStart: Int

  /// - Parameter beginning: the file's first bytes, its whole header among them.
  /// - Throws: `AgeError.malformed`, `.noMatchingIdentity`.
  package init(beginning: [UInt8], with identities: [AgeIdentity]) throws(AgeError) {
    let header = try AgeHeader(parsing: beginning)
    for identity in identities {
      for stanza in header.stanzas {
        if let key = try identity.unwrap(stanza) {
          self = try OpenedAgeFile(header, key, beginning: beginning)
          return
        }
      }
    }
    throw .noMatchingIdentity
  }

  init(_ header: AgeHeader, _ fileKey: SymmetricKey, beginning: [UInt8]) throws(AgeError) {
    guard header.isAuthentic(fileKey) else { throw .malformed(reason: "its header was changed") }
    let end = header.length + AgePayload.nonceLength
    guard beginning.count >= end else { throw .malformed(reason: "it is cut off") }
    payload = AgePayload(fileKey, nonce: Array(beginning[header.length..<end]))
    payloadStart = end
  }

  /// Where the encrypted bytes lie, counted from the payload's start, that hold a part of the plain ones.
  package static func encryptedRange(of part: Range<Int64>, in plainLength: Int64) -> Range<Int64> {
    let first = part.lowerBound / Int64(AgePayload.piece)
    let end = max(first + 1, (part.upperBound + Int64(AgePayload.piece) - 1) / Int64(AgePayload.piece))
    return first * Int64(AgePayload.encryptedPiece)..<min(end * Int64(AgePayload.encryptedPiece), AgeFile.payloadLength(ofPlain: plainLength))
  }

  /// Part of the plain bytes.
  /// - Parameters:
  ///   - encrypted: the encrypted bytes of `encryptedRange(of:in:)`.
  ///   - plainLength: of the whole file: a file that ends elsewhere is damaged.
  /// - Throws: `AgeError.damaged`.
  package func plain(_ part: Range<Int64>, of encrypted: ArraySlice<UInt8>, in plainLength: Int64) throws(AgeError) -> [UInt8] {
    let first = Int(part.lowerBound) / AgePayload.piece
    let plain = try open(encrypted, from: first, lastOfFile: AgePayload.pieces(of: Int(plainLength)) - 1)
    let start = Int(part.lowerBound) - first * AgePayload.piece
    guard plain.count >= start + part.count else { throw .damaged }
    return start == 0 && plain.count == part.count ? plain : Array(plain[start..<(start + part.count)])
  }

  /// All of the plain bytes.
  /// - Throws: `AgeError.damaged`.
  package func plain(ofAll encrypted: ArraySlice<UInt8>) throws(AgeError) -> [UInt8] {
    try open(encrypted, from: 0, lastOfFile: max(1, (encrypted.count + AgePayload.encryptedPiece - 1) / AgePayload.encryptedPiece) - 1)
  }

  private func open(_ encrypted: ArraySlice<UInt8>, from first: Int, lastOfFile: Int) throws(AgeError) -> [UInt8] {
    var plain: [UInt8] = []
    plain.reserveCapacity(encrypted.count)
    var rest = encrypted
    var piece = first
    repeat {
      let opened = try payload.open(rest.prefix(AgePayload.encryptedPiece), piece: piece, isLast: piece == lastOfFile)
      // Only an empty file ends in an empty piece.
      if opened.isEmpty && piece > 0 { throw .damaged }
      plain += opened
      rest = rest.dropFirst(AgePayload.encryptedPiece)
      piece += 1
    } while !rest.isEmpty
    return plain
  }
}
