package import ArgumentParser
internal import FirnCore
internal import Foundation
internal import Platform
internal import SystemPackage

/// The first steps of every program.
package enum Program {
  /// Options that print something other than a help text.
  private static let optionsWithoutHelp: Set = [
    "--version", "--generate-completion-script", "--experimental-dump-help", "---completion",
  ]

  package static func start<Command: ParsableCommand>(_ command: Command.Type) {
    Host.holdStandardStreams()
    Interruption.takeOver()
    Host.makeFilesPrivate()
    Host.keepFreedMemory()
    // Locks need /proc to find out which processes are alive.
    guard Folder.exists("/proc/self/stat") else {
      Terminal.writeError(
        "firn: error: /proc is not mounted: locks need it to see which processes are alive; nothing was done\nhint: mount -t proc proc /proc\n")
      Foundation.exit(ExitStatus.failed.rawValue)
    }
    // An empty argument usually comes from an unset shell variable, so it must not select the default. An empty
    // --confirm counts as no confirmation.
    let arguments = CommandLine.arguments.prefix { $0 != "--" }
    if zip(arguments, arguments.dropFirst()).contains(where: { $1.isEmpty && $0 != "--confirm" || $1.hasPrefix("--") && $1.hasSuffix("=") }) {
      let error = UsageError("an argument is empty", hint: "if it comes from a variable, check that the variable is set")
      FailureReport(error).show(command: command.configuration.commandName ?? command._commandName)
      if CommandLine.arguments.contains("--json") { FailureReport(error).showAsJSON() }
      Foundation.exit(ExitStatus.usage.rawValue)
    }
    do {
      var parsed = try command.parseAsRoot()
      try parsed.run()
    } catch let code as ExitCode {
      // The reason was printed already.
      Foundation.exit(code.rawValue)
    } catch {
      let status = command.exitCode(for: error)
      let text = command.fullMessage(for: error)
      guard status == .validationFailure else {
        guard status.isSuccess, !text.isEmpty, !CommandLine.arguments.contains(where: { optionsWithoutHelp.contains($0) }) else {
          command.exit(withError: error)
        }
        let name = HelpSections.name(of: command, CommandLine.arguments.dropFirst())
        Terminal.writeOutput(
          "\(Terminal.inLocale(text).trimmingCharacters(in: .newlines))\n\n\(HelpSections.text(for: name, columns: Terminal.outputColumns ?? 80))\n")
        Foundation.exit(ExitStatus.done.rawValue)
      }
      // The message names the error; the line "Usage: …" shows the usage.
      let name = command.configuration.commandName ?? command._commandName
      let message = command.message(for: error)
      let lines = text.split(separator: "\n").map(String.init)
      let usage = lines.first { $0.hasPrefix("Usage: ") }.map { $0.dropFirst(7) } ?? "\(name) --help"
      // The command and, if there is one, its subcommand.
      let words = usage.split(separator: " ").prefix { $0.first?.isLetter ?? false && $0 != "--help" }
      let helper = words.isEmpty ? name : words.joined(separator: " ")
      let what = withoutFarSuggestion(message.hasSuffix(".") ? message.dropLast() : message[...])
      Terminal.writeError(
        Terminal.printable("\(name): error: \(String(what).lowercasedFirst)\nhint: usage: \(usage); \(helper) --help explains more\n"))
      if CommandLine.arguments.contains("--json") {
        FailureReport(UsageError(String(what).lowercasedFirst, hint: "\(helper) --help explains more")).showAsJSON()
      }
      Foundation.exit(ExitStatus.usage.rawValue)
    }
  }

  /// ArgumentParser proposes `--store` for `--force`.
  private static func withoutFarSuggestion(_ message: Substring) -> Substring {
    let form = /(Unknown option '-*(.+)')\. Did you mean '-*(.+)'\?/
    guard let match = message.wholeMatch(of: form), !Spelling.isNear(String(match.3), String(match.2)) else { return message }
    return match.1
  }
}
