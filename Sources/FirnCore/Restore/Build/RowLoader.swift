internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// Loads the rows of tables, and large objects, into a new database, over several sessions at once: the largest
/// table first.
///
/// Each table has its own transaction. If the server refuses a table's rows, the table is loaded again after all
/// others, in the order of the archive, because a check on its rows may read another table. pg_restore has no such
/// second attempt.
final class RowLoader: Sendable {
  private enum Item: Sendable {
    case table(TableLoad)
    case largeObjects([SnapshotReader.FileEntry])

    var bytes: Int64 {
      switch self {
      case .table(let load): load.file.bytes
      case .largeObjects(let files): files.reduce(0) { $0 + $1.bytes + RowLoader.costOfLargeObject }
      }
    }
  }

  private struct State: Sendable {
    /// Items to load; the next one is taken from the end.
    var waiting: [Item]
    /// Dump ids of tables that are not completely loaded.
    var unfinished: Set<Int>
    var refused: [(load: TableLoad, error: any Error)] = []
    var differences: [String] = []
    /// Sessions that have nothing left to do.
    var idle = 0
  }

  private let opening: LoadingSession
  private let reader: SnapshotReader
  private let progress: WorkProgress
  private let failure: FirstFailure
  private let sessions: Int
  /// The tables that the restore creates, by their dump ids.
  private let created: Set<Int>
  private let isSuperuser: Bool
  private let loads: [TableLoad]
  private let state: Monitor<State>

  /// The cost of a large object in addition to its contents, in bytes.
  private static let costOfLargeObject: Int64 = 200
  /// Large objects that one session takes at once: bytes in all, with their cost.
  private static let batchOfLargeObjects: Int64 = 4 << 20

  /// - Parameters:
  ///   - loads: in the order of the archive.
  init(
    _ loads: [TableLoad], largeObjects: [SnapshotReader.FileEntry], sessions: Int, opening: LoadingSession, isSuperuser: Bool, reader: SnapshotReader,
    progress: WorkProgress, failure: FirstFailure
  ) {
    self.loads = loads
    created = Set(opening.archive.entries.filter { $0.kind == "TABLE" }.map(\.dumpID))
    self.isSuperuser = isSuperuser
    self.opening = opening
    self.reader = reader
    self.progress = progress
    self.failure = failure
    var items = loads.map(Item.table) + Self.batches(of: largeObjects).map(Item.largeObjects)
    items.sort { $0.bytes < $1.bytes }
    self.sessions = min(max(1, sessions), items.count)
    state = Monitor(State(waiting: items, unfinished: Set(loads.compactMap(\.tableID))))
  }

  private static func batches(of files: [SnapshotReader.FileEntry]) -> [[SnapshotReader.FileEntry]] {
    var batches: [[SnapshotReader.FileEntry]] = []
    var bytes = batchOfLargeObjects
    // Large objects with neighbouring ids are stored next to each other.
    for file in files.sorted(by: { ($0.largeObjectID ?? 0) < ($1.largeObjectID ?? 0) }) {
      if bytes >= batchOfLargeObjects {
        batches.append([])
        bytes = 0
      }
      batches[batches.count - 1].append(file)
      bytes += file.bytes + costOfLargeObject
    }
    return batches
  }

  /// Loads everything.
  /// - Parameter whileWaiting: called on this thread while some sessions are idle and others still load, with the
  ///   number of idle sessions and the unfinished tables.
  /// - Throws: errors of the server, the store or `whileWaiting`; `FirnError.restoredCopyDiffers` if the server
  ///   stored another number of rows than the snapshot has.
  func run(whileWaiting: (Int, Set<Int>) throws -> Void) throws {
    let threads = (0..<sessions).map { _ in
      WorkerThread(name: "load") { [self] in
        failure.capture { try work() }
        state.update { $0.idle += 1 }
      }
    }
    while true {
      let idle = state.current.idle
      if idle == threads.count { break }
      // A function in an index may read a table that must be loaded again, so no index is built then.
      if idle > 0, failure.error == nil, state.current.refused.isEmpty { failure.capture { try whileWaiting(idle, state.current.unfinished) } }
      _ = state.wait(atMost: .milliseconds(200)) { $0.idle != idle }
    }
    for thread in threads { thread.join() }
    try failure.check()
    try retryRefused()
    let differences = state.current.differences
    if !differences.isEmpty { throw FirnError.restoredCopyDiffers(differences: differences.sorted()) }
  }

