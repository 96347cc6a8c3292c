package import FirnCore
internal import Foundation
internal import Platform
internal import SystemPackage
internal import Yams

/// A configuration that can't be used, with the line where that shows.
package struct ConfigurationError: Error, Sendable {
  package let message: String
  package let hint: String?
}

/// The values of `firn.yaml`. Flags and environment come before them.
package struct Configuration: Sendable, Equatable {
  package var store: String?
  package var databaseURL: String?
  package var source: String?
  package var jobs: Int?
  package var spool: String?
  /// Bytes.
  package var spoolCap: Int64?
  package var lockWait: Duration?
  package var toolFolders: [String] = []
  package var excludedTableData: [String] = []
  package var maintenance = Maintenance()
  package var assertions: [DrillRequest.Assertion] = []
  package var limits = StoreStatus.Limits()
  /// The share of its rows that a table may lose from one snapshot to the next without a warning.
  package var anomaly: Double?

  package init() {}

  private static let keys = [
    "store", "database-url", "source", "jobs", "spool", "spool-cap", "lock-wait", "pg-bin", "exclude-table-data", "maintenance",
    "assertions", "max-age", "max-proof-age", "anomaly",
  ]
  private static let assertionKeys = ["name", "sql", "expect"]
  private static let maintenanceKeys = ["stop", "start", "health", "health-retries", "health-pause"]

  /// The named file, else the first there is of `./firn.yaml`, `~/.config/firn/firn.yaml`, `/etc/firn/firn.yaml`, else nothing.
  /// - Throws: `ConfigurationError`.
  package static func load(named path: String?) throws -> Configuration {
    if let path {
      guard Folder.exists(FilePath(path)) else { throw ConfigurationError(message: "there is no file \(path)", hint: "check --config") }
      return try read(FilePath(path))
    }
    let home = Host.homeFolder.map { $0.appending(".config/firn/firn.yaml") }
    for candidate in ["firn.yaml", home, "/etc/firn/firn.yaml"].compactMap(\.self) where Folder.exists(candidate) {
      return try read(candidate)
    }
    return Configuration()
  }

  private static func read(_ path: FilePath) throws -> Configuration {
    let bytes: [UInt8]
    do { bytes = try Folder.contents(of: path, limit: 1 << 20) } catch {
      throw ConfigurationError(message: "\(error)", hint: nil)
    }
    return try Configuration(parsing: String(decoding: bytes, as: UTF8.self), name: path.string)
  }

  package init(parsing text: String, name: String) throws {
    let root: Node?
    do { root = try Yams.compose(yaml: text) } catch {
      throw ConfigurationError(message: "\(name) is not YAML: \(error)", hint: nil)
    }
    guard let root else { return }
    guard case .mapping(let mapping) = root else {
      throw ConfigurationError(message: "\(name) is not a list of keys and values", hint: "write a line as store: /var/lib/firn")
    }
    for (keyNode, value) in mapping {
      let key = keyNode.string ?? ""
      let reader = ValueReader(key: key, node: value, name: name)
      switch key {
      case "store": store = try reader.text()
      case "database-url": databaseURL = try reader.text()
      case "source": source = try reader.text()
      case "jobs": jobs = try reader.number(in: 1...64)
      case "spool": spool = try reader.text()
      case "spool-cap": spoolCap = try reader.size()
      case "lock-wait": lockWait = try reader.duration()
      case "pg-bin": toolFolders = try reader.list()
      case "exclude-table-data": excludedTableData = try reader.list()
      case "maintenance": maintenance = try Self.maintenance(value, name)
      case "assertions": assertions = try Self.assertions(value, name)
      case "max-age": limits.snapshotAge = try reader.duration()
      case "max-proof-age": limits.proofAge = try reader.duration()
      case "anomaly": anomaly = try reader.share()
      default: throw Self.unknown(keyNode, name, Self.keys)
      }
    }
  }

  private static func maintenance(_ node: Node, _ name: String) throws -> Maintenance {
    guard case .mapping(let mapping) = node else {
      throw ConfigurationError(
        message: "\(name): maintenance is not a list of keys and values", hint: "its keys are \(maintenanceKeys.joined(separator: ", "))")
    }
    var maintenance = Maintenance()
    for (keyNode, value) in mapping {
      let reader = ValueReader(key: keyNode.string ?? "", node: value, name: name)
      switch reader.key {
      case "stop": maintenance.stop = try reader.list()
      case "start": maintenance.start = try reader.list()
      case "health": maintenance.healthCheck = healthCommand(try reader.text())
      case "health-retries": maintenance.healthRetries = try reader.number(in: 0...1000)
      case "health-pause": maintenance.healthPause = try reader.duration()
      default: throw unknown(keyNode, name, maintenanceKeys)
      }
    }
    return maintenance
  }

  private static func assertions(_ node: Node, _ name: String) throws -> [DrillRequest.Assertion] {
    guard case .sequence(let sequence) = node else {
      throw ConfigurationError(message: "\(name): assertions is not a list", hint: "each has \(assertionKeys.joined(separator: ", "))")
    }
    return try sequence.map { item in
      guard case .mapping(let mapping) = item else {
        throw ConfigurationError(
          message: "\(name): an assertion is not a list of keys and values", hint: "its keys are \(assertionKeys.joined(separator: ", "))")
      }
      var values: [String: String] = [:]
      for (keyNode, value) in mapping {
        let reader = ValueReader(key: keyNode.string ?? "", node: value, name: name)
        guard assertionKeys.contains(reader.key) else { throw unknown(keyNode, name, assertionKeys) }
        values[reader.key] = try reader.text()
      }
      guard let sql = values["sql"], let expected = values["expect"] else {
        throw ConfigurationError(message: "\(name): an assertion lacks \(values["sql"] == nil ? "sql" : "expect")", hint: nil)
      }
      return DrillRequest.Assertion(name: values["name"] ?? sql, sql: sql, expected: expected)
    }
  }

  /// A URL is asked for by curl, anything else is a command.
  private static func healthCommand(_ text: String) -> String {
    guard text.hasPrefix("http://") || text.hasPrefix("https://") else { return text }
    return "curl -fsS -o /dev/null --max-time 10 '\(text.replacing("'", with: "'\\''"))'"
  }

  private static func unknown(_ key: Node, _ name: String, _ keys: [String]) -> ConfigurationError {
    let line = key.mark.map { " line \($0.line)" } ?? ""
    return ConfigurationError(
      message: "\(name)\(line): there is no key \(key.string ?? "")", hint: "did you mean \(nearest(to: key.string ?? "", in: keys))?")
  }

  private static func nearest(to word: String, in keys: [String]) -> String {
    keys.min { distance($0, word) < distance($1, word) } ?? ""
  }

  /// Edits that make one word of the other (Levenshtein).
  private static func distance(_ left: String, _ right: String) -> Int {
    let right = Array(right)
    var row = Array(0...right.count)
    for (line, character) in left.enumerated() {
      var diagonal = row[0]
      row[0] = line + 1
      for column in right.indices {
        let cost = min(row[column + 1] + 1, row[column] + 1, diagonal + (character == right[column] ? 0 : 1))
        diagonal = row[column + 1]
        row[column + 1] = cost
      }
    }
    return row[right.count]
  }
}

