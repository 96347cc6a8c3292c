import Digests
import Foundation
import Platform
import Repository
import SystemPackage
import TestSupport
import Testing

@Suite struct `The catalog` {
  @Test func `takes times as people say them`() throws {
    func time(_ text: String) -> String? { SnapshotSelector.time(text, now: now).map(SnapshotID.stamp) }
    let now = try #require(SnapshotSelector.time("2026-11-22T23:30"))
    for (text, stamp) in [
      ("2h", "20261122T213000Z"), ("45m", "20261122T224500Z"), ("3d", "20261119T233000Z"), ("1w", "20261115T233000Z"),
      ("2h ago", "20261122T213000Z"), ("22:50", "20261122T225000Z"), ("23:45", "20261121T234500Z"), ("22:50:30", "20261122T225030Z"),
      ("today", "20261122T000000Z"), ("yesterday", "20261121T000000Z"), ("now", "20261122T233000Z"), ("2026-11-20", "20261120T000000Z"),
      ("2026-11-20T02:00:00Z", "20261120T020000Z"),
    ] {
      #expect(time(text) == stamp, "\(text)")
    }
    for text in ["", "2", "h", "25:00", "22:60", "tomorrow", "2y", "-2h", "2026-13-01"] { #expect(time(text) == nil, "\(text)") }
  }

  private func snapshots() throws -> SyntheticSnapshots { try SyntheticSnapshots(in: MemoryStore()) }

  @Test func `lists only what was committed, and garbage collection removes the rest`() throws {
    let snapshots = try snapshots()
    let store = snapshots.repository.store
    let manifest = try snapshots.take(["a.dat": Array("some rows".utf8)], night: 1)
    // A run that was killed: everything but the checksums.
    var random = SeededRandom(seed: 9)
    let half = SnapshotPath(source: "s", database: "app", id: SnapshotID(startedAt: SyntheticSnapshots.date(night: 2), random: &random))
    let lock = try RepositoryLock(.shared, on: store, purpose: "a run that is killed")
    try snapshots.repository.catalog.begin(half, holding: lock)
    lock.release()
    try store.write([1, 2, 3], to: half.manifest, durability: .immediate)
    let stray = ObjectName(SHA256Digest(of: [4]))
    try store.write([4], to: stray.key, durability: .immediate)
    #expect(try snapshots.repository.catalog.snapshots() == [manifest.place])
    let outcome = try GarbageCollector(store: store).collect()
    #expect(outcome.objects == 1 && outcome.bytes == 1)
    #expect(try store.size(of: half.manifest) == nil && store.size(of: stray.key) == nil)
    #expect(try snapshots.files(of: manifest) == ["a.dat": Array("some rows".utf8)])
  }

  @Test func `deletes nothing once it may not, and reports requests without an answer`() throws {
    let snapshots = try snapshots()
    let store = try #require(snapshots.repository.store as? MemoryStore)
    let manifest = try snapshots.take(["a.dat": Array("some rows".utf8)], night: 1)
    for number in 0..<300 { try store.write([1], to: ObjectName(SHA256Digest(of: Array("\(number)".utf8))).key, durability: .immediate) }
    let looks = Monitor(0)
    let asked = Monitor<[Bool]>([])
    let collector = GarbageCollector(store: store) {
      // By then some of them are gone.
      if looks.update({
        $0 += 1; return $0
      }) > 4 {
        throw RepositoryError.lockLost
      }
    } asks: { isUnanswered in
      asked.update { $0.append(isUnanswered) }
    }
    #expect(throws: RepositoryError.lockLost) { try collector.collect() }
    let left = try store.list("objects/").count
    #expect(left > 40 && left < 300, "\(left)")
    #expect(asked.current.first == true && asked.current.contains(false) && asked.current.last == true)
    #expect(try snapshots.files(of: manifest) == ["a.dat": Array("some rows".utf8)])
  }

  @Test func `takes from who comes back late what it could list a removed snapshot with`() throws {
    let snapshots = try snapshots()
    let store = snapshots.repository.store
    let place = try snapshots.take(["a.dat": Array("some rows".utf8)], night: 1).place
    // Another brings the same snapshot, and stands still before it is listed; meanwhile its lock is broken.
    let lock = try RepositoryLock(.shared, on: store, purpose: "a copy")
    let list = try snapshots.repository.catalog.checksums(of: place)
    try snapshots.repository.catalog.begin(place, with: list, holding: lock)
    let mark = try #require(store.list(place.prefix).first { $0.key.contains("/unfinished-") }?.key)
    try RepositoryLock.takeAway(#require(RepositoryLock.holders(in: store).first), in: store)
    // It comes back as soon as the list is taken away.
    let hasComeBack = Monitor(false)
    let collector = GarbageCollector(store: store) {
      guard try store.size(of: place.checksums) == nil, !hasComeBack.current else { return }
      hasComeBack.update { $0 = true }
      try store.rename(mark, as: place.checksums)
    }
    try collector.remove([place])
    #expect(hasComeBack.current)
    #expect(try snapshots.repository.catalog.snapshots().isEmpty)
    lock.release()
  }

  @Test func `gives pruning nothing of a manifest that its list does not name, and stops it at a newer one`() throws {
    let snapshots = try snapshots()
    let (catalog, store) = (snapshots.repository.catalog, snapshots.repository.store)
    let manifest = try snapshots.take(["a.dat": [1]], night: 1)
    let bytes = try store.read(manifest.place.manifest, limit: Manifest.sizeLimit)
    let listed = try #require(try catalog.listing().first)
    #expect(try catalog.summary(of: listed)?.kind == "nightly")
    let version = Manifest.usualVersion
    let text = String(decoding: bytes, as: UTF8.self)
    let newer = Array(text.replacing("\"formatVersion\" : \(version)", with: "\"formatVersion\" : \(Manifest.newestVersion + 1)").utf8)
    #expect(newer != bytes)
    try store.write(newer, to: manifest.place.manifest, durability: .immediate)
    #expect(try catalog.summary(of: listed) == nil)
    let list = try catalog.checksums(of: manifest.place)
    func rewriteList(naming digest: SHA256Digest) throws -> ListedSnapshot? {
      let files = list.files.merging([manifest.place.manifest: digest]) { $1 }
      try store.write(ChecksumFile(objects: list.objects, files: files).bytes, to: manifest.place.checksums, durability: .immediate)
      return try catalog.listing().first
    }
    let told = try #require(try rewriteList(naming: SHA256Digest(of: newer)))
    #expect(throws: RepositoryError.newerFormat(location: manifest.place.prefix, version: Manifest.newestVersion + 1)) {
      try catalog.summary(of: told)
    }
    try store.write(bytes, to: manifest.place.manifest, durability: .immediate)
    #expect(try catalog.summary(of: try #require(try rewriteList(naming: SHA256Digest(of: newer)))) == nil)
    #expect(try catalog.summary(of: try #require(try rewriteList(naming: SHA256Digest(of: bytes))))?.kind == "nightly")
  }

  @Test func `drops no finding because it can't be read just now`() throws {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    let catalog = snapshots.repository.catalog
    let place = try snapshots.take(["a.dat": [1]], night: 1).place
    try catalog.record(
      CheckRecord(level: .read, ok: false, damagedObjects: nil, checkedAt: Date(), seconds: 1, host: "h", firn: "test"), of: place)
    #expect(try catalog.verdict(of: place)?.ok == false)
    let denied = StoreError.unreachable(location: "memory", reason: "denied")
    store.fail(at: store.operations + 2, with: denied)
    #expect(throws: denied) { try catalog.verdict(of: place) }
    store.mend()
  }

  @Test func `has a finding stand until all was read again, and believes no check of the future`() throws {
    let snapshots = try snapshots()
    let catalog = snapshots.repository.catalog
    let place = try snapshots.take(["a.dat": [1]], night: 1).place
    let now = Date(timeIntervalSince1970: 1_800_000_000)
    func record(_ level: CheckRecord.Level, _ ok: Bool, after seconds: Double) throws {
      try catalog.record(
        CheckRecord(
          level: level, ok: ok, damagedObjects: nil, checkedAt: now.addingTimeInterval(seconds), seconds: 1, host: "h", firn: "test"), of: place)
    }
    func state() throws -> String {
      try catalog.verdict(of: place, now: now).map { $0.ok ? "proven" : "damaged" } ?? "unknown"
    }
    #expect(try state() == "unknown")
    try record(.quick, true, after: -900)
    #expect(try state() == "unknown")
    try record(.read, true, after: -800)
    #expect(try state() == "proven")
    // Two in one second: both are kept, and damage wins.
    try record(.quick, false, after: -700)
    try record(.read, true, after: -700)
    #expect(try catalog.checks(of: place).count == 4 && state() == "damaged")
    try record(.quick, true, after: -600)
    #expect(try state() == "damaged")
    try record(.read, true, after: 40_000_000)
    #expect(try state() == "damaged")
    try record(.drill, true, after: -500)
    #expect(try state() == "proven")
    // A check that could not read the content does not clear a finding of one that could; it clears one that looked
    // as little.
    try record(.read, false, after: -400)
    try record(.scrub, true, after: -300)
    #expect(try state() == "damaged")
    try record(.read, true, after: -200)
    try record(.scrub, true, after: -150)
    #expect(try state() == "proven")
    try record(.quick, false, after: -100)
    #expect(try state() == "damaged")
    try record(.scrub, true, after: -50)
    #expect(try state() == "proven")
  }

  @Test func `distinguishes databases whose names or sources only look alike`() throws {
    let snapshots = try snapshots()
    for database in ["app", "app-staging", "App", "a/pp", "a%2Fpp", "ap", "app "] {
      try snapshots.take(["a.dat": Array(database.utf8)], night: 1, database: database)
    }
    try snapshots.take(["a.dat": []], night: 2, database: "app", source: "other")
    let catalog = snapshots.repository.catalog
    #expect(try catalog.snapshots().count == 8)
    #expect(try catalog.snapshots(source: "s", database: "app").count == 1)
    #expect(try catalog.database(named: "a/pp").count == 1)
    #expect(try catalog.database(named: "other/app").count == 1)
    #expect(throws: RepositoryError.ambiguousDatabase(name: "app", sources: ["other", "s"])) { try catalog.database(named: "app") }
    #expect { try catalog.database(named: "pp") } throws: { if case RepositoryError.noSuchDatabase("pp", _) = $0 { true } else { false } }
  }

  @Test func `names any text as one component of a key, and finds it again`() {
    var random = SeededRandom(seed: 10)
    var texts = ["", ".", "..", "a/b", "%", "%41", "ä\u{0}b", "-", "x.y", ".x", String(repeating: "雪", count: 21)]
    for _ in 0..<500 {
      texts.append(
        String((0..<Int.random(in: 1...20, using: &random)).map { _ in Character(Unicode.Scalar(UInt8.random(in: 1...127, using: &random))) }))
    }
    var seen: [String: String] = [:]
    for text in texts where !text.isEmpty {
      let component = text.keyComponent
      #expect(!component.contains("/") && !component.hasPrefix(".") && component.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F })
      #expect(String(keyComponent: component) == text)
      #expect(seen.updateValue(text, forKey: component).map { $0 == text } ?? true)
    }
    #expect(String(keyComponent: "%4") == nil && String(keyComponent: "%41") == nil && String(keyComponent: "%e4") == nil)
  }

  @Test func `chooses the snapshot that is meant`() throws {
    let snapshots = try snapshots()
    let catalog = snapshots.repository.catalog
    let manifests = try (1...4).map { try snapshots.take(["a.dat": [UInt8($0)]], night: $0) }
    let places = try catalog.database(named: "app")
    #expect(places == manifests.map(\.place))
    func chosen(_ text: String) throws -> SnapshotID { try SnapshotSelector(text).choose(from: places, in: catalog).id }
    #expect(try chosen("latest") == manifests[3].id)
    #expect(try chosen("latest:nightly") == manifests[3].id)
    #expect(try chosen("before:2023-11-17") == manifests[1].id)
    #expect(try chosen("before:20231117T230000Z") == manifests[2].id)
    #expect(try chosen(manifests[1].id.description) == manifests[1].id)
    #expect(try chosen(String(manifests[2].id.description.prefix(8))) == manifests[2].id)
    let ids = manifests.map(\.id.description)
    #expect(throws: RepositoryError.ambiguousSnapshot(selector: "2023", candidates: ids)) { try chosen("2023") }
    #expect(throws: RepositoryError.noSuchSnapshot(selector: "", database: "app")) { try chosen("") }
    #expect(throws: RepositoryError.noSuchSnapshot(selector: "latest:verified", database: "app")) { try chosen("latest:verified") }
    #expect(throws: RepositoryError.invalidSelector("before:2023-02-30")) { try chosen("before:2023-02-30") }
    try catalog.record(
      CheckRecord(level: .quick, ok: true, damagedObjects: nil, checkedAt: Date(), seconds: 1, host: "h", firn: "t"), of: manifests[3].place)
    #expect(throws: RepositoryError.noSuchSnapshot(selector: "latest:verified", database: "app")) { try chosen("latest:verified") }
    try catalog.record(
      CheckRecord(
        level: .read, ok: true, damagedObjects: nil, checkedAt: Date(timeIntervalSince1970: 1_750_000_000), seconds: 1, host: "h", firn: "t"),
      of: manifests[0].place)
    #expect(try chosen("latest:verified") == manifests[0].id)
  }

  @Test func `takes no checksum list that was changed`() throws {
    let digest = SHA256Digest(of: [1])
    let line = "\(digest)  \(ObjectName(digest).key)\n"
    let good = line + "# 1 checksums\n"
    #expect(try ChecksumFile(parsing: Array(good.utf8), key: "k").objects == [ObjectName(digest)])
    for bad in [
      "", String(good.dropLast()), good + good, good.replacing("  ", with: " "), good.replacing("\(digest)  ", with: "\(SHA256Digest(of: [2]))  "),
      good.replacing(ObjectName(digest).key, with: "../../etc/passwd"), good.replacing(ObjectName(digest).key, with: "objects/x"), good + "\n",
      "x" + good, line, line + line + "# 2 checksums\n", line + "# 2 checksums\n", "# 0 checksums\n" + good, good.uppercased(),
      good.replacing("objects/", with: "objects/00/"), good.replacing(".zst", with: ".zsT"),
    ] {
      #expect("\(bad)") { try ChecksumFile(parsing: Array(bad.utf8), key: "k") } throws: { RepositoryError.isMalformed($0) }
    }
  }

  @Test func `sorts snapshots of one second in the order in which they were made`() throws {
    var random = SeededRandom(seed: 3)
    let date = Date(timeIntervalSince1970: 1_700_000_000)
    for _ in 0..<200 {
      let first = SnapshotID(startedAt: date, random: &random)
      let second = SnapshotID(startedAt: date, after: first, random: &random)
      #expect(second > first || first.description.hasSuffix("zzzz"))
      #expect(SnapshotID(startedAt: date.addingTimeInterval(1), after: second, random: &random) > second)
    }
  }

  @Test func `refuses a format that is newer, half written or senseless`() throws {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store)
    #expect(throws: RepositoryError.alreadyExists(location: "memory")) { try Repository(creatingIn: store, format: snapshots.repository.format) }
    let whole = String(decoding: try store.read(RepositoryFormat.key, limit: 1 << 20), as: UTF8.self)
    func reopened(_ text: String) throws -> Repository {
      store.damage(RepositoryFormat.key) { $0 = Array(text.utf8) }
      return try Repository(opening: store)
    }
    #expect(throws: RepositoryError.newerFormat(location: "memory", version: 2)) {
      try reopened(whole.replacing("\"formatVersion\" : 1", with: "\"formatVersion\" : 2"))
    }
    for (from, to) in [
      ("\"average\" : 8192", "\"average\" : 0"), ("\"narrowAverage\" : 4096", "\"narrowAverage\" : 4097"),
      ("\"wideRow\" : 1024", "\"wideRow\" : -1"), ("\"digestKey\" : \"", "\"digestKey\" : \"x"),
      ("fastcdc-nc2", "other"), ("\"frameBytes\" : 1048576", "\"frameBytes\" : 1"),
    ] {
      #expect(whole.contains(from), "\(from) in \(whole)")
      #expect { try reopened(whole.replacing(from, with: to)) } throws: { RepositoryError.isMalformed($0) }
    }
    for length in 0..<(whole.utf8.count - 2) { #expect { try reopened(String(whole.prefix(length))) } throws: { RepositoryError.isMalformed($0) } }
    #expect(try reopened(whole).format == snapshots.repository.format)
  }

