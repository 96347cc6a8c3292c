internal import Foundation

/// Reads the wire form of SSH's keys (RFC 4251, 5).
struct SSHWire {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  mutating func number() -> UInt32? {
    guard rest.count >= 4 else { return nil }
    defer { rest = rest.dropFirst(4) }
    return rest.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
  }

  mutating func string() -> [UInt8]? {
    guard let length = number(), rest.count >= Int(length) else { return nil }
    defer { rest = rest.dropFirst(Int(length)) }
    return Array(rest.prefix(Int(length)))
  }

  mutating func text() -> String? { string().map { String(decoding: $0, as: UTF8.self) } }

  mutating func skip(_ count: Int) { rest = rest.dropFirst(count) }

  var isAtEnd: Bool { rest.isEmpty }

  /// The 32 bytes of a public key of type ssh-ed25519.
  static func ed25519Key(_ wire: [UInt8]) -> [UInt8]? {
    var reader = SSHWire(wire)
    guard reader.text() == "ssh-ed25519", let key = reader.string(), key.count == 32, reader.isAtEnd else { return nil }
    return key
  }
}

/// OpenSSH's file of a private key (PROTOCOL.key in its sources).
enum SSHPrivateKey {
  /// - Throws: `AgeError.passphraseNeeded` for one under a passphrase, `.notAnIdentity` for one of another type.
  static func identity(in text: String) throws(AgeError) -> AgeIdentity {
    let lines = text.split(whereSeparator: \.isNewline).filter { !$0.hasPrefix("-----") }
    guard let data = Data(base64Encoded: lines.joined()), data.starts(with: Array("openssh-key-v1\0".utf8)) else { throw .notAnIdentity(line: 1) }
    var reader = SSHWire(Array(data))
    reader.skip(15)
    guard let cipher = reader.text(), reader.string() != nil, reader.string() != nil, reader.number() == 1, let wire = reader.string(),
      let secrets = reader.string()
    else { throw .notAnIdentity(line: 1) }
    guard cipher == "none" else { throw .passphraseNeeded }
    var secret = SSHWire(secrets)
    guard let check = secret.number(), secret.number() == check, secret.text() == "ssh-ed25519", let key = secret.string(),
      let pair = secret.string(), pair.count == 64, Array(pair.suffix(32)) == key, SSHWire.ed25519Key(wire) == key,
      let identity = AgeIdentity(sshSeed: Array(pair.prefix(32)), wire: wire)
    else { throw .notAnIdentity(line: 1) }
    return identity
  }
}
