/// Files encrypted as age does, version 1 (age-encryption.org/v1, C2SP's age.md).
package enum AgeFile {
  /// Encrypts to recipients; each of them can open it alone.
  /// - Throws: `AgeError.notARecipient`.
  package static func encrypt(_ plain: [UInt8], to recipients: [AgeRecipient]) throws(AgeError) -> [UInt8] {
    encrypt(plain, with: try AgeEncryptor(to: recipients))
  }

  private static func encrypt(_ plain: [UInt8], with encryptor: AgeEncryptor) -> [UInt8] {
    var encryptor = encryptor
    var encrypted = encryptor.begin()
    encrypted.reserveCapacity(encrypted.count + AgePayload.encryptedLength(of: plain.count))
    encryptor.encrypt(plain[...], into: &encrypted)
    encryptor.finish(into: &encrypted)
    return encrypted
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
  package static func encrypt(_ plain: [UInt8], passphrase: String) -> [UInt8] {
    encrypt(plain, with: AgeEncryptor(passphrase: passphrase))
  }

  /// The content of an armored file (age's form for text); a file without armor is returned unchanged.
  /// - Throws: `AgeError.malformed`.
  package static func withoutArmor(_ file: [UInt8]) throws(AgeError) -> [UInt8] { try AgeArmor.opened(file) }

  /// Whether bytes begin as such a file.
  package static func isOne(_ file: some Sequence<UInt8>) -> Bool { file.starts(with: (AgeHeader.version + "\n").utf8) }

  /// A header and a nonce are no longer than this.
  package static let longestStart = AgeHeader.sizeLimit + AgePayload.nonceLength

  /// The bytes of a file of which the payload has so many, after its header and nonce.
  package static func payloadLength(ofPlain plain: Int64) -> Int64 { Int64(AgePayload.encryptedLength(of: Int(plain))) }
}
