import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository
import Retention

/// Lists snapshots.
struct List: FirnCommand {
  static let configuration = CommandSupport.configuration("list", abstract: "List the snapshots of a store.")
  @Argument(help: "Database, or SOURCE/DATABASE (default: all).", completion: Completions.databases) var database: String?
  @Option(help: ArgumentHelp("List only snapshots of this kind.", valueName: "kind")) var kind: String?
  @Option(name: .customLong("tag"), help: ArgumentHelp("List only snapshots with this label. May be repeated.", valueName: "key[=value]"))
  var tags: [String] = []
  @Option(help: ArgumentHelp("List only snapshots that began at this time or later: 2h, yesterday, 2026-11-28, 22:50.", valueName: "time"))
  var since: String?
  @Option(help: ArgumentHelp("List only the newest N of each database.", valueName: "n")) var last: Int?
  @OptionGroup var source: SourceOption
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if let since, SnapshotSelector.time(since) == nil {
      throw ValidationError("--since takes a time such as 2h, yesterday, 22:50 or 2026-11-28, not \(since)")
    }
    if let last, last < 1 { throw ValidationError("--last takes a number from 1 on") }
  }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    let catalog = repository.catalog
    let named = try context.places(of: database, from: source.name, in: catalog)
    let listing = try named.map { try folders(of: $0, catalog) } ?? catalog.listing()
    let places = named ?? listing.map(\.place)
    var entries: [Entry] = []
    var unreadable: [SnapshotPath] = []
    let verdicts = try places.reduce(into: [:]) { $0[$1] = try catalog.verdict(of: $1) }
    let findings = DamageFindings(verdicts)
    let held = Set(listing.filter(\.isOnHold).map(\.place))
    let doubts = try repository.doubts(about: places)
    for place in places {
      do {
        let check = verdicts[place]
        let manifest = try repository.readableManifest(of: place)
        var entry = try manifest.map { Entry($0, check: check) } ?? Entry(place, catalog.summary(of: place), check: check)
        if try catalog.shares(findings, place) { entry.sharesDamage() }
        entry.onHold = held.contains(place)
        entry.doubtfulTables = (doubts[place] ?? []).map { "\($0.schema).\($0.name)" }
        entries.append(entry)
      } catch let error as RepositoryError where error.isOfOneSnapshot {
        unreadable.append(place)
      } catch let error as StoreError where error.isOfOneFile {
        unreadable.append(place)
      }
    }
    entries = filtered(entries)
    let sourceNames = try catalog.sourceNames(of: entries.map(\.source))
    for index in entries.indices { entries[index].sourceName = sourceNames[entries[index].source] ?? entries[index].source }
    if common.json {
      try context.output(json: ["snapshots": entries])
    } else {
      show(entries, hasUnreadable: !unreadable.isEmpty, context)
    }
    if !common.json { showKept(context) }
    let hasHidden = try context.warnOfHidden(catalog, beside: named)
    for place in unreadable { context.warn("\(place.database) \(place.id) cannot be read: see firn-verify") }
    return unreadable.isEmpty && !hasHidden ? .done : .doneWithWarnings
  }

  /// Databases that restores have replaced, if the server is known.
  private func showKept(_ context: CommandContext) {
    // The list of the store does not fail if the server is unreachable.
    guard let settings = try? context.namedServer(),
      let server = try? ServerConnection.open(settings.with("connect_timeout", "3")), let kept = try? KeptDatabase.all(on: server, of: database),
      !kept.isEmpty
    else { return }
    context.output("")
    for entry in kept {
      context.output(
        "kept on \(server.target): \(entry.name), \(Quantity.size(entry.size)), was \(entry.record.database) until \(Quantity.age(of: entry.record.keptAt, now: Date()))"
      )
    }
  }

  /// The listings of the databases of snapshots.
  private func folders(of places: [SnapshotPath], _ catalog: Catalog) throws -> [ListedSnapshot] {
    try Dictionary(places.map { ($0.folder, $0) }) { first, _ in first }.values.flatMap {
      try catalog.listing(source: $0.source, database: $0.database)
    }
  }

  /// The entries of `--kind`, `--tag` and `--since`, of these the last of each database.
  private func filtered(_ entries: [Entry]) -> [Entry] {
    let start = since.flatMap { SnapshotSelector.time($0) } ?? .distantPast
    let wanted = entries.filter { entry in
      (kind == nil || entry.kind == kind) && entry.startedAt >= start && tags.allSatisfy(entry.tags.carry)
    }
    guard let last else { return wanted }
    var counts: [[String]: Int] = [:]
    return wanted.reversed().filter { entry in
      counts[[entry.source, entry.database], default: 0] += 1
      return counts[[entry.source, entry.database]] ?? 0 <= last
    }.reversed()
  }

  private func show(_ entries: [Entry], hasUnreadable: Bool, _ context: CommandContext) {
    guard !entries.isEmpty else {
      let isFiltered = kind != nil || since != nil || !tags.isEmpty
      if !hasUnreadable { context.tell(isFiltered ? "no such snapshots" : "no snapshots: take one with firn-snapshot") }
      return
    }
    let now = Date()
    let names = DatabaseNames(entries.map { ($0.sourceName, $0.database) })
    let rows = entries.map { entry in
      [
        Table.Cell(names.name(source: entry.sourceName, database: entry.database)), .init(entry.id), .init(entry.kind),
        .init(Quantity.age(of: entry.startedAt, now: now).replacing(" ago", with: "")), .init(entry.bytes.value.map(Quantity.size) ?? "encrypted"),
        .init(Quantity.size(entry.storedBytes)),
        .init(entry.state, entry.complete && entry.doubtfulTables.isEmpty ? nil : .warning),
        entry.damaged
          ? .init("FOUND DAMAGED", .bad)
          : entry.verifiedAt.value.map { .init("verified \(Quantity.age(of: $0, now: now))", .good) } ?? "not verified",
      ]
    }
    context.output(Table(header: ["DATABASE", "SNAPSHOT", "KIND", "AGE", "SIZE", "STORED", "STATE", "PROOF"], rows: rows))
    if let doubtful = entries.last(where: { !$0.doubtfulTables.isEmpty }) {
      context.tell("DOUBTFUL: tables may hold old rows, see firn show \(doubtful.database) \(doubtful.id)")
    }
    context.tell("\(Quantity.count(entries.count, "snapshot")), \(Quantity.size(entries.reduce(0) { $0 + $1.storedBytes })) stored")
  }

  /// The JSON of a listed snapshot. Its keys are fixed.
  private struct Entry: Encodable {
    let id: String
    let source: String
    /// The name of the source; the folder's if it has no other.
    fileprivate(set) var sourceName = ""
    let database: String
    let kind: String
    let tags: [String: String]
    let startedAt: Date
    /// Null if it is encrypted and no identity is available.
    let bytes: Nullable<Int64>
    let storedBytes: Int64
    let complete: Bool
    /// Whether a hold keeps it from being removed.
    var onHold = false
    private(set) var verifiedAt: Nullable<Date>
    /// Whether the last verification that read it found it damaged, or one with which it shares what is damaged.
    private(set) var damaged: Bool
    /// Tables that may hold old rows, by what a later snapshot found.
    var doubtfulTables: [String] = []

    /// Its state in the list.
    var state: String {
      (complete ? "complete" : "INCOMPLETE") + (doubtfulTables.isEmpty ? "" : ", DOUBTFUL") + (onHold ? ", held" : "")
    }

    init(_ manifest: Manifest, check: CheckRecord?) {
      self.init(manifest.place, .init(of: manifest), check: check, startedAt: manifest.startedAt, bytes: manifest.bytes)
    }

    init(_ place: SnapshotPath, _ summary: Manifest.Summary, check: CheckRecord?, startedAt: Date? = nil, bytes: Int64? = nil) {
      id = place.id.description
      source = place.source
      database = place.database
      kind = summary.kind
      tags = summary.tags
      self.startedAt = startedAt ?? place.id.startDate
      self.bytes = Nullable(bytes)
      storedBytes = summary.storedBytes ?? 0
      complete = summary.complete
      verifiedAt = Nullable(check.flatMap { $0.ok ? $0.checkedAt : nil })
      damaged = check?.ok == false
    }

    mutating func sharesDamage() {
      damaged = true
      verifiedAt = Nullable(nil)
    }
  }
}
