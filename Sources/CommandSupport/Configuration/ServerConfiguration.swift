package import FirnCore
internal import Platform
internal import Postgres

/// One of `servers` in `firn.yaml`: a server that is backed up with all of its databases.
package struct ServerConfiguration: Sendable, Equatable {
  /// Settings of one database, or of those that match a pattern.
  package struct Override: Sendable, Equatable {
    package var excludedTableData: [String]?
    package var maxAge: Duration?
    package var jobs: Int?
    package var incremental: SnapshotRequest.Incremental?

    package init() {}
  }

  /// The name of its source in the store.
  package let name: String
  package private(set) var databaseURL = ""
  /// Names of databases to back up, with `*` and `?`.
  package private(set) var databases = ["*"]
  package private(set) var exclude: [String] = []
  /// By the names of databases, with `*` and `?`.
  package private(set) var overrides: [(pattern: String, override: Override)] = []

  package static func == (left: Self, right: Self) -> Bool {
    left.name == right.name && left.databaseURL == right.databaseURL && left.databases == right.databases && left.exclude == right.exclude
      && left.overrides.elementsEqual(right.overrides) { $0.pattern == $1.pattern && $0.override == $1.override }
  }

  private static let keys = ["database-url", "databases", "exclude", "per-database"]
  private static let overrideKeys = ["exclude-table-data", "max-age", "jobs", "incremental"]

  /// - Throws: `ConfigurationError`.
  init(_ value: YAMLValue) throws {
    name = value.key
    guard !name.isEmpty, !name.contains("/"), !name.contains(where: \.isWhitespace) else {
      throw ConfigurationError(message: "\(value.place): a server's name has neither spaces nor /", hint: nil)
    }
    for entry in try value.entries(Self.keys) {
      switch entry.key {
      case "database-url": databaseURL = try entry.text()
      case "databases": databases = try entry.list()
      case "exclude": exclude = try entry.list()
      case "per-database": overrides = try entry.entries().map { ($0.key, try Self.override($0)) }
      default: break
      }
    }
    guard !databaseURL.isEmpty else {
      throw ConfigurationError(
        message: "\(value.place): server \(name) lacks database-url", hint: "such as postgres:///postgres?host=/var/run/postgresql")
    }
    guard !databases.isEmpty else {
      throw ConfigurationError(message: "\(value.place): databases of server \(name) is empty", hint: "write [\"*\"] for all")
    }
  }

  private static func override(_ value: YAMLValue) throws -> Override {
    var override = Override()
    for entry in try value.entries(overrideKeys) {
      switch entry.key {
      case "exclude-table-data": override.excludedTableData = try entry.list()
      case "max-age": override.maxAge = try entry.age()
      case "incremental": override.incremental = try entry.incremental()
      case "jobs": override.jobs = try entry.number(in: 1...64)
      default: break
      }
    }
    return override
  }

  /// Whether `--all` backs up a database.
  func backsUp(_ database: String) -> Bool {
    databases.contains { database.matches(glob: $0) } && !exclude.contains { database.matches(glob: $0) }
  }

  /// The settings of a database: those of the first pattern that matches it.
  package func override(for database: String) -> Override { overrides.first { database.matches(glob: $0.pattern) }?.override ?? Override() }
}
