import Foundation
import Platform
import Repository
import SystemPackage
import TestSupport
import Testing

/// A store of a dozen nights without a server: pruning needs none.
private struct PrunableStore {
  let folder: TemporaryFolder
  let snapshots: SyntheticSnapshots
  let nights: [Manifest]
  init() throws {
    folder = try TemporaryFolder()
    snapshots = try SyntheticSnapshots(in: LocalStore(root: folder.path("whole")), chunkAverage: 2048, frameBytes: 1 << 16, objectBytes: 1 << 14)
    var random = SeededRandom(seed: 60)
    var tables = Dictionary(
      uniqueKeysWithValues: (1...20).map { ("\($0).dat", Self.noise(&random)) })
    tables["toc.dat"] = [1]
    var nights: [Manifest] = []
    for night in 1...12 {
      for table in (1...20).shuffled(using: &random).prefix(8) {
        tables["\(table).dat"] = Self.noise(&random)
      }
      nights.append(try snapshots.take(tables, night: night))
    }
    self.nights = nights
    // Remains of an interrupted prune are as old as the removed snapshot.
    let aged = try run("/usr/bin/find", [folder.path("whole").string, "-type", "f", "-exec", "touch", "-d", "2 days ago", "{}", "+"])
    try #require(aged.status == 0)
  }

  private static func noise(_ random: inout SeededRandom) -> [UInt8] {
    (0..<10_000).flatMap { _ in
      let word: UInt64 = random.next()
      return (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64($0 * 8)) }
    }
  }

  var environment: [String: String] { ["PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": folder.path.string] }

  func run(_ program: FilePath, _ arguments: [String]) throws -> CommandResult {
    try Workplace.run(program, arguments, environment: environment)
  }

  /// A store like it, to be spoiled.
  func copy(_ name: String) throws -> LocalStore {
    let copied = try run("/bin/cp", ["-a", folder.path("whole").string, folder.path(name).string])
    try #require(copied.status == 0)
    return LocalStore(root: folder.path(name))
  }
}

@Suite struct `firn-prune that is killed` {
  /// The confirmation phrase if four of this many are to stay: the nights are from years ago.
  private func words(for count: Int) -> String {
    let removed = count - 4
    return "the clock is right" + (removed * 2 > count ? ", remove \(removed) snapshots of app" : "")
  }

  private func arguments(_ store: LocalStore, count: Int) -> [String] {
    ["--keep-last", "4", "--apply", "--store", store.location] + (count > 4 ? ["--confirm", words(for: count)] : [])
  }

  @Test func `at 60 random moments leaves every listed snapshot whole, and the next run ends its work`() throws {
    let subject = try PrunableStore()
    let kept = subject.nights.suffix(4)
    let removable = subject.nights.dropLast(4).map(\.id)
    func start(_ store: LocalStore) throws -> ChildProcess {
      try ChildProcess(
        FirnProgram.path("firn-prune"), arguments: arguments(store, count: 12), environment: subject.environment, output: .kept,
        onErrorLine: { _ in })
    }
    let first = try subject.copy("first")
    let clock = ContinuousClock.now
    let whole = try subject.run(FirnProgram.path("firn-prune"), arguments(first, count: 12))
    try #require(whole.status == 0, "\(whole)")
    var usual = (ContinuousClock.now - clock).inSeconds
    var cutOff = 0
    for round in 0..<60 {
      let store = try subject.copy("\(round)")
      defer { try? Folder.removeTree(store.root) }
      let command = try start(store)
      Thread.sleep(forTimeInterval: usual * Double.random(in: 0...1.1))
      ProcessTable.send(SIGKILL, to: command.id)
      // One that was done already was killed too late: how long a run takes depends on what else the machine does.
      if command.wait() != 0 { cutOff += 1 } else { usual *= 0.85 }

      let catalog = Catalog(store: store)
      let listed = try catalog.snapshots().map(\.id)
      // The newest of those to go went first.
      #expect(listed == removable.prefix(listed.count - 4) + kept.map(\.id), "round \(round)")
      let read = try subject.run(FirnProgram.path("firn-verify"), ["app", "all", "--read", "--store", store.location])
      #expect(read.status == 0, "round \(round): \(read)")

      let next = try subject.run(FirnProgram.path("firn-prune"), arguments(store, count: listed.count))
      #expect(next.status == 0, "round \(round): \(next)")
      #expect(try catalog.snapshots().map(\.id) == kept.map(\.id))
      let named = Set(try catalog.snapshots().flatMap { try catalog.checksums(of: $0).objects.map(\.key) })
      #expect(Set(try store.list("objects/").map(\.key)) == named, "round \(round)")
      let files = try catalog.snapshots().flatMap { $0.ownFiles + [$0.checksums] }
      #expect(Set(try store.list("snapshots/").map(\.key).filter { !$0.contains("/checks/") }) == Set(files), "round \(round)")
      #expect(try store.list("locks/").isEmpty)
    }
    #expect(cutOff > 20, "\(cutOff) of 60")
  }
}
