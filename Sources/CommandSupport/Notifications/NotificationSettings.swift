package import FirnCore
internal import Foundation
internal import Platform
internal import Repository
internal import SystemPackage
internal import Yams

/// The settings `hooks:`, `ping:`, `webhook:`, `mail:` and `metrics:` of `firn.yaml`: how runs are reported, and to
/// which services.
package struct NotificationSettings: Sendable, Equatable {
  /// The runs that are reported.
  package enum Choice: String, Sendable {
    case failure, always
  }

  /// The address of a web service, given directly or in a file, since anyone who knows it can use it.
  package struct Address: Sendable, Equatable {
    private let text: String

    init?(_ text: String) {
      guard ["http://", "https://", "/", "~/"].contains(where: { text.hasPrefix($0) }) else { return nil }
      self.text = text
    }

    /// - Throws: `ConfigurationError` where the file holds none.
    package func url() throws -> String {
      guard !isWrittenOut else { return text }
      let content = try YAMLValue.text(of: Host.path(text)).trimmingCharacters(in: .whitespacesAndNewlines)
      guard content.hasPrefix("http://") || content.hasPrefix("https://"), !content.contains(where: \.isWhitespace) else {
        throw ConfigurationError(message: "\(text) holds no address of a web service", hint: "one line: https://…")
      }
      return content
    }

    /// Whether it stands in the configuration itself.
    package var isWrittenOut: Bool { !text.hasPrefix("/") && !text.hasPrefix("~/") }

    /// As may be shown: the host at most.
    var shown: String {
      guard let start = text.firstRange(of: "://") else { return text }
      let host = text[start.upperBound...].prefix { !"/?#".contains($0) }
      return String(host.withoutLogin)
    }
  }

  package struct Ping: Sendable, Equatable {
    /// By job; that of nil for all others.
    package var addresses: [RunReport.Job?: Address] = [:]
    package var warningsAreFailures = true
  }

  package struct Webhook: Sendable, Equatable {
    package var address: Address
    package var choice = Choice.failure
    package var template: NoticeTemplate?
  }

  package var before: [String] = []
  package var after: [String] = []
  package var onFailure: [String] = []
  package var hookLimit: Duration = .seconds(60)
  package var ping: Ping?
  package var webhook: Webhook?
  package var mail: Mail?
  package var mailChoice = Choice.failure
  /// The file for Prometheus.
  package var metrics: String?

  package init() {}

  package var isEmpty: Bool { self == Self() }

  /// All that it names.
  package var addresses: [Address] { (ping.map { Array($0.addresses.values) } ?? []) + (webhook.map { [$0.address] } ?? []) }

  /// Reads one of the keys above; any other is passed over.
  mutating func read(_ value: YAMLValue) throws {
    switch value.key {
    case "hooks": try readHooks(value)
    case "ping": try readPing(value)
    case "webhook": try readWebhook(value)
    case "mail": try readMail(value)
    case "metrics": try readMetrics(value)
    default: break
    }
  }

  private mutating func readHooks(_ value: YAMLValue) throws {
    for reader in try value.entries(["before", "after", "on-failure", "time-limit"]) {
      switch reader.key {
      case "before": before = try reader.list()
      case "after": after = try reader.list()
      case "on-failure": onFailure = try reader.list()
      case "time-limit": hookLimit = try reader.duration()
      default: break
      }
    }
  }

  private mutating func readPing(_ value: YAMLValue) throws {
    var ping = Ping()
    if value.node.string != nil {
      ping.addresses[nil] = try Self.address(value)
    } else {
      for reader in try value.entries(["url", "warnings"] + RunReport.Job.allCases.map(\.rawValue)) {
        switch reader.key {
        case "url": ping.addresses[nil] = try Self.address(reader)
        case "warnings":
          guard let word = reader.node.string, ["success", "failure"].contains(word) else { throw reader.wrong("success or failure") }
          ping.warningsAreFailures = word == "failure"
        default: ping.addresses[RunReport.Job(rawValue: reader.key)] = try Self.address(reader)
        }
      }
    }
    self.ping = ping
  }

  private mutating func readWebhook(_ value: YAMLValue) throws {
    var address: Address?
    var choice = Choice.failure
    var template: NoticeTemplate?
    var service: NoticeService?
    var channel: String?
    for reader in try value.entries(["url", "on", "template", "service", "channel"]) {
      switch reader.key {
      case "url": address = try Self.address(reader)
      case "on": choice = try Self.choice(reader)
      case "service":
        guard let known = NoticeService(rawValue: try reader.text()) else {
          throw reader.wrong("one of \(NoticeService.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        service = known
      case "channel": channel = try reader.text()
      case "template":
        guard let read = NoticeTemplate(try reader.text()) else {
          throw reader.wrong("JSON with words such as {{summary}}, {{job}}, {{event}}, {{database}}, {{error}}")
        }
        template = read
      default: break
      }
    }
    if let service {
      guard template == nil else { throw ConfigurationError(message: "\(value.name): webhook has a service and a template", hint: "leave out one") }
      guard service.needsChannel == (channel != nil) else {
        throw ConfigurationError(
          message: "\(value.name): webhook: \(service.rawValue) \(service.needsChannel ? "needs a channel" : "takes no channel")",
          hint: service.needsChannel ? "write Telegram's chat id or ntfy's topic as channel: \"…\"" : "its address says where messages go")
      }
      template = service.template(channel: channel ?? "")
    } else if channel != nil {
      throw ConfigurationError(message: "\(value.name): webhook has a channel and no service", hint: "write service: telegram or ntfy")
    }
    guard let address else { throw ConfigurationError(message: "\(value.name): webhook has no url", hint: nil) }
    webhook = Webhook(address: address, choice: choice, template: template)
  }

  private mutating func readMail(_ value: YAMLValue) throws {
    var mail = Mail(to: [])
    for reader in try value.entries(["to", "from", "on", "program"]) {
      switch reader.key {
      case "to": mail.recipients = try reader.list()
      case "from": mail.sender = try reader.text()
      case "on": mailChoice = try Self.choice(reader)
      case "program":
        mail.program = try reader.text()
        guard mail.program.hasPrefix("/") else { throw reader.wrong("the path of a program from / on") }
      default: break
      }
    }
    guard !mail.recipients.isEmpty, mail.recipients.allSatisfy({ !$0.isEmpty && !$0.contains(where: \.isNewline) }) else {
      throw ConfigurationError(message: "\(value.name): mail has no to", hint: "write it as to: ops@example.org")
    }
    self.mail = mail
  }

  private mutating func readMetrics(_ value: YAMLValue) throws {
    let path = try value.text()
    guard path.hasPrefix("/"), path.hasSuffix(".prom") else { throw value.wrong("the path of a file from / on whose name ends in .prom") }
    metrics = path
  }

  private static func choice(_ reader: YAMLValue) throws -> Choice {
    guard let choice = Choice(rawValue: try reader.text()) else { throw reader.wrong("failure or always") }
    return choice
  }

  private static func address(_ reader: YAMLValue) throws -> Address {
    guard let address = Address(try reader.text()) else {
      throw reader.wrong("an address from https:// on, or the path of a file that holds one")
    }
    return address
  }
}
