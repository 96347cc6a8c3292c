import ArgumentParser
import CommandSupport
import FirnCore
import Platform
import Repository

/// Copies snapshots from one store to another.
struct Copy: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "copy", abstract: "Copy snapshots to another store, except those already there.",
    discussion: """
      Every byte is compared with its checksum on the way. An interrupted copy continues when it is repeated. A store without a \
      repository gets one.
      """)
  @Argument(help: "An id, the beginning of one, latest, latest:verified, latest:KIND or before:TIME, chosen for each database.")
  var snapshot = "all"
  @Option(help: ArgumentHelp("The store to copy from. Default: the store of --store or firn.yaml.", valueName: "location")) var from: String?
  @Option(help: ArgumentHelp("The store to copy to. Default: the stores in firn.yaml. May be repeated.", valueName: "location")) var to: [String] = []
  @Flag(
    name: .customLong("init"), help: "Create a new repository in the target even if this machine copied to one there before and it is now missing.")
  var beginsAnew = false
  @Option(help: "Copy only this database, or SOURCE/DATABASE.") var database: String?
  @Flag(help: "Show what would be copied, and copy nothing.") var dryRun = false
  @OptionGroup var source: SourceOption
  @OptionGroup var rate: RateOption
  @OptionGroup var common: CommonOptions

  var job: RunReport.Job? { dryRun ? nil : .copy }
  func subject(_ context: CommandContext) -> String? { database }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let store = try rate.limited(context.store(at: from ?? context.storeLocation))
    context.record.use(store)
    let repository = try context.repositoryToFill(in: store)
    let locations = to.isEmpty ? context.configuration.copies : to
    guard !locations.isEmpty else { throw UsageError("no store to copy to", hint: "give one with --to, or copies in firn.yaml") }
    let copies = try SnapshotCopies(others: locations, of: store, nil, context)
    if dryRun { return try show(try chosen(in: repository.catalog, context), locations, context) }
    let made = try copies.make(of: try chosen(in: repository.catalog, context), in: repository, context, mayBeginAnew: beginsAnew)
    try context.result(["copies": made.reports])
    made.tell(context)
    let hasHidden = try context.warnOfHidden(repository.catalog)
    if let interruption = made.interruption { throw CutOff(interruption: interruption, state: "completely copied snapshots stay there") }
    return made.status == .done && hasHidden ? .doneWithWarnings : made.status
  }

  /// Prints the snapshots that each store lacks.
  private func show(_ places: [SnapshotPath], _ locations: [String], _ context: CommandContext) throws -> ExitStatus {
    struct Missing: Encodable {
      let store: String
      let missing: [String]
    }
    var found: [Missing] = []
    for location in locations {
      let target = try context.store(at: location, asksWhatIsThere: false)
      var there: Set<SnapshotPath> = []
      var state = ""
      do { there = Set(try Repository(opening: target).catalog.snapshots()) } catch RepositoryError.noRepository {
        state = "; there is no repository yet: it would be created"
      }
      let missing = places.filter { !there.contains($0) }
      found.append(Missing(store: target.location, missing: missing.map(\.id.description)))
      context.tell("\(target.location): \(Quantity.count(missing.count, "snapshot")) of \(places.count) would be copied\(state)")
      if !common.json { for place in missing { context.output("\(place.database) \(place.id)") } }
    }
    if common.json { try context.output(json: ["copies": found]) }
    context.tell("nothing was copied (--dry-run)")
    return .done
  }

  /// The snapshots that are meant, of each database.
  private func chosen(in catalog: Catalog, _ context: CommandContext) throws -> [SnapshotPath] {
    let all = try context.places(of: database, from: source.name, in: catalog) ?? catalog.snapshots()
    if all.isEmpty { throw RepositoryError.noSuchDatabase(name: "any database", known: []) }
    guard snapshot != "all" else { return all }
    let selector = try SnapshotSelector(snapshot)
    do { return try selector.chooseForEach(of: all, in: catalog) } catch RepositoryError.noSuchSnapshot
      where database == nil && all.contains(where: { $0.database.isSame(as: snapshot) })
    {
      throw UsageError("\(snapshot) is a database, and no snapshot", hint: "firn copy --database \(snapshot) copies all of it")
    }
  }
}
