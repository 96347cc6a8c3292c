import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Repository

/// Tells whether every database has a snapshot and a proof that are young enough.
struct Status: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "status", abstract: "Tell the age of the newest snapshot and proof of each database.",
    discussion:
      "Exit code 3 where one is older than max-age or max-proof-age in firn.yaml, incomplete, damaged, or has lost many rows: for monitoring.")
  @Argument(help: "The database, or SOURCE/DATABASE; else all.") var database: String?
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let catalog = try context.repository().catalog
    let places = try database.map { try catalog.database(named: $0) } ?? catalog.snapshots()
    let now = Date()
    let status = try StoreStatus(of: places, in: catalog, limits: context.configuration.limits, now: now) { Quantity.age(of: $0, now: now) }
    if common.json { try context.output(json: ["databases": status.databases.map(Entry.init)]) } else { show(status, context, now) }
    if status.databases.isEmpty { throw RepositoryError.noSuchDatabase(name: "any database", known: []) }
    return status.isSound ? .done : .doneWithWarnings
  }

  private func show(_ status: StoreStatus, _ context: CommandContext, _ now: Date) {
    let rows = status.databases.map { database in
      [
        database.database, database.newest.map { Quantity.age(of: $0.startedAt, now: now) } ?? "none",
        database.proof.map { "\(Quantity.age(of: $0.checkedAt, now: now)) (\($0.level.rawValue))" } ?? "never",
        database.restoreSeconds.map(Quantity.span) ?? "not measured", database.problems.isEmpty ? "ok" : "LOOK",
      ]
    }
    context.output(
      header: ["DATABASE", "SNAPSHOT", "PROOF", "RESTORES IN", "STATE"], rows: rows, details: status.databases.map(\.problems))
  }

  /// The JSON of a database's status.
  private struct Entry: Encodable {
    let source: String
    let database: String
    let newest: String?
    let newestAt: Date?
    let complete: Bool?
    let provenAt: Date?
    let provenBy: String?
    let restoreSeconds: Double?
    let ok: Bool
    let problems: [String]

    init(_ database: StoreStatus.Database) {
      source = database.source
      self.database = database.database
      newest = database.newest?.id.description
      newestAt = database.newest?.startedAt
      complete = database.newest?.complete
      provenAt = database.proof?.checkedAt
      provenBy = database.proof?.level.rawValue
      restoreSeconds = database.restoreSeconds
      ok = database.problems.isEmpty
      problems = database.problems
    }
  }
}
