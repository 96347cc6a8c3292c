internal import Postgres
internal import Compression
internal import Digests
internal import Platform
internal import Repository

/// Checks one snapshot.
final class SnapshotCheck {
  private let repository: Repository
  private let place: SnapshotPath
  private let readsTables: Bool
  private let damaged: [ObjectName: String]
  private let progress: WorkProgress
  private(set) var objectsChecked = 0

  /// - Parameter damaged: objects known to be damaged, with the reason.
  init(repository: Repository, place: SnapshotPath, readsTables: Bool, damaged: [ObjectName: String], progress: WorkProgress) {
    self.repository = repository
    self.place = place
    self.readsTables = readsTables
    self.damaged = damaged
    self.progress = progress
  }

  /// - Parameter opens: whether to decrypt.
  func run(_ checksums: ChecksumFile, opens: Bool = true) throws -> [VerifyOperation.Problem] {
    var problems = try checkFiles(checksums)
    guard opens, repository.hasReadableContents else { return try problems + checkPresence(checksums) }
    let manifest = try repository.catalog.manifest(of: place)
    let reader = try SnapshotReader(repository.contents, manifest: manifest)
    for object in reader.table.objects.map(\.name) + reader.table.lists.map(\.name) where !checksums.contains(object) {
      problems.append(.init(object: object.digest.description, reason: "it is in use but not in SHA256SUMS"))
    }
    let spoiled = try spoiledFiles(reader)
    problems += spoiled.problems
    return try problems + (readsTables ? checkTables(reader, but: spoiled.files) : checkSizes(reader))
  }

  /// Checks the snapshot's own files.
  private func checkFiles(_ checksums: ChecksumFile) throws -> [VerifyOperation.Problem] {
    var problems: [VerifyOperation.Problem] = []
    for key in repository.files(of: place).all {
      guard let expected = checksums.files[key] else {
        problems.append(.init(reason: "SHA256SUMS doesn't name \(key)"))
        continue
      }
      do {
        if try SHA256Digest(of: key, in: repository.store) != expected { problems.append(.init(reason: "\(key) was changed")) }
      } catch let error as StoreError {
        problems.append(Self.problem(error))
      }
    }
    return problems
  }

  /// Checks that every listed object exists: all that is possible without an identity.
  private func checkPresence(_ checksums: ChecksumFile) throws -> [VerifyOperation.Problem] {
    try checksums.objects.compactMap { object in
      objectsChecked += 1
      let name = object.digest.description
      if let reason = damaged[object] { return .init(object: name, reason: reason) }
      do {
        return try repository.store.size(of: object.key) == nil ? .init(object: name, reason: "it is missing") : nil
      } catch StoreError.notAFile {
        return .init(object: name, reason: "it is no ordinary file")
      }
    }
  }

  private func checkSizes(_ reader: SnapshotReader) throws -> [VerifyOperation.Problem] {
    // Damaged lists were found already. Tables of the same rows have the same list.
    let lists = Dictionary(
      reader.table.lists.filter { $0.damage == nil }.map { ($0.name, $0.reference.storedBytes) }, uniquingKeysWith: { first, _ in first })
    let sizes = reader.table.objects.map { ($0.name, $0.storedBytes) } + lists.sorted { $0.key.digest < $1.key.digest }
    return try sizes.compactMap { object, storedBytes in
      objectsChecked += 1
      if damaged[object] != nil { return nil }
      let name = object.digest.description
      do {
        guard let size = try repository.store.size(of: object.key) else { return .init(object: name, reason: "it is missing") }
        return size == storedBytes ? nil : .init(object: name, reason: "it has \(size) bytes instead of \(storedBytes)")
      } catch StoreError.notAFile {
        return .init(object: name, reason: "it is no ordinary file")
      }
    }
  }

