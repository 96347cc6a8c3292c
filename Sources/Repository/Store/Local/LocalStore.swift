internal import Foundation
internal import Platform
package import SystemPackage
internal import Synchronization

/// A store in a folder. Files have mode 0600, folders 0700. If the root passes its group on (set-group-ID), they also have the
/// permissions that the group has on the root. If root writes to a store of another user, the files are given to that user,
/// whose own runs have to read them.
package final class LocalStore: Store {
  private struct Unflushed: Sendable {
    var files: [FilePath] = []
    var folders: Set<FilePath> = []
  }

  package let root: FilePath
  private let unflushed = Mutex(Unflushed())
  /// The owner of the store, if this process is root and the owner is not.
  private let owner: (user: UInt32, group: UInt32)?
  /// The group's permissions on the root, if it passes its group on.
  private let groupMode: UInt32
  private static let temporaryPrefix = ".writing-"

  package init(root: FilePath) {
    self.root = root
    // The store that root makes in another user's folder is that user's.
    let folder = Host.isRoot ? Self.existing(root) : nil
    let status = folder.flatMap { try? Folder.status(of: $0, followingLinks: true) }
    owner = status.flatMap { $0.owner == 0 ? nil : ($0.owner, $0.group) }
    let mode = (try? Folder.status(of: root, followingLinks: true))?.mode ?? 0
    groupMode = mode & Folder.setGroupID == 0 ? 0 : mode & 0o070
  }

  /// The folder itself, or the nearest above it that exists.
  private static func existing(_ folder: FilePath) -> FilePath {
    var folder = folder
    while !Folder.exists(folder), !folder.components.isEmpty { folder.removeLastComponent() }
    return folder
  }

  package var location: String { root.string }

  /// Folders below the root that were checked and are not links.
  private let known = Mutex<Set<FilePath>>([])

  /// The path of a file. Nothing beneath the root is reached through a link: it may lead anywhere.
  private func path(_ key: StoreKey) throws -> FilePath {
    let target = root.appending(key)
    var folder = target.removingLastComponent()
    while folder.components.count > root.components.count, !known.withLock({ $0.contains(folder) }) {
      // A missing folder may be behind a link further up.
      if let status = try Folder.status(of: folder) {
        try refuseLink(folder, status)
        _ = known.withLock { $0.insert(folder) }
      }
      folder.removeLastComponent()
    }
    return target
  }

  private func refuseLink(_ path: FilePath, _ status: FileStatus) throws {
    guard status.kind != .other else {
      throw StoreError.unreachable(
        location: location, reason: "\(path) is a link: nothing is read, written or deleted through it; put the folder itself there")
    }
  }

  private func failure(_ error: SystemError, _ key: StoreKey) -> StoreError {
    if error.isOutOfSpace { return .full(location: location) }
    if [.readOnlyFileSystem, .permissionDenied, .notPermitted].contains(error.number) {
      return .readOnly(location: location, reason: error.description)
    }
    if error.number == .ioError { return .unreadable(key, reason: error.description) }
    if error.number == .noSuchFileOrDirectory || error.number == .notDirectory { return .missing(key) }
    return .unreachable(location: location, reason: error.description)
  }

  private func translated<Result>(_ key: StoreKey, _ body: () throws -> Result) throws -> Result {
    do { return try body() } catch let error as SystemError { throw failure(error, key) }
  }

  package func read(_ key: StoreKey, limit: Int) throws -> [UInt8] {
    try translated(key) {
      let size = try checkedSize(of: key)
      guard size <= limit else { throw StoreError.tooLarge(key) }
      return try File(path(key), .read).read(count: Int(size), from: 0)
    }
  }

  package func read(_ key: StoreKey, from offset: Int64, count: Int) throws -> [UInt8] {
    try translated(key) {
      // Before opening: a FIFO or a folder put in a file's place must not make us wait.
      guard try checkedSize(of: key) >= offset + Int64(count) else { throw StoreError.truncated(key) }
      let bytes = try File(path(key), .read).read(count: count, from: offset)
      guard bytes.count == count else { throw StoreError.truncated(key) }
      return bytes
    }
  }

  private func checkedSize(of key: StoreKey) throws -> Int64 {
    guard let status = try Folder.status(of: path(key)) else { throw StoreError.missing(key) }
    guard status.kind == .file else { throw StoreError.notAFile(key) }
    return status.size
  }

  package func size(of key: StoreKey) throws -> Int64? {
    try translated(key) {
      guard let status = try Folder.status(of: path(key)) else { return nil }
      guard status.kind == .file else { throw StoreError.notAFile(key) }
      return status.size
    }
  }

  package func write(_ bytes: [UInt8], to key: StoreKey, durability: Durability) throws {
    try place(key, durability: durability) { file in try file.writeUncached(bytes.span) }
  }

  package func write(contentsOf source: FilePath, to key: StoreKey) throws {
    let input = try File(source, .read)
    try place(key, durability: .deferred) { file in
      var buffer = [UInt8](repeating: 0, count: 1 << 20)
      while true {
        let got = try input.read(into: &buffer, at: 0, count: buffer.count)
        if got == 0 { return }
        try file.write(buffer.span.extracting(first: got))
      }
    }
  }

  /// Fills a file under a temporary name, then gives it its own in one step.
  private func place(_ key: StoreKey, durability: Durability, fill: (borrowing File) throws -> Void) throws {
    try translated(key) {
      let target = try path(key)
      let folder = target.removingLastComponent()
      let passing = temporaryName(in: folder)
      do {
        // The existing file may be the only copy of these bytes: it is replaced only when the new one is durable.
        try fillNew(passing, durability: Folder.exists(target) ? .immediate : durability, fill)
        try Folder.rename(passing, to: target)
      } catch {
        try? Folder.removeFile(passing)
        throw error
      }
      if durability == .immediate {
        try synchronize(folder)
      } else {
        unflushed.withLock {
          $0.files.append(target)
          $0.folders.insert(folder)
        }
      }
    }
  }

  private func fillNew(_ passing: FilePath, durability: Durability, _ fill: (borrowing File) throws -> Void) throws {
    let folder = passing.removingLastComponent()
    if !Folder.exists(folder) { try makeFolder(folder) }
    let file = try File(passing, .create)
    // By descriptor: the folder's owner could put a link in place of the name.
    if let owner { try? file.changeOwner(user: owner.user, group: owner.group) }
    if groupMode != 0 { try file.permit(0o600 | groupMode & 0o060) }
    try fill(file)
    if durability == .immediate { try file.synchronize() } else { file.startWriteback() }
  }

  private func makeFolder(_ folder: FilePath) throws(SystemError) {
    var missing: [FilePath] = []
    var parent = folder
    while owner != nil || groupMode != 0, !parent.components.isEmpty, !Folder.exists(parent) {
      missing.append(parent)
      parent.removeLastComponent()
    }
    try Folder.make(folder)
    if groupMode != 0 { for folder in missing { try shareNew(folder) } }
    // If root may not change the owner, as on some network file systems, root stays the owner.
    if let owner { for folder in missing { try? Folder.changeOwner(of: folder, user: owner.user, group: owner.group) } }
  }

  /// Gives the group its permissions on a new folder. Another user may have made it at the same moment, and does the same.
  private func shareNew(_ folder: FilePath) throws(SystemError) {
    let mode = 0o700 | Folder.setGroupID | groupMode
    for attempt in 1... {
      do { return try Folder.permit(folder, mode) } catch {
        if let status = try? Folder.status(of: folder), status.mode & mode == mode { return }
        guard attempt < 50 else { throw error }
        usleep(20_000)
      }
    }
  }

  private func temporaryName(in folder: FilePath) -> FilePath {
    folder.appending(Self.temporaryPrefix + "\(Host.processID)-\(UInt64.random(in: 0 ... .max))")
  }

  /// A folder and those above it, up to the root: a new one's name is an entry of its parent.
  private func synchronize(_ folder: FilePath) throws {
    var folder = folder
    while true {
      try Folder.synchronize(folder)
      if folder == root || folder.components.count <= root.components.count { return }
      folder.removeLastComponent()
    }
  }

  package func create(_ bytes: [UInt8], at key: StoreKey) throws -> Bool {
    do { try makeFolder(root) } catch { throw StoreError.unreachable(location: location, reason: error.description) }
    return try translated(key) {
      let target = try path(key)
      let folder = target.removingLastComponent()
      let passing = temporaryName(in: folder)
      defer { try? Folder.removeFile(passing) }
      try fillNew(passing, durability: .immediate) { try $0.write(bytes.span) }
      guard try Folder.link(passing, as: target) else { return false }
      try synchronize(folder)
      return true
    }
  }

  package func rename(_ key: StoreKey, as aside: StoreKey) throws -> Bool {
    try translated(key) {
      guard try Folder.status(of: path(key)) != nil else { return false }
      let folder = try path(aside).removingLastComponent()
      try makeFolder(folder)
      do { try Folder.rename(path(key), to: path(aside)) } catch let error as SystemError where error.number == .noSuchFileOrDirectory {
        return false
      }
      try synchronize(folder)
      let source = try path(key).removingLastComponent()
      if source != folder, Folder.exists(source) { try synchronize(source) }
      return true
    }
  }

  package func list(_ prefix: String, _ body: (StoreEntry) throws -> Void) throws {
    for (name, status) in try translated(prefix, { try contents(of: prefix) }) {
      if status.kind == .folder {
        var isEmpty = true
        try list(prefix + name) { entry in
          isEmpty = false
          try body(entry)
        }
        // A folder in the place of a hold still shows that the snapshot was meant to be kept.
        if isEmpty, name == SnapshotPath.holdName + "/" {
          try body(StoreEntry(key: prefix + name, size: 0, modified: status.modified, isFile: false))
        }
      } else {
        try body(StoreEntry(key: prefix + name, size: status.size, modified: status.modified, isFile: status.kind == .file))
      }
    }
  }

  /// The contents of one folder, in the order of keys. Names of folders end in `/`.
  private func contents(of prefix: String) throws -> [(name: String, status: FileStatus)] {
    let folder = prefix.isEmpty ? root : try path(String(prefix.dropLast()))
    guard let status = try Folder.status(of: folder, followingLinks: prefix.isEmpty) else { return [] }
    try refuseLink(folder, status)
    guard status.kind == .folder else { return [] }
    for attempt in 1... {
      var hasFolders = false
      var vanished: [String] = []
      let contents = try Folder.names(in: folder).compactMap { name -> (name: String, status: FileStatus)? in
        guard !name.hasPrefix(Self.temporaryPrefix) else { return nil }
        guard let status = try Folder.status(of: folder.appending(name)) else {
          vanished.append(name)
          return nil
        }
        guard status.kind == .folder else { return (name, status) }
        hasFolders = true
        return (name + "/", status)
      }
      // A file that vanishes during a listing was deleted or renamed by another process.
      if !vanished.isEmpty && attempt < 5 { continue }
      // A listed file that can't be opened has a name that is not UTF-8. It may be a snapshot.
      if !vanished.isEmpty, prefix.hasPrefix(SnapshotPath.root), Folder.exists(folder),
        let name = try Set(Folder.names(in: folder)).intersection(vanished).first
      {
        throw StoreError.unreachable(location: location, reason: "\(folder) holds a name that is not UTF-8, \(name), so its content is unknown")
      }
      return hasFolders ? contents.sorted { $0.name < $1.name } : contents
    }
    return []
  }

  package func delete(_ keys: [StoreKey], _ mayGoOn: @escaping @Sendable () throws -> Void) throws {
    var asked: ContinuousClock.Instant?
    for (number, key) in keys.enumerated() {
      // The machine may have been suspended since.
      if number % 16 == 0 || asked.map({ .now - $0 > .seconds(1) }) ?? true {
        asked = .now
        try mayGoOn()
      }
      try translated(key) {
        try Folder.removeFile(path(key))
        var folder = try path(key).removingLastComponent()
        unflushed.withLock { _ = $0.folders.insert(folder) }
        while folder.components.count > root.components.count + 1 {
          Folder.removeIfEmpty(folder)
          folder.removeLastComponent()
        }
      }
    }
  }

  package func flush() throws {
    let pending = unflushed.withLock { state in
      defer { state = Unflushed() }
      return state
    }
    try translated("") {
      for file in pending.files where Folder.exists(file) { try File(file, .read).synchronize() }
      var folders: Set<FilePath> = []
      for folder in pending.folders {
        var folder = folder
        while folder.components.count >= root.components.count, folders.insert(folder).inserted { folder.removeLastComponent() }
      }
      for folder in folders where Folder.exists(folder) { try Folder.synchronize(folder) }
    }
  }

  package func clearDeadWrites(under prefix: String) {
    guard let folder = try? path(String(prefix.dropLast())) else { return }
    for name in (try? Folder.names(in: folder)) ?? [] where name.hasPrefix(Self.temporaryPrefix) {
      let process = name.dropFirst(Self.temporaryPrefix.count).prefix { $0 != "-" }
      if let id = Int32(process), Host.startTime(of: id) == nil { try? Folder.removeFile(folder.appending(name)) }
    }
  }

  package func removeLeftovers() throws {
    try translated("") { try removeLeftovers(in: root) }
  }

  private func removeLeftovers(in folder: FilePath) throws {
    for name in try Folder.names(in: folder) {
      guard let status = try Folder.status(of: folder.appending(name)) else { continue }
      if status.kind == .folder {
        try removeLeftovers(in: folder.appending(name))
      } else if name.hasPrefix(Self.temporaryPrefix) {
        try Folder.removeFile(folder.appending(name))
      }
    }
  }
}
