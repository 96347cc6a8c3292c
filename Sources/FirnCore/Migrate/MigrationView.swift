internal import Platform
package import Postgres

/// The activity of a database at one moment, for an operator who watches a migration.
package struct MigrationView: Sendable {
  package let database: String
  package let sessions: [SessionState]
  package let progress: [StatementProgress]
  package let tables: [TableSize]

  package init(_ connection: Connection) throws {
    database = connection.database
    sessions = try connection.sessions()
    progress = try connection.statementProgress()
    tables = try connection.largestTables(5)
  }

  /// Sessions that run a statement that changes the schema, by its first word.
  package var changing: [SessionState] {
    sessions.filter { session in
      guard session.state == "active" else { return false }
      let word = session.statement.prefix { !$0.isWhitespace }.uppercased()
      return ["ALTER", "CREATE", "DROP", "REINDEX", "CLUSTER", "VACUUM", "TRUNCATE", "REFRESH", "LOCK"].contains(word)
    }
  }

  /// A session, and those that wait for it.
  package struct Blocking: Sendable {
    package let session: SessionState
    package let depth: Int
  }

  /// The tree of blocked sessions: each session that others wait for, and below it those that wait, level by level.
  package var tree: [Blocking] {
    let known = Dictionary(sessions.map { ($0.process, $0) }, uniquingKeysWith: { first, _ in first })
    let blockers = Set(sessions.flatMap(\.blockers))
    var lines: [Blocking] = []
    var shown: Set<Int32> = []
    func add(_ session: SessionState, _ depth: Int) {
      // Whoever waits for two is shown once; circles end.
      guard shown.insert(session.process).inserted else { return }
      lines.append(Blocking(session: session, depth: depth))
      for waiting in sessions where waiting.blockers.contains(session.process) { add(waiting, depth + 1) }
    }
    for process in blockers.sorted() { if let root = known[process], root.blockers.isEmpty { add(root, 0) } }
    // Sessions in a circle, and those blocked by something that is no session of this database, such as a prepared
    // transaction.
    for session in sessions where !session.blockers.isEmpty { add(session, 0) }
    return lines
  }

  package var waiting: [SessionState] { sessions.filter { !$0.blockers.isEmpty } }
}

/// Ends one session, after it was shown.
package struct SessionEnding {
  package let session: SessionState
  private let connection: Connection

  package static func phrase(_ process: Int32) -> String { "end \(process)" }

  /// - Throws: `FirnError.refused` if there is no such session in this database.
  package init(of process: Int32, _ settings: ConnectionSettings) throws {
    connection = try Connection(settings, applicationName: "firn-migrate watch")
    guard let found = try connection.sessions().first(where: { $0.process == process }) else {
      throw FirnError.refused(reasons: ["no session of process \(process) is in \(connection.database)"])
    }
    session = found
  }

  /// Ends the session if it is still the one that was shown.
  /// - Returns: whether it was ended.
  package func carryOut() throws -> Bool {
    guard let now = try connection.sessions().first(where: { $0.process == session.process }), now.user == session.user,
      now.application == session.application
    else { return false }
    return try connection.endSession(session.process)
  }
}
