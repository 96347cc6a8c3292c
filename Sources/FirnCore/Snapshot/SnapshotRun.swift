internal import Compression
internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository
internal import SystemPackage

/// One attempt at a snapshot: dump, check that no table changed, commit.
struct SnapshotRun {
  enum Outcome {
    case done(Manifest)
    /// Tables changed during the dump: it is discarded, and another attempt may succeed.
    case changed(String)
    /// Another attempt has to read more.
    case retreated(IncrementalReading.Retreat)
    /// Tables seemed unchanged since the parent and have other rows: nothing may be taken over.
    case refuted([Refutation])
  }

  let repository: Repository
  let request: SnapshotRequest
  let progress: WorkProgress
  let connection: Connection
  let tools: ServerTools
  let scratch: FilePath
  let place: SnapshotPath
  let startedAt: Date
  let parent: ParentSnapshot?
  let cache: ParentCache?
  let lock: RepositoryLock
  /// Words about a server whose place this one has taken in the source.
  let takeover: String?
  let notes: Monitor<[String]>
  let warnings: Monitor<[String]>
  /// Tables that may not be taken over from the parent.
  let mustRead: Set<UInt32>
  /// Takeovers that an earlier attempt found wrong; if there are any, everything is read.
  let refutations: [Refutation]
  /// Whether very large tables may be read in ranges.
  let readsRanges: Bool
  /// Whether tables may be taken over from the parent.
  let takesOver: Bool

  /// Bytes below which more sessions of pg_dump cost more than they save.
  private static let smallDatabase: Int64 = 4 << 20

  func dump() throws -> Outcome {
    progress.begin("locking tables")
    let incremental = IncrementalReading(progress: progress, readsRanges: readsRanges)
    try incremental.begin(on: connection, request, size: parent?.manifest.bytes ?? connection.sizeOnDisk())
    let transaction = try ExportTransaction.begin(
      on: connection, lockWait: request.lockWait, progress: progress, locked: incremental.noteLocks)
    defer { try? transaction.end() }
    try incremental.noteSnapshot()
    let facts = try gatherFacts()
    let exclusions = try exclusions(facts)
    let registry = ObjectRegistry()
    let index = try parentIndex(registry)
    let table = ChunkTableWriter(scratch: scratch, registry: registry, parent: index)
    let access = try ToolAccess(as: connection, folder: scratch)
    let spool = scratch.appending("spool")
    let engine = DumpEngine(
      repository: repository, parent: index, registry: registry, table: table, spool: spool, spoolCap: request.spoolCap,
      progress: progress)
    // Roles and tablespaces are dumped at the same time.
    let withPasswords = try connection.canReadPasswords()
    let globals = GlobalsDump(tools: tools, access: access, database: connection.database, withPasswords: withPasswords, shared: request.globals)
    defer { globals.wait() }
    try incremental.decide(
      on: connection, request, encoding: facts.database.encoding, pgDump: try tools.versionLine(of: "pg_dump"), parent: parent?.manifest,
      index: index, without: mustRead,
      excluded: Set(transaction.tables.values.filter { exclusions.tables.contains($0.qualifiedName) }.map(\.oid)),
      dumpedOtherwise: Set(transaction.tables.values.filter { $0.loadedThrough != nil || $0.ofExtension != nil }.map(\.oid)), reading: reading)
    let expected = try max(0, (parent?.manifest.bytes ?? connection.databaseSize()) - incremental.plan.bytes)
    progress.begin("dumping", expected: expected)
    var outcome: DumpEngine.Outcome
    var rewritten: String?
    do {
      var disabled: [String] = []
      // Damage must be an error and not a warning.
      if facts.canTurnOff { disabled = facts.damageHiders }
      let ranges = incremental.ranges(
        request.settings.with(database: connection.database), jobs: request.jobs, snapshot: transaction.snapshot, lockWait: request.lockWait,
        disabled: disabled)
      let jobs = max(1, request.jobs - (ranges?.sessions ?? 0))
      var dump = DumpTool(
        tools: tools, access: access, database: connection.database, encoding: facts.database.encoding,
        jobs: expected < Self.smallDatabase ? 1 : try transaction.dumpJobs(wanted: jobs, note: note),
        snapshot: transaction.snapshot,
        lockWait: request.lockWait, excludedTableData: exclusions.patterns + incremental.plan.patterns)
      dump.settingsToTurnOff = disabled
      let name = dump.applicationName
      outcome = try engine.run(dump, ranges: ranges, complete: incremental.completion) {
        try transaction.check(dump: name)
        progress.show(item: try transaction.tables(dumpedBy: name).joined(separator: ", "))
      } dumped: {
        rewritten = try transaction.rewritten()
        // Locks are released before the rest is stored.
        try transaction.end()
      }
      try incremental.finish(&outcome, index, table)
    } catch let stuck as ExportTransaction.Deadlock {
      return .changed("\(stuck.holder); the dump waited behind it")
    } catch let retreat as IncrementalReading.Retreat {
      return .retreated(retreat)
    } catch let refused as RangeReader.Refused {
      if case .statementFailed(_, SQLState.lockNotAvailable) = refused.error {
        return .changed("\(try connection.sessionsInTheWay().first ?? "a session") waited for a lock")
      }
      return .retreated(.init(readsWholeTables: true, reason: refused.error.briefly))
    } catch let error as PostgresError {
      // A schema change that waits for our locks blocks the workers of pg_dump: let it pass, then dump again.
      if case .toolFailed = error, (try? connection.someoneWaitsForUs()) == true {
        return .changed("\(try connection.sessionsInTheWay().first ?? "a session") waited for the dump to end")
      }
      if case .toolFailed = error, let retreat = incremental.retreat(because: error.briefly) {
        note("pg_dump failed, and was started again to read all tables: \(error.briefly)")
        return .retreated(retreat)
      }
      throw error
    }
    if let rewritten { return .changed("\(rewritten) was rewritten") }
    let contents = try ArchiveDirectory(ofArchive: spool)
    let found = incremental.refutations(contents, outcome, parent: parent?.manifest.id)
    if !found.isEmpty, incremental.plan.takesOver { return .refuted(found) }
    return .done(
      try commit(
        outcome, contents, transaction, facts, exclusions, incremental, refutations: refutations + found, table: table, registry: registry,
        index: index, globals: globals))
  }

