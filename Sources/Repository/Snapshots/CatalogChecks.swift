internal import Digests
package import Foundation
internal import Platform

/// Results of verifications, and the verdicts that follow from them.
extension Catalog {
  /// The deciding check: the newest that found damage or read everything. Of two in the same second, the one that
  /// found damage. So a finding stands until everything was read again. A check without damage that is dated in the
  /// future is ignored.
  package func verdict(of place: SnapshotPath, now: Date = Date()) throws -> CheckRecord? {
    try verdict(of: checkKeys(of: place), now: now)
  }

  /// The keys of a snapshot's checks, in order.
  package func checkKeys(of place: SnapshotPath) throws -> [StoreKey] { try store.list(place.checks).map(\.key) }

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
  package func sharingDamage(_ places: [SnapshotPath], verdicts: [SnapshotPath: CheckRecord]) throws -> Set<SnapshotPath> {
    let findings = DamageFindings(verdicts)
    return try Set(places.filter { try shares(findings, $0) })
  }

  /// Whether a snapshot needs an object that was found damaged in another since it was read itself.
  package func shares(_ findings: DamageFindings, _ place: SnapshotPath) throws -> Bool {
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
      let names = (verdict.damagedObjects ?? []).flatMap { text in [true, false].compactMap { ObjectName(hexadecimal: text, isEncrypted: $0) } }
      found.update { $0.formUnion(names) }
    }
    return found.current
  }

  /// The results of a snapshot's verifications, oldest first. An unreadable one is skipped.
  package func checks(of place: SnapshotPath) throws -> [CheckRecord] {
    try store.list(place.checks).compactMap { try check($0.key) }
  }

  /// - Throws: if the store as a whole is unreadable, because a finding must not be overlooked.
  private func check(_ key: StoreKey) throws -> CheckRecord? {
    let bytes: [UInt8]
    do { bytes = try store.read(key, limit: CheckRecord.sizeLimit) } catch let error as StoreError where error.isOfOneFile { return nil }
    return try? JSON.decoder.decode(CheckRecord.self, from: Data(bytes))
  }

  package func record(_ check: CheckRecord, of place: SnapshotPath) throws {
    let name = "\(place.checks)\(SnapshotID.stamp(check.checkedAt))"
    // Two checks may end in the same second.
    for number in 1...1000 where try store.create(JSON.bytes(check), at: number == 1 ? "\(name).json" : "\(name).\(number).json") { return }
  }

  /// The newest readable result of at least that level.
  package func lastCheck(of place: SnapshotPath, atLeast level: CheckRecord.Level) throws -> CheckRecord? {
    try lastCheck(of: checkKeys(of: place), atLeast: level)
  }

  /// The check that says most about a snapshot: a drill that failed, until one goes well; damage, until everything was read again; the last
  /// complete reading; or else any check.
  package func decisiveCheck(of place: SnapshotPath, now: Date = Date()) throws -> CheckRecord? {
    let keys = try checkKeys(of: place)
    if let drill = try lastDrill(of: keys), drill.failedDrill != nil { return drill }
    return try verdict(of: keys, now: now) ?? lastCheck(of: keys, atLeast: .quick)
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
}

/// Damage that verifications found.
package struct DamageFindings {
  fileprivate let verdicts: [SnapshotPath: CheckRecord]
  /// By the digest of the object.
  fileprivate let byObject: [String: [CheckRecord]]

  /// - Parameter verdicts: for all snapshots that may share objects.
  package init(_ verdicts: [SnapshotPath: CheckRecord]) {
    self.verdicts = verdicts
    var found: [String: [CheckRecord]] = [:]
    for verdict in verdicts.values where !verdict.ok {
      for object in verdict.damagedObjects ?? [] { found[object, default: []].append(verdict) }
    }
    byObject = found
  }
}
