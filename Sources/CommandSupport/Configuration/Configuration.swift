internal import Encryption
package import FirnCore
internal import Foundation
internal import Platform
package import SystemPackage
internal import Yams

/// A configuration that can't be used, with the line of the mistake.
package struct ConfigurationError: Error, Equatable {
  package let message: String
  package let hint: String?

  package init(message: String, hint: String?) {
    self.message = message
    self.hint = hint
  }
}

/// The values of `firn.yaml`. Flags and environment come before them.
package struct Configuration: Sendable, Equatable {
  /// The file they were read from; nil if there is none.
  package private(set) var file: FilePath?
  /// Files that this user may not read, and that were passed over.
  package private(set) var passedOver: [FilePath] = []
  package var store: String?
  package var databaseURL: String?
  /// Servers that are backed up with all of their databases, in the order of the file.
  package var servers: [ServerConfiguration] = []
  /// The server that was chosen by its name, if one was: `databaseURL` and `source` are its own, and the environment does not count.
  private var chosenServer: ServerConfiguration?
  package var isOfNamedServer: Bool { chosenServer != nil }
  package var source: String?
  package var jobs: Int?
  package var spool: String?
  /// Bytes.
  package var spoolCap: Int64?
  package var lockWait: Duration?
  package var toolFolders: [String] = []
  package var excludedTableData: [String] = []
  /// For snapshots: the `search_path` that their restores will need.
  package var searchPath: String?
  /// The role that sessions of firn-restore take; nil for the one that connects.
  package var restoreRole: String?
  package var maintenance = ApplicationControl()
  package var migration = MigrationSettings()
  package var notifications = NotificationSettings()
  package var logFormat: MessageLog.Format?
  package var assertions: [DrillRequest.Assertion] = []
  package var limits = StoreStatus.Limits()
  /// The share of its rows that a table may lose from one snapshot to the next without a warning.
  package var anomaly: Double?
  /// When snapshots take over tables that have not changed.
  package var incremental: SnapshotRequest.Incremental?
  /// How long after the last snapshot that read all tables the next one does.
  package var fullEvery: Duration?
  package var policy: ConfiguredPolicy?
  /// Where a policy's days begin, such as `Europe/Berlin`.
  package var timeZone: String?
  /// Prints a key for stores in buckets, as AWS's `credential_process` does.
  package var credentialsCommand: String?
  /// The file of an age identity that opens encrypted repositories.
  package var identity: String?
  /// The recipients that repositories must be encrypted to; empty if this is not checked.
  package var recipients: [String] = []
  /// Stores that every snapshot is copied to.
  package var copies: [String] = []

  package init() {}

  /// Those of the file's top.
  package static let keys = [
    "store", "database-url", "servers", "source", "jobs", "spool", "spool-cap", "lock-wait", "pg-bin", "exclude-table-data", "incremental",
    "full-every", "max-unread-age", "restore", "maintenance",
    "assertions", "max-age", "max-proof-age", "anomaly", "policy", "time-zone", "credentials-command", "copies", "identity",
    "recipients", "migrate", "hooks", "ping", "webhook", "mail", "metrics", "log-format",
  ]
  private static let assertionKeys = ["name", "sql", "expect"]
  private static let maintenanceKeys = ["stop", "start", "health", "health-retries", "health-pause"]

  /// The named file, else the first there is of `./firn.yaml`, `~/.config/firn/firn.yaml`, `/etc/firn/firn.yaml`, else nothing.
  /// - Throws: `ConfigurationError`.
  package static func load(named path: String?) throws -> Configuration {
    var passedOver: [FilePath] = []
    guard let file = try file(named: path, passedOver: &passedOver) else {
      var configuration = Configuration()
      configuration.passedOver = passedOver
      return configuration
    }
    var configuration = try Configuration(parsing: YAMLValue.text(of: file), name: file.string)
    configuration.file = file
    return configuration
  }

  /// Reads only the notifications and the store of a file that can't be used as a whole, so that a failure can
  /// still be reported.
  package static func loadNotifications(named path: String?) -> Configuration {
    var configuration = Configuration()
    var passedOver: [FilePath] = []
    guard let file = try? file(named: path, passedOver: &passedOver), let text = try? YAMLValue.text(of: file) else { return configuration }
    configuration.file = file
    for (key, value) in YAMLValue.readableEntries(of: text, name: file.string) {
      guard let reader = try? YAMLValue.entry(key, value, file.string, nil) else { continue }
      // A mistake in one notification must not silence the others.
      _ = try? configuration.notifications.read(reader)
      if reader.key == "store" { configuration.store = try? reader.text() }
    }
    return configuration
  }

  private static func file(named path: String?, passedOver: inout [FilePath]) throws -> FilePath? {
    if let path {
      guard Folder.exists(FilePath(path)) else { throw ConfigurationError(message: "there is no file \(path)", hint: "check --config") }
      return FilePath(path)
    }
    let home = Host.homeFolder.map { $0.appending(".config/firn/firn.yaml") }
    for candidate in ["firn.yaml", home, "/etc/firn/firn.yaml"].compactMap(\.self) {
      do {
        guard let status = try Folder.status(of: candidate, followingLinks: true) else { continue }
        if candidate.isRelative { try requireTrusted(candidate, status) }
        return candidate
      } catch let error as SystemError where error.number == .permissionDenied {
        passedOver.append(candidate)
      }
    }
    return nil
  }

  /// Commands in this file are run, and the working folder may belong to another user.
  private static func requireTrusted(_ path: FilePath, _ status: FileStatus) throws {
    guard status.owner != Host.userID && status.owner != 0 || status.mode & 0o002 != 0 else { return }
    throw ConfigurationError(
      message: "the \(path) in this folder can be written by other users: it is not read",
      hint: "name it with --config if it is meant, or work in another folder")
  }

  package init(parsing text: String, name: String) throws {
    for (key, value) in try YAMLValue.root(of: text, name: name) ?? [] {
      let reader = try YAMLValue.entry(key, value, name, Self.keys)
      switch reader.key {
      case "store": store = try reader.location()
      case "database-url": databaseURL = try reader.text()
      case "servers":
        servers = try reader.entries().map(ServerConfiguration.init)
        if let twice = Dictionary(grouping: servers, by: \.databaseURL).values.first(where: { $0.count > 1 }) {
          throw ConfigurationError(
            message: "\(reader.place): \(twice[0].name) and \(twice[1].name) are the same server", hint: "a server has one name")
        }
      case "source": source = try reader.text()
      case "jobs": jobs = try reader.number(in: 1...64)
      case "spool": spool = try reader.text()
      case "spool-cap": spoolCap = try reader.size(atLeast: 1 << 20)
      case "lock-wait": lockWait = try reader.duration()
      case "pg-bin": toolFolders = try reader.list()
      case "exclude-table-data": excludedTableData = try reader.list()
      case "restore":
        for entry in try reader.entries(["search-path", "role"]) {
          if entry.key == "role" { restoreRole = try entry.text() } else { searchPath = try entry.text() }
        }
      case "maintenance": maintenance = try Self.maintenance(reader)
      case "migrate": migration = try MigrationSettings(reader)
      case "log-format":
        guard let format = MessageLog.Format(rawValue: try reader.text()) else { throw reader.wrong("text, json or journal") }
        logFormat = format
      case "assertions": assertions = try Self.assertions(reader)
      case "incremental": incremental = try reader.incremental()
      case "full-every": fullEvery = try reader.duration()
      case "max-unread-age": limits.unreadAge = try reader.age()
      case "max-age": limits.snapshotAge = try reader.age()
      case "max-proof-age": limits.proofAge = try reader.age()
      case "anomaly": anomaly = try reader.share()
      case "policy": policy = try ConfiguredPolicy(reader)
      case "time-zone": timeZone = try reader.timeZone()
      case "copies": copies = try reader.items().map { try $0.location() }
      case "identity": identity = try reader.text()
      case "recipients": recipients = try reader.items().map(Self.recipient)
      case "credentials-command": credentialsCommand = try reader.text()
      default: try notifications.read(reader)
      }
    }
    for server in servers {
      for (pattern, override) in server.overrides { if let age = override.maxAge { limits.exceptions.append((server.name, pattern, age)) } }
    }
  }

  /// The same, for one of its servers alone.
  package func choosing(_ server: ServerConfiguration) -> Configuration {
    var configuration = self
    (configuration.databaseURL, configuration.source, configuration.chosenServer) = (server.databaseURL, server.name, server)
    return configuration
  }

  /// The settings of one database of the chosen server.
  package func override(for database: String) -> ServerConfiguration.Override { chosenServer?.override(for: database) ?? .init() }

  /// Whether `--all` backs it up.
  package func backsUp(_ database: String) -> Bool { chosenServer?.backsUp(database) ?? true }

  /// When snapshots of a database take over tables that have not changed.
  package func incremental(for database: String) -> SnapshotRequest.Incremental { override(for: database).incremental ?? incremental ?? .auto }

  /// As it stands in a repository.
  private static func recipient(_ value: YAMLValue) throws -> String {
    let text = try value.text()
    do { return try AgeRecipient(text).description } catch {
      // It may be an identity, which is secret.
      let shown = text.hasPrefix("age1") || text.hasPrefix("ssh-") ? text : "one of recipients"
      throw ConfigurationError(message: "\(value.place): \(shown) is no age recipient", hint: "it begins with age1, or is a line ssh-ed25519 …")
    }
  }

  private static func maintenance(_ value: YAMLValue) throws -> ApplicationControl {
    var maintenance = ApplicationControl()
    for reader in try value.entries(maintenanceKeys) {
      switch reader.key {
      case "stop": maintenance.stop = try reader.list()
      case "start": maintenance.start = try reader.list()
      case "health": maintenance.healthCheck = healthCommand(try reader.text())
      case "health-retries": maintenance.healthRetries = try reader.number(in: 0...1000)
      case "health-pause": maintenance.healthPause = try reader.duration()
      default: break
      }
    }
    return maintenance
  }

  private static func assertions(_ value: YAMLValue) throws -> [DrillRequest.Assertion] {
    guard case .sequence(let sequence) = value.node else {
      throw ConfigurationError(message: "\(value.place): assertions is not a list", hint: "each has \(assertionKeys.joined(separator: ", "))")
    }
    return try sequence.map { item in
      let entries = try YAMLValue(key: "an assertion", node: item, name: value.name).entries(assertionKeys)
      let values = try entries.reduce(into: [:]) { $0[$1.key] = try $1.key == "expect" ? $1.value() : $1.text() }
      guard let sql = values["sql"], let expected = values["expect"] else {
        throw ConfigurationError(
          message: "\(YAMLValue(key: "", node: item, name: value.name).place): an assertion lacks \(values["sql"] == nil ? "sql" : "expect")",
          hint: nil)
      }
      return DrillRequest.Assertion(name: values["name"] ?? sql, sql: sql, expected: expected)
    }
  }

  /// A URL is asked for by curl, anything else is a command.
  private static func healthCommand(_ text: String) -> String {
    guard text.hasPrefix("http://") || text.hasPrefix("https://") else { return text }
    // A way elsewhere, as to a page that says "back soon", is no sign of health.
    return "test \"$(curl -sS -o /dev/null -w '%{http_code}' --max-time 10 '\(text.replacing("'", with: "'\\''"))')\" -lt 300"
  }
}
