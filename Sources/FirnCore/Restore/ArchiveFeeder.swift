internal import Foundation
package import Platform
package import Repository
package import SystemPackage
internal import Synchronization

/// A folder that pg_restore takes for an archive: small files lie in it, large ones are FIFOs which we fill while they are read.
///
/// pg_restore looks at the sizes of the files to begin with the largest; a FIFO has none. So each large file is first a hole of
/// its length, and becomes a FIFO once pg_restore has looked, and before it opens one.
package final class ArchiveFeeder: Sendable {
  package let folder: FilePath
  private let reader: SnapshotReader
  private let large: [String: SnapshotReader.FileEntry]
  private let progress: WorkProgress
  private let failure: FirstFailure
  private let opened = Monitor<[String: Holder]>([:])
  private let feeders = Monitor<[WorkerThread]>([])
  private let fed = Monitor<Set<String>>([])
  private let isEnded = Monitor(false)
  private let watcher = Monitor<WorkerThread?>(nil)

  /// Keeps a FIFO open while nobody has it, so that a reader's open doesn't wait.
  private final class Holder: Sendable {
    private let file: Mutex<File?>
    init(_ path: FilePath) throws { file = Mutex(try File(path, .readWrite)) }
    func release() { file.withLock { $0 = nil } }
  }

  /// Files below this size are written out.
  private static let smallFile: Int64 = 256 << 10

  /// Writes the small files, and holes of the right length for the large ones.
  package init(
    folder: FilePath, reader: SnapshotReader, files: [String: SnapshotReader.FileEntry], progress: WorkProgress, failure: FirstFailure
  ) throws {
    self.folder = folder
    self.reader = reader
    self.progress = progress
    self.failure = failure
    try Folder.make(folder)
    let limit = Host.raiseFileLimit() - 200
    let candidates = files.values.filter { $0.bytes >= Self.smallFile && $0.name.hasSuffix(".dat") && $0.name != "toc.dat" }
    let chosen = candidates.sorted { $0.bytes > $1.bytes }.prefix(max(16, limit))
    large = Dictionary(chosen.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    for file in files.values where large[file.name] == nil {
      try Interruption.check()
      let output = try File(folder.appending(file.name), .create)
      try reader.read(file) { try output.write($0) }
    }
    for file in large.values {
      try File(folder.appending(file.name), .create).truncate(to: file.bytes)
    }
  }

  /// Files that come through a FIFO.
  package var largeFiles: Set<String> { Set(large.keys) }

  /// Turns the holes into FIFOs and begins to fill each that is opened. To be called once.
  package func exchange() throws {
    let box = WatchHolder(try FolderWatch(folder, opens: true))
    let thread = WorkerThread(name: "feeder") { [weak self] in
      while let self, !self.isEnded.current {
        self.failure.capture {
          for event in try box.watch.next(timeout: .milliseconds(10)) {
            if case .opened(let name) = event { self.begin(name) }
            // A FIFO whose reader we didn't see would wait for ever.
            if event == .overflow { throw FirnError.lostTrackOfSpool }
          }
        }
      }
    }
    watcher.update { $0 = thread }
    let side = folder.removingLastComponent().appending("fifos")
    try Folder.make(side)
    for name in large.keys {
      let path = side.appending(name)
      try Folder.makeFIFO(path)
      let holder = try Holder(path)
      opened.update { $0[name] = holder }
      try Folder.rename(path, to: folder.appending(name))
    }
  }

  /// Somebody opened the file: fills it, once.
  private func begin(_ name: String) {
    guard let file = large[name], let holder = opened.update({ $0.removeValue(forKey: name) }) else { return }
    let thread = WorkerThread(name: "feed") { [self] in
      failure.capture {
        do {
          try fill(file, keeping: holder)
          fed.update { _ = $0.insert(name) }
        } catch let error as SystemError where error.number == .brokenPipe {
          // The reader went away: what it says of that is the reason.
        }
      }
    }
    feeders.update { $0.append(thread) }
  }

  private func fill(_ file: SnapshotReader.FileEntry, keeping holder: Holder) throws {
    let output = try File(folder.appending(file.name), .fifoWriter)
    // The holder would keep a broken pipe from being one.
    holder.release()
    output.enlargePipe(to: 1 << 20)
    progress.show(item: reader.manifest.tables.first { $0.file == file.name }?.displayName ?? file.name)
    try reader.read(file) { piece in
      try failure.check()
      try output.write(piece)
      progress.advance(by: piece.count)
    }
  }

  /// Waits for what is being filled. To be called when no reader is left.
  /// - Returns: whether every large file was read to its end.
  package func finish() -> Bool {
    isEnded.update { $0 = true }
    watcher.current?.join()
    // Nobody will read these any more.
    opened.update { $0.removeAll() }
    for thread in feeders.current { thread.join() }
    return fed.current.count == large.count
  }
}

private final class WatchHolder: Sendable {
  let watch: FolderWatch
  init(_ watch: consuming FolderWatch) { self.watch = watch }
}
