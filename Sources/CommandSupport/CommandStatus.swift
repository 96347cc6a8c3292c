package import FirnCore
package import Foundation
internal import Platform
package import Repository

extension CommandContext {
  /// How long copies may take to answer: who wants to know how things stand is not to wait for a server that is gone.
  private static let patience: Duration = .seconds(20)

  /// What `firn status` tells.
  /// - Parameter places: the snapshots to look at; nil for all.
  package func status(of places: [SnapshotPlace]? = nil, in repository: Repository? = nil, now: Date = Date()) throws -> StoreStatus {
    let copies = lookIntoCopies()
    let repository = try repository ?? self.repository()
    let places = try places ?? repository.catalog.snapshots()
    return try StoreStatus(
      of: places, in: repository, copies: copies(), limits: configuration.limits, now: now,
      age: { Quantity.age(of: $0, now: now) }, words: { FailureReport($0).message })
  }

  /// Begins to ask all copies at once.
  /// - Returns: what waits for their answers.
  private func lookIntoCopies() -> () throws -> [StoreStatus.Copy] {
    let end = ContinuousClock.now + Self.patience
    let asked = configuration.copies.enumerated().map { number, location in
      // What names no store may hold a password.
      let name = (try? store(at: location, asksWhatIsThere: false))?.location ?? "copy \(number + 1)"
      let answer = Monitor<StoreStatus.Copy?>(nil)
      _ = WorkerThread(name: "status") {
        // A store without a repository has no copy yet.
        let found = Result { try Catalog(store: store(at: location)).snapshots() }
        answer.update { $0 = StoreStatus.Copy(location: name, snapshots: found) }
      }
      return (name, answer)
    }
    return {
      try asked.map { name, answer in
        while !answer.wait(atMost: .milliseconds(100), until: { $0 != nil }), .now < end { try Interruption.check() }
        let tooLate = StoreError.unreachable(location: name, reason: "\(name) did not answer within \(Quantity.span(Self.patience.inSeconds))")
        return answer.current ?? StoreStatus.Copy(location: name, snapshots: .failure(tooLate))
      }
    }
  }
}
