/// The result of one check before an operation.
package struct Finding: Sendable, Codable, Equatable {
  package enum Verdict: String, Sendable, Codable { case pass, unknown, warn, stop }

  /// A fixed word, for programs.
  package let name: String
  package let verdict: Verdict
  package let detail: String
  package let hint: String?

  package init(_ name: String, _ verdict: Verdict, _ detail: String, hint: String? = nil) {
    self.name = name
    self.verdict = verdict
    self.detail = detail
    self.hint = hint
  }
}
