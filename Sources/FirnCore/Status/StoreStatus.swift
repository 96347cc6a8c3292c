package import Foundation
internal import Platform
package import Repository

/// The age of each database's newest snapshot and last verification, beside the limits.
package struct StoreStatus: Sendable {
  /// The limits.
  package struct Limits: Sendable, Equatable {
    package var snapshotAge: Duration = .seconds(26 * 3600)
    package var proofAge: Duration = .seconds(8 * 86400)
    /// The longest time since a table that was taken over was last read.
    package var unreadAge: Duration = .seconds(8 * 86400)
    /// Age limits of single databases: the source's name, a pattern for the database's name, the age. The first match applies.
    package var exceptions: [(source: String, pattern: String, age: Duration)] = []

    package init() {}

    package static func == (left: Self, right: Self) -> Bool {
      left.snapshotAge == right.snapshotAge && left.proofAge == right.proofAge && left.unreadAge == right.unreadAge
        && left.exceptions.elementsEqual(right.exceptions) { $0.source == $1.source && $0.pattern == $1.pattern && $0.age == $1.age }
    }

    /// - Parameter sources: the names of its source.
    func applied(to database: String, of sources: [String]) -> Limits {
      var limits = self
      let own = exceptions.first { exception in sources.contains { $0.isSame(as: exception.source) } && database.matches(glob: exception.pattern) }
      if let own { limits.snapshotAge = own.age }
      return limits
    }
  }

  package struct Database: Sendable {
    /// The folder of its source, and the name for users.
    package let source: String
    package let sourceName: String
    package let database: String
    package let newest: Newest?
    /// Whether a verification found the newest snapshot damaged.
    package let newestIsDamaged: Bool
    /// When the newest complete snapshot was started.
    package let newestComplete: Date?
    /// The newest verification that read a snapshot completely and found it intact.
    package let proof: CheckRecord?
    /// How long the last drill took to restore.
    package let restoreSeconds: Double?
    /// Copies in stores that answered.
    package let copies: [CopyState]
    /// Whether its server no longer has it. Then the age limits do not apply.
    package fileprivate(set) var isGone = false
    /// Descriptions of problems.
    package fileprivate(set) var problems: [String]
  }

  /// A store that receives copies, and its snapshots.
  package struct Copy: Sendable {
    package let location: String
    /// Its snapshots, or the error of listing them.
    package let snapshots: Result<[SnapshotPath], any Error>

    package init(location: String, snapshots: Result<[SnapshotPath], any Error>) {
      self.location = location
      self.snapshots = snapshots
    }

    /// The snapshots of a copy, without those that restores from it took there.
    /// - Parameters:
    ///   - here: the snapshots of the original store.
    ///   - each: called to show progress.
    package static func snapshots(in copy: Catalog, beside here: [SnapshotPath], each: () -> Void) throws -> [SnapshotPath] {
      let there = try copy.snapshots(each: each)
      let own = Dictionary(grouping: here, by: name)
      let foreign = Dictionary(grouping: there, by: name).flatMap { name, places in own[name].map { CopyComparison($0, places).foreign } ?? [] }
      let unwanted = Set(
        foreign.filter {
          each()
          return copy.isSafetySnapshot($0)
        })
      return there.filter { !unwanted.contains($0) }
    }

    private static func name(_ place: SnapshotPath) -> String { "\(place.source.keyComponent)/\(place.database.keyComponent)" }
  }

  /// How complete a copy is.
  package struct CopyState: Sendable {
    package let location: String
    /// The newest snapshot that exists in both stores.
    package let newest: SnapshotID?
    /// The number of newer snapshots that the copy lacks.
    package let behind: Int
    /// The number of newer snapshots that exist only in the copy.
    package let foreign: Int
  }

  package struct Newest: Sendable {
    package let id: SnapshotID
    package let startedAt: Date
    package let complete: Bool
    let problems: [String]
  }

  package let databases: [Database]
  /// Problems that belong to no database with snapshots, such as a run that could not connect.
  package let problems: [String]
  /// Databases that have no snapshot although their server is backed up as a whole, with their sources.
  package let missing: [(source: String, database: String)]
  package var isSound: Bool { problems.isEmpty && databases.allSatisfy(\.problems.isEmpty) }

  /// - Parameters:
  ///   - places: the snapshots to look at. Safety snapshots of restores don't count.
  ///   - histories: nil if failed runs don't matter.
  ///   - servers: the servers that are backed up as a whole.
  ///   - isWhole: whether `places` are all snapshots.
  ///   - words: describes the error of a store.
  package init(
    of places: [SnapshotPath], in repository: Repository, copies: [Copy] = [], runs histories: RunHistories? = nil, servers: [ServerState] = [],
    isWhole: Bool = true, limits: Limits, now: Date, age: @escaping @Sendable (Date) -> String, words: @escaping (any Error) -> String = { "\($0)" }
  ) throws {
    let unreachable = copies.compactMap { copy -> String? in
      if case .failure(let error) = copy.snapshots { "the copies in \(copy.location) cannot be read: \(words(error))" } else { nil }
    }
    let groups = Dictionary(grouping: places) { "\($0.source.keyComponent)/\($0.database.keyComponent)" }
    let names = try repository.catalog.sourceNames(of: places.map(\.source))
    let comparison = try ServerComparison(servers, in: repository.catalog, words: words)
    let states = Monitor<[String: Database]>([:])
    let gone = Set(groups.filter { _, places in places.first.map(comparison.hasLost) ?? false }.keys)
    let excluded = Set(groups.filter { _, places in places.first.map(comparison.excludes) ?? false }.keys)
    try forEachInParallel(
      Array(groups), thread: "status", threads: max(processorCount, repository.store.requestsAtOnce)
    ) { key, places in
      guard let first = places.first else { return }
      let name = names[first.source] ?? first.source
      let state = try Self.database(
        places.sorted { $0.id > $1.id }, name, repository, copies, unreachable,
        limits.applied(to: first.database, of: [first.source, name]), now, age, isGone: gone.contains(key), isExcluded: excluded.contains(key))
      states.update { $0[key] = state }
    }
    let found = states.current.sorted { $0.key < $1.key }.map(\.value)
    let runs = FailedRuns(histories, beside: found, isWhole: isWhole, age)
    databases = found.map { runs.added(to: $0) }
    let known = found.filter { $0.newest != nil }.map { ($0.source, $0.database) }
    missing = comparison.missing(beside: known)
    problems = comparison.problems(beside: known) + runs.others
  }

  /// Failed runs, in words, for the databases that they are about.
  private struct FailedRuns {
    private var ofDatabases: [String: [String]] = [:]
    private(set) var others: [String] = []

    /// - Parameters:
    ///   - databases: those that are shown.
    ///   - isWhole: whether all databases are shown, and so runs on other ones matter.
    init(_ histories: RunHistories?, beside databases: [Database], isWhole: Bool, _ age: (Date) -> String) {
      guard let histories else { return }
      func all(of source: String?) -> [Database] {
        guard let source else { return databases }
        return databases.filter { source.isSame(as: $0.source) || source.isSame(as: $0.sourceName) }
      }
      let oldest = databases.filter { !$0.isGone }.compactMap { $0.newest?.startedAt }.min() ?? .distantPast
      let newest = databases.compactMap { $0.newest?.startedAt }.max() ?? .distantPast
      // Whether every database of a source has a snapshot since. Manifests have whole seconds.
      func isAnswered(_ known: RunHistories.Known, _ source: String?) -> Bool {
        let own = all(of: source).filter { !$0.isGone }
        return known.run.job == "snapshot" && !own.isEmpty && own.allSatisfy { $0.newest.map { $0.startedAt > known.startedAt - 1 } ?? false }
      }
      for known in histories.lastFailures(since: oldest) {
        let run = known.run
        func words(_ error: String?) -> String {
          let when = "\(run.job) of \(age(run.startedAt)) on \(run.host)"
          if known.wasKilled { return "the \(when) was killed" }
          return "the \(when) failed\((error ?? "").isEmpty ? "" : ": \(StoreStatus.firstLine(of: error ?? ""))")"
        }
        var failed = (run.failures ?? []).filter { $0.database != "*" }.map { (source: $0.source, database: $0.database, error: Optional($0.error)) }
        if run.failures == nil, let database = run.database { failed.append((run.source, database, run.error)) }
        for (source, database, error) in failed {
          let matching = all(of: source).filter { $0.database.isSame(as: database) }
          for candidate in matching {
            let key = "\(candidate.source)/\(candidate.database)"
            // A snapshot that was taken since is the answer to a failed one. Manifests have whole seconds.
            let isAnswered =
              run.job == "snapshot" && (candidate.newest.map { $0.startedAt > known.startedAt - 1 } ?? false || ofDatabases[key] != nil)
            if !isAnswered { ofDatabases[key, default: []].append(words(error)) }
          }
          // A database without snapshots may be a mistyped name: the next good snapshot of any database ends the report.
          if matching.isEmpty, run.failures != nil || known.startedAt > newest {
            add("\(source.map { "\($0)/" } ?? "")\(database): ", words(error), job: run.job)
          }
        }
        let isOfServers = run.database == nil && failed.isEmpty || (run.failures ?? []).contains { $0.database == "*" }
        guard isOfServers else { continue }
        let whole = (run.failures ?? []).filter { $0.database == "*" }
        if whole.isEmpty && !isAnswered(known, run.servers?.first) { add("", words(run.error), job: run.job) }
        for failure in whole where !isAnswered(known, failure.source) {
          add(failure.source.map { "all databases of \($0): " } ?? "", words(failure.error), job: run.job)
        }
      }
      if !isWhole { others = [] }
    }

    /// Adds the newest failure of each job and subject.
    private mutating func add(_ subject: String, _ words: String, job: String) {
      if !others.contains(where: { $0.hasPrefix("\(subject)the \(job) ") }) { others.append(subject + words) }
    }

    func added(to database: Database) -> Database {
      var database = database
      database.problems += ofDatabases["\(database.source)/\(database.database)"] ?? []
      return database
    }
  }

  /// - Parameter places: of one database, the newest first.
  private static func state(of copy: Copy, _ places: [SnapshotPath], _ catalog: Catalog) -> CopyState? {
    guard case .success(let there) = copy.snapshots, let first = places.first else { return nil }
    let found = CopyComparison(places, there.filter { $0.source.isSame(as: first.source) && $0.database.isSame(as: first.database) })
    return CopyState(
      location: copy.location, newest: found.newest, behind: found.missing.count { !catalog.isSafetySnapshot($0) },
      foreign: found.foreign.count)
  }

  /// - Parameters:
  ///   - places: of the database.
  ///   - manifest: nil if no identity opens it.
  private static func newest(
    _ place: SnapshotPath, among places: [SnapshotPath], _ summary: Manifest.Summary, _ manifest: Manifest?, _ limits: Limits, _ now: Date,
    _ age: (Date) -> String
  ) -> Newest {
    guard let manifest else {
      var problems = summary.complete ? [] : ["the newest snapshot is incomplete: firn show gives the reason, with an identity"]
      if let fallen = summary.fallenTables, fallen > 0 {
        problems.append("\(fallen) tables lost many rows since the snapshot before: firn show lists them, with an identity")
      }
      return Newest(
        id: place.id, startedAt: place.id.startDate, complete: summary.complete, problems: problems)
    }
    let incomplete =
      manifest.complete ? [] : ["the newest snapshot is incomplete: \(manifest.incompleteReasons.first ?? "see firn show")"]
    var unread: [String] = []
    if let taken = manifest.takenOver, now.timeIntervalSince(taken.oldestReading.startDate) > limits.unreadAge.inSeconds {
      unread = ["a table that seems unchanged was last read \(age(taken.oldestReading.startDate)): take one snapshot with --full"]
    }
    let doubtful = (manifest.doubts ?? []).compactMap { doubt -> String? in
      let affected = places.count { doubt.concerns($0.id) }
      guard affected > 0, doubt.before != manifest.id, doubt.isNew(at: now) else { return nil }
      return
        "\(affected == 1 ? "1 snapshot" : "\(affected) snapshots") between \(doubt.after) and \(doubt.before) may hold old rows of \(doubt.schema).\(doubt.name): see the guide to incremental snapshots"
    }
    return Newest(
      id: manifest.id, startedAt: manifest.startedAt, complete: manifest.complete,
      problems: incomplete + (manifest.refutations ?? []) + doubtful + (manifest.anomalies ?? []) + unread)
  }

  /// The verifications of one database's snapshots.
  private struct Checks {
    private let catalog: Catalog
    private let keys: [SnapshotPath: [StoreKey]]
    let verdicts: [SnapshotPath: CheckRecord]
    private let findings: DamageFindings

    init(of places: [SnapshotPath], _ catalog: Catalog, _ now: Date) throws {
      self.catalog = catalog
      keys = try places.reduce(into: [:]) { $0[$1] = try catalog.checkKeys(of: $1) }
      verdicts = try keys.compactMapValues { try catalog.verdict(of: $0, now: now) }
      findings = DamageFindings(verdicts)
    }

    /// Damage of the snapshot or of an object that it shares. An unreadable list is damage too.
    func findDamage(in place: SnapshotPath) throws -> Bool {
      if verdicts[place]?.ok == false { return true }
      do { return try catalog.shares(findings, place) } catch let error where StoreStatus.isOfOneSnapshot(error) { return true }
    }

    func newestProof(of places: [SnapshotPath]) throws -> CheckRecord? {
      let proven = places.filter { verdicts[$0]?.ok == true }
      let newestFirst = proven.sorted { (verdicts[$0]?.checkedAt ?? .distantPast) > (verdicts[$1]?.checkedAt ?? .distantPast) }
      return try newestFirst.first { try !findDamage(in: $0) }.flatMap { verdicts[$0] }
    }

    /// Problems that the last drill or its assertions found. Only a later drill clears them.
    /// - Parameter places: the newest first.
    func problemsOfDrills(_ places: [SnapshotPath]) throws -> [String] {
      for place in places {
        let (keys, verdict) = (keys[place] ?? [], verdicts[place])
        // If there is a single check, the verdict says everything.
        let drill = keys.count > 1 || verdict == nil ? try catalog.lastDrill(of: keys) : verdict.flatMap { $0.level == .drill ? $0 : nil }
        guard let drill else { continue }
        return drill.failedDrill.map { ["the last drill, of \(place.id), failed: \(StoreStatus.firstLine(of: $0))"] } ?? drill.unmetAssertions ?? []
      }
      return []
    }
  }

  /// The text comes from the database, and may be as long as its owner likes.
  fileprivate static func firstLine(of text: String) -> String {
    let line = text.prefix { !$0.isNewline }
    return line.count > 200 ? line.prefix(200) + "…" : String(line)
  }

  private static func isOfOneSnapshot(_ error: any Error) -> Bool {
    (error as? RepositoryError)?.isOfOneSnapshot ?? (error as? StoreError)?.isOfOneFile ?? false
  }

  /// A dropped database is reported for at least this long after its newest snapshot. Later the drop is taken as intended.
  package static let graceOfGone: Duration = .seconds(8 * 86400)

  /// - Parameter places: of one database, the newest first.
  private static func database(
    _ places: [SnapshotPath], _ sourceName: String, _ repository: Repository, _ copies: [Copy], _ unreachable: [String], _ limits: Limits,
    _ now: Date,
    _ age: (Date) -> String, isGone: Bool, isExcluded: Bool
  ) throws -> Database? {
    let catalog = repository.catalog
    guard let first = places.first else { return nil }
    var problems: [String] = []
    var newest: Newest?
    var newestIsDamaged = false
    var newestComplete: Date?
    var restoreSeconds: Double?
    let checks = try Checks(of: places, catalog, now)
    var readable: [SnapshotPath] = []
    for place in places {
      let summary: Manifest.Summary
      let manifest: Manifest?
      do {
        manifest = try repository.readableManifest(of: place)
        summary = try manifest.map(Manifest.Summary.init) ?? catalog.summary(of: place)
      } catch let error where Self.isOfOneSnapshot(error) {
        problems.append("\(place.id) cannot be read")
        continue
      }
      if summary.kind == Manifest.safetyKind { continue }
      readable.append(place)
      if newest == nil {
        newest = Self.newest(place, among: places, summary, manifest, limits, now, age)
        newestIsDamaged = try checks.findDamage(in: place)
        if newestIsDamaged { problems.append("the newest snapshot was found damaged") }
      }
      if newestComplete == nil, summary.complete { newestComplete = place.id.startDate }
      if restoreSeconds == nil, let check = checks.verdicts[place], check.ok { restoreSeconds = check.restoreSeconds }
    }
    let proof = try checks.newestProof(of: readable)
    let older = readable.filter { checks.verdicts[$0]?.ok == false && $0.id != newest?.id }
    if let last = older.first {
      problems.append(
        "\(older.count) older snapshot\(older.count == 1 ? " was" : "s were") found damaged\(older.count == 1 ? ":" : ", the last of them") \(last.id)"
      )
    }
    problems += try checks.problemsOfDrills(places)
    // Only restores took snapshots of it, so it is not backed up here; or none of its snapshots can be read.
    guard let newest else {
      return problems.isEmpty
        ? nil
        : Database(
          source: first.source, sourceName: sourceName, database: first.database, newest: nil, newestIsDamaged: false, newestComplete: nil,
          proof: nil, restoreSeconds: nil,
          copies: [],
          problems: problems)
    }
    func isOlder(_ date: Date, than limit: Duration) -> Bool { now.timeIntervalSince(date) > Double(limit.components.seconds) }
    if isGone, !isExcluded, !isOlder(newest.startedAt, than: max(Self.graceOfGone, limits.snapshotAge + .seconds(2 * 86400))) {
      problems.append("the server no longer has this database; firn restore brings it back, and its snapshots stay until you remove them")
    }
    if !isGone, isOlder(newest.startedAt, than: limits.snapshotAge) { problems.append("the newest snapshot was taken \(age(newest.startedAt))") }
    if newest.startedAt > now.addingTimeInterval(3600) {
      problems.append("the newest snapshot is dated in the future: check the clocks of this machine and of the one that took it")
    }
    problems += newest.problems
    if let proof {
      if !isGone, isOlder(proof.checkedAt, than: limits.proofAge) { problems.append("the last verification was \(age(proof.checkedAt))") }
    } else {
      problems.append("no snapshot was ever verified")
    }
    let states = copies.compactMap { state(of: $0, places, catalog) }
    for state in states where state.behind > 0 {
      let what = state.newest.map { "its newest was taken \(age($0.startDate))" } ?? "it has none of those here"
      problems.append("the copies in \(state.location) are \(state.behind) snapshot\(state.behind == 1 ? "" : "s") behind: \(what)")
    }
    for state in states where state.foreign > 0 {
      let what = "\(state.foreign) newer snapshot\(state.foreign == 1 ? "" : "s") that \(state.foreign == 1 ? "is" : "are") not here"
      problems.append(
        "\(state.location) has \(what): this store may have been rolled back (firn copy --from fetches them), a clock may have been wrong, or "
          + "another machine copies there under the name \(first.source) (source in firn.yaml gives each its own)")
    }
    var database = Database(
      source: first.source, sourceName: sourceName, database: first.database, newest: newest, newestIsDamaged: newestIsDamaged,
      newestComplete: newestComplete, proof: proof,
      restoreSeconds: restoreSeconds,
      copies: states,
      problems: problems + unreachable)
    database.isGone = isGone
    return database
  }
}
