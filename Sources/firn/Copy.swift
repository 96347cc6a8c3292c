import ArgumentParser
import CommandSupport
import FirnCore
import Platform
import Repository

/// Copies snapshots from one store to another.
struct Copy: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "copy", abstract: "Copy snapshots to another store: what that lacks.",
    discussion: """
      Every byte is compared with its checksum on the way. A copy that was cut off goes on where it was. A store without a repository \
      gets one.
      """)
  @Argument(help: "An id, its beginning, latest, latest:verified, latest:KIND or before:TIME; of each database. Default: all.")
  var snapshot = "all"
  @Option(help: ArgumentHelp("The store to copy from; else --store.", valueName: "location")) var from: String?
  @Option(help: ArgumentHelp("The store to copy to; else those of the configuration. May be repeated.", valueName: "location")) var to: [String] = []
  @Option(help: "One database, or SOURCE/DATABASE.") var database: String?
  @Option(help: ArgumentHelp("Read no more bytes than that a second.", valueName: "size")) var maxRate: String?
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    var store = try context.store(at: from ?? context.storeLocation)
    if let maxRate {
      guard let rate = Quantity.bytes(maxRate), rate >= 1024 else { throw UsageError("--max-rate takes a size such as 20MiB, not \(maxRate)") }
      store = ThrottledStore(store, rate: rate)
    }
    let repository = try Repository(opening: store)
    let locations = to.isEmpty ? context.configuration.copies : to
    guard !locations.isEmpty else { throw UsageError("no store to copy to is named", hint: "name one with --to, or copies in firn.yaml") }
    let targets = try locations.map { try context.store(at: $0) }
    if targets.contains(where: { $0.location == store.location }) { throw UsageError("\(store.location) can't be copied to itself") }
    let places = try chosen(in: repository.catalog)
    let outcomes = try context.withProgress { progress in
      CopyOperation(from: repository, progress: progress, makesRepository: true).run(places, to: targets)
    }
    let made = SnapshotCopies.Made(outcomes)
    if common.json { try context.output(json: ["copies": made.reports]) } else { made.tell(context) }
    if let failure = outcomes.compactMap(\.failure).first, outcomes.count == 1, !(failure is Interruption) { return FailureReport(failure).status }
    return made.areAllMade ? .done : .doneWithWarnings
  }

  /// The snapshots that are meant, of each database.
  private func chosen(in catalog: Catalog) throws -> [SnapshotPlace] {
    let all = try database.map { try catalog.database(named: $0) } ?? catalog.snapshots()
    guard snapshot != "all" else { return all }
    let selector = try SnapshotSelector(snapshot)
    let groups = Dictionary(grouping: all) { "\($0.source.keyComponent)/\($0.database.keyComponent)" }
    var found: [SnapshotPlace] = []
    var missing: (any Error)?
    for (_, places) in groups.sorted(by: { $0.key < $1.key }) {
      do { found.append(try selector.choose(from: places, in: catalog)) } catch let error as RepositoryError {
        if case .noSuchSnapshot = error { missing = error } else { throw error }
      }
    }
    if found.isEmpty { throw missing ?? RepositoryError.noSuchDatabase(name: "any database", known: []) }
    return found
  }
}
