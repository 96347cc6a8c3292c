internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// Reads a restored database and compares it with the snapshot: the rows of every table, as the text that was dumped, every large object,
/// and the schema.
struct RestoreProof {
  struct Findings {
    /// Remarks that are no differences.
    var notes: [String] = []
    /// Things that could not be compared, for a reason outside the snapshot.
    var reservations: [String] = []
    /// Tables whose rows this role may not read.
    var notCompared: [String] = []
    var schemaCompared = false

    var warnings: [String] { notes + reservations + notCompared.map { "the rows of \($0) were not compared: this role may not read them all" } }
  }

  let build: DatabaseBuild
  /// The part of the snapshot that was restored.
  let selection: RestoreSelection
  let database: UnfinishedDatabase
  let settings: ConnectionSettings

  private var manifest: Manifest { selection.manifest }
  private var reader: SnapshotReader { build.source.reader }
  private var progress: WorkProgress { build.progress }

  /// - Throws: `FirnError.restoredCopyDiffers`.
  func run() throws -> Findings {
    progress.begin("comparing rows", expected: manifest.bytes)
    let rows = try compareRows()
    var differences = try rows.differences + unknownTables() + largeObjectDifferences()
    var findings = Findings(notes: rows.notes, notCompared: rows.notCompared)
    progress.begin("comparing the schema")
    do {
      differences += try SchemaProof(build: build, selection: selection, database: database, settings: settings).differences()
      findings.schemaCompared = true
    } catch let error as PostgresError {
      findings.reservations.append("the schema was not compared: \(error.briefly)")
    }
    if !differences.isEmpty { throw FirnError.restoredCopyDiffers(differences: differences) }
    return findings
  }

  private var session: LoadingSession {
    LoadingSession(
      settings: settings, archive: build.source.directory, searchPath: selection.searchPath,
      serverSettings: RestoreSettings.usual(jobs: 2, sharedBuffers: 0, serverMajor: build.server.serverMajor).filter {
        $0.name != "maintenance_work_mem"
      })
  }

  private struct Comparison: Sendable {
    var differences: [String] = []
    var notes: [String] = []
    var notCompared: [String] = []
    /// Rows of all partitions of a root, in any order.
    var partitions: [Manifest.Table.Root: RowSetDigest] = [:]
  }

  /// Compares several tables at once, the largest first.
  private func compareRows() throws -> Comparison {
    let conditions = Dictionary(
      try Connection(settings, applicationName: "firn-restore").configurationTables().map { ($0.name, $0.condition) },
      uniquingKeysWith: { first, _ in first })
    let found = Monitor(Comparison())
    let session = session
    try forEachOverSessions(selection.loads.sorted { $0.file.bytes < $1.file.bytes }, sessions: build.jobs) {
      try session.open()
    } _: { [reader, progress] load, connection in
      try Self.compare(load, conditions[load.table.qualifiedName] ?? "", connection, reader, progress, found)
    }
    return try comparePartitions(found.current)
  }

  private static func compare(
    _ load: TableLoad, _ condition: String, _ connection: Connection, _ reader: SnapshotReader, _ progress: WorkProgress,
    _ found: Monitor<Comparison>
  ) throws {
    let table = load.table
    progress.show(item: table.displayName)
    do {
      if let root = table.loadedThrough {
        let digest = try rowSet(of: load, condition, connection, progress)
        return found.update { $0.partitions[root, default: RowSetDigest()].add(digest) }
      }
      var tally = StreamTally(ranges: table.rangeLengths)
      try connection.copyOut(load.statement.dumping(condition: condition), what: table.displayName) { piece in
        tally.add(piece)
        progress.advance(by: piece.count)
      }
      tally.add(StreamedFile.tableEnd.span)
      guard tally.finish(name: load.file.name).digest.description != table.sha256 else { return }
      // A table has no order. Rows that came in the order of the dump may lie in another one beside rows that were there.
      var before = RowSetDigest()
      try reader.read(load.file) { before.add($0) }
      before.endFile()
      let isSame = try before == rowSet(of: load, condition, connection, progress)
      found.update { found in
        if isSame {
          found.notes.append("\(table.displayName): the same rows, in another order")
        } else {
          found.differences.append("\(table.displayName): its bytes differ")
        }
      }
    } catch PostgresError.rowsRefused(_, _, let details) where details.state == SQLState.insufficientPrivilege {
      found.update { $0.notCompared.append(table.displayName) }
    } catch PostgresError.rowsRefused(_, let message, let details)
      where details.state == SQLState.undefinedTable || details.state == SQLState.undefinedColumn
    {
      found.update { $0.differences.append("\(table.displayName): \(message)") }
    }
  }

