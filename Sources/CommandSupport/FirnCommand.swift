package import ArgumentParser
package import FirnCore
internal import Foundation
package import Platform
internal import SystemPackage

/// A command of Firn, with the steps that all commands share.
package protocol FirnCommand: ParsableCommand {
  var common: CommonOptions { get }
  /// The program of which it is a subcommand.
  static var program: String { get }
  /// The name of the run in notifications; nil for commands without notifications.
  var job: RunReport.Job? { get }
  /// The database of the run, if given; nil for a whole store.
  func subject(_ context: CommandContext) -> String?
  /// The state after an interruption, for the operator.
  var stateAfterInterruption: String? { get }
  /// Does the work.
  func execute(_ context: CommandContext) throws -> ExitStatus
}

extension FirnCommand {
  package static var program: String { "firn" }
  package var job: RunReport.Job? { nil }
  package var stateAfterInterruption: String? { nil }
  package func subject(_ context: CommandContext) -> String? { nil }

  /// Runs the command, reports failures, sends notifications, and ends the process with the exit code.
  package func run() throws {
    let name = Self.configuration.commandName ?? Self._commandName
    let shown = name.hasPrefix("firn") ? name : "\(Self.program) \(name)"
    var notifier: Notifier?
    var status: ExitStatus
    var failure: FailureReport?
    var interruption: Interruption?
    do {
      let context: CommandContext
      do { context = try CommandContext(command: shown, common: common) } catch let error as ConfigurationError {
        notifier = Notifier(job, CommandContext(unconfigured: shown, common: common))
        throw error
      }
      notifier = Notifier(job, context)
      try notifier?.begin(database: subject(context).map(CommandContext.name))
      status = try execute(context)
    } catch let code as ExitCode {
      throw code
    } catch {
      let cutOff = (error as? Interruption).map { CutOff(interruption: $0, state: stateAfterInterruption) } ?? error as? CutOff
      let report = FailureReport(cutOff ?? error)
      report.show(command: shown)
      if common.json { report.showAsJSON() }
      (status, failure, interruption) = (report.status, report, cutOff?.interruption)
    }
    if status == .done || status == .doneWithWarnings, let lost = Terminal.outputFailure {
      let report = FailureReport(lost)
      report.show(command: shown)
      (status, failure) = (report.status, report)
    }
    if let notifier { status = notifier.end(status, failure) }
    if let interruption { Host.endBySignal(interruption.signal) }
    if status != .done { throw ExitCode(status.rawValue) }
  }
}

/// An interrupted command, with the state that it left.
package struct CutOff: Error {
  package let interruption: Interruption
  package let state: String?

  package init(interruption: Interruption, state: String?) {
    self.interruption = interruption
    self.state = state
  }
}

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
      let what = message.hasSuffix(".") ? message.dropLast() : message[...]
      Terminal.writeError(
        Terminal.printable("\(name): error: \(String(what).lowercasedFirst)\nhint: usage: \(usage); \(helper) --help explains more\n"))
      if CommandLine.arguments.contains("--json") {
        FailureReport(UsageError(String(what).lowercasedFirst, hint: "\(helper) --help explains more")).showAsJSON()
      }
      Foundation.exit(ExitStatus.usage.rawValue)
    }
  }
}

/// A configuration with Firn's version.
package func configuration(
  _ name: String, abstract: String, discussion: String = "", subcommands: [any ParsableCommand.Type] = []
) -> CommandConfiguration {
  CommandConfiguration(
    commandName: name, abstract: abstract, discussion: discussion, version: FirnVersion.text, subcommands: subcommands)
}
