internal import Compression
internal import Digests

/// Errors of a repository that callers and users need to distinguish.
package enum RepositoryError: Error, Equatable {
  case noRepository(location: String)
  case alreadyExists(location: String)
  case newerFormat(location: String, version: Int)
  /// It is encrypted, and nothing is at hand to open it.
  case identityNeeded(recipients: [String])
  /// None of the identities at hand opens it.
  case wrongIdentity(given: [String], recipients: [String])
  /// A file of the repository can't be read as what it is.
  case malformed(key: StoreKey, reason: String)
  /// An object's bytes are not what its name says, or its frames can't be decoded.
  case damagedObject(name: String, reason: String)
  /// A file under `snapshots/` may belong to a hidden snapshot, whose objects are unknown.
  case hiddenSnapshot(key: StoreKey)
  /// A snapshot's list of checksums is missing, although the snapshot was never removed.
  case listLost(folder: StoreKey)
  /// A database that had snapshots has none, although none was removed. `mark` is the file that records this.
  case databaseLost(folder: StoreKey, mark: StoreKey)
  case noSuchDatabase(name: String, known: [String])
  /// - Parameter servers: where the servers of these sources are, as far as that is known.
  case ambiguousDatabase(name: String, sources: [String], servers: [String] = [])
  case noSuchSource(name: String, known: [String])
  case noSuchSnapshot(selector: String, database: String)
  case ambiguousSnapshot(selector: String, candidates: [String])
  case invalidSelector(String)
  /// Another process holds a lock that excludes ours.
  case locked(holder: String)
  /// Our own lock is gone.
  case lockLost

  /// Whether the error concerns one snapshot, and not the store: it is damaged, or of a newer format.
  package var isOfOneSnapshot: Bool {
    if case .newerFormat = self { true } else { isDamage }
  }

  /// Whether the error means that a snapshot is damaged.
  package var isDamage: Bool {
    switch self {
    case .malformed, .damagedObject: true
    default: false
    }
  }
}

extension RepositoryError {
  /// Runs `body`, which reads an object.
  /// - Throws: `damagedObject` for whatever is wrong with that object, and errors of the store.
  static func naming<Result>(_ object: ObjectName, _ body: () throws -> Result) throws -> Result {
    do { return try body() } catch {
      guard let reason = reason(error) else { throw error }
      throw RepositoryError.damagedObject(name: object.digest.description, reason: reason)
    }
  }

  /// The damage of an object that can't be read, in words; nil if the error is about something else.
  private static func reason(_ error: any Error) -> String? {
    switch error {
    case let error as CompressionError: error.reason
    case RepositoryError.malformed(_, let reason): reason
    case StoreError.missing: "it is missing"
    case StoreError.truncated: "it is cut off"
    case StoreError.notAFile: "it is no ordinary file"
    case StoreError.unreadable(_, let reason): "it can't be read: \(reason)"
    default: nil
    }
  }
}
