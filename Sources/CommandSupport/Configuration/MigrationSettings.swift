package import FirnCore
internal import Yams

/// What `migrate:` in `firn.yaml` says.
package struct MigrationSettings: Sendable, Equatable {
  package var answer: MigrationRun.Answer?
  /// A command for `/bin/sh`, as `bundle exec rails db:rollback`.
  package var rollback: String?
  package var lockTimeout: Duration?
  package var timeLimit: Duration?
  package var logFolder: String?
  package var expectedEnvironment: String?
  /// Where the application's migrations lie.
  package var migrations: String?
  package var longestTransaction: Duration?

  package init() {}

  private static let keys = [
    "on-failure", "rollback", "lock-timeout", "time-limit", "log-folder", "expect-environment", "migrations", "max-transaction",
  ]

  init(_ value: YAMLValue) throws {
    for reader in try value.entries(Self.keys) {
      switch reader.key {
      case "on-failure":
        guard let answer = MigrationRun.Answer(rawValue: try reader.text()) else { throw reader.wrong("one of stop, rollback, restore") }
        self.answer = answer
      case "rollback": rollback = try reader.text()
      case "lock-timeout": lockTimeout = try reader.duration()
      case "time-limit": timeLimit = try reader.duration()
      case "log-folder": logFolder = try reader.text()
      case "expect-environment": expectedEnvironment = try reader.text()
      case "migrations": migrations = try reader.text()
      case "max-transaction": longestTransaction = try reader.duration()
      default: break
      }
    }
  }
}
