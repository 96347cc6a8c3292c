internal import Compression
internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
package import Repository
internal import SystemPackage

/// Takes a snapshot. It is listed only when its last byte is durable.
package struct SnapshotOperation {
  private let repository: Repository
  private let request: SnapshotRequest
  private let progress: WorkProgress
  private let notes = Monitor<[String]>([])
  private let warnings = Monitor<[String]>([])
  /// Seconds that clocks may differ.
  private static let clockTolerance: TimeInterval = 600

  package init(repository: Repository, request: SnapshotRequest, progress: WorkProgress) {
    self.repository = repository
    self.request = request
    self.progress = progress
  }

  package func run() throws -> SnapshotResult {
    let clock = ContinuousClock.now
    let startedAt = request.now()
    progress.begin("connecting")
    let connection = try Connection(request.settings, applicationName: "firn-snapshot")
    try connection.refusePooler()
    try connection.requireToolsCanFollow()
    guard (13...18).contains(connection.serverMajor) else {
      throw PostgresError.unsupportedServer(version: try connection.versionText())
    }
    try refuseNamesThatAreNoText(connection)
    let tools = try ServerTools.find("pg_dump", major: connection.serverMajor, configured: request.toolFolders)
    progress.note("server \(try connection.versionText()) at \(connection.target), \(try tools.versionLine(of: "pg_dump")) in \(tools.folder)")

    let lock = try StoreHousekeeping(store: repository.store).sharedLock(purpose: "firn-snapshot of \(connection.database)")
    defer { lock.release() }
    try lock.requireWritten()
    guard try Repository(opening: repository.store).format.recipients == repository.format.recipients else {
      throw FirnError.recipientsChanged(location: repository.store.location)
    }
    let work = try WorkFolder.forRun(in: request.spoolRoot)
    defer { work.remove() }
    do {
      let manifest = try attempt(connection, tools, work, lock, startedAt: startedAt)
      return SnapshotResult(manifest: manifest, warnings: warnings.current, notes: notes.current, elapsed: ContinuousClock.now - clock)
    } catch {
      // No list names the objects stored so far. If other processes are at work, the next collection deletes them.
      lock.release()
      // An unreachable store is not asked again.
      if case StoreError.unreachable = error { throw error }
      StoreHousekeeping(store: repository.store).collectIfAlone()
      throw error
    }
  }

  /// In SQL_ASCII a name can be any bytes, and a manifest is text.
  private func refuseNamesThatAreNoText(_ connection: Connection) throws {
    guard try connection.serverEncoding() == "SQL_ASCII" else { return }
    let names = try connection.namesThatAreNoText()
    guard !names.isEmpty else { return }
    throw FirnError.refused(reasons: names.map { "\($0) is not UTF-8 text: rename or reset it, a snapshot could not be restored" })
  }

  /// Dumps until no table changed during the dump.
  private func attempt(_ connection: Connection, _ tools: ServerTools, _ work: WorkFolder, _ lock: RepositoryLock, startedAt: Date) throws -> Manifest
  {
    let own = try ServerSource(of: connection, named: request.source, in: repository.catalog, startedAt: startedAt)
    // A restore's snapshot of what it replaces must not fail, and settles nothing.
    let isOfRestore = request.kind == Manifest.safetyKind
    if !request.takesSourceBack && !isOfRestore { try own.requireOwn() }
    let source = own.folder
    var random = SystemRandomNumberGenerator()
    let newest = try repository.catalog.snapshots(source: source, database: connection.database).last?.id
    if let newest, newest.startDate.timeIntervalSince(startedAt) > Self.clockTolerance {
      notes.update {
        $0.append(
          "\(newest) is dated \(newest.startDate.formatted(.iso8601)), later than now: a clock is or was wrong, and \"latest\" means that one until then"
        )
      }
    }
    let place = SnapshotPath(
      source: source, database: connection.database, id: SnapshotID(startedAt: startedAt, after: newest, random: &random))
    let cache = repository.format.isEncrypted ? request.cacheRoot.map { ParentCache(root: $0, of: repository) } : nil
    let parent = try newestReadable(source: source, database: connection.database, cache)
    let attempts = 3
    var mustRead: Set<UInt32> = []
    var refutations: [Refutation] = []
    var readsRanges = true
    var takesOver = true
    var number = 1
    var runs = 0
    while true {
      runs += 1
      let scratch = work.path.appending("attempt-\(runs)")
      try Folder.make(scratch)
      let run = SnapshotRun(
        repository: repository, request: request, progress: progress, connection: connection, tools: tools, scratch: scratch,
        place: place, startedAt: startedAt, parent: parent, cache: cache, lock: lock, takeover: isOfRestore ? nil : own.takeover, notes: notes,
        warnings: warnings, mustRead: mustRead, refutations: refutations, readsRanges: readsRanges, takesOver: takesOver)
      switch try run.dump() {
      case .done(let manifest):
        if !isOfRestore {
          own.remember(in: repository)
          if let takeover = own.takeover { warnings.update { $0.append(takeover) } }
        }
        return manifest
      case .changed(let what):
        progress.note("attempt \(number): \(what); trying again")
        if number == attempts { throw FirnError.tablesKeptChanging(attempts: attempts, example: what) }
        try? Folder.removeTree(scratch)
        try Interruption.sleep(until: .now + .seconds(number))
        number += 1
      case .retreated(let retreat):
        let what =
          retreat.takesNothing
          ? "everything is read" : retreat.readsWholeTables ? "no table is read in ranges" : "another attempt reads more tables"
        progress.note("\(what): \(retreat.reason)")
        mustRead.formUnion(retreat.tables)
        takesOver = takesOver && !retreat.takesNothing
        readsRanges = readsRanges && !retreat.readsWholeTables
        try? Folder.removeTree(scratch)
      case .refuted(let found):
        refutations = found
        progress.note("\(found.count) tables or ranges seemed unchanged and are not: everything is read")
        try? Folder.removeTree(scratch)
      }
    }
  }

  /// The newest snapshot with a readable manifest: a damaged one must not stop tonight's. A safety snapshot of a restore is the last
  /// choice, because its database was given up, perhaps empty.
  private func newestReadable(source: String, database: String, _ cache: ParentCache?) throws -> ParentSnapshot? {
    let places = try repository.catalog.snapshots(source: source, database: database)
    if repository.format.isEncrypted {
      let parent = cache?.parent(among: places, in: repository.catalog)
      if parent == nil, !places.isEmpty {
        notes.update {
          $0.append(
            "this machine remembers none of the encrypted snapshots, or none that is encrypted to all who are recipients now: everything was stored once more"
          )
        }
      }
      return parent
    }
    var safety: ParentSnapshot?
    for place in places.reversed() {
      do {
        let parent = ParentSnapshot(
          manifest: try repository.catalog.manifest(of: place), contents: repository.contents, chunkTable: repository.files(of: place).chunkTable)
        if parent.manifest.kind != Manifest.safetyKind { return parent }
        safety = safety ?? parent
      } catch is RepositoryError {
        progress.note("\(place.id) cannot be read, so an older snapshot is the parent")
      }
    }
    return safety
  }
}
