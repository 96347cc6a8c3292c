import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// Checks that every database has a snapshot and a verification that are recent enough.
struct Status: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "status", abstract: "Show how old the newest snapshot and its last verification are.",
    discussion:
      """
      For monitoring. Exit code 3 if something needs attention, such as: a snapshot, a verification or a table's last reading that is too old \
      (max-age, max-proof-age and max-unread-age in firn.yaml); an incomplete or damaged snapshot, or one that lost many rows; a failed \
      drill or run; a database without a snapshot; a copy that is behind; a server that cannot be reached.
      """)
  @Argument(help: "Database, or SOURCE/DATABASE (default: all).", completion: Completions.databases) var database: String?
  @OptionGroup var source: SourceOption
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    let now = Date()
    let places = try context.places(of: database, from: source.name, in: repository.catalog)
    let status = try context.status(of: places, in: repository, now: now)
    let hasHidden = try context.warnOfHidden(repository.catalog, beside: places)
    if common.json {
      try context.output(json: Report(databases: status.databases.map(Entry.init), problems: status.problems))
    } else {
      show(status, context, now)
    }
    for problem in status.problems { context.warn(problem) }
    if status.databases.isEmpty { throw RepositoryError.noSuchDatabase(name: "any database", known: []) }
    return status.isSound && !hasHidden ? .done : .doneWithWarnings
  }

  private func show(_ status: StoreStatus, _ context: CommandContext, _ now: Date) {
    let names = DatabaseNames(status.databases.map { ($0.sourceName, $0.database) })
    let rows = status.databases.map { database in
      [
        Table.Cell(names.name(source: database.sourceName, database: database.database)),
        .init(database.newest.map { Quantity.age(of: $0.startedAt, now: now) } ?? "none"),
        .init(database.proof.map { "\(Quantity.age(of: $0.checkedAt, now: now)) (\($0.level.rawValue))" } ?? "never"),
        .init(database.restoreSeconds.map(Quantity.span) ?? "not measured"),
        database.problems.isEmpty ? .init(database.isGone ? "gone from its server" : "ok", database.isGone ? nil : .good) : .init("WARN", .warning),
      ]
    }
    context.output(
      Table(header: ["DATABASE", "SNAPSHOT", "PROOF", "RESTORES IN", "STATE"], rows: rows, details: status.databases.map(\.problems)))
  }

  private struct Report: Encodable {
    let databases: [Entry]
    let problems: [String]
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
    /// Whether its server no longer has it.
    let gone: Bool
    let copies: [Copy]
    let ok: Bool
    let problems: [String]

    struct Copy: Encodable {
      let store: String
      let newest: String?
      let behind: Int
    }

    init(_ database: StoreStatus.Database) {
      source = database.source
      self.database = database.database
      newest = database.newest?.id.description
      newestAt = database.newest?.startedAt
      complete = database.newest?.complete
      provenAt = database.proof?.checkedAt
      provenBy = database.proof?.level.rawValue
      restoreSeconds = database.restoreSeconds
      gone = database.isGone
      copies = database.copies.map { Copy(store: $0.location, newest: $0.newest?.description, behind: $0.behind) }
      ok = database.problems.isEmpty
      problems = database.problems
    }
  }
}
