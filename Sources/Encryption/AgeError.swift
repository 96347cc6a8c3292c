/// Errors of age files and keys that callers need to distinguish.
package enum AgeError: Error, Equatable {
  /// It is no age file, or its header was changed.
  case malformed(reason: String)
  /// Its payload was changed or is cut off.
  case damaged
  /// None of the identities can open it.
  case noMatchingIdentity
  case wrongPassphrase
  /// A text that is no recipient. It is no secret.
  case notARecipient(String)
  /// A line of an identity file that is no identity. Its text may be a secret and is never printed.
  case notAnIdentity(line: Int)
  /// A private key needs a passphrase, and there is no way to ask for it.
  case passphraseNeeded
}
