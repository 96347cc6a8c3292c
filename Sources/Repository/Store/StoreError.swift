internal import Platform
internal import SystemPackage

/// Errors of stores, as far as callers distinguish them.
package enum StoreError: Error, Equatable {
  case missing(StoreKey)
  case truncated(StoreKey)
  case tooLarge(StoreKey)
  /// Something that is no regular file has the name of one.
  case notAFile(StoreKey)
  /// The file exists, and its bytes are unreadable: a bad sector.
  case unreadable(StoreKey, reason: String)
  case full(location: String)
  /// Writing is not permitted.
  case readOnly(location: String, reason: String)
  case unreachable(location: String, reason: String)
  /// The server refuses access, or the bucket or folder does not exist.
  case refused(location: String, reason: String, hint: String?)
  /// The location is invalid.
  case badLocation(location: String, reason: String)
  /// The store refuses to delete files.
  case locked([StoreKey], reason: String)

  /// The file that is damaged or missing, and how, as `SHA256SUMS` and `is cut off`; nil if the error is about the store.
  package var damage: (key: StoreKey, reason: String)? {
    switch self {
    case .missing(let key): (key, "is missing")
    case .truncated(let key): (key, "is truncated")
    case .notAFile(let key): (key, "is not a regular file")
    case .unreadable(let key, let reason): (key, "can't be read: \(reason)")
    case .tooLarge(let key): (key, "is larger than it should be")
    case .full, .readOnly, .unreachable, .refused, .badLocation, .locked: nil
    }
  }

  /// Whether a single file is damaged or missing, and the store may be fine.
  package var isOfOneFile: Bool { damage != nil }
}
