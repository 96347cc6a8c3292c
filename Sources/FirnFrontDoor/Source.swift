import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// Sources: the servers whose snapshots are in a store.
struct Source: ParsableCommand {
  static let configuration = CommandSupport.configuration(
    "source", abstract: "List the servers whose snapshots are in the store, and name them.", subcommands: [SourceList.self, SourceRename.self])
}

/// Lists the sources of a store.
struct SourceList: FirnCommand {
  static var program: String { "firn source" }
  static let configuration = CommandSupport.configuration("list", abstract: "List the sources of the store, with their servers.")
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let catalog = try context.repository().catalog
    let places = try catalog.snapshots()
    let sources = try catalog.sources(of: places).map { source in
      Entry(source, databases: Set(places.filter { $0.source.isSame(as: source.folder) }.map(\.database)).count)
    }
    if common.json {
      try context.output(json: ["sources": sources])
    } else if sources.isEmpty {
      context.tell("no sources: take a snapshot with firn-snapshot")
    } else {
      let rows = sources.map { entry in
        let server = entry.servers.last
        return [
          Table.Cell(entry.name), .init(server?.place ?? ""), .init(server.map { "PostgreSQL \($0.version)" } ?? ""),
          .init(server.map { Quantity.time($0.since) } ?? ""), .init("\(entry.databases)"), .init(entry.source),
        ]
      }
      context.output(Table(header: ["SOURCE", "HOST", "SERVER", "SINCE", "DATABASES", "FOLDER"], rows: rows))
    }
    return .done
  }

  /// The JSON of a source. Its keys are fixed.
  private struct Entry: Encodable {
    let source: String
    let name: String
    let databases: Int
    let servers: [SourceRecord.Server]

    init(_ known: KnownSource, databases: Int) {
      (source, name, servers) = (known.folder, known.name, known.record?.servers ?? [])
      self.databases = databases
    }
  }
}

/// Names a source.
struct SourceRename: FirnCommand {
  static var program: String { "firn source" }
  static let configuration = CommandSupport.configuration(
    "rename", abstract: "Give a source another name.",
    discussion: "Its folder and its snapshots stay as they are. If firn.yaml names the server, change the name there too.")
  @Argument(help: "The source's name, or its folder.") var source: String
  @Argument(help: "Its new name.") var name: String
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    guard !name.contains("/"), !name.contains(where: \.isNewline), name.utf8.count <= 100 else {
      throw UsageError("a source's name is one line of at most 100 bytes without /")
    }
    let repository = try context.repository()
    let lock = try RepositoryLock(.shared, on: repository.store, purpose: "firn source rename")
    defer { lock.release() }
    let catalog = repository.catalog
    let sources = try catalog.sources(of: catalog.snapshots())
    guard let folder = try catalog.source(named: source) else {
      throw RepositoryError.noSuchSource(name: source, known: sources.map(\.name))
    }
    let others = sources.filter { $0.folder != folder }
    guard !others.contains(where: { $0.name.isSame(as: name) || $0.folder.isSame(as: name) }) else {
      throw UsageError("another source has the name \(name)", hint: "firn source list shows all")
    }
    var record = try catalog.sourceRecord(of: folder) ?? SourceRecord(name: folder, servers: [])
    record.name = name
    try catalog.write(record, of: folder)
    if common.json { try context.output(json: ["source": folder, "name": name]) }
    context.tell("\(source) is named \(name) from now on: firn-restore \(name)/DATABASE")
    return .done
  }
}
