internal import Foundation
internal import Platform
internal import Postgres

/// Obstacles to renaming a database.
struct SwapPreflight {
  let server: Connection
  let database: String

  func reasons() throws -> [String] {
    if ["postgres", "template0", "template1"].contains(database) { return ["\(database) belongs to the server itself: it is never replaced"] }
    func list(_ names: [String]) -> String { names.prefix(5).joined(separator: ", ") }
    let obstacles = try server.obstacles(toSwapping: database)
    var reasons: [String] = []
    if try server.isHalfDropped(database) {
      return [
        "\(database) was being dropped when the server stopped, and is not usable: DROP DATABASE \(Connection.identifier(database)), then run this again"
      ]
    }
    if obstacles.isTemplate { reasons.append("\(database) is a template: it is never replaced") }
    let role = try server.currentRole()
    if try !server.mayReplace(database) {
      reasons.append("role \(role) may not rename \(database): that takes its owner, with CREATEDB, or a superuser; \(RestoringRole.advice)")
    }
    let unendable = try server.unendableSessions(in: database)
    if !unendable.isEmpty {
      reasons.append(
        "\(database) has sessions that role \(role) may not end: of \(list(unendable.map { "\($0.user) (\($0.sessions))" })); to allow it, except for superusers' sessions: GRANT pg_signal_backend TO \(role)"
      )
    }
    if !obstacles.preparedTransactions.isEmpty {
      reasons.append(
        "\(database) has prepared transactions, which bar renaming: \(list(obstacles.preparedTransactions)) (COMMIT PREPARED or ROLLBACK PREPARED)")
    }
    if !obstacles.replicationSlots.isEmpty {
      reasons.append(
        "\(database) has replication slots, which would stay with the old database: \(list(obstacles.replicationSlots)) (pg_drop_replication_slot)")
    }
    if !obstacles.subscriptions.isEmpty {
      reasons.append(
        "\(database) has subscriptions, which would go on filling the old database: \(list(obstacles.subscriptions)) (ALTER SUBSCRIPTION … DISABLE, then DROP)"
      )
    }
    return reasons
  }
}