  @Test func `takes for the latest what was not made just before a restore`() throws {
    let snapshots = try snapshots()
    let catalog = snapshots.repository.catalog
    let nightly = try snapshots.take(["a.dat": [1]], night: 1)
    let safety = try snapshots.take(["a.dat": [2]], night: 2, kind: Manifest.safetyKind)
    let places = try catalog.database(named: "app")
    func chosen(_ text: String) throws -> SnapshotID { try SnapshotSelector(text).choose(from: places, in: catalog).id }
    #expect(try chosen("latest") == nightly.id)
    #expect(try chosen("before:2030-01-01") == nightly.id)
    #expect(try chosen("latest:pre-restore") == safety.id)
    #expect(try SnapshotSelector("latest").choose(from: [safety.place], in: catalog).id == safety.id)
    // Nor does a source that was only restored to make the name ambiguous.
    let restored = try snapshots.take(["a.dat": [3]], night: 3, source: "staging", kind: Manifest.safetyKind)
    #expect(try catalog.database(named: "app") == places)
    // But for pruning.
    #expect(try catalog.snapshotsOfRestoresAlone(named: "app") == [restored.place])
  }

  @Test(arguments: ["objects/", "/manifest.json", "/chunks.tsv.zst", "/globals.sql.zst", "/SHA256SUMS"])
  func `lists no snapshot of which a server confirmed a file and stored nothing`(_ part: String) throws {
    let store = MemoryStore(requestsAtOnce: 8)
    let snapshots = try SyntheticSnapshots(in: store)
    store.loseWrites { $0.hasPrefix(part) || $0.hasSuffix(part) }
    let error = #expect(throws: StoreError.self) { try snapshots.take(["a.dat": Array("some rows".utf8)], night: 1) }
    guard case .missing(let key) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(key.hasPrefix(part) || key.hasSuffix(part))
    #expect(try snapshots.repository.catalog.snapshots().isEmpty)
    store.loseWrites(where: nil)
    let manifest = try snapshots.take(["a.dat": Array("some rows".utf8)], night: 2)
    #expect(try snapshots.files(of: manifest) == ["a.dat": Array("some rows".utf8)])
  }

}
