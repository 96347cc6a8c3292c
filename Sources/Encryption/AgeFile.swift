/// Files encrypted as age does, version 1 (age-encryption.org/v1, C2SP's age.md).
package enum AgeFile {
  /// Encrypts to recipients; each of them can open it alone.
  /// - Throws: `AgeError.notARecipient`.
  package static func seal(_ plain: [UInt8], to recipients: [AgeRecipient]) throws(AgeError) -> [UInt8] {
    seal(plain, with: try AgeSealer(to: recipients))
  }

  private static func seal(_ plain: [UInt8], with sealer: AgeSealer) -> [UInt8] {
    var sealer = sealer
    var sealed = sealer.begin()
    sealed.reserveCapacity(sealed.count + AgePayload.sealedLength(of: plain.count))
    sealer.seal(plain[...], into: &sealed)
    sealer.finish(into: &sealed)
    return sealed
  }

  /// - Throws: `AgeError`.
  package static func open(_ file: [UInt8], with identities: [AgeIdentity]) throws(AgeError) -> [UInt8] {
    let opened = try OpenedAgeFile(beginning: file, with: identities)
    return try opened.plain(ofAll: file[opened.payloadStart...])
  }

  /// Opens a file that is encrypted to a passphrase.
  /// - Throws: `AgeError`.
  package static func open(_ file: [UInt8], passphrase: String) throws(AgeError) -> [UInt8] {
    let header = try AgeHeader(parsing: file)
    guard let stanza = header.stanzas.first, stanza.type == Passphrase.type else { throw .noMatchingIdentity }
    guard let fileKey = try Passphrase.unwrap(stanza, passphrase) else { throw .wrongPassphrase }
    let opened = try OpenedAgeFile(header, fileKey, beginning: file)
    return try opened.plain(ofAll: file[opened.payloadStart...])
  }

  /// Encrypts to a passphrase.
  package static func seal(_ plain: [UInt8], passphrase: String) -> [UInt8] {
    seal(plain, with: AgeSealer(passphrase: passphrase))
  }

  /// What is in an armor, as age makes it for text; what has none as it is.
  /// - Throws: `AgeError.malformed`.
  package static func withoutArmor(_ file: [UInt8]) throws(AgeError) -> [UInt8] { try AgeArmor.opened(file) }

  /// Whether bytes begin as such a file.
  package static func isOne(_ file: some Sequence<UInt8>) -> Bool { file.starts(with: (AgeHeader.version + "\n").utf8) }

  /// A header and a nonce are no longer than this.
  package static let longestStart = AgeHeader.sizeLimit + AgePayload.nonceLength

  /// The bytes of a file of which the payload has so many, after its header and nonce.
  package static func payloadLength(ofPlain plain: Int64) -> Int64 { Int64(AgePayload.sealedLength(of: Int(plain))) }
}