  /// Reads every file of the archive, several at once.
  private func checkTables(_ reader: SnapshotReader, but spoiled: Set<String>) throws -> [VerifyOperation.Problem] {
    let manifest = reader.manifest
    let unlisted = Set(reader.table.lists.filter { spoiled.contains($0.file) }.map(\.file))
    let files = try reader.files(without: unlisted)
    let tables = Dictionary(manifest.tables.map { ($0.file, $0) }, uniquingKeysWith: { first, _ in first })
    var problems: [VerifyOperation.Problem] = []
    for file in Array(tables.keys.sorted()) + [ArchiveFile.contents] where files[file] == nil && !unlisted.contains(file) {
      problems.append(.init(table: tables[file]?.displayName, reason: "\(file) is not in the chunk table"))
    }
    problems += RestoreSource.contradictions(between: files, and: manifest, unlisted: unlisted).map { .init(reason: $0) }
    do { _ = try GlobalsScript(of: manifest, in: repository) } catch let error as CompressionError {
      problems.append(.init(reason: "\(repository.files(of: place).globals) cannot be decompressed: \(error.reason)"))
    }
    progress.begin("checking tables of \(place.id)", expected: manifest.bytes)
    let found = Monitor(problems)
    let sound = files.values.filter { !spoiled.contains($0.name) }
    try forEachInParallel(sound.sorted { $0.bytes < $1.bytes }, thread: "verify") { [progress] file in
      progress.show(item: tables[file.name]?.displayName ?? file.name)
      let some = try Self.check(file, table: tables[file.name], reader, progress)
      found.update { $0 += some }
    }
    return found.current.sorted { ($0.table ?? "", $0.object ?? "") < ($1.table ?? "", $1.object ?? "") }
  }

  /// Finds the files that damaged objects affect.
  private func spoiledFiles(_ reader: SnapshotReader) throws -> (files: Set<String>, problems: [VerifyOperation.Problem]) {
    let mine = reader.table.objects.map(\.name).filter { damaged[$0] != nil }
    let lists = reader.table.lists.filter { damaged[$0.name] != nil || $0.damage != nil }
    guard !mine.isEmpty || !lists.isEmpty else { return ([], []) }
    let tables = Dictionary(reader.manifest.tables.map { ($0.file, $0.displayName) }, uniquingKeysWith: { first, _ in first })
    var files: Set<String> = []
    var named: Set<ObjectName> = []
    var problems: [VerifyOperation.Problem] = []
    for list in lists {
      files.insert(list.file)
      named.insert(list.name)
      let reason = damaged[list.name] ?? list.damage.map { Self.problem($0).reason } ?? ""
      problems.append(.init(table: tables[list.file] ?? list.file, object: list.name.digest.description, reason: reason))
    }
    let listed = try reader.listedFiles()
    // Lists that were not among the objects that were read.
    for (file, damage) in listed.unlisted.sorted(by: { $0.key < $1.key }) where !files.contains(file) {
      files.insert(file)
      let problem = Self.problem(damage)
      problems.append(.init(table: tables[file] ?? file, object: problem.object, reason: problem.reason))
    }
    for file in listed.files.values.sorted(by: { $0.name < $1.name }) {
      for object in try reader.objects(of: file) where damaged[object] != nil {
        files.insert(file.name)
        named.insert(object)
        problems.append(.init(table: tables[file.name] ?? file.name, object: object.digest.description, reason: damaged[object] ?? ""))
      }
    }
    // An object that affects no table is damage as well.
    problems += mine.filter { !named.contains($0) }.map { .init(object: $0.digest.description, reason: damaged[$0] ?? "") }
    return (files, problems)
  }

  private static func check(
    _ file: SnapshotReader.FileEntry, table: Manifest.Table?, _ reader: SnapshotReader, _ progress: WorkProgress
  ) throws -> [VerifyOperation.Problem] {
    let name = table?.displayName ?? file.name
    var tally = StreamTally(ranges: table?.rangeLengths ?? [])
    do {
      try reader.read(file) { piece in
        tally.add(piece)
        progress.advance(by: piece.count)
      }
    } catch let error as RepositoryError {
      let problem = problem(error)
      return [.init(table: name, object: problem.object, reason: problem.reason)]
    }
    guard let table else { return [] }
    let streamed = tally.finish(name: file.name)
    var problems: [VerifyOperation.Problem] = []
    if streamed.digest.description != table.sha256 || streamed.bytes != table.bytes {
      problems.append(.init(table: name, reason: "its bytes differ from those in the manifest"))
    }
    if streamed.rows != table.rows { problems.append(.init(table: name, reason: "it has \(streamed.rows) rows instead of \(table.rows)")) }
    return problems
  }

  static func problem(_ error: any Error) -> VerifyOperation.Problem {
    switch error {
    case RepositoryError.damagedObject(let name, let reason): .init(object: name, reason: reason)
    case RepositoryError.malformed(let key, let reason): .init(reason: "\(key): \(reason)")
    default: .init(reason: (error as? StoreError)?.damage.map { "\($0.key) \($0.reason)" } ?? "\(error)")
    }
  }
}
