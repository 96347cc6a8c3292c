import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// Keeps a snapshot from being pruned.
struct Hold: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "hold", abstract: "Protect a snapshot from pruning, until a day or forever.",
    discussion: """
      firn-prune shows the reason of a hold. --release removes the hold; type the snapshot's id to confirm. Each store has its own \
      holds: firn copy copies the hold with the snapshot, and the copied hold must be released in that store.
      """)
  @Argument(help: "Database name, or SOURCE/DATABASE.", completion: Completions.databases) var database: String
  @Argument(help: "An id, the beginning of one, latest, latest:verified, latest:KIND or before:TIME.", completion: Completions.snapshots)
  var snapshot: String
  @Option(
    help: ArgumentHelp(
      "Last day of the hold, such as 2027-01-31 (it ends when that day is over everywhere), or a time in UTC, such as 2027-01-31T12:00. Default: forever.",
      valueName: "time"))
  var until: String?
  @Option(help: ArgumentHelp("The reason, shown by firn-prune. Required unless --release is given.", valueName: "text")) var why: String?
  @Flag(help: "Remove the hold.") var release = false
  @OptionGroup var confirmation: ConfirmationOption
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if release {
      if until != nil || why != nil { throw ValidationError("--release takes neither --until nor --why") }
    } else if why?.trimmingCharacters(in: .whitespaces).isEmpty ?? true {
      throw ValidationError("say --why it is to be kept")
    }
  }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    let lock = try RepositoryLock(.shared, on: repository.store, purpose: "firn hold")
    defer { lock.release() }
    let place = try SnapshotSelector(snapshot).choose(from: context.places(of: database, in: repository.catalog), in: repository.catalog)
    if release {
      guard let hold = try repository.catalog.hold(of: place) else {
        context.tell("\(place.id) is not on hold")
        return .done
      }
      context.explain("\(place.database) \(place.id) is on hold: \(hold.reason)")
      try Confirmation.require(place.id.description, given: confirmation.confirm)
      try repository.catalog.release(place)
      context.tell("the hold is removed: policies apply to \(place.id) again")
      return .done
    }
    var end: Date?
    if let until {
      guard let date = SnapshotSelector.time(until, zone: .gmt) else { throw RepositoryError.invalidSelector(until) }
      guard date > Date() else { throw UsageError("\(until) is past", hint: "name a time to come, or leave --until out") }
      // A day ends last twelve hours after it does by UTC.
      end = until.contains { ":T".contains($0) } ? date : date.addingTimeInterval(36 * 3600)
    }
    // One that holds longer is not weakened without a word.
    if let standing = try repository.catalog.hold(of: place), standing.holds(at: Date()), let end, standing.until.map({ $0 > end }) ?? true {
      let term = standing.until.map { "until \(Quantity.time($0))" } ?? "for ever"
      context.explain("\(place.database) \(place.id) is on hold \(term): \(standing.reason)")
      try Confirmation.require(place.id.description, given: confirmation.confirm)
    }
    let hold = SnapshotHold(until: end, reason: why ?? "", placedAt: Date(), host: Host.name)
    try repository.catalog.place(hold, on: place)
    // If another process considered our lock dead, the snapshot may be gone.
    guard try repository.store.size(of: place.checksums) != nil else {
      try? repository.catalog.release(place)
      throw RepositoryError.noSuchSnapshot(selector: place.id.description, database: place.database)
    }
    if common.json { try context.output(json: hold) }
    let copies = context.configuration.copies.count
    if copies > 0 {
      context.tell("in the copies it is held once firn copy was there: firn copy \(place.id) --to …")
    }
    context.tell("\(place.database) \(place.id) stays \(end.map { "until \(Quantity.time($0))" } ?? "for ever")")
    return .done
  }
}
