internal import Compression
internal import Digests
package import Foundation
internal import Platform
package import Repository

/// Looks whether snapshots are what they were when they were made.
package struct VerifyOperation {
  /// A damage, named as precisely as it can be.
  package struct Problem: Sendable, Equatable {
    package let table: String?
    package let object: String?
    package let reason: String

    package init(table: String? = nil, object: String? = nil, reason: String) {
      self.table = table
      self.object = object
      self.reason = reason
    }
  }

  package struct SnapshotOutcome: Sendable {
    package let place: SnapshotPlace
    package let problems: [Problem]
  }

  package struct Outcome: Sendable {
    package var snapshots: [SnapshotOutcome] = []
    package var objectsChecked = 0
    package var bytesChecked: Int64 = 0
    package var elapsed: Duration = .zero
  }

  private let repository: Repository
  private let level: CheckRecord.Level
  private let progress: WorkProgress
  private let now: @Sendable () -> Date

  package init(repository: Repository, level: CheckRecord.Level, progress: WorkProgress, now: @escaping @Sendable () -> Date = { Date() }) {
    self.repository = repository
    self.level = level
    self.progress = progress
    self.now = now
  }

  /// Checks snapshots and records the result beside each.
  package func run(on places: [SnapshotPlace]) throws -> Outcome {
    let clock = ContinuousClock.now
    let lock = try StoreMaintenance(store: repository.store).sharedLock(purpose: "firn-verify")
    defer { lock.release() }
    progress.begin("reading what the snapshots consist of")
    var outcome = Outcome()
    var checksums: [SnapshotPlace: Result<ChecksumFile, any Error>] = [:]
    for place in places { checksums[place] = Result { try repository.catalog.checksums(of: place) } }

    var damaged: [ObjectName: String] = [:]
    if level == .read {
      let objects = Set(checksums.values.flatMap { (try? $0.get().objects) ?? [] })
      let check = ObjectCheck(store: repository.store, progress: progress)
      let sizes = try Dictionary(
        repository.store.list(ObjectName.root).compactMap { entry in ObjectName(key: entry.key).map { ($0, entry.size) } },
        uniquingKeysWith: { first, _ in first })
      progress.begin("checking objects", expected: objects.reduce(0) { $0 + (sizes[$1] ?? 0) })
      damaged = try check.run(on: objects)
      outcome.objectsChecked = objects.count
      outcome.bytesChecked = objects.reduce(0) { $0 + (sizes[$1] ?? 0) }
    }
    for place in places {
      try Interruption.check()
      let check = SnapshotCheck(repository: repository, place: place, level: level, damaged: damaged, progress: progress)
      let problems: [Problem]
      do {
        problems = try check.run(checksums[place]!.get())
      } catch let error where !(error is Interruption) {
        problems = [SnapshotCheck.problem(error)]
      }
      if level == .quick { outcome.objectsChecked += check.objectsChecked }
      outcome.snapshots.append(.init(place: place, problems: problems))
    }
    outcome.elapsed = ContinuousClock.now - clock
    for snapshot in outcome.snapshots {
      let record = CheckRecord(
        level: level, ok: snapshot.problems.isEmpty,
        damagedObjects: snapshot.problems.isEmpty ? nil : Set(snapshot.problems.compactMap(\.object)).sorted(),
        checkedAt: now(), seconds: outcome.elapsed.inSeconds, host: Host.name, firn: Firn.version)
      // A store that can't be written to can still be verified.
      do { try repository.catalog.record(record, of: snapshot.place) } catch { progress.tell("the result could not be recorded: \(error)") }
    }
    return outcome
  }
}

/// Reads objects whole, several at once.
struct ObjectCheck {
  let store: any Store
  let progress: WorkProgress

  /// - Returns: the objects that are damaged, with what is wrong.
  func run(on objects: Set<ObjectName>) throws -> [ObjectName: String] {
    let queue = Monitor(objects.sorted { $0.key > $1.key })
    let damaged = Monitor<[ObjectName: String]>([:])
    let failure = FirstFailure()
    let threads = (0..<processorCount).map { _ in
      WorkerThread(name: "verify") { [store, progress] in
        failure.capture {
          while failure.error == nil, let object = queue.update({ $0.popLast() }) {
            try Interruption.check()
            if let reason = try Self.check(object, in: store, progress) { damaged.update { $0[object] = reason } }
          }
        }
      }
    }
    for thread in threads { thread.join() }
    try failure.check()
    return damaged.current
  }

  private static func check(_ object: ObjectName, in store: any Store, _ progress: WorkProgress) throws -> String? {
    do {
      let bytes = try store.read(object.key, limit: 1 << 31)
      progress.advance(by: bytes.count)
      guard SHA256Digest(of: bytes) == object.digest else { return "its bytes are not those its name tells" }
      return try ZstdDecompressor().firstFault(in: bytes)
    } catch StoreError.missing {
      return "it is missing"
    } catch StoreError.notAFile {
      return "it is no ordinary file"
    } catch StoreError.truncated {
      return "it is cut off"
    }
  }
}

/// Checks one snapshot.
final class SnapshotCheck {
  private let repository: Repository
  private let place: SnapshotPlace
  private let level: CheckRecord.Level
  private let damaged: [ObjectName: String]
  private let progress: WorkProgress
  private(set) var objectsChecked = 0

  init(repository: Repository, place: SnapshotPlace, level: CheckRecord.Level, damaged: [ObjectName: String], progress: WorkProgress) {
    self.repository = repository
    self.place = place
    self.level = level
    self.damaged = damaged
    self.progress = progress
  }

