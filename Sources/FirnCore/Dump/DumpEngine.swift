internal import Foundation
internal import Platform
internal import Postgres
package import Repository
package import SystemPackage

/// Runs pg_dump into a spool of bounded size and stores what it writes while it writes.
package struct DumpEngine {
  package struct Outcome: Sendable {
    /// The files of the archive, without those of large objects.
    package var files: [String: StreamedFile] = [:]
    package var largeObjectFiles: Int64 = 0
    /// Tables that were read in ranges. Their files are not among `files`.
    var ranged: [RangedRows] = []
    package var bytes: Int64 = 0
    /// Warnings of pg_dump.
    package var warnings: [String] = []
    /// Notes for the operator, though nothing is missing.
    package var notes: [String] = []
  }

  package let repository: Repository
  package let parent: ParentIndex?
  package let registry: ObjectRegistry
  package let table: ChunkTableWriter
  package let spool: FilePath
  /// Bytes that may lie unread in the spool.
  package let spoolCap: Int64
  package let progress: WorkProgress

  package init(
    repository: Repository, parent: ParentIndex?, registry: ObjectRegistry, table: ChunkTableWriter, spool: FilePath, spoolCap: Int64,
    progress: WorkProgress
  ) {
    self.repository = repository
    self.parent = parent
    self.registry = registry
    self.table = table
    self.spool = spool
    self.spoolCap = spoolCap
    self.progress = progress
  }

  /// - Throws: `PostgresError.toolFailed` where pg_dump failed, else what the store or the system threw first.
  /// - Parameters:
  ///   - ranges: tables that are read at the same time, in ranges.
  ///   - complete: changes the table of contents, before it is stored.
  ///   - watch: asked now and then by this thread; throws where the dump can't go on.
  ///   - dumped: called by this thread when pg_dump has ended well, while what it wrote may still have to be stored.
  func run(
    _ dump: DumpTool, ranges: RangeReader.Request? = nil, complete: (@Sendable (FilePath) throws -> Void)? = nil,
    watch: @escaping () throws -> Void, dumped: () throws -> Void
  ) throws -> Outcome {
    let failure = FirstFailure()
    let packer = ObjectPacker(
      store: repository.store, format: repository.format, registry: registry, threads: processorCount, failure: failure)
    let follower = try SpoolFollower(folder: spool, failure: failure)
    let outcome = Monitor(Outcome())
    let cutter = Cutter(repository.format)
    let threads = (0..<max(1, dump.jobs)).map { [parent, table, progress] _ in
      WorkerThread(name: "stream") {
        failure.capture {
          var stream = FileStream(
            follower: follower, cutter: cutter, packer: packer, table: table, parent: parent, progress: progress, failure: failure)
          while let name = follower.next() {
            if let complete, name == ArchiveFile.contents {
              try follower.waitUntilWritten(name, failure)
              try complete(follower.folder.appending(name))
            }
            let streamed = try stream.stream(name)
            outcome.update { outcome in
              outcome.bytes += streamed.bytes
              if ArchiveFile.isLargeObject(name) { outcome.largeObjectFiles += 1 } else { outcome.files[name] = streamed }
            }
          }
          if failure.error == nil { try stream.finish() }
          if stream.cannotPunchHoles {
            outcome.update { outcome in
              let note = "the spool's file system cannot give space back behind the reader: it may grow to the size of the database"
              if !outcome.notes.contains(note) { outcome.notes.append(note) }
            }
          }
        }
      }
    }

    let reader = ranges.map {
      RangeReader($0, cutter: cutter, packer: packer, table: table, parent: parent, progress: progress, failure: failure)
    }
    let readers = reader?.start() ?? []
    let messages = ToolMessages(tool: "pg_dump")
    DumpSupervision(follower: follower, failure: failure, spoolCap: spoolCap, progress: progress, watch: watch).run(dump, messages: messages)
    // pg_dump may have ended long before: the session that exported the snapshot is still asked now and then.
    var watched = ContinuousClock.now
    while reader?.isAtWork ?? false {
      if ContinuousClock.now - watched > DumpSupervision.watchInterval {
        failure.capture(watch)
        watched = .now
      }
      Thread.sleep(forTimeInterval: 0.005)
    }
    for thread in readers { thread.join() }
    if failure.error == nil { failure.capture(dumped) }
    for thread in threads { thread.join() }
    try packer.finish()
    return outcome.update { outcome in
      outcome.warnings += messages.warnings
      outcome.ranged = reader?.results ?? []
      outcome.bytes += outcome.ranged.reduce(0) { $0 + $1.file.bytes }
      return outcome
    }
  }
}