  private func work() throws {
    let session = try opening.open()
    session.check = { [failure] in
      try Interruption.check()
      try failure.check()
    }
    while failure.error == nil, let item = state.update({ $0.waiting.popLast() }) {
      switch item {
      case .largeObjects(let files): try load(files, over: session)
      case .table(let load):
        do { try self.load(load, over: session) } catch let error as PostgresError where error.mayDependOnOrder {
          try session.rollback()
          state.update { $0.refused.append((load, error)) }
        }
      }
    }
  }

  private func load(_ load: TableLoad, over session: Connection) throws {
    var before = Array("BEGIN; ".utf8)
    // Tables that an extension created have triggers already, which would change the dumped rows.
    if load.tableID.map({ !created.contains($0) }) ?? true, isSuperuser { before += Array("SET LOCAL session_replication_role = replica; ".utf8) }
    if load.isNew { before += load.statement.truncation + Array("; ".utf8) }
    let rows = try load.send(
      over: session, before: before, freezes: load.isNew, from: reader, progress: progress, check: { [failure] in try failure.check() })
    try session.commit()
    state.update { state in
      if rows != load.table.rows { state.differences.append("\(load.table.displayName): \(rows) rows instead of \(load.table.rows)") }
      if let id = load.tableID { state.unfinished.remove(id) }
    }
  }

  private func load(_ files: [SnapshotReader.FileEntry], over session: Connection) throws {
    progress.show(item: "large objects")
    try session.putLargeObjects { put in
      for file in files {
        try failure.check()
        guard let id = file.largeObjectID else { throw FirnError.unsoundArchive(reason: "\(file.name) is no large object") }
        var offset: Int64 = 0
        try reader.read(file) { piece in
          var start = 0
          while start < piece.count {
            let end = min(piece.count, start + Self.pieceOfLargeObject)
            try put(id, offset, piece.extracting(start..<end))
            offset += Int64(end - start)
            start = end
          }
          progress.advance(by: piece.count)
        }
      }
    }
  }

  /// Bytes that one statement writes at most.
  private static let pieceOfLargeObject = 1 << 20

  /// Loads refused tables again over one session, in the order of the archive. It repeats this while each pass
  /// loads at least one more table.
  private func retryRefused() throws {
    var refused = state.update { state in
      defer { state.refused = [] }
      return state.refused
    }
    guard let first = refused.first else { return }
    // If there is only one table, no other table's rows were missing, so a second attempt would not help.
    guard loads.count > 1 else { throw first.error }
    progress.note("the server refused rows of \(refused.map(\.load.table.displayName).joined(separator: ", ")): loading them again, in order")
    let session = try opening.open()
    let order = Dictionary(loads.enumerated().map { ($1.file.name, $0) }, uniquingKeysWith: { first, _ in first })
    refused.sort { (order[$0.load.file.name] ?? 0) < (order[$1.load.file.name] ?? 0) }
    while !refused.isEmpty {
      var still: [(load: TableLoad, error: any Error)] = []
      for (load, _) in refused {
        try Interruption.check()
        do { try self.load(load, over: session) } catch let error as PostgresError where error.mayDependOnOrder {
          try session.rollback()
          still.append((load, error))
        }
      }
      guard still.count < refused.count else { throw still[0].error }
      refused = still
    }
  }
}

extension PostgresError {
  /// Whether it may help to load other tables first: a constraint or function refused the rows (classes 23 and P0),
  /// or two sessions waited for each other (40).
  var mayDependOnOrder: Bool {
    guard case .rowsRefused(_, _, let details) = self else { return false }
    return ["23", "40", "P0"].contains(details.state.prefix(2))
  }

  /// Whether the server refused the rows because of their contents, and not because a resource was missing or the
  /// session ended (classes 53, 54, 57, 58, XX).
  var isOfRows: Bool {
    guard case .rowsRefused(_, _, let details) = self else { return false }
    return !["53", "54", "57", "58", "XX"].contains(details.state.prefix(2))
  }
}
