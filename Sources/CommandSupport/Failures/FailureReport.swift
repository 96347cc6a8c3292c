internal import Platform
internal import Repository

/// An error that can reach a user: it knows its message, hint and exit code.
package protocol ReportableError: Error {
  var report: FailureReport { get }
}

/// The report of a failure for the user: message, hint and exit code.
package struct FailureReport: Sendable {
  package let message: String
  package let hint: String?
  package let status: ExitStatus
  /// Whether the command ran unattended: a timer without `--confirm` would do nothing, night after night.
  let isUnattended: Bool
  /// Whether a name may be mistyped. Nothing was done.
  let isMistake: Bool

  init(_ status: ExitStatus, _ message: String, hint: String? = nil, isUnattended: Bool = false, isMistake: Bool = false) {
    self.status = status
    self.message = message
    self.hint = hint
    self.isUnattended = isUnattended
    self.isMistake = isMistake || status == .usage
  }

  package init(_ error: any Error) {
    // Errors of libraries without a report of their own.
    self = (error as? any ReportableError)?.report ?? FailureReport(.failed, "unexpected error: \(error)", hint: "please report this as a bug")
  }

  /// The message for destinations outside this machine: details of a server's or tool's message may contain rows.
  package var messageWithoutRows: String {
    let lines = message.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    return lines.compactMap { line -> String? in
      let text = line.drop { $0 == " " }
      if text.hasPrefix("DETAIL:") { return nil }
      // As "CONTEXT:  COPY people, line 7, column note: "…"".
      guard text.hasPrefix("CONTEXT:"), let quote = line.utf8.firstRange(of: ": \"".utf8) else { return line }
      return String(line.utf8[..<quote.lowerBound])
    }.joined(separator: "\n")
  }

  static func either(_ names: [String]) -> String { names.joined(separator: " or ") }

  /// The first of several names.
  package static func some(_ names: [String]) -> String {
    names.prefix(8).joined(separator: ", ") + (names.count > 8 ? " and \(names.count - 8) more" : "")
  }

  static func lines(_ failures: [String]) -> String { failures.map { "\n  \($0)" }.joined() }

  /// Prints the report as JSON on standard output, unless a result was already printed there.
  package func showAsJSON() {
    struct Failed: Encodable {
      let error: String
      let hint: String?
      let exitCode: Int32
    }
    guard !Terminal.hasOutput, let json = try? JSON.bytes(Failed(error: message, hint: hint, exitCode: status.rawValue)) else { return }
    Terminal.writeOutput(String(decoding: json, as: UTF8.self))
  }

  /// Prints the report on standard error.
  package func show(command: String) {
    MessageLog.write(.error, message, hint: hint ?? (status == .usage ? "\(command) --help explains more" : nil), command: command)
  }
}
