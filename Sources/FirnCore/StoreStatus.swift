package import Foundation
package import Repository

/// How old the newest snapshot and the newest proof of each database are, beside how old they may be.
package struct StoreStatus: Sendable {
  /// How old they may be.
  package struct Limits: Sendable, Equatable {
    package var snapshotAge: Duration = .seconds(26 * 3600)
    package var proofAge: Duration = .seconds(8 * 86400)

    package init() {}
  }

  package struct Database: Sendable {
    package let source: String
    package let database: String
    package let newest: Manifest?
    /// The newest verification that read a snapshot whole and found it intact.
    package let proof: CheckRecord?
    /// How long the last drill took to restore.
    package let restoreSeconds: Double?
    /// What is wrong, in words.
    package let problems: [String]
  }

  package let databases: [Database]
  package var isSound: Bool { databases.allSatisfy(\.problems.isEmpty) }

  /// - Parameter places: the snapshots to look at. Those made just before a restore don't count.
  package init(of places: [SnapshotPlace], in catalog: Catalog, limits: Limits, now: Date, age: (Date) -> String) throws {
    let groups = Dictionary(grouping: places) { "\($0.source.keyComponent)/\($0.database.keyComponent)" }
    databases = try groups.sorted { $0.key < $1.key }.compactMap { _, places in
      try Self.database(places.sorted { $0.id > $1.id }, catalog, limits, now, age)
    }
  }

  /// - Parameter places: of one database, the newest first.
  private static func database(_ places: [SnapshotPlace], _ catalog: Catalog, _ limits: Limits, _ now: Date, _ age: (Date) -> String) throws
    -> Database?
  {
    guard let first = places.first else { return nil }
    var problems: [String] = []
    var newest: Manifest?
    var proof: CheckRecord?
    var restoreSeconds: Double?
    for place in places {
      let manifest: Manifest
      do { manifest = try catalog.manifest(of: place) } catch is RepositoryError {
        problems.append("\(place.id) cannot be read")
        continue
      }
      if manifest.kind == Manifest.safetyKind { continue }
      let check = try catalog.verdict(of: place, now: now)
      if newest == nil {
        newest = manifest
        if check?.ok == false { problems.append("the newest snapshot was found damaged") }
        problems += check?.unmetAssertions ?? []
      }
      if let check, check.ok, check.checkedAt > proof?.checkedAt ?? .distantPast { proof = check }
      if restoreSeconds == nil, let check, check.ok { restoreSeconds = check.restoreSeconds }
    }
    // Nobody backs it up here: restores were made into it.
    guard let newest else {
      return problems.isEmpty
        ? nil
        : Database(
          source: first.source, database: first.database, newest: nil, proof: nil, restoreSeconds: nil, problems: problems)
    }
    func isOlder(_ date: Date, than limit: Duration) -> Bool { now.timeIntervalSince(date) > Double(limit.components.seconds) }
    if isOlder(newest.startedAt, than: limits.snapshotAge) { problems.append("the newest snapshot is of \(age(newest.startedAt))") }
    if newest.startedAt > now.addingTimeInterval(3600) { problems.append("the newest snapshot is of the future: look at the clocks") }
    if !newest.complete { problems.append("the newest snapshot is incomplete: \(newest.incompleteReasons.first ?? "see firn show")") }
    problems += newest.anomalies ?? []
    if let proof {
      if isOlder(proof.checkedAt, than: limits.proofAge) { problems.append("the newest proof is of \(age(proof.checkedAt))") }
    } else {
      problems.append("no snapshot was ever verified")
    }
    return Database(
      source: newest.source, database: newest.database, newest: newest, proof: proof, restoreSeconds: restoreSeconds, problems: problems)
  }
}
