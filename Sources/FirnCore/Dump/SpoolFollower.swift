internal import Repository
internal import Foundation
package import Platform
package import SystemPackage

/// Tracks the files that pg_dump writes into the spool: which files wait to be read, which ones pg_dump has closed,
/// and how many bytes are unread.
package final class SpoolFollower: Sendable {
  private struct State: Sendable {
    var waiting: [String] = []
    var next = 0
    /// Bytes read so far, for files that are being read.
    var read: [String: Int64] = [:]
    /// Files that pg_dump has closed, with their sizes, until they are read.
    var written: [String: Int64] = [:]
    /// Files that pg_dump has open.
    var open: Set<String> = []
    var isEnded = false
  }

  package let folder: FilePath
  private let monitor = Monitor(State())
  private let isEnding = Monitor(false)
  private let watcher: Monitor<WorkerThread?> = Monitor(nil)
  private let failure: FirstFailure

  /// Makes the folder and begins to watch it.
  package init(folder: FilePath, failure: FirstFailure) throws {
    self.folder = folder
    self.failure = failure
    try Folder.make(folder)
    let box = WatchBox(try FolderWatch(folder))
    let thread = WorkerThread(name: "spool") { [weak self] in
      failure.capture {
        while let self {
          // Read this flag before the events: once pg_dump has ended, all its events are in the queue.
          let isEnding = self.isEnding.current
          let events = try box.watch.next(timeout: .milliseconds(10))
          if events.isEmpty && isEnding { return }
          self.take(events)
        }
      }
    }
    watcher.update { $0 = thread }
  }

  private func take(_ events: [FolderWatch.Event]) {
    guard !events.isEmpty else { return }
    monitor.update { state in
      for event in events {
        switch event {
        case .created(let name):
          state.open.insert(name)
          if !Self.staysOpen(name) { state.waiting.append(name) }
        case .written(let name):
          // Our reader closes the file as well, which causes a second event.
          guard state.open.remove(name) != nil else { continue }
          if Self.staysOpen(name) { state.waiting.append(name) }
          let size = (try? Folder.status(of: folder.appending(name)))?.size ?? 0
          state.written[name] = size
        case .overflow: failure.record(FirnError.lostTrackOfSpool)
        }
      }
    }
  }

  /// Whether pg_dump keeps a file open while it writes others, as it does with lists of large objects. A reader that
  /// waits for the end of such a file would not read the others. Each worker of pg_dump has at most one of them open.
  private static func staysOpen(_ name: String) -> Bool { ArchiveFile.isLargeObjectList(name) }

  /// The next file to read; nil when there will be none.
  func next() -> String? {
    while failure.error == nil {
      let ready = monitor.wait(atMost: .milliseconds(100)) { $0.next < $0.waiting.count || $0.isEnded }
      guard ready else { continue }
      let (name, isEnded): (String?, Bool) = monitor.update { state in
        guard state.next < state.waiting.count else { return (nil, state.isEnded) }
        let name = state.waiting[state.next]
        state.next += 1
        if state.next > 4096 {
          state.waiting.removeFirst(state.next)
          state.next = 0
        }
        state.read[name] = 0
        return (name, false)
      }
      if let name { return name }
      if isEnded { return nil }
    }
    return nil
  }

  /// Whether pg_dump has closed the file, so that its contents are complete.
  func isWritten(_ name: String) -> Bool { monitor.current.written[name] != nil }

  func waitUntilWritten(_ name: String, _ failure: FirstFailure) throws {
    while !isWritten(name) {
      try failure.check()
      Thread.sleep(forTimeInterval: 0.003)
    }
  }

  func didRead(_ name: String, total: Int64) { monitor.update { $0.read[name] = total } }

  func didFinish(_ name: String) {
    monitor.update { state in
      state.read[name] = nil
      state.written[name] = nil
    }
  }

  /// Bytes that pg_dump has written and no reader has read yet.
  package var unreadBytes: Int64 {
    let state = monitor.current
    var total: Int64 = 0
    // The table of contents may have to be complete before it is read, so it doesn't count.
    for (name, size) in state.written where name != ArchiveFile.contents { total += size - (state.read[name] ?? 0) }
    for name in state.open where name != ArchiveFile.contents {
      let size = (try? Folder.status(of: folder.appending(name)))?.size ?? 0
      total += max(0, size - (state.read[name] ?? 0))
    }
    return total
  }

  /// Call this when pg_dump has ended: no new files will appear.
  package func end() {
    isEnding.update { $0 = true }
    watcher.current?.join()
    // Also if the watch has failed, so that readers stop waiting.
    monitor.update { $0.isEnded = true }
  }
}

/// Carries a folder watch into a thread.
private final class WatchBox: Sendable {
  let watch: FolderWatch
  init(_ watch: consuming FolderWatch) { self.watch = watch }
}
