package import FirnCore
internal import Foundation
internal import Platform
internal import Repository
internal import SystemPackage

/// What a run is and becomes, as its command learns it.
package final class RunRecord: Sendable {
  private let content: Monitor<RunReport?> = Monitor(nil)
  private let measured: Monitor<[MetricsFile.Sample]> = Monitor([])

  package init() {}

  var report: RunReport? { content.current }

  var samples: [MetricsFile.Sample] { measured.current }

  /// Numbers of this run for Prometheus.
  package func add(_ samples: [MetricsFile.Sample]) { measured.update { $0 += samples } }

  func begin(_ report: RunReport) { content.update { $0 = report } }

  /// For whoever is told of the run; without any nothing happens.
  package func note(_ change: @Sendable (inout RunReport) -> Void) {
    content.update { if $0 != nil { change(&$0!) } }
  }
}

/// Tells those whom the configuration names of a run: hooks, a ping, a webhook, mail, and a file for Prometheus.
/// That somebody can't be told never makes a run fail: it is a warning, but for a hook of the operator's own.
struct Notifier {
  private let context: CommandContext
  private let settings: NotificationSettings
  private let clock = ContinuousClock.now

  /// Nil where nobody is to be told.
  init?(_ job: RunReport.Job?, _ context: CommandContext) {
    guard let job, !context.configuration.notifications.isEmpty else { return nil }
    self.context = context
    var settings = context.configuration.notifications
    // A hook may run Firn, and would be called by that again, without end.
    if context.environment["FIRN_RUN"] != nil { (settings.before, settings.after, settings.onFailure) = ([], [], []) }
    self.settings = settings
    context.record.begin(RunReport(job: job, startedAt: Date()))
  }

  /// - Throws: `HookRefused`.
  func begin(database: String?) throws {
    context.record.note { $0.database = database }
    guard let report = context.record.report else { return }
    // What keeps a database from being got back would be the wrong thing at the wrong time.
    let mayRefuse = report.job != .restore
    for command in settings.before {
      do { try Hook(command, limit: settings.hookLimit).run(report, line: show) } catch let failure as Hook.Failure {
        guard mayRefuse else {
          context.warn("the hook \(command) \(failure.reason)")
          continue
        }
        throw HookRefused(command: command, reason: failure.reason)
      }
    }
    ping(report)
  }

  /// - Parameter failure: why the run failed, where it did.
  /// - Returns: how the command ends: a hook that failed is a warning.
  func end(_ status: ExitStatus, _ failure: FailureReport?) -> ExitStatus {
    // Whoever was interrupted is told of that, too.
    Interruption.putOff {
      let isHurried = status == .interrupted || status == .terminated
      let (report, states) = finished(status, failure, isHurried: isHurried)
      let isWrong = report.event == .failure || report.event == .warning
      var hooks = report.event == .success || report.event == .warning ? settings.after : []
      if report.event == .failure { hooks += settings.onFailure }
      var allWent = true
      for command in hooks {
        do { try Hook(command, limit: settings.hookLimit).run(report, line: show) } catch let failure as Hook.Failure {
          context.warn("the hook \(command) \(failure.reason)")
          allWent = false
        } catch { allWent = false }
      }
      ping(report, isHurried: isHurried)
      if let webhook = settings.webhook, isWrong || webhook.choice == .always {
        tell("webhook to \(webhook.address.shown)") {
          try Notice(url: webhook.address.url(), isHurried: isHurried).send(json: webhook.template?.filled(report) ?? report.json)
        }
      }
      if let mail = settings.mail, isWrong || settings.mailChoice == .always { tell("mail") { try mail.send(report) } }
      if let metrics = settings.metrics {
        tell("file \(metrics)") {
          let samples = MetricsFile.samples(of: report, endedAt: Date()) + context.record.samples + MetricsFile.samples(of: states ?? [])
          try MetricsFile(FilePath(metrics)).update(samples, replacesStates: states != nil)
        }
      }
      return status == .done && !allWent ? .doneWithWarnings : status
    }
  }

  private func finished(
    _ status: ExitStatus, _ failure: FailureReport?, isHurried: Bool
  ) -> (report: RunReport, states: [StoreStatus.Database]?) {
    // Without identities: one may have a passphrase, for which nobody should be asked here.
    let states = isHurried ? nil : try? context.status(in: Repository(opening: context.store())).databases
    let elapsed = ContinuousClock.now - clock
    context.record.note { report in
      report.elapsed = elapsed
      report.exitCode = status.rawValue
      report.error = failure?.message ?? report.error
      report.hint = failure?.hint ?? report.hint
      report.states = states?.map(RunReport.DatabaseState.init)
      report.event =
        switch status {
        case .done: .success
        case .doneWithWarnings: .warning
        case .notConfirmed: .cancelled
        default: .failure
        }
    }
    return (context.record.report ?? RunReport(job: .snapshot, startedAt: Date()), states)
  }

  private func ping(_ report: RunReport, isHurried: Bool = false) {
    guard let ping = settings.ping, let address = ping.addresses[report.job] ?? ping.addresses[nil] else { return }
    tell("ping of \(address.shown)") {
      try Notice(url: address.url(), isHurried: isHurried).ping(report, warningsAreFailures: ping.warningsAreFailures)
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

/// A hook that was to go before a run did not succeed.
struct HookRefused: Error {
  let command: String
  let reason: String
}
