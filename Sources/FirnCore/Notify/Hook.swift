internal import Foundation
internal import Platform
internal import SystemPackage

/// An operator's command that receives a run's report: as JSON on standard input, its main values in the
/// environment.
package struct Hook: Sendable {
  /// How a hook ended other than well.
  package struct Failure: Error, Sendable {
    /// In words, as `took longer than 60 s and was ended`.
    package let reason: String
  }

  private let words: [String]
  private let limit: Duration

  /// - Parameters:
  ///   - command: for `/bin/sh`.
  ///   - limit: its time limit. Programs it leaves running are ended with it.
  package init(_ command: String, limit: Duration) { self.init(words: ["/bin/sh", "-c", command], limit: limit) }

  /// - Parameter words: a program's path and its arguments.
  init(words: [String], limit: Duration) {
    self.words = words
    self.limit = limit
  }

  /// - Parameter line: takes what it prints, on a thread of its own.
  /// - Throws: `Failure`; `Interruption` where a signal arrives.
  package func run(_ report: RunReport, line: @escaping @Sendable (String) -> Void) throws {
    try run(input: report.json, environment: report.environment, line: line)
  }

  func run(input: [UInt8], environment added: [String: String], line: @escaping @Sendable (String) -> Void) throws {
    let child: ChildProcess
    do {
      child = try ChildProcess(
        FilePath(words[0]), arguments: Array(words.dropFirst()), environment: ProcessInfo.processInfo.environment.merging(added) { $1 },
        input: input, output: .withErrors, makesPrivateFiles: false, onErrorLine: line)
    } catch { throw Failure(reason: "could not be started: \(error)") }
    let deadline = ContinuousClock.now + limit
    let code = try child.wait(grace: .seconds(2)) {
      try Interruption.check()
      if ContinuousClock.now > deadline { throw Failure(reason: "took longer than \(limit.components.seconds) s and was ended") }
    }
    if code != 0 { throw Failure(reason: code > 128 ? "was ended by signal \(code - 128)" : "failed with exit code \(code)") }
  }
}
