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
  package func snapshots(each: () -> Void = {}) throws -> [SnapshotPath] { try snapshots(under: SnapshotPath.root, each: each) }

  /// The committed snapshots of one database of one source, oldest first.
  package func snapshots(source: String, database: String) throws -> [SnapshotPath] {
    try snapshots(under: SnapshotPath.root(source: source, database: database))
  }

  private func snapshots(under prefix: StoreKey, each: () -> Void = {}) throws -> [SnapshotPath] {
    var found: [SnapshotPath] = []
    try store.list(prefix) { entry in
      each()
      guard entry.key.hasSuffix("/" + SnapshotPath.checksumsName), let place = SnapshotPath(key: entry.key), place.checksums == entry.key else {
        return
      }
      found.append(place)
    }
    return found.sorted(by: SnapshotPath.isOlder)
  }

  /// Folders of snapshots that are no longer listed because their list of checksums is lost, and not because they were removed.
  package func unlisted(at now: Date = Date()) throws -> [SnapshotPath] {
    var found: [SnapshotPath] = []
    try SnapshotFolder.forEach(in: store) { folder in
      if Self.isUnlisted(folder, at: now) { found.append(folder.place) }
    }
    return found.sorted(by: SnapshotPath.isOlder)
  }

  private static func isUnlisted(_ folder: SnapshotFolder, at now: Date) -> Bool {
    guard folder.hasLostItsList, let newest = folder.files.map(\.entry.modified).max() else { return false }
    return now.timeIntervalSince1970 - newest > longestCommit
  }

  /// Reasons why snapshots may be hidden: folders without their lists, databases without their folders, and files in
  /// unexpected places, such as links. Keys, with a reason.
  /// - Parameter folders: folders of databases that have snapshots (`SnapshotPath.folder`); nil for the whole
  ///   store.
  package func outOfSight(in folders: Set<StoreKey>? = nil, at now: Date = Date()) throws -> [(key: StoreKey, reason: String)] {
    guard let folders else { return try outOfSight(under: SnapshotPath.root, wholeStore: true, at: now) }
    return try folders.sorted().flatMap { try outOfSight(under: $0, wholeStore: false, at: now) }
  }

  private func outOfSight(under prefix: StoreKey, wholeStore: Bool, at now: Date) throws -> [(key: StoreKey, reason: String)] {
    var found: [(key: StoreKey, reason: String)] = []
    var seen: Set<SnapshotPath> = []
    try SnapshotFolder.forEach(in: store, under: prefix) { folder in
      seen.insert(folder.place)
      if Self.isUnlisted(folder, at: now) { found.append((folder.place.prefix, "has lost its SHA256SUMS")) }
    } strange: { entry in
      found.append((entry.key, entry.isFile ? "is in an unexpected place, and may belong to a snapshot" : "is not a folder"))
    }
    if wholeStore, let gone = try lostDatabase(seen: seen) { found.append((gone.folder, "has had snapshots, and has none now")) }
    return found
  }

  /// Every committed snapshot with its checks and holds, oldest first.
  package func listing() throws -> [ListedSnapshot] { try listing(under: SnapshotPath.root) }

  /// The same of one database of one source.
  package func listing(source: String, database: String) throws -> [ListedSnapshot] {
    try listing(under: SnapshotPath.root(source: source, database: database))
  }

  private func listing(under prefix: StoreKey) throws -> [ListedSnapshot] {
    var found: [ListedSnapshot] = []
    try SnapshotFolder.forEach(in: store, under: prefix) { folder in
      if let listed = ListedSnapshot(folder) { found.append(listed) }
    }
    return found.sorted { SnapshotPath.isOlder($0.place, $1.place) }
  }

  /// Maximum seconds between writing a manifest and its list of checksums: a listing may show only the first.
  private static let longestCommit: TimeInterval = 600

  /// Whether a prune has removed a snapshot since it was listed. A snapshot that lost its list otherwise is damaged.
  package func wasRemoved(_ place: SnapshotPath) throws -> Bool {
    do { guard try store.size(of: place.checksums) == nil else { return false } } catch let error as StoreError where error.isOfOneFile {
      return false
    }
    var isDamaged = false
    try SnapshotFolder.forEach(in: store, under: place.prefix) { folder in
      if folder.place == place, folder.hasLostItsList { isDamaged = true }
    }
    return !isDamaged
  }

  /// The snapshots that still exist once the lock is held: a prune may have removed some before.
  /// - Throws: `RepositoryError.noSuchSnapshot` if none of them still exists.
  package func stillThere(_ places: [SnapshotPath]) throws -> [SnapshotPath] {
    let left = try places.filter { try !wasRemoved($0) }
    if let first = places.first, left.isEmpty { throw RepositoryError.noSuchSnapshot(selector: first.id.description, database: first.database) }
    return left
  }

  /// The manifest as it was committed. The bytes that are decoded are the ones that are checked.
  /// - Throws: `RepositoryError.malformed` if they do not match the checksum.
  package func intactManifest(of place: SnapshotPath) throws -> Manifest {
    let key = contents.files(of: place).manifest
    guard let digest = try checksums(of: place).files[key] else {
      throw RepositoryError.malformed(key: key, reason: "the list of checksums doesn't name it")
    }
    return try manifest(of: place, expecting: digest)
  }

  /// - Throws: `RepositoryError.malformed` if it is no manifest of this snapshot.
  package func manifest(of place: SnapshotPath) throws -> Manifest { try manifest(of: place, expecting: nil) }

  private func manifest(of place: SnapshotPath, expecting digest: SHA256Digest?) throws -> Manifest {
    let key = contents.files(of: place).manifest
    let bytes: [UInt8]
    do {
      bytes = try contents.read(key, limit: Manifest.sizeLimit, expecting: digest)
    } catch StoreError.unreadable(let key, let reason) {
      throw RepositoryError.malformed(key: key, reason: reason)
    } catch let error as StoreError {
      guard let (key, reason) = error.damage else { throw error }
      throw RepositoryError.malformed(key: key, reason: "it \(reason)")
    }
    return try Manifest(parsing: bytes, of: place, key: key)
  }

  package func checksums(of place: SnapshotPath) throws -> ChecksumFile {
    try ChecksumFile(parsing: try store.read(place.checksums, limit: ChecksumFile.sizeLimit), key: place.checksums)
  }

  /// The objects that a list of checksums names, in order.
  func objects(of place: SnapshotPath) throws -> [ObjectName] {
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
      if contents.areEncrypted { return end.summary }
      // It matches the list, so a newer format is not damage.
      if let version = try? JSON.decoder.decode(Version.self, from: Data(bytes)).formatVersion, version > Manifest.newestVersion {
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
  package func summary(of place: SnapshotPath) throws -> Manifest.Summary {
    guard contents.areEncrypted else { return Manifest.Summary(of: try manifest(of: place)) }
    guard let summary = try checksums(of: place).summary else {
      throw RepositoryError.malformed(key: place.checksums, reason: "it does not contain the snapshot's kind")
    }
    return summary
  }

  /// The snapshots of a database, given as `DATABASE` or `SOURCE/DATABASE`.
  /// - Parameter source: preferred if several sources have a database of that name. A folder or a name.
  /// - Throws: `RepositoryError.noSuchDatabase`, `.ambiguousDatabase`.
  package func database(named name: String, preferring source: String? = nil) throws -> [SnapshotPath] {
    let all = try snapshots()
    var matches = all.filter { $0.database.isSame(as: name) }
    if matches.isEmpty { matches = all.filter { "\($0.source)/\($0.database)".isSame(as: name) } }
    if matches.isEmpty, name.contains("/") {
      let names = Dictionary(uniqueKeysWithValues: try sources(of: all).map { ($0.folder.keyComponent, $0.name) })
      matches = all.filter { "\(names[$0.source.keyComponent] ?? "")/\($0.database)".isSame(as: name) }
    }
    guard !matches.isEmpty else {
      throw RepositoryError.noSuchDatabase(name: name, known: Set(all.map(\.database)).sorted())
    }
    var sources = Dictionary(grouping: matches, by: \.source.keyComponent)
    // A source with safety snapshots only was never backed up: a restore took them.
    if sources.count > 1 { sources = sources.filter { _, places in places.contains { !isSafetySnapshot($0) } } }
    if sources.count > 1, let source {
      if let own = sources[source.keyComponent] { return own }
      if let own = try self.source(named: source).flatMap({ sources[$0.keyComponent] }) { return own }
    }
    guard sources.count <= 1 else {
      let known = try self.sources(of: matches).sorted { $0.name < $1.name }
      throw RepositoryError.ambiguousDatabase(
        name: name, sources: known.map(\.name),
        servers: known.compactMap { source in source.record?.servers.last?.place.map { "\(source.name) is \($0)" } })
    }
    return sources.first?.value ?? matches
  }

  /// Whether a restore took it of the database that it replaced. An unreadable snapshot counts as none.
  package func isSafetySnapshot(_ place: SnapshotPath) -> Bool { (try? summary(of: place).kind) == Manifest.safetyKind }

  /// Safety snapshots of sources in which this database has no other snapshots. A prune of the database includes
  /// them.
  package func snapshotsOfRestoresAlone(named database: String) throws -> [SnapshotPath] {
    let all = try snapshots().filter { $0.database.isSame(as: database) }
    return Dictionary(grouping: all, by: \.source.keyComponent).values.filter { $0.allSatisfy(isSafetySnapshot) }.flatMap(\.self)
  }
}

/// A committed snapshot with its checks and holds, as far as a listing shows them.
package struct ListedSnapshot: Sendable {
  package let place: SnapshotPath
  /// Keys of the results of verifications, oldest first.
  package let checks: [StoreKey]
  package let isOnHold: Bool
  /// Stored bytes of its files.
  let ownBytes: Int64
  /// The size of its list of checksums.
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
