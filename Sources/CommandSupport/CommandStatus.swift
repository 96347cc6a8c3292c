package import FirnCore
package import Foundation
internal import Platform
internal import Postgres
package import Repository

extension CommandContext {
  /// Time limit for copies, so that the status does not wait for a server that is gone.
  private static let patience: Duration = .seconds(20)

  /// The data of `firn status`.
  /// - Parameter places: the snapshots to look at; nil for all.
  package func status(of chosen: [SnapshotPath]? = nil, in repository: Repository? = nil, now: Date = Date()) throws -> StoreStatus {
    let repository = try repository ?? self.repository()
    let places = try chosen ?? repository.catalog.snapshots()
    let isOfAll = chosen == nil
    let servers = isOfAll ? askServers() : { [] }
    let copies = lookIntoCopies(beside: places)
    return try StoreStatus(
      of: places, in: repository, copies: copies(), runs: RunHistories(store: repository.store, location: repository.store.location),
      servers: servers(), isWhole: isOfAll, limits: configuration.limits, now: now,
      age: { Quantity.age(of: $0, now: now) }, words: { FailureReport($0).message })
  }

  /// Begins to ask the configured servers for their databases, all at once.
  /// - Returns: a function that waits for their answers.
  private func askServers() -> () throws -> [ServerState] {
    let answers = configuration.servers.map { server in
      let answer = Monitor<ServerState?>(nil)
      _ = WorkerThread(name: "status") {
        let context = choosing(server)
        let connection = Result {
          let settings = try context.connectionSettings()
          let named = settings.database == nil ? settings.with(database: "postgres") : settings
          return try ServerConnection.open(named.with("connect_timeout", "5"))
        }
        let state = ServerState(name: server.name, matching: server.databases, excluding: server.exclude, on: connection)
        answer.update { $0 = state }
      }
      return (server.name, answer)
    }
    return {
      let end = ContinuousClock.now + Self.patience
      return try answers.map { name, answer in
        while !answer.wait(atMost: .milliseconds(100), until: { $0 != nil }), .now < end { try Interruption.check() }
        let silence = PostgresError.cannotConnect(target: name, reason: "no answer for \(Quantity.span(Self.patience.inSeconds))")
        return answer.current ?? ServerState(name: name, failure: silence)
      }
    }
  }

  /// The answer of one copy so far.
  private struct Answer: Sendable {
    /// Names the store without its password.
    var name: String
    var heardAt = ContinuousClock.now
    var copy: StoreStatus.Copy?
  }

  /// Opens a copy; nil if there is no repository yet.
  /// - Throws: `FirnError.copyGone` if there was one.
  private func repository(ofCopy store: any Store) throws -> Repository? {
    do { return try Repository(opening: store) } catch RepositoryError.noRepository {
      if knownRecipients.recipients(of: store.location) != nil { throw FirnError.copyGone(location: store.location) }
      return nil
    }
  }

  /// Begins to ask all copies at once.
  /// - Returns: a function that waits for their answers.
  private func lookIntoCopies(beside places: [SnapshotPath]) -> () throws -> [StoreStatus.Copy] {
    let answers = configuration.copies.enumerated().map { number, location in
      let answer = Monitor(Answer(name: "copy \(number + 1)"))
      // All of it: even to look for a folder may take for ever.
      _ = WorkerThread(name: "status") {
        let store = Result { try self.store(at: location) }
        if let location = (try? store.get())?.location { answer.update { $0.name = location } }
        let found = Result {
          guard let catalog = try repository(ofCopy: store.get())?.catalog else { return [SnapshotPath]() }
          return try StoreStatus.Copy.snapshots(in: catalog, beside: places) { answer.update { $0.heardAt = .now } }
        }
        answer.update { $0.copy = StoreStatus.Copy(location: $0.name, snapshots: found) }
      }
      return answer
    }
    return {
      try answers.map { answer in
        while !answer.wait(atMost: .milliseconds(100), until: { $0.copy != nil }), .now < answer.current.heardAt + Self.patience {
          try Interruption.check()
        }
        let last = answer.current
        let silence = StoreError.unreachable(
          location: last.name, reason: "\(last.name) did not answer for \(Quantity.span(Self.patience.inSeconds))")
        return last.copy ?? StoreStatus.Copy(location: last.name, snapshots: .failure(silence))
      }
    }
  }
}
