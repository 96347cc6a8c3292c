internal import SystemPackage

/// The reasons for a missing answer that callers need to distinguish.
package enum TransferError: Error, Equatable {
  /// The server's name, address or port can't be reached.
  case unreachable(reason: String)
  /// A file server has no such file.
  /// - Parameter isCertain: whether the connection was fresh: one that breaks may answer with what it said before.
  case missing(isCertain: Bool)
  /// A file server knows us, and does not let us do this.
  case denied(reason: String)
  /// A file server does not let us in.
  case loginDenied(reason: String)
  /// A file server refused a command.
  case refused(reason: String)
  case full
  /// A file server's file does not have that part.
  case outOfRange
  /// The server's certificate or key is not one to trust.
  case untrusted(reason: String)
  /// The connection broke, or nothing came for too long.
  case interrupted(reason: String)
  case tooLarge
  case cancelled
  /// libcurl refused to start the transfer.
  case invalid(reason: String)
  /// A file to be sent can't be read.
  case unreadableFile(reason: String)
}
