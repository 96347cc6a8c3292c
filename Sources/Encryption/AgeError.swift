/// What can be wrong with an age file or a key, as far as callers tell it apart.
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
  /// A line of an identity file that is none. Its text may be a secret and is not told.
  case notAnIdentity(line: Int)
  /// A private key that asks for a passphrase, where none can be asked.
  case passphraseNeeded
}
