internal import Crypto
internal import Foundation

/// Somebody a file is encrypted to.
package struct AgeRecipient: Sendable, Hashable, CustomStringConvertible {
  private enum Kind: Sendable, Hashable {
    case x25519([UInt8])
    case sshEd25519(wire: [UInt8], montgomery: [UInt8])
  }

  private let kind: Kind
  /// As users write it.
  package let description: String

  /// From `age1…`, or a line of an OpenSSH public key `ssh-ed25519 …`.
  /// - Throws: `AgeError.notARecipient`.
  package init(_ text: String) throws(AgeError) {
    let text = text.trimmingCharacters(in: .whitespacesAndNewlines)
    let words = text.split(separator: " ")
    if words.first == "ssh-ed25519", words.count >= 2 {
      guard let wire = Base64.decode(String(words[1].prefix { $0 != "=" })), let key = SSHWire.ed25519Key(wire),
        let point = EdwardsKey.montgomery(key)
      else {
        throw .notARecipient(text)
      }
      kind = .sshEd25519(wire: wire, montgomery: point)
      description = "ssh-ed25519 \(words[1])"
      return
    }
    guard let (prefix, bytes) = Bech32.decode(text), prefix == "age", bytes.count == 32, text == text.lowercased() else { throw .notARecipient(text) }
    kind = .x25519(bytes)
    description = text
  }

  /// Parses like `init(_:)`, and also encrypts once: an invalid key shows only then.
  /// - Throws: `AgeError.notARecipient`.
  package static func tried(_ text: String) throws(AgeError) -> AgeRecipient {
    let recipient = try AgeRecipient(text)
    _ = try AgeFile.encrypt([], to: [recipient])
    return recipient
  }

  init(x25519 key: [UInt8]) {
    kind = .x25519(key)
    description = Bech32.encode(key, prefix: "age")
  }

  init(sshWire wire: [UInt8], montgomery: [UInt8]) {
    kind = .sshEd25519(wire: wire, montgomery: montgomery)
    description = "ssh-ed25519 \(Data(wire).base64EncodedString())"
  }

  /// - Throws: `AgeError.notARecipient` for an invalid key.
  func wrap(_ fileKey: SymmetricKey) throws(AgeError) -> AgeHeader.Stanza {
    let passing = Curve25519.KeyAgreement.PrivateKey()
    let share = Array(passing.publicKey.rawRepresentation)
    do {
      switch kind {
      case .x25519(let key):
        let secret = try Agreement.secret(passing, key)
        return AgeHeader.Stanza(
          type: "X25519", arguments: [Base64.encode(share)], body: try Agreement.encrypt(fileKey, secret, salt: share + key, info: Agreement.x25519))
      case .sshEd25519(let wire, let montgomery):
        let secret = try Agreement.tweaked(Agreement.secret(passing, montgomery), wire)
        return AgeHeader.Stanza(
          type: "ssh-ed25519", arguments: [Base64.encode(SHA256.hash(data: wire).prefix(4)), Base64.encode(share)],
          body: try Agreement.encrypt(fileKey, secret, salt: share + montgomery, info: Agreement.ssh))
      }
    } catch {
      throw .notARecipient(description)
    }
  }
}

/// The key agreements that wrap file keys.
enum Agreement {
  static let x25519 = "age-encryption.org/v1/X25519"
  static let ssh = "age-encryption.org/v1/ssh-ed25519"

  static func secret(_ key: Curve25519.KeyAgreement.PrivateKey, _ point: [UInt8]) throws -> [UInt8] {
    let shared = try key.sharedSecretFromKeyAgreement(with: .init(rawRepresentation: point))
    let bytes = unsafe shared.withUnsafeBytes { unsafe Array($0) }
    // A point of low order: everybody would share it (RFC 7748, 6.1).
    guard bytes.contains(where: { $0 != 0 }) else { throw CryptoKitError.incorrectParameterSize }
    return bytes
  }

  /// Binds a shared secret to one SSH key.
  static func tweaked(_ secret: [UInt8], _ wire: [UInt8]) throws -> [UInt8] {
    let tweak = HKDF<SHA256>.deriveKey(inputKeyMaterial: SymmetricKey(data: [UInt8]()), salt: wire, info: Data(ssh.utf8), outputByteCount: 32)
    let bytes = unsafe tweak.withUnsafeBytes { unsafe Array($0) }
    return try self.secret(.init(rawRepresentation: bytes), secret)
  }

  private static func key(_ secret: [UInt8], salt: [UInt8], info: String) -> SymmetricKey {
    HKDF<SHA256>.deriveKey(inputKeyMaterial: SymmetricKey(data: secret), salt: salt, info: Data(info.utf8), outputByteCount: 32)
  }

  static func encrypt(_ fileKey: SymmetricKey, _ secret: [UInt8], salt: [UInt8], info: String) throws -> [UInt8] {
    try encrypted(fileKey, key(secret, salt: salt, info: info))
  }

  static func open(_ body: [UInt8], _ secret: [UInt8], salt: [UInt8], info: String) -> SymmetricKey? {
    opened(body, key(secret, salt: salt, info: info))
  }

  /// A key is used once: so its nonce is zero.
  static func encrypted(_ fileKey: SymmetricKey, _ key: SymmetricKey) throws -> [UInt8] {
    let plain = unsafe fileKey.withUnsafeBytes { unsafe Data($0) }
    let box = try ChaChaPoly.seal(plain, using: key, nonce: .init(data: [UInt8](repeating: 0, count: 12)))
    return Array(box.ciphertext + box.tag)
  }

  static func opened(_ body: [UInt8], _ key: SymmetricKey) -> SymmetricKey? {
    guard body.count == 32, let box = try? ChaChaPoly.SealedBox(combined: [UInt8](repeating: 0, count: 12) + body),
      let plain = try? ChaChaPoly.open(box, using: key)
    else { return nil }
    return SymmetricKey(data: plain)
  }
}