/// Reads one value and names its line where it is wrong.
private struct ValueReader {
  let key: String
  let node: Node
  let name: String

  func wrong(_ wanted: String) -> ConfigurationError {
    ConfigurationError(message: "\(name)\(node.mark.map { " line \($0.line)" } ?? ""): \(key) is not \(wanted)", hint: nil)
  }

  func text() throws -> String {
    guard let text = node.string, !text.isEmpty else { throw wrong("a text") }
    return text
  }

  func number(in range: ClosedRange<Int>) throws -> Int {
    guard let number = node.string.flatMap(Int.init), range.contains(number) else {
      throw wrong("a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  func size() throws -> Int64 {
    guard let size = node.string.flatMap(Quantity.bytes) else { throw wrong("a size such as 512MiB") }
    return size
  }

  func duration() throws -> Duration {
    guard let duration = node.string.flatMap(Quantity.duration) else { throw wrong("a duration such as 30s") }
    return duration
  }

  func share() throws -> Double {
    guard let text = node.string, text.hasSuffix("%"), let number = Double(text.dropLast()), number > 0, number <= 100 else {
      throw wrong("a share such as 50%")
    }
    return number / 100
  }

  func list() throws -> [String] {
    if let text = node.string { return [text] }
    guard case .sequence(let sequence) = node else { throw wrong("a list") }
    return try sequence.map { item in
      guard let text = item.string else { throw wrong("a list of texts") }
      return text
    }
  }
}
