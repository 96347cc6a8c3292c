internal import Foundation
internal import Platform

/// A letter about a run, handed to the sendmail of this machine.
package struct Mail: Sendable, Equatable {
  package var recipients: [String]
  package var sender: String?
  /// A program that takes a letter as sendmail(8) does.
  package var program = "/usr/sbin/sendmail"

  package init(to recipients: [String]) { self.recipients = recipients }

  /// - Parameter limit: how long the program may take.
  /// - Throws: `Hook.Failure`; `Interruption`.
  package func send(_ report: RunReport, limit: Duration = .seconds(30)) throws {
    // As sendmail's own -i: a line with a dot alone ends nothing.
    let words = [program, "-i"] + (sender.map { ["-f", $0] } ?? []) + ["--"] + recipients
    try Hook(words: words, limit: limit).run(input: Array(letter(report).utf8), environment: [:]) { _ in }
  }

  func letter(_ report: RunReport) -> String {
    let word =
      switch report.event {
      case .failure: "FAILED"
      case .warning: "done, with warnings"
      case .cancelled: "nothing was done"
      case .start: "started"
      case .success: "done"
      }
    let subject = "[firn] \(report.job.rawValue)\(report.database.map { " of \($0)" } ?? "") on \(Host.name): \(word)"
    var lines = sender.map { ["From: \(Self.header($0))"] } ?? []
    lines += ["To: \(recipients.map(Self.header).joined(separator: ", "))", "Subject: \(Self.encoded(subject))"]
    lines += [
      "Auto-Submitted: auto-generated", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: base64", "",
    ]
    // Lines of base64 are short whatever the text's are.
    lines.append(Data(body(report).utf8).base64EncodedString(options: [.lineLength76Characters, .endLineWithLineFeed]))
    return lines.joined(separator: "\n") + "\n"
  }

  private func body(_ report: RunReport) -> String {
    var lines = [report.summary, ""]
    if let hint = report.hint { lines += ["Next step: \(hint)", ""] }
    lines += ["began: \(report.startedAt.formatted(.iso8601))", "took: \(Int(report.elapsed.inSeconds.rounded())) s"]
    if let snapshot = report.snapshot { lines.append("snapshot: \(snapshot)") }
    for state in report.states ?? [] where isSubject(state, report) {
      let newest = state.newestAt.map { "newest snapshot \($0.formatted(.iso8601))" } ?? "no snapshot"
      let proof = state.provenAt.map { "newest proof \($0.formatted(.iso8601))" } ?? "never verified"
      lines += ["", Terminal.oneLine("\(state.source)/\(state.database): \(newest), \(proof)")] + state.problems.map { "  \(Terminal.oneLine($0))" }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Whether a letter on the run shows this database: the run's own, or of many those with problems.
  private func isSubject(_ state: RunReport.DatabaseState, _ report: RunReport) -> Bool {
    guard let database = report.database else { return report.event == .success || !state.problems.isEmpty }
    return state.database == database && state.source == report.source ?? state.source
  }

  /// One line, whatever the text has.
  private static func header(_ text: String) -> String { String(text.map { $0.isNewline ? " " : $0 }) }

  /// RFC 2047: in short words, since each may have 75 characters.
  private static func encoded(_ text: String) -> String {
    let text = header(text)
    guard !text.utf8.allSatisfy({ (0x20..<0x7F).contains($0) }) || text.utf8.count > 900 else { return text }
    var words: [String] = []
    var word = ""
    for character in text {
      if word.utf8.count + character.utf8.count > 42 {
        words.append(word)
        word = ""
      }
      word.append(character)
    }
    return (words + [word]).map { "=?utf-8?B?\(Data($0.utf8).base64EncodedString())?=" }.joined(separator: "\n ")
  }
}
