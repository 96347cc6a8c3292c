package import Repository

extension RepositoryError {
  /// Whether an error says that the repository is locked, whoever holds the lock.
  package static func isLocked(_ error: any Error) -> Bool { if case RepositoryError.locked = error { true } else { false } }

  /// Whether an error says that a file is malformed, whatever is wrong with it.
  package static func isMalformed(_ error: any Error) -> Bool { if case RepositoryError.malformed = error { true } else { false } }
}
