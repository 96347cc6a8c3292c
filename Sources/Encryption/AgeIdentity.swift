internal import Crypto
internal import Foundation

/// A secret that opens files encrypted to its recipient.
package struct AgeIdentity: Sendable {
  private enum Kind: Sendable {
    case x25519(Curve25519.KeyAgreement.PrivateKey)
    case sshEd25519(Curve25519.KeyAgreement.PrivateKey, wire: [UInt8])
  }

  private let kind: Kind

  private init(kind: Kind) { self.kind = kind }

  /// From `AGE-SECRET-KEY-1…`; nil for what is none.
  package init?(_ text: String) {
    guard let (prefix, bytes) = Bech32.decode(text), prefix == "age-secret-key-", text == text.uppercased(),
      let key = try? Curve25519.KeyAgreement.PrivateKey(rawRepresentation: bytes)
    else { return nil }
    kind = .x25519(key)
  }

  init?(sshSeed seed: [UInt8], wire: [UInt8]) {
    // RFC 8032, 5.1.5: the first half of the seed's SHA-512 is the scalar.
    guard seed.count == 32, let key = try? Curve25519.KeyAgreement.PrivateKey(rawRepresentation: Array(SHA512.hash(data: seed).prefix(32))) else {
      return nil
    }
    kind = .sshEd25519(key, wire: wire)
  }

  /// Reads the identities of a file: lines `AGE-SECRET-KEY-1…` and comments, or one OpenSSH private key of type
  /// ed25519. The whole file may be encrypted with a passphrase by age.
  /// - Parameter passphrase: asks for the passphrase if one is needed; returns nil if there is no way to ask.
  /// - Throws: `AgeError`, and errors of `passphrase`.
  package static func identities(in file: [UInt8], passphrase: () throws -> String?) throws -> [AgeIdentity] {
    let file = try AgeArmor.opened(file)
    if AgeFile.isOne(file) {
      guard let word = try passphrase() else { throw AgeError.passphraseNeeded }
      return try identities(inPlain: AgeFile.open(file, passphrase: word))
    }
    return try identities(inPlain: file)
  }

  private static func identities(inPlain file: [UInt8]) throws(AgeError) -> [AgeIdentity] {
    let text = String(decoding: file, as: UTF8.self)
    if text.contains("-----BEGIN OPENSSH PRIVATE KEY-----") { return [try SSHPrivateKey.identity(in: text)] }
    var identities: [AgeIdentity] = []
    for (number, line) in text.split(whereSeparator: \.isNewline).enumerated() {
      let line = line.trimmingCharacters(in: .whitespaces)
      if line.isEmpty || line.hasPrefix("#") { continue }
      guard let identity = AgeIdentity(line) else { throw .notAnIdentity(line: number + 1) }
      identities.append(identity)
    }
    guard !identities.isEmpty else { throw .notAnIdentity(line: 1) }
    return identities
  }

  /// The recipient that belongs to this identity.
  package var recipient: AgeRecipient {
    switch kind {
    case .x25519(let key): AgeRecipient(x25519: Array(key.publicKey.rawRepresentation))
    case .sshEd25519(let key, let wire): AgeRecipient(sshWire: wire, montgomery: Array(key.publicKey.rawRepresentation))
    }
  }

  /// Makes a new one.
  /// - Returns: it, and its text as age writes it: a secret.
  package static func make() -> (identity: AgeIdentity, secret: String) {
    let key = Curve25519.KeyAgreement.PrivateKey()
    return (AgeIdentity(kind: .x25519(key)), Bech32.encode(Array(key.rawRepresentation), prefix: "age-secret-key-").uppercased())
  }

  /// The file key; nil where the stanza is another's.
  /// - Throws: `AgeError.malformed`.
  func unwrap(_ stanza: AgeHeader.Stanza) throws(AgeError) -> SymmetricKey? {
    switch kind {
    case .x25519(let key):
      guard stanza.type == "X25519" else { return nil }
      guard stanza.arguments.count == 1, let share = Base64.decode(stanza.arguments[0]), share.count == 32, stanza.body.count == 32 else {
        throw .malformed(reason: "a recipient's part")
      }
      // A share without a secret, such as zero.
      guard let secret = try? Agreement.secret(key, share) else { throw .malformed(reason: "a recipient's part") }
      return Agreement.open(stanza.body, secret, salt: share + Array(key.publicKey.rawRepresentation), info: Agreement.x25519)
    case .sshEd25519(let key, let wire):
      guard stanza.type == "ssh-ed25519" else { return nil }
      guard stanza.arguments.count == 2, let tag = Base64.decode(stanza.arguments[0]), tag.count == 4,
        let share = Base64.decode(stanza.arguments[1]), share.count == 32, stanza.body.count == 32
      else { throw .malformed(reason: "a recipient's part") }
      guard tag == Array(SHA256.hash(data: wire).prefix(4)) else { return nil }
      guard let secret = try? Agreement.tweaked(Agreement.secret(key, share), wire) else { throw .malformed(reason: "a recipient's part") }
      return Agreement.open(stanza.body, secret, salt: share + Array(key.publicKey.rawRepresentation), info: Agreement.ssh)
    }
  }
}
