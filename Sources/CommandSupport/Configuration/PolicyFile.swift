internal import Foundation
internal import Platform
package import Retention
internal import SystemPackage

/// The key `policy` of `firn.yaml`.
package enum ConfiguredPolicy: Sendable, Equatable {
  /// One that comes with Firn, or a file.
  case named(String)
  /// Written in `firn.yaml` itself.
  case inline(PolicyFile)

  init(_ value: YAMLValue) throws { self = value.isMapping ? .inline(try PolicyFile(value)) : .named(try value.text()) }

  package var name: String {
    switch self {
    case .named(let name): name
    case .inline: "of firn.yaml"
    }
  }

  /// - Throws: `ConfigurationError`.
  package func file() throws -> PolicyFile {
    switch self {
    case .named(let name): try PolicyFile(named: name)
    case .inline(let policy): policy
    }
  }
}

/// A retention policy as users write it: the name of one that comes with Firn, or a YAML file.
package struct PolicyFile: Sendable, Equatable {
  package let policy: RetentionPolicy
  /// The time zone in which its days begin; nil if the file does not say.
  package let timeZone: String?

  private static let keys = ["keep", "kinds", "tags", "minimum-count", "minimum-age", "size-goal", "time-zone"]
  private static let ruleKeys = ["last", "hourly", "daily", "weekly", "monthly", "quarterly", "yearly", "within", "minimum-age"]

  /// - Throws: `ConfigurationError`.
  package init(named name: String) throws {
    if let shipped = ShippedPolicy(rawValue: name) {
      try self.init(parsing: shipped.text, name: "policy \(name)")
      return
    }
    guard Folder.exists(Host.path(name)) else {
      throw ConfigurationError(
        message: "there is no policy and no file \(name)",
        hint: "policies that come with Firn: \(ShippedPolicy.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    try self.init(parsing: YAMLValue.text(of: Host.path(name)), name: name)
  }

  package init(parsing text: String, name: String) throws {
    try self.init((YAMLValue.root(of: text, name: name) ?? []).map { try YAMLValue.entry($0.key, $0.value, name, Self.keys) })
  }

  /// A policy that stands in `firn.yaml` itself.
  init(_ value: YAMLValue) throws { try self.init(value.entries(Self.keys)) }

  private init(_ entries: [YAMLValue]) throws {
    var policy = RetentionPolicy()
    var timeZone: String?
    for reader in entries {
      switch reader.key {
      case "keep": policy.rules = try Self.rules(reader)
      case "kinds": policy.kinds = try Self.named(reader)
      case "tags": policy.tags = try Self.named(reader)
      case "minimum-count": policy.minimumCount = try reader.number(in: 1...1_000_000)
      case "minimum-age": policy.minimumAge = try reader.seconds()
      case "size-goal":
        policy.sizeGoal = try reader.size()
        // A number alone would be bytes, and is meant otherwise.
        if try policy.sizeGoal == 0 || reader.text().allSatisfy(\.isNumber) { throw reader.wrong("a size with its unit, such as 500GiB") }
      case "time-zone": timeZone = try reader.timeZone()
      default: break
      }
    }
    self.policy = policy
    self.timeZone = timeZone
  }

  private static func named(_ value: YAMLValue) throws -> [String: RetentionRules] {
    try value.entries().reduce(into: [:]) { $0[$1.key] = try rules($1) }
  }

  private static func rules(_ value: YAMLValue) throws -> RetentionRules {
    var rules = RetentionRules()
    for reader in try value.entries(ruleKeys) {
      func count() throws -> Int { try reader.number(in: 0...1_000_000) }
      switch reader.key {
      case "last": rules.last = try count()
      case "hourly": rules.hourly = try count()
      case "daily": rules.daily = try count()
      case "weekly": rules.weekly = try count()
      case "monthly": rules.monthly = try count()
      case "quarterly": rules.quarterly = try count()
      case "yearly": rules.yearly = try count()
      case "within": rules.within = try reader.seconds()
      case "minimum-age": rules.minimumAge = try reader.seconds()
      default: break
      }
    }
    return rules
  }
}

extension RetentionCalendar {
  /// The calendar of a time zone of the system's database, such as `Europe/Berlin`.
  /// - Throws: `ConfigurationError` for a name it doesn't have.
  package init(zone name: String) throws {
    guard let zone = TimeZone(identifier: name) else {
      throw ConfigurationError(message: "there is no time zone \(name)", hint: "write it as UTC or Europe/Berlin; the package tzdata has them")
    }
    self.init(name: name) { Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double($0)))) }
  }
}
