package import FirnCore
internal import Foundation
internal import Platform
package import Repository
internal import SystemPackage

/// The record of a run, filled while its command works.
package final class RunRecord: Sendable {
  private let content: Monitor<RunReport?> = Monitor(nil)
  private let measured: Monitor<[MetricsFile.Sample]> = Monitor([])
  private let used: Monitor<(any Store)?> = Monitor(nil)

  package init() {}

  var report: RunReport? { content.current }

  var samples: [MetricsFile.Sample] { measured.current }

  /// Figures of this run for Prometheus.
  package func add(_ samples: [MetricsFile.Sample]) { measured.update { $0 += samples } }

  /// The store of the run, if it is not the configured one.
  package func use(_ store: any Store) { used.update { $0 = store } }

  var store: (any Store)? { used.current }

  func begin(_ report: RunReport) { content.update { $0 = report } }

  /// Receivers of notifications; with none nothing happens.
  package func note(_ change: @Sendable (inout RunReport) -> Void) {
    content.update { if $0 != nil { change(&$0!) } }
  }
}

/// Remembers a run, and sends the configured notifications: hooks, a ping, a webhook, mail, and a file for Prometheus.
/// A notification that fails is a warning. Only a `before` hook can refuse a run.
struct Notifier {
  private let context: CommandContext
  private let settings: NotificationSettings
  private let clock = ContinuousClock.now

  /// Nil for a command that is no job.
  init?(_ job: RunReport.Job?, _ context: CommandContext) {
    guard let job else { return nil }
    self.context = context
    var settings = context.configuration.notifications
    // A hook may run Firn, which would call the hook again without end.
    if context.environment["FIRN_RUN"] != nil { (settings.before, settings.after, settings.onFailure) = ([], [], []) }
    self.settings = settings
    context.record.begin(RunReport(job: job, startedAt: Date()))
  }

  /// - Throws: `HookRefused`.
  func begin(database: String?) throws {
    context.record.note { $0.database = database }
    guard let report = context.record.report else { return }
    try? RunHistories.local.write(report.remembered(as: .running, store: location))
    // A hook must never prevent a restore.
    let mayRefuse = report.job != .restore
    for (number, command) in settings.before.enumerated() {
      let name = Self.name(number, of: settings.before, "before")
      do { try Hook(command, limit: settings.hookLimit).run(report, line: show) } catch let failure as Hook.Failure {
        guard mayRefuse else {
          context.warn("\(name) \(failure.reason)")
          continue
        }
        throw HookRefused(name: name, reason: failure.reason)
      }
    }
    // Without a start, a service does not wait for the end of a run that the operator did not confirm, or mistyped.
    if !Terminal.isAttended { ping(report) }
  }

  /// - Parameter failure: the error of a failed run.
  /// - Returns: how the command ends: a hook that failed is a warning.
  func end(_ status: ExitStatus, _ failure: FailureReport?) -> ExitStatus {
    // Interruptions are reported too.
    let ended = Interruption.putOff { notify(status, failure) }
    // A store that does not answer must not hold up a signal, and nothing is written to one that was refused.
    let isUnwanted = [.store, .interrupted, .terminated, .configuration, .usage].contains(status)
    if let report = context.record.report { remember(report, withStore: !isUnwanted && context.isWhole) }
    return ended
  }

  private func notify(_ status: ExitStatus, _ failure: FailureReport?) -> ExitStatus {
    let isHurried = status == .interrupted || status == .terminated
    let states = finish(status, failure, isHurried: isHurried)
    let ended = runHooks() || status != .done ? status : .doneWithWarnings
    // Failed hooks are part of the report.
    note(ended, failure)
    guard let report = context.record.report else { return ended }
    let isWrong = report.event == .failure || report.event == .warning
    ping(report, isHurried: isHurried)
    if let webhook = settings.webhook, isWrong || webhook.choice == .always {
      tell("webhook to \(webhook.address.shown)") {
        try Notice(url: webhook.address.url(), isHurried: isHurried).send(json: webhook.template?.filled(report) ?? report.json)
      }
    }
    if let mail = settings.mail, isWrong || settings.mailChoice == .always { tell("mail") { try mail.send(report) } }
    if let metrics = settings.metrics {
      tell("file \(metrics)") {
        let samples = MetricsFile.samples(of: report, in: location, endedAt: Date()) + context.record.samples
        try MetricsFile(FilePath(metrics)).update(
          samples, of: location, states, isCertain: context.common.store == nil && status != .notFound)
      }
    }
    return ended
  }

