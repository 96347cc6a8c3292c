import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// `firn-verify`.
package enum VerifyProgram {
  package static func start() { Program.start(FirnVerify.self) }
}

/// Looks whether snapshots are intact.
struct FirnVerify: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "firn-verify", abstract: "Verify that snapshots are intact and can be restored.",
    discussion: """
      --quick checks that every object exists with its size; --read reads every byte; --drill restores each snapshot on a throw-away \
      server and compares everything with the snapshot. --against compares a snapshot with a live database.
      """)

  @Argument(help: "Database name, SOURCE/DATABASE, or all (default).", completion: Completions.databases) var database: String?
  @Argument(
    help: "An id, the beginning of one, latest, latest:verified, latest:KIND, before:TIME, or all. Default: latest; without a database, all.",
    completion: Completions.snapshots)
  var snapshot: String?
  @Flag(help: "Check that every object exists with its size.") var quick = false
  @Flag(help: "Read and check every byte, and compare every table with the manifest (default).") var read = false
  @Flag(help: "Restore each snapshot, compare the copy with it, and drop the copy.") var drill = false
  @Option(
    help: ArgumentHelp(
      "Check that every object exists, and read this share of them, such as 5%. Each run continues where the last one stopped.", valueName: "share"))
  var sample: String?
  @Flag(help: "Fetch damaged files from other stores, named with --from. Replaced files are kept under quarantine/.") var repair = false
  @Option(name: .customLong("from"), help: ArgumentHelp("A store to repair from. May be repeated.", valueName: "store")) var donors: [String] = []
  @OptionGroup var rate: RateOption
  @Option(help: ArgumentHelp("Compare the snapshot with a live database, table by table.", valueName: "url")) var against: String?
  @Option(
    help: ArgumentHelp(
      "Verify only snapshots of the server of this name. With --drill and a URL: restore on that server, under a temporary name, instead of a throw-away one.",
      valueName: "name|url"))
  var server: String?
  @Option(
    name: .customLong("pg-bin"),
    help: ArgumentHelp(
      "Look here for PostgreSQL's programs first. May be repeated. Default: env FIRN_PG_BIN, then pg-bin in firn.yaml, then Debian's folders and the PATH.",
      valueName: "folder"))
  var toolFolders: [String] = []
  @Option(help: ArgumentHelp("Directory for drills. Default: spool in firn.yaml, then $TMPDIR or /var/tmp.", valueName: "folder")) var spool: String?
  @Option(
    help: ArgumentHelp(
      "Number of tables processed at the same time in a drill. Default: jobs in firn.yaml, then the number of processors, at most 8.", valueName: "n")
  ) var jobs: Int?
  @Option(
    help: ArgumentHelp("The search_path for drills, as for firn-restore. Default: the snapshot's, or empty.", valueName: "list")) var searchPath:
    String?
  @Flag(help: "Drill even if the kernel can't confine the server.") var unconfined = false
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if [quick, read, drill, sample != nil, against != nil].count(where: { $0 }) > 1 {
      throw ValidationError("--quick, --read, --drill, --sample and --against exclude each other")
    }
    if sample != nil && database != nil { throw ValidationError("--sample goes around the whole store: name no database") }
    if repair == donors.isEmpty { throw ValidationError("--repair and --from STORE belong together") }
    if repair && (drill || against != nil) { throw ValidationError("--repair belongs to --quick, --read and --sample") }
    if against != nil && (database == nil || snapshot == "all") { throw ValidationError("--against compares one snapshot of a named database") }
    if drillServer != nil && !drill { throw ValidationError("--server with a URL belongs to --drill") }
    if searchPath != nil && !drill { throw ValidationError("--search-path belongs to --drill") }
    if let jobs, !(1...64).contains(jobs) { throw ValidationError("--jobs takes a number from 1 to 64") }
  }

  /// The URL of the server to drill on.
  var drillServer: String? { server.flatMap { $0.contains("://") || $0.contains("=") ? $0 : nil } }
  /// The source whose snapshots are meant.
  private var source: String? { drillServer == nil ? server : nil }

  var job: RunReport.Job? { against != nil ? nil : drill ? .drill : .verify }
  var stateAfterInterruption: String? {
    repair ? "what was repaired by then stays repaired; the rest was not looked at" : "it did not come to its end, and no result is recorded"
  }
  func subject(_ context: CommandContext) -> String? { database == "all" ? nil : database }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository(in: rate.limited(context.store()))
    let places = try chosen(in: repository, context)
    guard !places.isEmpty else { throw RepositoryError.noSuchDatabase(name: database ?? "any database", known: []) }
    if let against { return try Comparison(command: self, context: context).run(places[0], in: repository, against: against) }
    let isWhole = (database == nil || database == "all") && source == nil
    let hasHidden = try context.warnOfHidden(repository.catalog, beside: isWhole ? nil : places)
    let status =
      drill
      ? try Drills(command: self, context: context).run(on: places, in: repository)
      : try Verification(command: self, context: context).run(on: places, in: repository)
    let doubts = try repository.doubts(about: places).sorted { ($0.key.database, $0.key.id) < ($1.key.database, $1.key.id) }
    for (place, doubts) in doubts {
      for doubt in doubts { context.warn("\(place.database) \(place.id): \(doubt.words)") }
    }
    let now = Date()
    let areNew = doubts.contains { $0.value.contains { $0.isNew(at: now) } }
    return (hasHidden || areNew) && status == .done ? .doneWithWarnings : status
  }

  /// With all snapshots come those that have lost their list of checksums; a drill can't be made of them.
  private func chosen(in repository: Repository, _ context: CommandContext) throws -> [SnapshotPath] {
    let unlisted = drill ? [] : try repository.catalog.unlisted()
    guard let database, database != "all" || snapshot != nil else {
      guard let own = try context.places(of: nil, from: source, in: repository.catalog) else { return try repository.catalog.snapshots() + unlisted }
      guard let first = own.first else { return [] }
      return own + unlisted.filter { $0.source == first.source }
    }
    if database == "all" {
      let all = try context.places(of: nil, from: source, in: repository.catalog) ?? repository.catalog.snapshots()
      return snapshot == "all"
        ? all + unlisted.filter { lost in source == nil || all.contains { $0.source == lost.source } }
        : try SnapshotSelector(snapshot ?? "latest").chooseForEach(of: all, in: repository.catalog)
    }
    let places = try context.places(of: database, from: source, in: repository.catalog) ?? []
    if snapshot == "all" { return places + unlisted.filter { $0.source == places[0].source && $0.database == places[0].database } }
    return [try SnapshotSelector(snapshot ?? "latest").choose(from: places, in: repository.catalog)]
  }
}
