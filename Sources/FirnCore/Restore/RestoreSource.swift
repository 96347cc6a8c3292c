internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// A snapshot that is to be restored: its manifest, its files, its table of contents.
struct RestoreSource {
  let manifest: Manifest
  let reader: SnapshotReader
  let files: [String: SnapshotReader.FileEntry]
  /// Files whose list in the store is damaged.
  private let unlisted: [String: RepositoryError]
  let directory: ArchiveDirectory

  /// - Parameter isPartial: whether files whose list is damaged may be missing.
  /// - Throws: `SnapshotDamaged`, or `RepositoryError` if the snapshot can't be read as what it is.
  init(_ repository: Repository, _ place: SnapshotPath, isPartial: Bool = false) throws {
    let manifest = try repository.catalog.intactManifest(of: place)
    let reader = try SnapshotReader(repository.contents, manifest: manifest)
    let (files, unlisted) = try reader.listedFiles()
    (self.manifest, self.reader, self.files, self.unlisted) = (manifest, reader, files, unlisted)
    if !isPartial { try Self.requireLists(of: manifest.tables, largeObjects: true, unlisted) }
    // The chunk table must agree with the manifest, whose checksum was verified.
    for table in manifest.tables where unlisted[table.file] == nil && files[table.file]?.digest.description != table.sha256 {
      throw RepositoryError.malformed(
        key: reader.table.key, reason: "\(table.displayName) is \(files[table.file] == nil ? "missing" : "another than the manifest's")")
    }
    guard let file = files[ArchiveFile.contents] else {
      if let damage = unlisted[ArchiveFile.contents] { throw SnapshotDamaged(tables: [ArchiveFile.contents], cause: damage) }
      throw RepositoryError.malformed(key: reader.table.key, reason: "\(ArchiveFile.contents) is missing")
    }
    if let reason = Self.contradictions(between: files, and: manifest, unlisted: Set(unlisted.keys)).first {
      throw RepositoryError.malformed(key: reader.table.key, reason: reason)
    }
    var bytes: [UInt8] = []
    try Self.namingDamage(manifest, reader, files) { try reader.read(file) { bytes.append($0) } }
    do { directory = try ArchiveDirectory(parsing: bytes) } catch let error as ArchiveDirectory.Unreadable {
      throw RepositoryError.malformed(key: ArchiveFile.contents, reason: error.reason)
    }
  }

  /// Files of a chunk table that are not those of the manifest. A table that the manifest leaves out, for one, would be left out of a
  /// restore, and of its proof.
  /// - Parameter unlisted: files whose list is damaged.
  static func contradictions(between files: [String: SnapshotReader.FileEntry], and manifest: Manifest, unlisted: Set<String>) -> [String] {
    let known = Set(manifest.tables.map(\.file) + [ArchiveFile.contents])
    // Files with rows, as pg_backup_directory.c names them.
    let unknown = files.values.filter { $0.name.hasSuffix(".dat") && !$0.isLargeObject && !known.contains($0.name) }.map(\.name).sorted()
    var found = unknown.map { "\($0) is of no table of the manifest" }
    let largeObjects = files.values.count(where: \.isLargeObject) + unlisted.count(where: ArchiveFile.isLargeObject)
    if largeObjects != manifest.largeObjects { found.append("it has \(largeObjects) large objects, the manifest says \(manifest.largeObjects)") }
    if let wanted = manifest.contentsSHA256, let contents = files[ArchiveFile.contents], wanted != contents.digest.description {
      found.append("toc.dat is another than the manifest's")
    }
    return found
  }

  /// - Throws: `SnapshotDamaged` if the list of one of the tables is damaged.
  func requireLists(of tables: [Manifest.Table], largeObjects: Bool = false) throws {
    try Self.requireLists(of: tables, largeObjects: largeObjects, unlisted)
  }

  private static func requireLists(of tables: [Manifest.Table], largeObjects: Bool, _ unlisted: [String: RepositoryError]) throws {
    let damaged = tables.filter { unlisted[$0.file] != nil }
    let objects = largeObjects ? unlisted.keys.filter(ArchiveFile.isLargeObject) : []
    guard let cause = (damaged.map(\.file) + objects).first.flatMap({ unlisted[$0] }) else { return }
    throw SnapshotDamaged(tables: damaged.map(\.displayName).sorted() + (objects.isEmpty ? [] : ["large objects"]), cause: cause)
  }

  /// Runs `body` and names the affected tables if it finds damage.
  /// - Throws: `SnapshotDamaged` for a damaged object, and errors of `body`.
  func namingDamage<Result>(_ body: () throws -> Result) throws -> Result { try Self.namingDamage(manifest, reader, files, body) }

  private static func namingDamage<Result>(
    _ manifest: Manifest, _ reader: SnapshotReader, _ files: [String: SnapshotReader.FileEntry], _ body: () throws -> Result
  ) throws -> Result {
    do { return try body() } catch RepositoryError.damagedObject(let name, let reason) {
      throw SnapshotDamaged(
        tables: (try? names(in: name, of: manifest, reader, files)) ?? [], cause: RepositoryError.damagedObject(name: name, reason: reason))
    }
  }

  /// The tables and large objects that hold any byte of an object.
  private static func names(
    in object: String, of manifest: Manifest, _ reader: SnapshotReader, _ files: [String: SnapshotReader.FileEntry]
  ) throws -> [String] {
    let tables = Dictionary(manifest.tables.map { ($0.file, $0.displayName) }, uniquingKeysWith: { first, _ in first })
    return try Set(
      files.values.filter { file in try reader.objects(of: file).contains { $0.digest.description == object } }
        .map { tables[$0.name] ?? (ArchiveFile.isLargeObject($0.name) ? "large objects" : $0.name) }
    ).sorted()
  }

  /// Reads everything.
  /// - Returns: the files whose bytes are not those that were dumped, or can't be had.
  func damagedFiles(_ progress: WorkProgress) throws -> Set<String> {
    progress.begin("reading the snapshot", expected: manifest.bytes)
    let damaged = Monitor(Set(unlisted.keys))
    try forEachInParallel(files.values.sorted { $0.bytes < $1.bytes }, thread: "verify") { [reader] file in
      do {
        try reader.read(file) { progress.advance(by: $0.count) }
      } catch is RepositoryError {
        damaged.update { _ = $0.insert(file.name) }
      } catch let error as StoreError where error.isOfOneFile {
        damaged.update { _ = $0.insert(file.name) }
      }
    }
    return damaged.current
  }
}

/// The snapshot is damaged where a restore needs it.
package struct SnapshotDamaged: Error {
  /// Tables that the damage is known to touch.
  package let tables: [String]
  package let cause: any Error
}
