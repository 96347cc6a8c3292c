internal import Foundation
internal import Platform
internal import Postgres

/// Looks at the database while a migration runs: who waits because of it.
package final class MigrationObserver: Sendable {
  package struct Observations: Sendable {
    /// The most sessions that waited at once for the migration's locks.
    package var mostWaiting = 0
    /// The longest that one was seen waiting.
    package var longestWait: Duration = .zero
    /// How long the migration itself was seen waiting for others.
    package var ownWait: Duration = .zero
    /// Whether the command had a session that it could look at.
    package var sawCommand = false
  }

  private let isEnded = Monitor(false)
  private let seen = Monitor(Observations())
  private let thread: WorkerThread

  init(settings: ConnectionSettings, application: String, tell: @escaping @Sendable (String) -> Void) {
    thread = WorkerThread(name: "observer") { [isEnded, seen] in
      guard let connection = try? Connection(settings, applicationName: "firn-migrate watch") else { return }
      var waiting: [Int32: ContinuousClock.Instant] = [:]
      var told: Set<Int32> = []
      var ownStart: ContinuousClock.Instant?
      while !isEnded.wait(atMost: .milliseconds(250), until: { $0 }) {
        guard let sessions = try? connection.sessions() else { return }
        let now = ContinuousClock.now
        let own = Set(sessions.filter { $0.application == application }.map(\.process))
        if !own.isEmpty { seen.update { $0.sawCommand = true } }
        let victims = sessions.filter { !own.contains($0.process) && !own.isDisjoint(with: $0.blockers) }
        waiting = waiting.filter { entry in victims.contains { $0.process == entry.key } }
        for victim in victims {
          let wait = now - waiting[victim.process, default: now]
          waiting[victim.process] = waiting[victim.process] ?? now
          seen.update { $0.longestWait = max($0.longestWait, wait) }
          guard wait >= .seconds(1), told.insert(victim.process).inserted else { continue }
          tell(
            "process \(victim.process) (\(victim.application.isEmpty ? victim.user : victim.application)) has waited a second for the migration's locks"
          )
        }
        seen.update { $0.mostWaiting = max($0.mostWaiting, victims.count) }
        let blockers = sessions.filter { own.contains($0.process) }.flatMap(\.blockers).filter { !own.contains($0) }
        if blockers.isEmpty {
          ownStart = nil
        } else {
          let start = ownStart ?? now
          if ownStart == nil { tell("the migration waits for process \(blockers.map(String.init).joined(separator: ", "))") }
          ownStart = start
          seen.update { $0.ownWait = max($0.ownWait, now - start) }
        }
      }
    }
  }

  func end() -> Observations {
    isEnded.update { $0 = true }
    thread.join()
    return seen.current
  }
}
