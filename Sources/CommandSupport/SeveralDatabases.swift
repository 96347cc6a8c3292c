internal import Platform

/// Works on several databases: on large ones one after another, with all sessions for each, then on the others at the same time, with one
/// session each.
/// - Parameters:
///   - databases: in the order in which they are begun.
///   - body: gets the number of sessions; nil for as many as there are jobs.
package func forEachDatabase<Database: Sendable>(
  _ databases: [Database], jobs: Int, isLarge: (Database) -> Bool, _ body: @escaping @Sendable (Database, _ sessions: Int?) throws -> Void
) throws {
  for database in databases where isLarge(database) { try body(database, nil) }
  let small = databases.filter { !isLarge($0) }
  let sessions = min(jobs, small.count)
  try forEachInParallel(small.reversed(), thread: "database", threads: max(1, sessions)) { try body($0, sessions > 1 ? 1 : nil) }
}

extension ExitStatus {
  /// The exit code of a run over several databases; nil if none failed.
  /// - Parameter failures: the exit codes of those that failed.
  package static func ofRun(failures: [Int32], hasSuccesses: Bool) -> ExitStatus? {
    guard let first = failures.first else { return nil }
    return hasSuccesses ? .doneWithWarnings : ExitStatus(rawValue: first) ?? .failed
  }
}
