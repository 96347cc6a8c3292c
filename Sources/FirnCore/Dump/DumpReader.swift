internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import SystemPackage

/// Runs pg_dump and reads what it writes without keeping it.
struct DumpReader {
  let spool: FilePath
  let progress: WorkProgress

  /// Bytes that may lie unread in the spool.
  private static let spoolCap: Int64 = 512 << 20

  /// - Parameter divisions: ways in which a table may be divided into ranges, by the ranges' lengths in bytes. Which file is which
  ///   table's is known at the end.
  /// - Returns: for each file of the archive what was read, without ranges and in each of these ways. `toc.dat` stays in the spool.
  func run(_ dump: DumpTool, divisions: [[Int64]] = []) throws -> [String: [[Int64]: StreamedFile]] {
    let files = Monitor<[String: [[Int64]: StreamedFile]]>([:])
    let ways = Set(divisions).union([[]])
    try read(dump) { name, pieces in
      var tallies = ways.map { (way: $0, tally: StreamTally(ranges: $0)) }
      try pieces { piece in for place in tallies.indices { tallies[place].tally.add(piece) } }
      let found = Dictionary(uniqueKeysWithValues: tallies.map { ($0.way, $0.tally.finish(name: name)) })
      files.update { $0[name] = found }
    }
    return files.current
  }

  private typealias Pieces = ((Span<UInt8>) throws -> Void) throws -> Void

  /// Hands every file to `take`, several at once.
  private func read(_ dump: DumpTool, take: @escaping @Sendable (String, Pieces) throws -> Void) throws {
    let failure = FirstFailure()
    let follower = try SpoolFollower(folder: spool, failure: failure)
    let threads = (0..<max(1, dump.jobs)).map { [progress] _ in
      WorkerThread(name: "read") {
        failure.capture {
          var buffer = [UInt8](repeating: 0, count: 256 << 10)
          while let name = follower.next() {
            var file = try GrowingFile(name, follower: follower, failure: failure)
            try take(name) { body in
              while case let got = try file.read(into: &buffer, at: 0, count: buffer.count), got > 0 {
                try body(buffer.span.extracting(first: got))
                progress.advance(by: got)
              }
            }
            try file.finish()
          }
        }
      }
    }
    let messages = ToolMessages(tool: "pg_dump")
    DumpSupervision(follower: follower, failure: failure, spoolCap: Self.spoolCap, progress: progress).run(dump, messages: messages)
    for thread in threads { thread.join() }
    try failure.check()
  }
}