  /// Tells the operator once, however many attempts there are.
  private func note(_ text: String) { notes.update { if !$0.contains(text) { $0.append(text) } } }

  private var reading: IncrementalReading.Reading {
    guard refutations.isEmpty, takesOver else { return .anew }
    if request.readsAll || request.kind == "pre-migration" { return .all }
    guard let limit = request.fullEvery, let parent = parent?.manifest else { return .changed }
    return startedAt.timeIntervalSince((parent.readAllIn ?? parent.id).startDate) >= limit.inSeconds ? .all : .changed
  }

  private func parentIndex(_ registry: ObjectRegistry) throws -> ParentIndex? {
    guard let parent else { return nil }
    do {
      return try parent.index(
        objectsIn: repository.store, objectsAreEncrypted: repository.format.isEncrypted, registry: registry, suspects: try suspects())
    } catch let error where error is RepositoryError || error is StoreError {
      note("the chunk table of \(parent.manifest.id) cannot be read: everything is read, and stored once more")
      return nil
    }
  }

  /// Objects that verifications of this database's snapshots found damaged.
  private func suspects() throws -> Set<ObjectName> {
    try repository.catalog.damagedObjects(repository.catalog.listing(source: place.source, database: place.database))
  }

  private func commit(
    _ outcome: DumpEngine.Outcome, _ contents: ArchiveDirectory, _ transaction: ExportTransaction, _ facts: Facts, _ exclusions: Exclusions,
    _ incremental: IncrementalReading, refutations: [Refutation], table: ChunkTableWriter, registry: ObjectRegistry, index: ParentIndex?,
    globals: GlobalsDump
  ) throws -> Manifest {
    progress.begin("committing")
    var (tables, missing) = try match(contents, outcome, transaction.tables, incremental)
    guard outcome.largeObjectFiles == facts.largeObjects else {
      throw FirnError.unsoundArchive(reason: "it holds \(outcome.largeObjectFiles) large objects of \(facts.largeObjects)")
    }
    let store = repository.store
    let files = repository.files(of: place)
    let encryption = repository.format.encryption
    let chunkTable = try table.finish(store: store, key: files.chunkTable, encryption: encryption)

    var manifest = Manifest(
      place: place, kind: request.kind, startedAt: startedAt, finishedAt: request.now(),
      versions: .init(
        firn: Firn.version, pgDump: try tools.versionLine(of: "pg_dump"), server: try connection.versionText(),
        serverNumber: connection.serverVersion),
      properties: DatabaseProperties(facts.database), chunkTable: chunkTable.place)
    manifest.tags = request.tags
    manifest.parent = parent?.manifest.id
    manifest.systemIdentifier = facts.systemIdentifier
    manifest.lsn = facts.lsn
    manifest.extensions = facts.extensions.map { .init(name: $0.name, version: $0.version, schema: $0.schema) }
    manifest.sequences = contents.sequenceValues.map { name, value in
      var sequence = Manifest.Sequence(schema: name.schema, name: name.name, lastValue: value)
      sequence.ofExtension = facts.sequencesOfExtensions[name]
      return sequence
    }
    // No dump contains these values: a restore sets them.
    let dumped = Set(manifest.sequences.map(\.qualifiedName))
    manifest.sequences += facts.sequencesOfExtensions.filter { !dumped.contains($0.key) }.compactMap { name, member in
      guard let value = facts.sequenceValues[name] ?? nil else { return nil }
      var sequence = Manifest.Sequence(schema: name.schema, name: name.name, lastValue: value)
      sequence.ofExtension = member
      return sequence
    }
    manifest.sequences.sort { ($0.schema, $0.name) < ($1.schema, $1.name) }
    manifest.roles = facts.roles
    manifest.tablespaces = facts.tablespaces
    // Rows that a setting made look empty must be read again.
    if refutations.isEmpty, facts.canTurnOff || facts.damageHiders.isEmpty, let base = try incremental.base() {
      manifest.changeBase = base
      incremental.describe(
        &tables, contents,
        ids: Dictionary(contents.entries.filter { $0.kind == "TABLE DATA" }.map { ($0.file, $0.oid) }, uniquingKeysWith: { first, _ in first }))
    }
    if let parent = parent?.manifest, incremental.plan.takesOver { manifest.readAllIn = parent.readAllIn ?? parent.id }
    let (refuted, doubts) = try consequences(of: refutations)
    manifest.refutations = refuted.isEmpty ? nil : refuted
    manifest.doubts = doubts.isEmpty ? nil : doubts
    manifest.tables = tables
    if tables.contains(where: { $0.ranges != nil }) { manifest.formatVersion = Manifest.newestVersion }
    manifest.largeObjects = facts.largeObjects
    manifest.bytes = outcome.bytes
    let added = registry.added
    manifest.newObjects = added.objects + chunkTable.written.count
    manifest.storedBytes = added.bytes + chunkTable.storedBytes

    let globals = try writeGlobals(globals, to: files.globals, encryption)
    let excluded = missing.map { QualifiedName(schema: $0.schema, name: $0.name) }.filter(exclusions.tables.contains)
    if !excluded.isEmpty { manifest.excludedTables = excluded.map { "\($0.schema).\($0.name)" } }
    manifest.searchPath = request.searchPath
    manifest.contentsSHA256 = outcome.files[ArchiveFile.contents]?.digest.description
    manifest.preloadedLibraries = facts.preloadedLibraries
    manifest.incompleteReasons =
      reasons(facts, outcome, missing.filter { !excluded.contains(QualifiedName(schema: $0.schema, name: $0.name)) }) + globals.reasons
    manifest.complete = manifest.incompleteReasons.isEmpty
    let anomalies = fallenTables(tables) + signsOfAClone(facts)
    manifest.anomalies = anomalies.isEmpty ? nil : anomalies
    manifest.warnings =
      refuted + (takeover.map { [$0] } ?? []) + anomalies + facts.changedRowsOutsideDump + outcome.notes
    // The store lost something: that is for the operator, and not a fact about this snapshot.
    if let damage = index?.warnings { warnings.update { $0 += damage } }
    if let recorded = facts.database.collationVersion, let actual = facts.database.actualCollationVersion, recorded != actual {
      manifest.warnings.append("the database's collation is of version \(recorded), the server's library of \(actual): its indexes may be wrong")
    }
    var checksums = [files.chunkTable: chunkTable.digest, files.globals: globals.digest]
    var written = registry.written.merging(chunkTable.written) { $1 }
    written[files.chunkTable] = chunkTable.place.storedBytes
    written[files.globals] = globals.bytes
    try repository.catalog.begin(place, holding: lock)
    for (key, bytes) in [
      (files.manifest, try encryption.encrypted(JSON.bytes(manifest))),
      (
        files.recoverScript,
        Array(RecoverScript.text(id: place.id, database: place.database, major: tools.major, isEncrypted: encryption.isOn).utf8)
      ),
    ] {
      try store.write(bytes, to: key, durability: .deferred)
      checksums[key] = SHA256Digest(of: bytes)
      written[key] = Int64(bytes.count)
    }
    try Interruption.check()
    let list = ChecksumFile(
      objects: try registry.completed().map(\.name) + chunkTable.lists.map(\.name), files: checksums,
      summary: encryption.isOn ? .init(of: manifest) : nil)
    try repository.catalog.commit(
      list, of: place, reused: registry.reused.merging(chunkTable.reused) { $1 }, written: written, holding: lock, mayBeFirst: parent == nil)
    if parent == nil, (try? repository.catalog.lacksSnapshots()) ?? false {
      note("the store had snapshots before, and none of them is there now: put the folder snapshots/ back; until then firn-prune deletes no objects")
    }
    // Where snapshots read little, an operator should learn why one read everything.
    if parent?.manifest.changeBase != nil, manifest.kind != Manifest.safetyKind {
      for obstacle in incremental.obstacles { note(obstacle) }
    }
    let isParent = manifest.kind != Manifest.safetyKind || parent == nil
    if encryption.isOn, isParent, (try? cache?.save(manifest, list, chunkTable)) == nil {
      note("what the snapshot consists of could not be remembered in the cache: the next one will store everything once more")
    }
    return manifest
  }

