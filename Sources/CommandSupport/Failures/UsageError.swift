/// A wrong value on the command line.
package struct UsageError: ReportableError {
  package let message: String
  package let hint: String?

  package init(_ message: String, hint: String? = nil) {
    self.message = message
    self.hint = hint
  }

  package var report: FailureReport { FailureReport(.usage, message, hint: hint) }
}
