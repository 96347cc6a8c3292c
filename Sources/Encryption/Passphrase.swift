internal import Crypto
internal import CryptoExtras
internal import Foundation

/// File keys wrapped by passphrases (scrypt, RFC 7914).
enum Passphrase {
  static let type = "scrypt"
  private static let label = Array("age-encryption.org/v1/scrypt".utf8)
  /// The most work a file may ask for: a gigabyte of memory.
  private static let mostWork = 20
  /// 256 MiB, as age takes.
  private static let work = 18

  static func randomBytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255) } }

  static func wrap(_ fileKey: SymmetricKey, _ passphrase: String) -> AgeHeader.Stanza {
    let salt = randomBytes(16)
    // These fail for lack of memory alone.
    let body = try! Agreement.encrypted(fileKey, key(passphrase, salt, work: work))
    return AgeHeader.Stanza(type: type, arguments: [Base64.encode(salt), "\(work)"], body: body)
  }

  /// - Returns: nil for a wrong passphrase.
  /// - Throws: `AgeError.malformed`.
  static func unwrap(_ stanza: AgeHeader.Stanza, _ passphrase: String) throws(AgeError) -> SymmetricKey? {
    guard stanza.arguments.count == 2, let salt = Base64.decode(stanza.arguments[0]), salt.count == 16, stanza.body.count == 32 else {
      throw .malformed(reason: "the passphrase's part")
    }
    guard let work = Int(stanza.arguments[1]), "\(work)" == stanza.arguments[1], (1...mostWork).contains(work) else {
      throw .malformed(reason: "it asks for work out of measure")
    }
    guard let key = try? key(passphrase, salt, work: work) else { throw .malformed(reason: "it asks for more memory than there is") }
    return Agreement.opened(stanza.body, key)
  }

  private static func key(_ passphrase: String, _ salt: [UInt8], work: Int) throws -> SymmetricKey {
    try KDF.Scrypt.deriveKey(
      from: Array(passphrase.utf8), salt: label + salt, outputByteCount: 32, rounds: 1 << work, blockSize: 8, parallelism: 1)
  }
}