  /// Messages about takeovers that were found wrong, and what is known of the snapshots that have the wrong rows.
  private func consequences(of refutations: [Refutation]) throws -> (words: [String], doubts: [Manifest.Doubt]) {
    var doubts = parent?.manifest.doubts ?? []
    guard !refutations.isEmpty else { return ([], doubts) }
    let earlier = try repository.catalog.snapshots(source: place.source, database: place.database).map(\.id)
    // One for each table, though several of its ranges may be others.
    let tables = Dictionary(grouping: refutations) { QualifiedName(schema: $0.schema, name: $0.name) }
    let words = tables.sorted { ($0.key.schema, $0.key.name) < ($1.key.schema, $1.key.name) }.compactMap { name, found -> String? in
      guard let first = found.min(by: { $0.readIn < $1.readIn }) else { return nil }
      let doubt = Manifest.Doubt(schema: name.schema, name: name.name, after: first.readIn, before: place.id)
      let affected = earlier.count(where: doubt.concerns)
      if affected > 0 { doubts.append(doubt) }
      return first.words(affected: affected, ranges: found.count)
    }
    return (words, doubts)
  }

  private func writeGlobals(_ dump: GlobalsDump, to key: StoreKey, _ encryption: StoreEncryption) throws
    -> (digest: SHA256Digest, bytes: Int64, reasons: [String])
  {
    let globals = try dump.result()
    var compressor = try ZstdCompressor()
    // No dump contains settings for all roles.
    let common = try connection.settingsOfAllRoles().map { "ALTER ROLE ALL SET \(Connection.assignment($0.name, $0.value));\n" }.joined()
    let sql = globals.sql + Array(common.utf8)
    let stored = try encryption.encrypted(compressor.compress(sql.span, effort: .table))
    try repository.store.write(stored, to: key, durability: .deferred)
    var reasons = globals.warnings.map { "pg_dumpall warns: \($0)" }
    if !dump.withPasswords { reasons.append("passwords of roles: \(connection.user) may not read pg_authid") }
    return (SHA256Digest(of: stored), Int64(stored.count), reasons)
  }
}

extension DatabaseProperties {
  init(_ facts: DatabaseFacts) {
    self.init(
      owner: facts.owner, encoding: facts.encoding, localeProvider: facts.localeProvider, collate: facts.collate, ctype: facts.ctype,
      tablespace: facts.tablespace, connectionLimit: facts.connectionLimit)
    locale = facts.locale
    icuRules = facts.icuRules
    collationVersion = facts.collationVersion
    actualCollationVersion = facts.actualCollationVersion
    grants = facts.grants.map { $0.map { .init(grantee: $0.grantee, privilege: $0.privilege, grantable: $0.grantable) } }
    comment = KeptDatabase.original(facts.comment)
    settings = facts.settings.map { .init(role: $0.role, name: $0.name, value: $0.value) }
  }
}
