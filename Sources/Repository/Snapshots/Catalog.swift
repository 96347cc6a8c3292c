internal import Digests
internal import Platform
package import Foundation

/// The committed snapshots of a store.
package struct Catalog: Sendable {
  let store: any Store
  private let contents: StoredContents

  package init(_ contents: StoredContents) {
    store = contents.store
    self.contents = contents
  }

  /// For callers that read no manifest.
  package init(store: any Store) { self.init(StoredContents(store)) }

  /// Every committed snapshot, oldest first.
  /// - Parameter each: called for each file of the listing, to show progress.
  package func snapshots(each: () -> Void = {}) throws -> [SnapshotPlace] { try snapshots(under: SnapshotPlace.root, each: each) }

  /// The committed snapshots of one database of one source, oldest first.
  package func snapshots(source: String, database: String) throws -> [SnapshotPlace] {
    try snapshots(under: SnapshotPlace.root(source: source, database: database))
  }

  private func snapshots(under prefix: StoreKey, each: () -> Void = {}) throws -> [SnapshotPlace] {
    var found: [SnapshotPlace] = []
    try store.list(prefix) { entry in
      each()
      guard entry.key.hasSuffix("/" + SnapshotPlace.checksumsName), let place = SnapshotPlace(key: entry.key), place.checksums == entry.key else {
        return
      }
      found.append(place)
    }
    return found.sorted(by: SnapshotPlace.isOlder)
  }

  /// Begins a commit. Call it before the manifest is written.
  /// - Parameter checksums: the list, if it is known already. The mark then holds it, and the commit does not write it.
  package func begin(_ place: SnapshotPlace, with checksums: ChecksumFile? = nil, holding lock: RepositoryLock) throws {
    try store.write(checksums?.bytes ?? [], to: place.unfinished(lock.name), durability: .immediate)
  }

  /// For each database a mark that it has had a snapshot, `had-snapshots/SOURCE/DATABASE`. It is written once the first one is listed, and
  /// deleted only before the last one is removed: a database with a mark and without a snapshot has lost them, and objects are not garbage.
  package static let firstSnapshotMarks: StoreKey = "had-snapshots/"
  private static let firstSnapshotText = "This database has had snapshots. While none of them is there, firn deletes no objects in this store.\n"

  private static func mark(of place: SnapshotPlace) -> StoreKey {
    firstSnapshotMarks + SnapshotPlace.root(source: place.source, database: place.database).dropFirst(SnapshotPlace.root.count).dropLast()
  }

  /// A database that has had snapshots and has no folder of one.
  /// - Parameter seen: all folders of snapshots, whatever their state.
  /// - Returns: where its snapshots were, and its mark; nil if there is none.
  func lostDatabase(seen: Set<SnapshotPlace>) throws -> (folder: StoreKey, mark: StoreKey)? {
    let marks = Set(seen.map(Self.mark))
    return try store.list(Self.firstSnapshotMarks).map(\.key).first { !marks.contains($0) }.map { mark in
      (SnapshotPlace.root + mark.dropFirst(Self.firstSnapshotMarks.count), mark)
    }
  }

  /// Before snapshots are removed: databases of which none is left have lost nothing.
  func forgetDatabases(without places: [SnapshotPlace]) throws {
    for (mark, places) in Dictionary(grouping: places, by: Self.mark) {
      guard let first = places.first, try Set(snapshots(source: first.source, database: first.database)).isSubset(of: places) else { continue }
      try store.delete([mark])
    }
  }

  /// Shows that a commit found all earlier snapshots gone. While it is there nothing is collected; only an operator deletes it.
  package static let missingSnapshotsMark: StoreKey = "snapshots-missing"
  private static let missingSnapshotsText =
    "A snapshot was taken while none of the earlier ones of its database was listed. firn deletes no objects here until you put the folder\n"
    + "snapshots/ back, or decide that it is gone for good, and then delete this file.\n"

  /// Whether commits found all earlier snapshots gone.
  package func lacksSnapshots() throws -> Bool { try store.size(of: Self.missingSnapshotsMark) != nil }

  /// Before a snapshot is listed that may be the only one: if there were others, their objects must not be taken for garbage after that.
  private func noteMissingSnapshots(beside place: SnapshotPlace) throws {
    guard try store.size(of: Self.mark(of: place)) != nil, try snapshots(source: place.source, database: place.database).isEmpty else { return }
    _ = try store.create(Array(Self.missingSnapshotsText.utf8), at: Self.missingSnapshotsMark)
  }

  /// Whether a store says itself that no snapshot was ever listed in it. Stores of older programs don't.
  func neverHadSnapshots() throws -> Bool {
    let format: RepositoryFormat
    do { format = try RepositoryFormat(parsing: try store.read(RepositoryFormat.key, limit: 1 << 20), location: store.location) } catch {
      if let error = error as? StoreError, !error.isOfOneFile { throw error }
      return false
    }
    return try format.marksFirstSnapshot == true && store.list(Self.firstSnapshotMarks).isEmpty
  }

  /// Commits a snapshot. All of its files are written by now.
  ///
  /// If this process was taken for dead, a collection may run at the same time. It breaks the lock, then renames every `unfinished` mark,
  /// then reads the lists. So one of three things happens: we see that the lock is broken, or there is no mark left to rename, or the
  /// collection reads our list. The same holds for stores that copy and delete instead of renaming, because the copy is visible before
  /// the mark is gone.
  /// - Parameters:
  ///   - reused: stored bytes of the objects of other snapshots that this one needs too.
  ///   - written: stored bytes of the files written for this snapshot. A server is asked for these as well, because a faulty one may
  ///     confirm writes and store nothing.
  ///   - mayBeFirst: whether no other snapshot of this database was found.
  ///   - isInMark: whether the commit began with this list.
  /// - Throws: `RepositoryError.lockLost`, `StoreError.missing` for a file that is not there, `.truncated` for one of another size.
  package func commit(
    _ checksums: ChecksumFile, of place: SnapshotPlace, reused: [ObjectName: Int64], written: [StoreKey: Int64], holding lock: RepositoryLock,
    mayBeFirst: Bool = true, isInMark: Bool = false
  ) throws {
    try store.flush()
    let unfinished = place.unfinished(lock.name)
    if !isInMark { try store.write(checksums.bytes, to: unfinished, durability: .immediate) }
    try lock.check()
    var needed = Dictionary(uniqueKeysWithValues: reused.map { ($0.key.key, $0.value) })
    if store.requestsAtOnce > 1 { needed.merge(written) { $1 } }
    try forEachInParallel([nil] + needed.sorted { $0.key < $1.key }, thread: "look", threads: store.requestsAtOnce) { [self] file in
      guard let (key, bytes) = file else {
        if mayBeFirst { try noteMissingSnapshots(beside: place) }
        return
      }
      guard let size = try store.size(of: key) else { throw StoreError.missing(key) }
      guard size == bytes else { throw StoreError.truncated(key) }
    }
    do {
      if try !store.setAside(unfinished, as: place.checksums), try store.size(of: place.checksums) == nil { throw RepositoryError.lockLost }
    } catch let error as StoreError {
      // A mark that can't be deleted is harmless beside a durable list.
      guard store.keepsWrites, (try? store.size(of: place.checksums)) == Int64(checksums.bytes.count) else { throw error }
    }
    // It is listed, whatever comes of this.
    if mayBeFirst { _ = try? store.create(Array(Self.firstSnapshotText.utf8), at: Self.mark(of: place)) }
  }

  /// Folders of snapshots that are no longer listed because their list of checksums is lost, and not because they were removed.
  package func unlisted(at now: Date = Date()) throws -> [SnapshotPlace] {
    var found: [SnapshotPlace] = []
    try SnapshotFolder.forEach(in: store) { folder in
      guard folder.hasLostItsList, let newest = folder.files.map(\.entry.modified).max(),
        now.timeIntervalSince1970 - newest > Self.longestCommit
      else { return }
      found.append(folder.place)
    }
    return found.sorted(by: SnapshotPlace.isOlder)
  }

  /// Reasons why snapshots may be hidden: folders that lost their lists, databases whose folders are gone, and files where no snapshot lies,
  /// such as links. Keys, with a reason.
  package func outOfSight(at now: Date = Date()) throws -> [(key: StoreKey, reason: String)] {
    var found: [(key: StoreKey, reason: String)] = []
    var seen: Set<SnapshotPlace> = []
    try SnapshotFolder.forEach(in: store) { folder in
      seen.insert(folder.place)
    } strange: { entry in
      found.append((entry.key, entry.isFile ? "is in no place of a snapshot, and may belong to one" : "is no folder"))
    }
    if let gone = try lostDatabase(seen: seen) { found.append((gone.folder, "has had snapshots, and has none now")) }
    return try found + unlisted(at: now).map { ($0.prefix, "has lost its SHA256SUMS") }
  }

  /// Every committed snapshot with its checks and holds, oldest first.
  package func listing() throws -> [ListedSnapshot] { try listing(under: SnapshotPlace.root) }

  /// The same of one database of one source.
  package func listing(source: String, database: String) throws -> [ListedSnapshot] {
    try listing(under: SnapshotPlace.root(source: source, database: database))
  }

  private func listing(under prefix: StoreKey) throws -> [ListedSnapshot] {
    var found: [ListedSnapshot] = []
    try SnapshotFolder.forEach(in: store, under: prefix) { folder in
      if let listed = ListedSnapshot(folder) { found.append(listed) }
    }
    return found.sorted { SnapshotPlace.isOlder($0.place, $1.place) }
  }

  /// Maximum seconds between writing a manifest and its list of checksums: a listing may show only the first.
  private static let longestCommit: TimeInterval = 600

  /// Whether a prune has removed a snapshot since it was listed. A snapshot that lost its list otherwise is damaged.
  package func wasRemoved(_ place: SnapshotPlace) throws -> Bool {
    do { guard try store.size(of: place.checksums) == nil else { return false } } catch let error as StoreError where error.isOfOneFile {
      return false
    }
    var isDamaged = false
    try SnapshotFolder.forEach(in: store, under: place.prefix) { folder in
      if folder.place == place, folder.hasLostItsList { isDamaged = true }
    }
    return !isDamaged
  }

  /// The snapshots that still exist once the lock is held: a prune may have come first.
  /// - Throws: `RepositoryError.noSuchSnapshot` if none of them is.
  package func stillThere(_ places: [SnapshotPlace]) throws -> [SnapshotPlace] {
    let left = try places.filter { try !wasRemoved($0) }
    if let first = places.first, left.isEmpty { throw RepositoryError.noSuchSnapshot(selector: first.id.description, database: first.database) }
    return left
  }

  /// The manifest as it was committed. The bytes that are decoded are the ones that are checked.
  /// - Throws: `RepositoryError.malformed` if they are not what its checksum says.
  package func intactManifest(of place: SnapshotPlace) throws -> Manifest {
    let key = contents.files(of: place).manifest
    guard let digest = try checksums(of: place).files[key] else {
      throw RepositoryError.malformed(key: key, reason: "the list of checksums doesn't name it")
    }
    return try manifest(of: place, expecting: digest)
  }

  /// - Throws: `RepositoryError.malformed` if it is no manifest of this snapshot.
  package func manifest(of place: SnapshotPlace) throws -> Manifest { try manifest(of: place, expecting: nil) }

  private func manifest(of place: SnapshotPlace, expecting digest: SHA256Digest?) throws -> Manifest {
    let key = contents.files(of: place).manifest
    let bytes: [UInt8]
    do {
      bytes = try contents.read(key, limit: Manifest.sizeLimit, expecting: digest)
    } catch StoreError.missing(let key) {
      throw RepositoryError.malformed(key: key, reason: "it is missing")
    } catch StoreError.unreadable(let key, let reason) {
      throw RepositoryError.malformed(key: key, reason: reason)
    } catch StoreError.notAFile(let key) {
      throw RepositoryError.malformed(key: key, reason: "it is no ordinary file")
    } catch StoreError.tooLarge(let key) {
      throw RepositoryError.malformed(key: key, reason: "it is larger than a manifest can be")
    } catch StoreError.truncated(let key) {
      throw RepositoryError.malformed(key: key, reason: "it is cut off")
    }
    return try Manifest(parsing: bytes, of: place, key: key)
  }

  package func checksums(of place: SnapshotPlace) throws -> ChecksumFile {
    try ChecksumFile(parsing: try store.read(place.checksums, limit: ChecksumFile.sizeLimit), key: place.checksums)
  }

  /// The objects that a list of checksums names, in order.
  func objects(of place: SnapshotPlace) throws -> [ObjectName] {
    try ChecksumFile.contents(of: try store.read(place.checksums, limit: ChecksumFile.sizeLimit), key: place.checksums).objects
  }

  /// The facts that pruning needs. Usually only the end of the list of checksums is read.
  /// - Returns: nil if the manifest is not the one in the list, or unreadable.
  /// - Throws: `RepositoryError.newerFormat`.
  package func summary(of listed: ListedSnapshot) throws -> Manifest.Summary? {
    do {
      guard let end = try listEnd(of: listed) else { return nil }
      let bytes = try store.read(contents.files(of: listed.place).manifest, limit: Manifest.sizeLimit)
      guard SHA256Digest(of: bytes) == end.manifest else { return nil }
      if contents.areSealed { return end.summary }
      // It matches the list, so a newer format is not damage.
      if let version = try? JSON.decoder.decode(Version.self, from: Data(bytes)).formatVersion, version > RepositoryFormat.newestVersion {
        throw RepositoryError.newerFormat(location: listed.place.prefix, version: version)
      }
      return try? JSON.decoder.decode(Manifest.Summary.self, from: Data(bytes))
    } catch let error as StoreError {
      if error.isOfOneFile { return nil }
      throw error
    }
  }

  private struct Version: Decodable { let formatVersion: Int }

  /// Reads the manifest's digest from the end of a list of checksums.
  private func listEnd(of listed: ListedSnapshot) throws -> (manifest: SHA256Digest, summary: Manifest.Summary?)? {
    let place = listed.place
    // Long tags need a second attempt.
    for limit: Int64 in [1 << 12, 1 << 20] {
      let count = min(listed.listBytes, limit)
      let end = try store.read(place.checksums, from: listed.listBytes - count, count: Int(count))
      let lines = end.split(separator: 0x0A).lazy.reversed()
      let wanted = "  \(contents.files(of: place).manifest)".utf8
      guard let line = lines.first(where: { $0.count == 64 + wanted.count && $0.dropFirst(64).elementsEqual(wanted) }),
        let digest = SHA256Digest(hexadecimal: String(decoding: line.prefix(64), as: UTF8.self))
      else { continue }
      let mark = ChecksumFile.summaryMark.utf8
      let summary = lines.first { $0.starts(with: mark) }.flatMap { line in
        Manifest.Summary(line: String(decoding: line.dropFirst(mark.count), as: UTF8.self)[...])
      }
      return (digest, summary)
    }
    return nil
  }

  /// The facts that are readable for encrypted snapshots as well.
  /// - Throws: `RepositoryError.malformed` if they are unreadable.
  package func summary(of place: SnapshotPlace) throws -> Manifest.Summary {
    guard contents.areSealed else { return Manifest.Summary(of: try manifest(of: place)) }
    guard let summary = try checksums(of: place).summary else {
      throw RepositoryError.malformed(key: place.checksums, reason: "it does not say what kind of snapshot it is of")
    }
    return summary
  }

  /// The check that decides: the newest that found damage or read everything. Of two in the same second, the one that found damage. So a
  /// finding stands until everything was read again. A check without damage that is dated in the future is ignored.
  package func verdict(of place: SnapshotPlace, now: Date = Date()) throws -> CheckRecord? {
    try verdict(of: checkKeys(of: place), now: now)
  }

  /// The keys of a snapshot's checks, in order.
  package func checkKeys(of place: SnapshotPlace) throws -> [StoreKey] { try store.list(place.checks).map(\.key) }

  /// - Parameter checks: the keys of a snapshot's checks, in order.
  package func verdict(of checks: [StoreKey], now: Date) throws -> CheckRecord? {
    var proof: CheckRecord?
    // Keys are times, so the last check usually decides.
    for key in checks.reversed() {
      guard let check = try check(key) else { continue }
      if let proof, proof.level > .scrub, check.checkedAt < proof.checkedAt { break }
      // A check without an identity cannot clear a finding of one with an identity.
      if !check.ok, proof.map({ check.checkedAt >= $0.checkedAt || check.level > .scrub }) ?? true { return check }
      guard check.ok, check.level >= .scrub, check.checkedAt.timeIntervalSince(now) < 600 else { continue }
      // A complete reading before a scrub without findings ends the search.
      if proof == nil { proof = check } else if check.level > .scrub { break }
    }
    return proof
  }

  /// Snapshots that share an object with one in which it was found damaged. Their earlier checks no longer count, except if they were read
  /// completely since then: the object was repaired.
  /// - Parameter verdicts: for all snapshots that may share objects.
  package func sharingDamage(_ places: [SnapshotPlace], verdicts: [SnapshotPlace: CheckRecord]) throws -> Set<SnapshotPlace> {
    let findings = DamageFindings(verdicts)
    return try Set(places.filter { try shares(findings, $0) })
  }

  /// Whether a snapshot needs an object that was found damaged in another since it was read itself.
  package func shares(_ findings: DamageFindings, _ place: SnapshotPlace) throws -> Bool {
    guard !findings.byObject.isEmpty else { return false }
    let proof = findings.verdicts[place]
    return try objects(of: place).contains { object in
      findings.byObject[object.digest.description, default: []].contains { finding in !(proof?.isProof(after: finding) ?? false) }
    }
  }

  /// Objects that verifications found damaged, in snapshots that were not read completely since.
  package func damagedObjects(_ listed: [ListedSnapshot]) throws -> Set<ObjectName> {
    let found = Monitor<Set<ObjectName>>([])
    try forEachInParallel(listed.filter { !$0.checks.isEmpty }, thread: "checks", threads: store.requestsAtOnce) { [self] snapshot in
      guard let verdict = try verdict(of: snapshot.checks, now: Date()), !verdict.ok else { return }
      // Names of encrypted and of plain objects.
      let names = (verdict.damagedObjects ?? []).flatMap { text in [true, false].compactMap { ObjectName(hexadecimal: text, isSealed: $0) } }
      found.update { $0.formUnion(names) }
    }
    return found.current
  }

  /// The results of a snapshot's verifications, oldest first. An unreadable one is skipped.
  package func checks(of place: SnapshotPlace) throws -> [CheckRecord] {
    try store.list(place.checks).compactMap { try check($0.key) }
  }

  /// - Throws: if the store as a whole is unreadable, because a finding must not be overlooked.
  private func check(_ key: StoreKey) throws -> CheckRecord? {
    let bytes: [UInt8]
    do { bytes = try store.read(key, limit: CheckRecord.sizeLimit) } catch let error as StoreError where error.isOfOneFile { return nil }
    return try? JSON.decoder.decode(CheckRecord.self, from: Data(bytes))
  }

  package func record(_ check: CheckRecord, of place: SnapshotPlace) throws {
    let name = "\(place.checks)\(SnapshotID.stamp(check.checkedAt))"
    // Two checks may end in the same second.
    for number in 1...1000 where try store.create(JSON.bytes(check), at: number == 1 ? "\(name).json" : "\(name).\(number).json") { return }
  }

  /// The snapshots of a database, given as `DATABASE` or `SOURCE/DATABASE`.
  /// - Parameter source: preferred if several sources have a database of that name.
  /// - Throws: `RepositoryError.noSuchDatabase`, `.ambiguousDatabase`.
  package func database(named name: String, preferring source: String? = nil) throws -> [SnapshotPlace] {
    let all = try snapshots()
    var matches = all.filter { $0.database.isSame(as: name) }
    if matches.isEmpty { matches = all.filter { "\($0.source)/\($0.database)".isSame(as: name) } }
    guard !matches.isEmpty else {
      throw RepositoryError.noSuchDatabase(name: name, known: Set(all.map(\.database)).sorted())
    }
    var sources = Dictionary(grouping: matches, by: \.source.keyComponent)
    // A source with safety snapshots only was never backed up: a restore took them.
    if sources.count > 1 { sources = sources.filter { _, places in places.contains { !isSafetySnapshot($0) } } }
    if sources.count > 1, let own = source.flatMap({ sources[$0.keyComponent] }) { return own }
    guard sources.count <= 1 else {
      throw RepositoryError.ambiguousDatabase(name: name, sources: sources.values.compactMap(\.first?.source).sorted())
    }
    return sources.first?.value ?? matches
  }

  /// Whether a restore took it of the database that it replaced. An unreadable snapshot counts as none.
  package func isSafetySnapshot(_ place: SnapshotPlace) -> Bool { (try? summary(of: place).kind) == Manifest.safetyKind }

  /// The newest readable result of at least that level.
  package func lastCheck(of place: SnapshotPlace, atLeast level: CheckRecord.Level = .quick) throws -> CheckRecord? {
    try lastCheck(of: checkKeys(of: place), atLeast: level)
  }

  /// The newest drill, including failed ones.
  /// - Parameter checks: the keys of a snapshot's checks, in order.
  package func lastDrill(of checks: [StoreKey]) throws -> CheckRecord? {
    try last(of: checks) { $0.level == .drill || $0.failedDrill != nil }
  }

  /// - Parameter checks: the keys of a snapshot's checks, in order.
  package func lastCheck(of checks: [StoreKey], atLeast level: CheckRecord.Level) throws -> CheckRecord? {
    try last(of: checks) { $0.level >= level }
  }

  private func last(of checks: [StoreKey], where isWanted: (CheckRecord) -> Bool) throws -> CheckRecord? {
    for key in checks.reversed() {
      if let check = try check(key), isWanted(check) { return check }
    }
    return nil
  }

  /// Safety snapshots of databases that are not backed up otherwise: they are only kept until they are pruned.
  package func snapshotsOfRestoresAlone(named database: String) throws -> [SnapshotPlace] {
    let all = try snapshots().filter { $0.database.isSame(as: database) }
    return Dictionary(grouping: all, by: \.source.keyComponent).values.filter { $0.allSatisfy(isSafetySnapshot) }.flatMap(\.self)
  }
}

