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

/// A configuration with Firn's version.
package func configuration(
  _ name: String, abstract: String, discussion: String = "", subcommands: [any ParsableCommand.Type] = []
) -> CommandConfiguration {
  CommandConfiguration(
    commandName: name, abstract: abstract, discussion: discussion, version: FirnVersion.text, subcommands: subcommands)
}
