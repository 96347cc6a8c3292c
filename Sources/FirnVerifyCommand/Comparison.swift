import CommandSupport
import FirnCore
import Platform
import Postgres
import Repository

/// `--against`.
struct Comparison {
  let command: FirnVerify
  let context: CommandContext

  func run(_ place: SnapshotPath, in repository: Repository, against url: String) throws -> ExitStatus {
    let settings = try ConnectionSettings(url)
    let tables = try context.withProgress { progress in
      try LiveComparison(
        repository: repository, settings: settings, jobs: context.jobs(command.jobs), toolFolders: context.toolFolders(command.toolFolders),
        workRoot: context.spoolRoot(command.spool), progress: progress
      ).run(place)
    }
    let isSame = tables.allSatisfy { $0.state == .same }
    if command.common.json {
      try context.output(json: Report(id: place.id.description, same: isSame, tables: tables.map(Report.Entry.init)))
      return isSame ? .done : .verificationFailed
    }
    let different = tables.filter { $0.state != .same }
    func count(_ rows: Int64?) -> String { rows.map { Quantity.count($0) } ?? "-" }
    if !different.isEmpty {
      let rows = different.map {
        [Table.Cell($0.name), .init($0.state.rawValue, .warning), .init(count($0.rowsThen)), .init(count($0.rowsNow))]
      }
      context.output(Table(header: ["TABLE", "STATE", "ROWS THEN", "ROWS NOW"], rows: rows))
    }
    context.output(
      different.isEmpty
        ? "every table is as in \(place.id)" : "\(tables.count - different.count) of \(Quantity.tables(tables.count)) as in \(place.id)")
    return isSame ? .done : .verificationFailed
  }

  private struct Report: Encodable {
    struct Entry: Encodable {
      let name: String
      let state: String
      let rowsThen: Int64?
      let rowsNow: Int64?

      init(_ table: LiveComparison.Table) {
        name = table.name
        state = table.state.rawValue
        rowsThen = table.rowsThen
        rowsNow = table.rowsNow
      }
    }
    let id: String
    let same: Bool
    let tables: [Entry]
  }
}
