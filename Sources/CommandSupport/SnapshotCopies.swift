internal import FirnCore
package import Platform
package import Repository

/// The stores that snapshots are copied to.
package struct SnapshotCopies {
  private let stores: [any Store]
  private let standing: Set<String>

  /// - Parameters:
  ///   - standing: locations that get every snapshot.
  ///   - others: those that get these alone.
  ///   - own: the store that is copied from.
  /// - Throws: `StoreError.badLocation`, `UsageError`: before anything is done.
  package init(standing: [String] = [], others: [String], of own: any Store, _ rate: RateOption?, _ context: CommandContext) throws {
    func limited(_ store: any Store) throws -> any Store { try rate?.limited(store) ?? store }
    var seen: Set<String> = []
    func opened(_ locations: [String]) throws -> [any Store] {
      try locations.compactMap { location in
        let store = try limited(context.store(at: location, asksWhatIsThere: false))
        return seen.insert(store.location).inserted ? store : nil
      }
    }
    let standing = try opened(standing)
    stores = try standing + opened(others)
    self.standing = Set(standing.map(\.location))
    for store in stores {
      if store.location == own.location { throw UsageError("\(own.location) can't hold its own copies", hint: "name another store") }
      if Self.isWithin(store.location, own.location) || Self.isWithin(own.location, store.location) {
        throw UsageError("one of \(own.location) and \(store.location) lies inside the other", hint: "a store lies beside others: name another place")
      }
    }
  }

  private static func isWithin(_ inner: String, _ outer: String) -> Bool {
    func parts(_ location: String) -> (place: String, rest: String) {
      let place = location.prefix { $0 != "?" }
      return (place.hasSuffix("/") ? String(place) : "\(place)/", String(location.dropFirst(place.count)))
    }
    return parts(inner).rest == parts(outer).rest && parts(inner).place.hasPrefix(parts(outer).place)
  }

  /// The JSON of one copy.
  package struct Report: Encodable {
    package let store: String
    package let ok: Bool
    package let objects: Int
    package let bytes: Int64
    package let problem: String?
  }

  package struct Made {
    private let outcomes: [CopyOperation.Outcome]

    fileprivate init(_ outcomes: [CopyOperation.Outcome]) { self.outcomes = outcomes }

    package var areAllMade: Bool { outcomes.allSatisfy { $0.failure == nil } }

    package var interruption: Interruption? { outcomes.lazy.compactMap { $0.failure as? Interruption }.first }

    /// The exit status of a command that only makes copies.
    package var status: ExitStatus {
      // If no copy was made, report the reason.
      if let failure = outcomes.first?.failure, outcomes.allSatisfy({ $0.failure != nil }) { return FailureReport(failure).status }
      return areAllMade ? .done : .doneWithWarnings
    }

    package var reports: [Report] {
      outcomes.map { outcome in
        Report(
          store: outcome.location, ok: outcome.failure == nil, objects: outcome.objects, bytes: outcome.bytes,
          problem: outcome.failure.map { FailureReport($0).message })
      }
    }

    /// Prints the result of each copy; failures as warnings.
    package func tell(_ context: CommandContext) {
      for outcome in outcomes {
        if outcome.failure is Interruption {
          context.warn("the copy in \(outcome.location) was interrupted: the next one continues there; the snapshots here are kept")
        } else if let failure = outcome.failure {
          let report = FailureReport(failure)
          let part = outcome.snapshots == 0 ? "no copy" : "\(outcome.snapshots) of \(outcome.wanted) snapshots are"
          context.warn("\(part) in \(outcome.location): \(report.message)" + (report.hint.map { "; \($0)" } ?? ""))
        } else if outcome.bytes == 0 {
          context.tell("\(outcome.location) already has this snapshot")
        } else {
          let objects = "\(outcome.objects) object\(outcome.objects == 1 ? "" : "s")"
          let missed = outcome.missed == 0 ? "" : ", including \(Quantity.count(outcome.missed, "snapshot")) that it lacked"
          context.tell("copied to \(outcome.location): \(Quantity.size(outcome.bytes)) in \(objects)\(missed)")
        }
      }
    }
  }

  /// Copies committed snapshots.
  /// - Parameters:
  ///   - catchingUp: whether stores that get every snapshot also get the ones they missed since their newest.
  ///   - mayBeginAnew: whether a repository is created in a store that had one before and has none now.
  package func make(
    of places: [SnapshotPath], catchingUp: Bool = false, in repository: Repository, _ context: CommandContext, mayBeginAnew: Bool = false
  ) throws -> Made {
    guard !stores.isEmpty else { return Made([]) }
    let known = context.knownRecipients
    let seen = mayBeginAnew ? [] : Set(stores.map(\.location).filter { known.recipients(of: $0) != nil })
    let outcomes = try context.withProgress { progress in
      CopyOperation(from: repository, known: seen, progress: progress).run(places, to: stores, catchingUp: catchingUp ? standing : [])
    }
    for outcome in outcomes {
      if outcome.isNew {
        context.tell("created a repository in \(outcome.location)")
        if outcome.isAmongFiles { context.warnOfFiles(in: outcome.location) }
        if outcome.recipients == [], outcome.location.contains("://") {
          context.warn("anyone who can read \(outcome.location) can read the databases in it: like the store it is copied from, it is not encrypted")
        }
      }
      if let recipients = outcome.recipients { known.remember(recipients, of: outcome.location) }
    }
    return Made(outcomes)
  }
}
