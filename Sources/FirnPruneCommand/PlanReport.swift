import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository
import Retention

/// A plan as people read it.
struct PlanReport {
  private let plan: PrunePlan
  private let policy: String

  init(_ plan: PrunePlan, _ policy: String) {
    self.plan = plan
    self.policy = policy
  }

  func show(_ context: CommandContext) throws {
    for database in plan.databases {
      let removed = database.removed.count
      context.output(
        "\(plan.name(of: database)): \(database.entries.count - removed) to keep, \(removed) to remove (\(policy), days of \(plan.calendar.name))")
      let rows = try database.entries.map { entry in
        [
          entry.decision.isKept ? Table.Cell("keep") : .init("REMOVE", .warning), .init(entry.place.id.description),
          .init(Quantity.age(of: entry.place.id.startDate, now: plan.now)), .init(entry.snapshot.kind),
          .init(entry.decision.isKept ? "" : Quantity.size(try plan.ownBytes(of: entry))),
          .init(entry.decision.isKept ? entry.decision.keepReasons.joined(separator: "; ") : entry.decision.removeReason),
        ]
      }
      context.output(Table(header: ["", "SNAPSHOT", "AGE", "KIND", "UNIQUE", "WHY"], rows: rows))
      context.output("")
      for line in SnapshotCalendar(database, plan.calendar).lines { context.output(line) }
      context.output("")
    }
    context.output(
      "\(plan.entries.count - plan.removed.count) to keep, \(plan.removed.count) to remove, \(Quantity.size(plan.freedBytes)) to free")
  }

  /// - Throws: `RepositoryError.noSuchSnapshot` where the plan has none that begins so.
  func explain(_ id: String, _ context: CommandContext) throws {
    let matches = id.isEmpty ? [] : plan.entries.filter { $0.place.id.description.hasPrefix(id) }
    guard let entry = matches.first else {
      throw RepositoryError.noSuchSnapshot(selector: id, database: plan.databases.first?.database ?? "the store")
    }
    guard matches.count == 1 else { throw RepositoryError.ambiguousSnapshot(selector: id, candidates: matches.map { "\($0.place.id)" }) }
    let started = entry.place.id.startDate
    context.output(
      "\(entry.place.database) \(entry.place.id), \(entry.snapshot.kind), \(Quantity.time(started)), \(Quantity.age(of: started, now: plan.now))")
    context.output(entry.decision.isKept ? "kept by \(policy):" : "removed by \(policy):")
    for reason in entry.decision.isKept ? entry.decision.keepReasons : [entry.decision.removeReason] { context.output("  - \(reason)") }
    context.output("\(Quantity.size(try plan.ownBytes(of: entry))) in the store belong to it alone")
  }

  static func words(for database: PrunePlan.Database, in plan: PrunePlan) -> String {
    let name = plan.name(of: database)
    return switch database.doubt {
    case .newestIsAhead(let seconds):
      "the newest snapshot of \(name) began \(Quantity.span(Double(seconds))) after now: a clock is or was wrong"
    case .newestIsOld(let seconds):
      "the newest snapshot of \(name) is \(Quantity.span(Double(seconds))) old: the clock jumped ahead, or backups have stopped"
    case .newestIsFar(let seconds):
      "the newest snapshot of \(name) began \(Quantity.span(Double(seconds))) after the one before: a clock may have jumped ahead"
    case nil: ""
    }
  }
}

/// The days of the months that have snapshots.
private struct SnapshotCalendar {
  let lines: [String]

  /// Months shown at most.
  private static let longest = 18

  init(_ database: PrunePlan.Database, _ calendar: RetentionCalendar) {
    var days: [String: [Int: Character]] = [:]
    for entry in database.entries {
      let (month, day) = calendar.monthAndDay(of: entry.place.id.startedAt)
      let before = days[month]?[day]
      days[month, default: [:]][day] = entry.decision.isKept ? "#" : before ?? "-"
    }
    let months = days.keys.sorted()
    let shown = months.suffix(Self.longest).map { month in
      "\(month)  " + (1...31).map { String(days[month]?[$0] ?? ".") + ($0 % 10 == 0 ? " " : "") }.joined()
    }
    let earlier = months.count > shown.count ? ["and \(months.count - shown.count) earlier months"] : []
    lines = ["         1234567890 1234567890 12345678901   # stays, - goes"] + shown + earlier
  }
}
