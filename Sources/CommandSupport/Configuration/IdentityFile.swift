package import Encryption
internal import Platform
internal import SystemPackage

/// A file with age identities, or with an SSH key, maybe under a passphrase.
package struct IdentityFile {
  private let path: FilePath

  package init(_ path: String) { self.path = Host.path(path) }

  /// - Parameter warn: called if others can read the file.
  /// - Throws: `ConfigurationError`, `Interruption`.
  package func identities(warn: (String) -> Void) throws -> [AgeIdentity] {
    guard !path.string.uppercased().contains("AGE-SECRET-KEY") else {
      throw ConfigurationError(
        message: "an identity was given where a file with one is wanted",
        hint: "write it to a file of mode 0600, and name that: others see what is given so")
    }
    let bytes: [UInt8]
    do { bytes = try Folder.contents(of: path, limit: 1 << 20) } catch {
      throw ConfigurationError(message: "the identity file can't be read: \(error)", hint: "name one with --identity, or FIRN_IDENTITY")
    }
    if let status = try? Folder.status(of: path, followingLinks: true), status.mode & 0o077 != 0 {
      warn("others can read the identity file \(path): chmod 600 \(path)")
    }
    do {
      return try AgeIdentity.identities(in: bytes) {
        guard Terminal.isAttended else { return nil }
        return try Terminal.readSecret("Passphrase of \(path): ")
      }
    } catch let error as AgeError {
      throw ConfigurationError(message: "\(path): \(Self.reason(error))", hint: Self.hint(error))
    }
  }

  private static func reason(_ error: AgeError) -> String {
    switch error {
    case .notAnIdentity(let line): "line \(line) is no age identity"
    case .passphraseNeeded: "it needs a passphrase, and there is no terminal to ask for one"
    case .wrongPassphrase: "that is not its passphrase"
    case .malformed(let reason): "it is no file of identities: \(reason)"
    default: "it can't be opened: it is damaged"
    }
  }

  private static func hint(_ error: AgeError) -> String {
    switch error {
    case .passphraseNeeded: "run this at a terminal, or open it first: age -d FILE > OPENED; an SSH key: ssh-keygen -p on a copy"
    case .wrongPassphrase: "run it again"
    default: "it holds lines AGE-SECRET-KEY-1…, as firn key new and age-keygen write them, or one key of OpenSSH of type ed25519"
    }
  }
}
