internal import Encryption
internal import Platform
package import Repository

/// Adds recipients to an encrypted repository. Existing contents are not changed: only the previous identities open
/// them.
package struct RecipientsOperation {
  private let repository: Repository

  package init(_ repository: Repository) { self.repository = repository }

  /// - Returns: all there are now, and whether this one is new.
  /// - Throws: `AgeError.notARecipient`, `FirnError.notEncrypted`, and what locks and the store throw.
  package func add(_ text: String) throws -> (recipients: [String], isNew: Bool) {
    let recipient = try AgeRecipient.tried(text)
    guard repository.format.isEncrypted else { throw FirnError.notEncrypted(location: repository.store.location) }
    let lock = try RepositoryLock(.exclusive, on: repository.store, purpose: "firn key add", patience: .seconds(30))
    defer { lock.release() }
    try lock.requireWritten()
    // Another may have been added meanwhile.
    var format = try Repository(opening: repository.store).format
    guard !format.recipients.contains(recipient.description) else { return (format.recipients, false) }
    format.recipients.append(recipient.description)
    try repository.store.write(try JSON.bytes(format), to: RepositoryFormat.key, durability: .immediate)
    return (format.recipients, true)
  }
}