  /// The location of the run's store.
  private var location: String { context.record.store?.location ?? context.shownStore }

  /// Writes the run to the history of this machine, and of the store if it can be reached.
  private func remember(_ report: RunReport, withStore: Bool) {
    let run = report.remembered(as: report.outcome, store: location)
    var isRemembered = (try? RunHistories.local.write(run)) != nil
    if withStore, let repository = try? Repository(opening: context.record.store ?? context.store()),
      (try? RunHistory(in: repository.store).write(repository.format.isEncrypted ? run.withoutWords : run)) != nil
    {
      isRemembered = true
    }
    if !isRemembered { context.warn("this run could not be recorded for firn log: neither \(StateFolder.path) nor the store can be written") }
  }

  /// Those after the run, or on its failure.
  /// - Returns: whether all succeeded.
  private func runHooks() -> Bool {
    guard let report = context.record.report else { return true }
    let (hooks, when) =
      switch report.event {
      case .failure: (settings.onFailure, "on-failure")
      case .success, .warning: (settings.after, "after")
      case .start, .cancelled: ([], "")
      }
    var allWent = true
    for (number, command) in hooks.enumerated() {
      do { try Hook(command, limit: settings.hookLimit).run(report, line: show) } catch {
        allWent = false
        if let failure = error as? Hook.Failure { context.warn("\(Self.name(number, of: hooks, when)) \(failure.reason)") }
      }
    }
    return allWent
  }

  /// Named by its place in the configuration, because a command may hold secrets.
  private static func name(_ number: Int, of hooks: [String], _ when: String) -> String {
    hooks.count == 1 ? "the hook of hooks: \(when)" : "hook \(number + 1) of hooks: \(when)"
  }

  /// Puts the end of the run on record.
  /// - Returns: what the store says.
  private func finish(_ status: ExitStatus, _ failure: FailureReport?, isHurried: Bool) -> MetricsFile.StoreStates {
    let states = isHurried || !context.isWhole || settings.isEmpty ? .unasked : storeStates()
    let elapsed = ContinuousClock.now - clock
    context.record.note { report in
      report.elapsed = elapsed
      report.error = failure?.messageWithoutRows ?? report.error
      report.hint = failure?.hint ?? report.hint
      if case .known(let status) = states { report.states = status.databases.map(RunReport.DatabaseState.init) }
    }
    note(status, failure)
    return states
  }

  private func storeStates() -> MetricsFile.StoreStates {
    // Without identities: one with a passphrase would ask for it.
    guard let status = try? context.status(in: Repository(opening: context.record.store ?? context.store())) else { return .unknown }
    return .known(status)
  }

  private func note(_ status: ExitStatus, _ failure: FailureReport?) {
    context.record.note { report in
      report.exitCode = status.rawValue
      report.event =
        switch status {
        case .done: .success
        case .doneWithWarnings: .warning
        case .notConfirmed: failure?.isUnattended == true ? .failure : .cancelled
        // An operator at a terminal sees it: a mistyped name is no failed backup.
        case .usage, .notFound: failure?.isMistake == true && Terminal.isAttended ? .cancelled : .failure
        default: .failure
        }
    }
  }

  private func ping(_ report: RunReport, isHurried: Bool = false) {
    guard let ping = settings.ping, let address = ping.addresses[report.job] ?? ping.addresses[nil] else { return }
    tell("ping of \(address.shown)") {
      // A restore does not wait for it.
      try Notice(url: address.url(), isHurried: isHurried || report.job == .restore).ping(report, warningsAreFailures: ping.warningsAreFailures)
    }
  }

  private func tell(_ what: String, _ body: () throws -> Void) {
    do { try body() } catch let failure as Notice.Failure { context.warn("the \(what) failed: \(failure.reason)") } catch let failure as Hook.Failure
    {
      context.warn("the \(what) failed: it \(failure.reason)")
    } catch { context.warn("the \(what) failed: \(FailureReport(error).message)") }
  }

  private var show: @Sendable (String) -> Void { { [context] line in context.tell("hook: \(line)") } }
}

/// A `before` hook failed.
package struct HookRefused: Error {
  /// As in the configuration, without the command.
  let name: String
  let reason: String
}
