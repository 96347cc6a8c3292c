internal import FirnCore
internal import Foundation
internal import Platform
package import Repository

/// The output of a command.
extension CommandContext {
  /// Prints a message for people on standard error.
  package func tell(_ text: String) {
    if !common.quiet && !common.json { MessageLog.write(.note, text, command: command) }
  }

  /// Prints what a confirmation is about, at a terminal also with `--quiet`: the operator must know what they confirm.
  package func explain(_ line: String) { explain([line]) }

  /// The same of several lines.
  package func explain(_ lines: [String]) {
    let isSilent = common.json || common.quiet
    guard !isSilent || Terminal.isAttended else { return }
    for line in lines { MessageLog.write(.note, Terminal.oneLine(line), command: command) }
  }

  /// Whether there was any warning.
  package var hasWarned: Bool { !warned.current.isEmpty }

  func isNew(_ text: String) -> Bool { warned.update { $0.insert(text).inserted } }

  package func warn(_ text: String) {
    guard isNew(text) else { return }
    record.note { $0.warnings.append(text) }
    MessageLog.write(.warning, text, command: command)
  }

  /// Warns of hidden snapshots, of these snapshots' databases or of the whole store.
  /// - Returns: whether there are any.
  package func warnOfHidden(_ catalog: Catalog, beside places: [SnapshotPath]? = nil) throws -> Bool {
    let hidden = try catalog.outOfSight(in: places.map { Set($0.map(\.folder)) })
    for (key, reason) in hidden { warn("\(key) \(reason): snapshots may be missing here") }
    return !hidden.isEmpty
  }

  /// Warns that a repository was created beside other files.
  package func warnOfFiles(in location: String) { warn("other files lie in \(location), and stay as they are: is it the place that was meant?") }

  /// Reports a failure that is no thrown error.
  package func fail(_ message: String, hint: String) {
    record.note { ($0.error, $0.hint) = (message, hint) }
    MessageLog.write(.error, message, hint: hint, command: command)
  }

  /// Records the result for notifications, and prints it with `--json`.
  package func result(_ value: some Encodable) throws {
    let json = try Self.encoded(value)
    record.note { $0.result = json }
    if common.json { write(json) }
  }

  /// Prints one line on standard output.
  package func output(_ line: String) { Terminal.writeOutput(Terminal.oneLine(line) + "\n") }

  /// Prints a table on standard output, fitted to the terminal.
  package func output(_ table: Table) {
    for line in table.lines(columns: Terminal.outputColumns) { Terminal.writeOutput(line + "\n") }
  }

  package func output(json value: some Encodable) throws { write(try Self.encoded(value)) }

  private func write(_ json: [UInt8]) { Terminal.writeOutput(String(decoding: json, as: UTF8.self) + "\n") }

  private static func encoded(_ value: some Encodable) throws -> [UInt8] {
    let encoder = JSON.encoder
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(value))
  }
}
