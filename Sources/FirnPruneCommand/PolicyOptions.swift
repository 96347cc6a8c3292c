import ArgumentParser
import CommandSupport
import Foundation
import Retention

/// Which policy holds: that of the flags, of a file, or of the configuration.
struct PolicyOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Retention policy: a file, or one of \(ShippedPolicy.allCases.map(\.rawValue).joined(separator: ", ")). Default: policy in firn.yaml.",
      valueName: "policy"))
  var policy: String?
  @Option(help: ArgumentHelp("Keep the newest N complete snapshots.", valueName: "n")) var keepLast: Int?
  @Option(help: ArgumentHelp("Keep the newest snapshot of each hour, for the last N hours that have snapshots.", valueName: "n")) var keepHourly: Int?
  @Option(help: ArgumentHelp("The same for days.", valueName: "n")) var keepDaily: Int?
  @Option(help: ArgumentHelp("The same for weeks, from Monday on.", valueName: "n")) var keepWeekly: Int?
  @Option(help: ArgumentHelp("The same for months.", valueName: "n")) var keepMonthly: Int?
  @Option(help: ArgumentHelp("The same for quarters.", valueName: "n")) var keepQuarterly: Int?
  @Option(help: ArgumentHelp("The same for years.", valueName: "n")) var keepYearly: Int?
  @Option(help: ArgumentHelp("Keep snapshots that began less than this time before the newest one, such as 36h.", valueName: "duration"))
  var keepWithin: String?
  @Option(
    help: ArgumentHelp(
      "Time zone in which days begin, such as Europe/Berlin. Default: time-zone of the policy, then of firn.yaml, then UTC.", valueName: "zone"))
  var timeZone: String?

  private var counts: [(name: String, count: Int?)] {
    [
      ("last", keepLast), ("hourly", keepHourly), ("daily", keepDaily), ("weekly", keepWeekly), ("monthly", keepMonthly),
      ("quarterly", keepQuarterly), ("yearly", keepYearly),
    ]
  }

  var isGiven: Bool { keepWithin != nil || counts.contains { $0.count != nil } }

  func validate() throws {
    for (name, count) in counts where count ?? 0 < 0 { throw ValidationError("--keep-\(name) takes a number from 0 on") }
    if let keepWithin, Quantity.duration(keepWithin) == nil { throw ValidationError("--keep-within takes a duration such as 36h") }
    if policy != nil && isGiven { throw ValidationError("--policy and --keep-… exclude each other") }
  }

  private func chosen(_ context: CommandContext) -> ConfiguredPolicy? { policy.map(ConfiguredPolicy.named) ?? context.configuration.policy }

  /// The policy, its name, and its calendar.
  /// - Parameter isRuling: whether rules decide what is removed. If not, no rules are needed.
  /// - Throws: `UsageError` if there is no policy, `ConfigurationError`.
  func resolve(_ context: CommandContext, isRuling: Bool = true) throws -> (policy: RetentionPolicy, name: String, calendar: RetentionCalendar) {
    let zone = timeZone ?? context.configuration.timeZone
    if !isRuling {
      let held = try chosen(context)?.file().policy
      return (held ?? RetentionPolicy(), "what is named goes", try RetentionCalendar(zone: zone ?? "UTC"))
    }
    if isGiven {
      // The least that the configured policy keeps is not for a flag to undo.
      let configured = try context.configuration.policy?.file().policy
      let policy = RetentionPolicy(
        RetentionRules(
          last: keepLast ?? 0, hourly: keepHourly ?? 0, daily: keepDaily ?? 0, weekly: keepWeekly ?? 0, monthly: keepMonthly ?? 0,
          quarterly: keepQuarterly ?? 0, yearly: keepYearly ?? 0,
          within: keepWithin.flatMap(Quantity.duration)?.components.seconds ?? 0),
        minimumCount: configured?.minimumCount ?? 1, minimumAge: configured?.minimumAge ?? 0)
      let words = counts.compactMap { rule in rule.count.map { "\(rule.name) \($0)" } } + [keepWithin.map { "within \($0)" }].compactMap(\.self)
      return (policy, "keep \(words.joined(separator: ", "))", try RetentionCalendar(zone: zone ?? "UTC"))
    }
    guard let chosen = chosen(context) else {
      throw UsageError("no retention policy", hint: "give --policy nightly, or --keep-last 7, or --keep-daily 7 --keep-weekly 4")
    }
    let file = try chosen.file()
    return (file.policy, "policy \(chosen.name)", try RetentionCalendar(zone: timeZone ?? file.timeZone ?? zone ?? "UTC"))
  }
}