  private static func rowSet(
    of load: TableLoad, _ condition: String, _ connection: Connection, _ progress: WorkProgress
  ) throws -> RowSetDigest {
    let table = load.table
    var digest = RowSetDigest()
    let statement = table.loadedThrough == nil ? load.statement : load.statement.with(target: connection.sessionText(table.qualifiedName.identifier))
    try connection.copyOut(statement.dumping(condition: condition), what: table.displayName) { piece in
      digest.add(piece)
      progress.advance(by: piece.count)
    }
    digest.add(StreamedFile.tableEnd.span)
    digest.endFile()
    return digest
  }

  /// Partitions among which a restore may have moved rows: all rows of all partitions together.
  private func comparePartitions(_ comparison: Comparison) throws -> Comparison {
    var comparison = comparison
    for (root, loads) in Dictionary(grouping: selection.loads.filter { $0.table.loadedThrough != nil }, by: { $0.table.loadedThrough! }) {
      var before = RowSetDigest()
      for load in loads {
        try reader.read(load.file) { before.add($0) }
        before.endFile()
      }
      if before != comparison.partitions[root] { comparison.differences.append("\(root.schema).\(root.name): its rows differ") }
    }
    comparison.differences.sort()
    comparison.notes.sort()
    return comparison
  }

  /// Tables that have rows and are not in the snapshot.
  private func unknownTables() throws -> [String] {
    let connection = try Connection(settings, applicationName: "firn-restore")
    let known = Set(manifest.tables.map(\.qualifiedName))
    return try connection.tables().filter { $0.hasRows && $0.ofExtension == nil }.filter { table in
      let name = QualifiedName(schema: table.schema, name: table.name)
      return try !known.contains(name) && connection.state(schema: table.schema, name: table.name) == .filled
    }.map { "\($0.schema).\($0.name): not in the snapshot" }.sorted()
  }

  /// Bytes of a large object that are read at once.
  private static let pieceOfLargeObject: Int32 = 1 << 20

  private func largeObjectDifferences() throws -> [String] {
    let connection = try session.open()
    let files = Dictionary(
      selection.largeObjects.compactMap { file in file.largeObjectID.map { ($0, file) } }, uniquingKeysWith: { first, _ in first })
    let there = try connection.largeObjects()
    var differences = there.subtracting(files.keys).map { "large object \($0): not in the snapshot" }
    differences += Set(files.keys).subtracting(there).map { "large object \($0): missing" }
    let common = there.intersection(files.keys).sorted()
    for start in stride(from: 0, to: common.count, by: 500) {
      try Interruption.check()
      let ids = Array(common[start..<min(common.count, start + 500)])
      var hashers = ids.map { _ in SHA256Hasher() }
      var waiting = Array(ids.indices)
      var offset: Int64 = 0
      while !waiting.isEmpty {
        var unfinished: [Int] = []
        try connection.getLargeObjects(waiting.map { (ids[$0], offset, Self.pieceOfLargeObject) }) { number, piece in
          hashers[waiting[number]].update(piece)
          if piece.count == Self.pieceOfLargeObject { unfinished.append(waiting[number]) }
        }
        offset += Int64(Self.pieceOfLargeObject)
        waiting = unfinished
      }
      for (id, hasher) in zip(ids, hashers) where hasher.finalize() != files[id]?.digest {
        differences.append("large object \(id): its bytes differ")
      }
    }
    return differences.sorted()
  }
}

extension QualifiedName {
  /// As SQL writes it.
  var identifier: String { "\(Connection.identifier(schema)).\(Connection.identifier(name))" }
}
