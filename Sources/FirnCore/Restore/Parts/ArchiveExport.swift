internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
package import Repository
package import SystemPackage

/// Writes a snapshot out as an archive in pg_dump's directory format, for stock tools.
package struct ArchiveExport {
  package struct Outcome: Sendable {
    package let files: Int
    package let bytes: Int64
    package let tables: Int
    package let rows: Int64
    /// A list for `pg_restore --use-list`; nil if all tables were requested.
    package let list: FilePath?
    /// The parts that it does not contain, in words.
    package let leftOut: [String]
    package let objectsRead: Int
    package let objectsOfSnapshot: Int
  }

  private let repository: Repository
  private let place: SnapshotPath
  private let scope: RestoreScope
  private let progress: WorkProgress

  package init(repository: Repository, place: SnapshotPath, scope: RestoreScope, progress: WorkProgress) {
    self.repository = repository
    self.place = place
    self.scope = scope
    self.progress = progress
  }

  /// - Throws: `FirnError.refused` where the folder exists; what reading the snapshot throws. Then the folder is gone again.
  package func run(to folder: FilePath) throws -> Outcome {
    let lock = try StoreHousekeeping(store: repository.store).sharedLock(purpose: "firn-restore of \(place.database)", onlyReads: true)
    defer { lock.release() }
    guard try Folder.status(of: folder) == nil else { throw FirnError.refused(reasons: ["\(folder) exists: name a new folder"]) }
    let source = try RestoreSource(repository, place, isPartial: scope.isPartial || scope.onlyIntact)
    let damaged = scope.onlyIntact ? try source.damagedFiles(progress) : []
    let selection = try RestoreSelection(source, scope: scope, role: .any, damaged: damaged, isForStockTools: true)
    if !scope.onlyIntact { try source.requireLists(of: selection.manifest.tables, largeObjects: !scope.isPartial) }
    // Whole under its name or not there at all.
    let parent = folder.removingLastComponent()
    let work = try WorkFolder(in: parent, prefix: ".\(folder.lastComponent?.string ?? "archive").firn-")
    defer { work.remove() }
    let outcome = try source.namingDamage { try write(selection, source, to: work.path, as: folder) }
    try work.leave()
    try Folder.synchronize(work.path)
    try Folder.rename(work.path, to: folder)
    try Folder.synchronize(parent)
    return outcome
  }

  private func write(_ selection: RestoreSelection, _ source: RestoreSource, to folder: FilePath, as final: FilePath) throws -> Outcome {
    progress.begin("writing the archive", expected: selection.manifest.bytes)
    var bytes: Int64 = 0
    for file in selection.files.values.sorted(by: { $0.name < $1.name }) where file.name != ArchiveFile.contents {
      try Interruption.check()
      progress.show(item: file.name)
      let output = try File(folder.appending(file.name), .create)
      try source.reader.read(file) { piece in
        try output.write(piece)
        progress.advance(by: piece.count)
      }
      try output.synchronize()
      bytes += file.bytes
    }
    let contents = try File(folder.appending(ArchiveFile.contents), .create)
    try contents.write(selection.contents.span)
    try contents.synchronize()
    var list: FilePath?
    if !selection.excluded.isEmpty {
      // As pg_restore reads it: the number is what counts.
      let lines = source.directory.entries.filter { !selection.excluded.contains($0.dumpID) }.map { "\($0.dumpID); 0 \($0.oid) \($0.kind)" }
      try Folder.write(Array((lines.joined(separator: "\n") + "\n").utf8), to: folder.appending("use.list"))
      list = final.appending("use.list")
    }
    return Outcome(
      files: selection.files.count, bytes: bytes + Int64(selection.contents.count), tables: selection.manifest.tables.count,
      rows: selection.manifest.rows, list: list,
      leftOut: selection.leftOut + source.manifest.incompleteReasons.map { "the snapshot is incomplete: \($0)" },
      objectsRead: source.reader.objectsRead, objectsOfSnapshot: source.reader.table.objects.count)
  }
}
