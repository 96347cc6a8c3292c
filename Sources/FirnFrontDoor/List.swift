import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository

/// Lists snapshots.
struct List: FirnCommand {
  static let configuration = CommandSupport.configuration("list", abstract: "List the snapshots of a store.")
  @Argument(help: "Database, or SOURCE/DATABASE (default: all).") var database: String?
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    let catalog = repository.catalog
    let places = try database.map { try context.places(of: $0, in: catalog) } ?? catalog.snapshots()
    var entries: [Entry] = []
    var unreadable: [SnapshotPath] = []
    let verdicts = try places.reduce(into: [:]) { $0[$1] = try catalog.verdict(of: $1) }
    let findings = DamageFindings(verdicts)
    for place in places {
      do {
        let check = verdicts[place]
        let manifest = try repository.readableManifest(of: place)
        var entry = try manifest.map { Entry($0, check: check) } ?? Entry(place, catalog.summary(of: place), check: check)
        if try catalog.shares(findings, place) { entry.sharesDamage() }
        entries.append(entry)
      } catch let error as RepositoryError where error.isDamage {
        unreadable.append(place)
      } catch let error as StoreError where error.isOfOneFile {
        unreadable.append(place)
      }
    }
    if common.json {
      try context.output(json: ["snapshots": entries])
    } else {
      show(entries, hasUnreadable: !unreadable.isEmpty, context)
    }
    if !common.json { showKept(context) }
    let hasHidden = try context.warnOfHidden(catalog, beside: database == nil ? nil : places)
    for place in unreadable { context.warn("\(place.database) \(place.id) cannot be read: see firn-verify") }
    return unreadable.isEmpty && !hasHidden ? .done : .doneWithWarnings
  }

  /// Databases that restores have replaced, where the server can be asked.
  private func showKept(_ context: CommandContext) {
    // Nobody asked for the server: a list of what is in the store doesn't fail for it.
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

  private func show(_ entries: [Entry], hasUnreadable: Bool, _ context: CommandContext) {
    guard !entries.isEmpty else {
      if !hasUnreadable { context.tell("no snapshot yet: make one with firn-snapshot") }
      return
    }
    let now = Date()
    let names = DatabaseNames(entries.map { ($0.source, $0.database) })
    let rows = entries.map { entry in
      [
        names.name(source: entry.source, database: entry.database), entry.id, entry.kind, Quantity.age(of: entry.startedAt, now: now),
        entry.bytes.value.map(Quantity.size) ?? "encrypted",
        Quantity.size(entry.storedBytes), entry.complete ? "complete" : "INCOMPLETE",
        entry.damaged ? "FOUND DAMAGED" : entry.verifiedAt.value.map { "verified \(Quantity.age(of: $0, now: now))" } ?? "not verified",
      ]
    }
    context.output(header: ["DATABASE", "SNAPSHOT", "KIND", "AGE", "SIZE", "STORED", "STATE", "PROOF"], rows: rows)
  }

  /// The JSON of a listed snapshot. Its keys are fixed.
  private struct Entry: Encodable {
    let id: String
    let source: String
    let database: String
    let kind: String
    let startedAt: Date
    /// Null if it is encrypted and no identity is available.
    let bytes: Nullable<Int64>
    let storedBytes: Int64
    let complete: Bool
    private(set) var verifiedAt: Nullable<Date>
    /// Whether the last verification that read it found it damaged, or one with which it shares what is damaged.
    private(set) var damaged: Bool

    init(_ manifest: Manifest, check: CheckRecord?) {
      self.init(manifest.place, .init(of: manifest), check: check, startedAt: manifest.startedAt, bytes: manifest.bytes)
    }

    init(_ place: SnapshotPath, _ summary: Manifest.Summary, check: CheckRecord?, startedAt: Date? = nil, bytes: Int64? = nil) {
      id = place.id.description
      source = place.source
      database = place.database
      kind = summary.kind
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
