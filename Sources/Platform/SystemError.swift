internal import CLinux
package import SystemPackage
internal import Glibc

/// A failed call to the operating system.
package struct SystemError: Error, CustomStringConvertible, Equatable {
  /// The operation that failed, as a verb: "open", "write".
  package let operation: String
  /// The object of the operation.
  package let subject: String
  package let number: Errno

  package init(_ operation: String, _ subject: String, number: Int32? = nil) {
    self.operation = operation
    self.subject = subject
    self.number = Errno(rawValue: number ?? errno)
  }

  package var description: String { "cannot \(operation) \(subject): \(number.description.lowercasedFirst)" }

  /// Whether there was no room: the disk is full, or a quota is used up.
  package var isOutOfSpace: Bool { number == .noSpace || number == .diskQuotaExceeded }
}

extension String {
  /// The same text with a small first letter, to stand within a sentence.
  package var lowercasedFirst: String { prefix(1).lowercased() + dropFirst() }
}
