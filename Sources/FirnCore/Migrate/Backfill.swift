internal import Digests
package import Foundation
internal import Platform
package import Postgres
internal import SystemPackage

/// Changes the rows of a table in batches by primary key. Each batch is a transaction, and no row is changed twice.
///
/// Before a batch is committed, a note with its last key and its transaction number is written to disk. After a kill the server knows
/// whether that transaction was committed, so the next run continues exactly where this one stopped. The server's log is flushed before the
/// note is written: a crash could otherwise give the number to another transaction.
package struct Backfill {
  package struct Request: Sendable {
    package var settings: ConnectionSettings
    package var table: String
    /// Assignments, as after SET in SQL.
    package var assignments: String
    /// A condition, as after WHERE in SQL; nil for every row.
    package var condition: String?
    package var batch = 1000
    package var pause: Duration = .milliseconds(10)
    /// Batches become smaller if the server works longer on one: other sessions wait about that long for a core or for its rows.
    package var longestBatch: Duration = .milliseconds(3)
    package var replicaDelay: Duration = .seconds(5)
    /// Starts at the first row, even if an interrupted run could be continued.
    package var startsOver = false

    package init(settings: ConnectionSettings, table: String, assignments: String) {
      self.settings = settings
      self.table = table
      self.assignments = assignments
    }
  }

  package struct Outcome: Sendable {
    package let table: String
    /// Rows changed in this run.
    package var rows: Int64 = 0
    /// Rows that meet the condition, and were inserted in the meantime with keys that the run had already passed.
    package var late: Int64 = 0
    package var batches = 0
    /// Rows that the largest batch could have, and whether batches were kept small because they took long.
    package var largestBatch = 0
    package var isHeldBack = false
    /// Rows changed by interrupted runs before.
    package var rowsBefore: Int64 = 0
    package var elapsed: Duration = .zero
    /// How often it waited for replicas, and for rows locked by other sessions.
    package var replicaWaits = 0
    package var lockWaits = 0
  }

  /// The progress of a run.
  package struct Step: Sendable {
    package let rows: Int64
    package let total: Int64
    package let batch: Int
    /// The cause of a delay, such as a replica or rows that other sessions hold.
    package let heldUpBy: String?
  }

  private struct Note: Codable {
    let cluster: String
    /// The identity of the table, and its name.
    let identity: String
    let table: String
    let assignments: String
    let condition: String?
    let startedAt: Date
    /// All rows up to this key are done.
    var doneKey: [String]?
    var doneRows: Int64
    /// The batch that was about to be committed.
    var nextKey: [String]?
    var nextRows: Int64
    var transaction: String?
    /// Whether changed rows still meet the condition.
    var stillMeets = false
    /// The server's timeline, and the end of its log when this was written. Nil in notes of older programs.
    var timeline: String?
    var lsn: String?
  }

  /// The point from which an interrupted run continues.
  package struct Resumption: Sendable {
    package let startedAt: Date
    package let rows: Int64
    /// The key of the last changed row; nil if there is none.
    package let key: [String]?
  }

  private let request: Request
  private let progress: WorkProgress

  package init(request: Request, progress: WorkProgress) {
    self.request = request
    self.progress = progress
  }

  /// - Parameters:
  ///   - resumes: called if an interrupted run is continued.
  ///   - each: called after every batch.
  /// - Throws: `FirnError.refused`, `.migrationRuns`, `.backfillLost`, `.backfillFailedOver`. After an `Interruption` it can be continued.
  package func run(resumes: (Resumption) -> Void, each: (Step) -> Void) throws -> Outcome {
    let clock = ContinuousClock.now
    progress.begin("examining the table")
    let connection = try Connection(request.settings, applicationName: "firn-migrate backfill")
    try connection.refusePooler()
    // A note says that batches are committed, so these commits must survive a crash.
    try connection.makeCommitsDurable()
    let flusher = try Connection(request.settings, applicationName: "firn-migrate backfill log")
    guard let table = try connection.backfillTable(request.table) else {
      throw FirnError.refused(reasons: ["\(connection.database) has no table \(request.table)"])
    }
    guard !table.key.isEmpty else {
      throw FirnError.refused(reasons: ["\(table.name) has no primary key, which batches need"])
    }
    guard !table.hasHeirs else {
      throw FirnError.refused(reasons: ["tables inherit from \(table.name), and their rows may have the same keys: name each inheriting table"])
    }
    let path = try notePath(connection, table)
    let lockKey = Int64(bitPattern: UInt64(path.stem?.suffix(16) ?? "", radix: 16) ?? 0)
    guard try connection.tryAdvisoryLock(lockKey) else {
      throw FirnError.migrationRuns(database: "\(table.name)", holder: try connection.holderOfAdvisoryLock(lockKey) ?? "another run")
    }
    try requireNoOther(than: path, connection, table)
    let timeline = try connection.timeline()
    let found = try resumed(at: path, connection, timeline)
    if let found { resumes(Resumption(startedAt: found.startedAt, rows: found.doneRows, key: found.doneKey)) }
    var note = try found ?? newNote(connection, table)
    note.timeline = timeline
    var outcome = Outcome(table: table.name)
    outcome.rowsBefore = note.doneRows
    progress.begin("counting the rows")
    let total = note.doneRows + (try remaining(connection, table, note))
    try StateFolder.write(note, to: path)
    progress.begin("backfilling \(table.name)")
    var pace = BatchPace(most: request.batch, longest: request.longestBatch)
    while true {
      try Interruption.check()
      let start = ContinuousClock.now
      let batch: BackfillBatch
      do {
        batch = try connection.beginBatch(
          table, set: request.assignments, where: request.condition, after: note.doneKey, size: pace.size, lockTimeout: .seconds(1))
      } catch PostgresError.statementFailed(_, let state)
        where [SQLState.lockNotAvailable, SQLState.deadlockDetected, SQLState.serializationFailure].contains(state)
      {
        outcome.lockWaits += 1
        pace.halve()
        each(Step(rows: note.doneRows, total: total, batch: pace.size, heldUpBy: "rows that other sessions have locked"))
        try Interruption.sleep(until: ContinuousClock.now + .seconds(1))
        continue
      }
      let worked = ContinuousClock.now - start
      guard batch.seen > 0 else {
        try connection.rollBackBatch()
        break
      }
      guard !batch.movesKeys else {
        try connection.rollBackBatch()
        throw FirnError.refused(reasons: ["\(request.assignments) changes the primary key of \(table.name): some rows would be changed twice"])
      }
      (note.nextKey, note.nextRows, note.transaction) = (batch.lastKey, batch.rows, batch.transaction)
      note.stillMeets = note.stillMeets || batch.stillMeets
      note.lsn = batch.lsn
      do {
        try flusher.flushLog()
        try StateFolder.write(note, to: path)
      } catch {
        // Without the note the result of the batch would be unknown after a kill.
        try? connection.rollBackBatch()
        throw error
      }
      try connection.commitBatch()
      // The note of the next batch includes this one, so it is written once for both.
      (note.doneKey, note.nextKey, note.transaction) = (batch.lastKey, nil, nil)
      note.doneRows += batch.rows
      outcome.rows += batch.rows
      outcome.batches += 1
      let took = ContinuousClock.now - start
      outcome.largestBatch = max(outcome.largestBatch, pace.size)
      let size = pace.size
      // Asked for only if the pace depends on it.
      pace.adapt(to: worked, isAlone: try worked * 2 >= request.longestBatch && connection.isAlone())
      outcome.isHeldBack = outcome.isHeldBack || pace.size <= size && size < request.batch
      each(Step(rows: note.doneRows, total: total, batch: pace.size, heldUpBy: nil))
      try Interruption.sleep(until: ContinuousClock.now + max(request.pause, took / 4))
      try waitForReplicas(connection, &outcome) { each(Step(rows: note.doneRows, total: total, batch: pace.size, heldUpBy: $0)) }
    }
    // Changed rows no longer meet the condition. So rows that meet it now were inserted or moved in the meantime.
    if request.condition != nil, note.doneKey != nil, !note.stillMeets {
      progress.begin("counting rows that were added in the meantime")
      outcome.late = try connection.count(table, where: request.condition)
    }
    try? Folder.removeFile(path)
    outcome.elapsed = ContinuousClock.now - clock
    return outcome
  }

  private func waitForReplicas(_ connection: Connection, _ outcome: inout Outcome, _ tell: (String) -> Void) throws {
    var isFirst = true
    while let late = try connection.replicas().first(where: { ($0.behind ?? .zero) > request.replicaDelay }) {
      if isFirst { outcome.replicaWaits += 1 }
      isFirst = false
      tell("replica \(late.name)")
      try Interruption.sleep(until: ContinuousClock.now + .seconds(1))
    }
  }

  private func remaining(_ connection: Connection, _ table: BackfillTable, _ note: Note) throws -> Int64 {
    // In a continued run the condition does not show which rows are done, so the number is estimated.
    guard note.doneKey == nil else { return max(0, table.estimatedRows - note.doneRows) }
    return try connection.count(table, where: request.condition)
  }

  private func notePath(_ connection: Connection, _ table: BackfillTable) throws -> FilePath {
    try Folder.make(StateFolder.path)
    let parts = [try connection.clusterName(), table.identity, table.name, request.assignments, request.condition ?? ""]
    let digest = SHA256Digest(of: Array(parts.map { "\($0.utf8.count):\($0)" }.joined().utf8)).description
    return StateFolder.path.appending("backfill-\(digest.prefix(16)).json")
  }

  private func newNote(_ connection: Connection, _ table: BackfillTable) throws -> Note {
    Note(
      cluster: try connection.clusterName(), identity: table.identity, table: table.name, assignments: request.assignments,
      condition: request.condition, startedAt: Date(),
      doneRows: 0, nextRows: 0)
  }

  /// Refuses if a backfill of this table with other options was interrupted, because this one would start at the
  /// first row.
  private func requireNoOther(than path: FilePath, _ connection: Connection, _ table: BackfillTable) throws {
    let cluster = try connection.clusterName()
    for (other, bytes) in StateFolder.files(namedWith: "backfill-") where other != path {
      guard let note = try? JSONDecoder().decode(Note.self, from: Data(bytes)), note.cluster == cluster, note.identity == table.identity else {
        continue
      }
      // A run that changed nothing does not matter.
      if request.startsOver || note.doneKey == nil && note.transaction == nil {
        try Folder.removeFile(other)
        continue
      }
      let words = "SET \(note.assignments)" + (note.condition.map { " WHERE \($0)" } ?? "")
      throw FirnError.refused(reasons: [
        "a backfill of \(table.name) with \(words) was interrupted: continue it with the same options, or discard it with --start-over"
      ])
    }
  }

  /// The note of an interrupted run; nil if there is none.
  private func resumed(at path: FilePath, _ connection: Connection, _ timeline: String) throws -> Note? {
    guard !request.startsOver, Folder.exists(path) else { return nil }
    guard let bytes = StateFolder.files(namedWith: path.stem ?? "").first?.bytes,
      var note = try? JSONDecoder().decode(Note.self, from: Data(bytes))
    else {
      throw FirnError.refused(reasons: [
        "\(path), the progress of an interrupted run, can't be read by this user: run it as the same user, or start again with --start-over"
      ])
    }
    if let former = note.timeline, note.doneKey != nil || note.transaction != nil, former != timeline {
      // Commits of the other timeline may be missing here, and transaction numbers may be reused.
      guard note.condition != nil, !note.stillMeets else {
        throw FirnError.backfillFailedOver(table: note.table, key: (note.doneKey ?? []).joined(separator: ", "), lsn: note.lsn ?? "")
      }
      // Finished rows no longer meet the condition, so starting again loses nothing and changes no row twice.
      return nil
    }
    guard let transaction = note.transaction else { return note }
    for _ in 0..<600 {
      switch try connection.state(ofTransaction: transaction) {
      case .committed:
        (note.doneKey, note.nextKey, note.transaction) = (note.nextKey, nil, nil)
        note.doneRows += note.nextRows
        return note
      case .aborted:
        (note.nextKey, note.transaction) = (nil, nil)
        return note
      case .inProgress: try Interruption.sleep(until: ContinuousClock.now + .milliseconds(100))
      case nil: throw FirnError.backfillLost(table: note.table, key: (note.doneKey ?? []).joined(separator: ", "))
      }
    }
    throw FirnError.refused(reasons: ["transaction \(transaction) of the interrupted run is still open: end its session, then run this again"])
  }
}
