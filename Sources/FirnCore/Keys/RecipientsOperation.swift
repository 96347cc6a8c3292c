internal import Encryption
internal import Platform
package import Repository

/// Adds to those to whom an encrypted repository is encrypted. What is stored stays as it is: it opens with the identities of before.
package struct RecipientsOperation {
  private let repository: Repository

  package init(_ repository: Repository) { self.repository = repository }

  /// - Returns: whether it was not among them before.
  /// - Throws: `AgeError.notARecipient`, `FirnError.notEncrypted`, and what locks and the store throw.
  package func add(_ text: String) throws -> Bool {
    let recipient = try AgeRecipient(text)
    // One that nobody can have shows when something is encrypted to it.
    _ = try AgeFile.seal([], to: [recipient])
    guard repository.format.isSealed else { throw FirnError.notEncrypted(location: repository.store.location) }
    let lock = try RepositoryLock(.exclusive, on: repository.store, purpose: "firn key add", patience: .seconds(30))
    defer { lock.release() }
    try lock.requireWritten()
    // Another may have been added meanwhile.
    var format = try Repository(opening: repository.store).format
    guard !format.recipients.contains(recipient.description) else { return false }
    format.recipients.append(recipient.description)
    try repository.store.write(try JSON.bytes(format), to: RepositoryFormat.key, durability: .immediate)
    return true
  }
}