  func run(_ checksums: ChecksumFile) throws -> [VerifyOperation.Problem] {
    var problems = try checkFiles(checksums)
    let manifest = try repository.catalog.manifest(of: place)
    let reader = try SnapshotReader(store: repository.store, manifest: manifest)
    for object in reader.table.objects where checksums.entries[object.name.key] == nil {
      problems.append(.init(object: object.name.digest.description, reason: "it is in use but not in SHA256SUMS"))
    }
    switch level {
    case .quick: problems += try checkSizes(reader)
    case .read, .drill: problems += try checkTables(reader)
    }
    return problems
  }

  /// The snapshot's own files.
  private func checkFiles(_ checksums: ChecksumFile) throws -> [VerifyOperation.Problem] {
    var problems: [VerifyOperation.Problem] = []
    for key in [place.manifest, place.chunkTable, place.globals, place.recoverScript] {
      guard let expected = checksums.entries[key] else {
        problems.append(.init(reason: "SHA256SUMS doesn't name \(key)"))
        continue
      }
      do {
        if try digest(of: key) != expected { problems.append(.init(reason: "\(key) was changed")) }
      } catch let error as StoreError {
        problems.append(Self.problem(error))
      }
    }
    return problems
  }

  private func digest(of key: StoreKey) throws -> SHA256Digest {
    guard let size = try repository.store.size(of: key) else { throw StoreError.missing(key) }
    var hasher = SHA256Hasher()
    var place: Int64 = 0
    while place < size {
      let piece = try repository.store.read(key, from: place, count: Int(min(size - place, 1 << 23)))
      hasher.update(piece.span)
      place += Int64(piece.count)
    }
    return hasher.finalize()
  }

  private func checkSizes(_ reader: SnapshotReader) throws -> [VerifyOperation.Problem] {
    try reader.table.objects.compactMap { object in
      objectsChecked += 1
      let name = object.name.digest.description
      do {
        guard let size = try repository.store.size(of: object.name.key) else { return .init(object: name, reason: "it is missing") }
        return size == object.storedBytes ? nil : .init(object: name, reason: "it has \(size) bytes instead of \(object.storedBytes)")
      } catch StoreError.notAFile {
        return .init(object: name, reason: "it is no ordinary file")
      }
    }
  }

  /// Reads every file of the archive back, several at once.
  private func checkTables(_ reader: SnapshotReader) throws -> [VerifyOperation.Problem] {
    let manifest = reader.manifest
    let files = try reader.files()
    let tables = Dictionary(manifest.tables.map { ($0.file, $0) }, uniquingKeysWith: { first, _ in first })
    var problems: [VerifyOperation.Problem] = []
    for file in Array(tables.keys.sorted()) + ["toc.dat"] where files[file] == nil {
      problems.append(.init(table: tables[file]?.displayName, reason: "\(file) is not in the chunk table"))
    }
    progress.begin("checking tables of \(place.id)", expected: manifest.bytes)
    let queue = Monitor(files.values.sorted { $0.bytes < $1.bytes })
    let found = Monitor(problems)
    let failure = FirstFailure()
    let threads = (0..<processorCount).map { [damaged, progress] _ in
      WorkerThread(name: "verify") {
        failure.capture {
          while failure.error == nil, let file = queue.update({ $0.popLast() }) {
            try Interruption.check()
            progress.show(item: tables[file.name]?.displayName ?? file.name)
            let some = try Self.check(file, table: tables[file.name], reader, damaged, progress)
            found.update { $0 += some }
          }
        }
      }
    }
    for thread in threads { thread.join() }
    try failure.check()
    // A damaged object that spoils no table is damage all the same.
    let named = Set(found.current.compactMap(\.object))
    let others = reader.table.objects.compactMap { object in
      damaged[object.name].flatMap { reason -> VerifyOperation.Problem? in
        let name = object.name.digest.description
        return named.contains(name) ? nil : .init(object: name, reason: reason)
      }
    }
    return found.current.sorted { ($0.table ?? "", $0.object ?? "") < ($1.table ?? "", $1.object ?? "") } + others
  }

  private static func check(
    _ file: SnapshotReader.FileEntry, table: Manifest.Table?, _ reader: SnapshotReader, _ damaged: [ObjectName: String], _ progress: WorkProgress
  ) throws -> [VerifyOperation.Problem] {
    let name = table?.displayName ?? file.name
    if !damaged.isEmpty {
      let spoiled = try reader.objects(of: file).filter { damaged[$0] != nil }
      if !spoiled.isEmpty {
        return spoiled.map { .init(table: name, object: $0.digest.description, reason: damaged[$0] ?? "") }
      }
    }
    var tally = StreamTally()
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
      problems.append(.init(table: name, reason: "its bytes are not those the manifest tells"))
    }
    if streamed.rows != table.rows { problems.append(.init(table: name, reason: "it has \(streamed.rows) rows instead of \(table.rows)")) }
    return problems
  }

  static func problem(_ error: any Error) -> VerifyOperation.Problem {
    switch error {
    case RepositoryError.damagedObject(let name, let reason): .init(object: name, reason: reason)
    case RepositoryError.malformed(let key, let reason): .init(reason: "\(key): \(reason)")
    case RepositoryError.newerFormat(let location, let version): .init(reason: "\(location) is of format \(version), newer than this program knows")
    case StoreError.missing(let key): .init(reason: "\(key) is missing")
    case StoreError.truncated(let key): .init(reason: "\(key) is cut off")
    case StoreError.notAFile(let key): .init(reason: "\(key) is no ordinary file")
    case StoreError.tooLarge(let key): .init(reason: "\(key) is too large")
    default: .init(reason: "\(error)")
    }
  }
}
