import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository
import SystemPackage

/// Writes a page about a store.
struct Report: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "report", abstract: "Write a page about a store: one HTML file that needs no network.",
    discussion: """
      The page shows a calendar of snapshots with their verifications, sizes and rows over time, the effect of deduplication, copies, the duration of \
      restores, and warnings. It can be sent by mail, or published by a web server.
      """)
  @Argument(help: "Database, or SOURCE/DATABASE (default: all).", completion: Completions.databases) var database: String?
  @Option(help: ArgumentHelp("Write it to this file. Default: standard output.", valueName: "file")) var output: String?
  @Option(help: ArgumentHelp("Days to look back, from 1 to 3660.", valueName: "n")) var days = 366
  @OptionGroup var source: SourceOption
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if output != nil && common.json { throw ValidationError("--output takes a page, --json prints an object: say one of them") }
    if !(1...3660).contains(days) { throw ValidationError("--days takes a number from 1 to 3660") }
  }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    let now = Date()
    let report = try context.withProgress { progress in
      let places = try context.places(of: database, from: source.name, in: repository.catalog)
      let status = try context.status(of: places, in: repository, now: now)
      return try StoreReport(of: repository, status: status, days: days, now: now, progress: progress)
    }
    if report.databases.isEmpty { throw RepositoryError.noSuchDatabase(name: database ?? "any database", known: []) }
    if common.json {
      try context.output(json: report)
    } else if let output {
      try write(Array(ReportPage(report).html.utf8), to: FilePath(output))
      context.tell("wrote \(output)")
    } else {
      Terminal.writeOutput(ReportPage(report).html)
    }
    return .done
  }

  /// Whoever looks finds the old page or the new one.
  private func write(_ bytes: [UInt8], to path: FilePath) throws {
    let passing = path.removingLastComponent().appending(".\(path.lastComponent?.string ?? "report").\(UInt32.random(in: 0 ... .max))")
    do {
      let file = try File(passing, .replace)
      // The page is meant to be read by others, such as a web server.
      try file.permitAsUsual()
      try file.write(bytes.span)
      try Folder.rename(passing, to: path)
    } catch {
      try? Folder.removeFile(passing)
      throw error
    }
  }
}
