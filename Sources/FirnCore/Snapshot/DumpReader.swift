internal import Foundation
internal import Platform
internal import Postgres
internal import SystemPackage

/// Runs pg_dump and reads what it writes without keeping it.
struct DumpReader {
  let spool: FilePath
  let progress: WorkProgress

  /// - Returns: the files of the archive. `toc.dat` stays in the spool.
  func run(_ dump: DumpTool) throws -> [String: StreamedFile] {
    let failure = FirstFailure()
    let follower = try SpoolFollower(folder: spool, failure: failure)
    let files = Monitor<[String: StreamedFile]>([:])
    let threads = (0..<max(1, dump.jobs)).map { [progress] _ in
      WorkerThread(name: "read") {
        failure.capture {
          var buffer = [UInt8](repeating: 0, count: 256 << 10)
          while let name = follower.next() {
            var file = try GrowingFile(name, follower: follower, failure: failure)
            var tally = StreamTally()
            while case let got = try file.read(into: &buffer, at: 0, count: buffer.count), got > 0 {
              tally.add(buffer.span.extracting(first: got))
              progress.advance(by: got)
            }
            try file.finish()
            files.update { $0[name] = tally.finish(name: name) }
          }
        }
      }
    }
    let messages = ToolMessages(tool: "pg_dump")
    DumpSupervision(follower: follower, failure: failure, spoolCap: 512 << 20, progress: progress).run(dump, messages: messages)
    for thread in threads { thread.join() }
    try failure.check()
    return files.current
  }
}