/// Damage that verifications found.
package struct DamageFindings {
  fileprivate let verdicts: [SnapshotPlace: CheckRecord]
  /// By the digest of the object.
  fileprivate let byObject: [String: [CheckRecord]]

  /// - Parameter verdicts: for all snapshots that may share objects.
  package init(_ verdicts: [SnapshotPlace: CheckRecord]) {
    self.verdicts = verdicts
    var found: [String: [CheckRecord]] = [:]
    for verdict in verdicts.values where !verdict.ok {
      for object in verdict.damagedObjects ?? [] { found[object, default: []].append(verdict) }
    }
    byObject = found
  }
}

/// A committed snapshot with its checks and holds, as far as a listing shows them.
package struct ListedSnapshot: Sendable {
  package let place: SnapshotPlace
  /// Keys of the results of verifications, oldest first.
  package let checks: [StoreKey]
  package let isOnHold: Bool
  /// Stored bytes of its files.
  let ownBytes: Int64
  /// Of its list of checksums alone.
  let listBytes: Int64

  /// Nil if it is not committed.
  init?(_ folder: SnapshotFolder) {
    guard let list = folder.checksums else { return nil }
    place = folder.place
    checks = folder.entries(.check).map(\.key)
    isOnHold = folder.files.contains { $0.part == .hold }
    ownBytes = folder.bytes
    listBytes = list.size
  }
}
