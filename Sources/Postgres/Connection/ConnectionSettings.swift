internal import CLibPQ
internal import Foundation
internal import Platform

/// How to reach a server: libpq's parameters, without those that libpq doesn't know.
package struct ConnectionSettings: Sendable {
  /// By libpq's keywords.
  package private(set) var parameters: [String: String] = [:]
  /// Parameters of the URL that are not libpq's, and were left out.
  package private(set) var dropped: [String] = []

  /// Nothing given: libpq's own variables, service file and defaults decide.
  package init() {}

  /// Creates settings from libpq's own parameters.
  init(parameters: [String: String]) { self.parameters = parameters }

  /// From a URL as Rails takes it, or a libpq connection string.
  /// - Throws: `PostgresError.invalidURL`, without any part of the URL that could be a password.
  package init(_ text: String) throws {
    if text.contains("://") {
      try parseURL(text)
    } else {
      try parseString(text)
    }
  }

  /// Set by `--through-forwarded-port`: the server's port may differ from the one asked for.
  package var allowsForwardedPort = false

  package var database: String? { parameters["dbname"] }

  /// A word of libpq's parameter `options`, where spaces separate words.
  package static func optionWord(_ text: String) -> String { text.replacing("\\", with: "\\\\").replacing(" ", with: "\\ ") }

  /// The same server, as the user who runs this.
  package var withoutUser: ConnectionSettings {
    var copy = self
    (copy.parameters["user"], copy.parameters["password"]) = (nil, nil)
    return copy
  }

  /// The same server, another database.
  package func with(database: String) -> ConnectionSettings {
    var copy = self
    copy.parameters["dbname"] = database
    return copy
  }

  package func with(_ keyword: String, _ value: String) -> ConnectionSettings {
    var copy = self
    copy.parameters[keyword] = value
    return copy
  }

  /// Applies libpq's variables to settings of another origin: database, role and port. The password of another role
  /// is left out.
  package func overlaid(by environment: [String: String]) -> ConnectionSettings {
    var copy = self
    for (variable, keyword) in [("PGPORT", "port"), ("PGUSER", "user"), ("PGDATABASE", "dbname")] {
      guard let value = environment[variable], !value.isEmpty, value != parameters[keyword] else { continue }
      copy.parameters[keyword] = value
      if keyword == "user" { copy.parameters["password"] = nil }
    }
    return copy
  }

  private mutating func parseURL(_ text: String) throws {
    guard let schemeEnd = text.range(of: "://") else { return }
    let scheme = text[..<schemeEnd.lowerBound].lowercased()
    guard ["postgres", "postgresql", "postgis"].contains(scheme) else {
      throw PostgresError.invalidURL(reason: "its scheme is not postgresql")
    }
    var rest = text[schemeEnd.upperBound...]
    if let fragment = rest.firstIndex(of: "#") {
      guard !rest[fragment...].contains("@") else { throw Self.unescaped }
      rest = rest[..<fragment]
    }
    var query: Substring = ""
    if let mark = rest.firstIndex(of: "?") {
      query = rest[rest.index(after: mark)...]
      rest = rest[..<mark]
    }
    if let slash = rest.firstIndex(of: "/") {
      // Part of the text may be a password. In a database's name it can be written as %40.
      guard !rest[slash...].contains("@") else { throw Self.unescaped }
      let name = try Self.decoded(rest[rest.index(after: slash)...], "database")
      if !name.isEmpty { parameters["dbname"] = name }
      rest = rest[..<slash]
    }
    if let at = rest.lastIndex(of: "@") {
      let user = rest[..<at]
      rest = rest[rest.index(after: at)...]
      if let colon = user.firstIndex(of: ":") {
        let password = try Self.decoded(user[user.index(after: colon)...], "password")
        if !password.isEmpty { parameters["password"] = password }
        parameters["user"] = try Self.decoded(user[..<colon], "user")
      } else if !user.isEmpty {
        parameters["user"] = try Self.decoded(user, "user")
      }
    }
    try parseHosts(rest)
    for pair in query.split(separator: "&") {
      let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = try Self.decoded(parts[0], "parameters")
      if !Self.knownKeywords.contains(name), pair.contains("@") { throw Self.unescaped }
      try add(name, try Self.decoded(parts.count > 1 ? parts[1] : "", "parameters"))
    }
  }

  private mutating func parseHosts(_ text: Substring) throws {
    guard !text.isEmpty else { return }
    var hosts: [String] = []
    var ports: [String] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      var host = part
      var port: Substring = ""
      if part.hasPrefix("["), let end = part.firstIndex(of: "]") {
        host = part[part.index(after: part.startIndex)..<end]
        let after = part[part.index(after: end)...]
        guard after.isEmpty || after.hasPrefix(":") else { throw PostgresError.invalidURL(reason: "its host is malformed") }
        port = after.dropFirst()
      } else if let colon = part.lastIndex(of: ":") {
        host = part[..<colon]
        port = part[part.index(after: colon)...]
      }
      guard port.isEmpty || UInt16(port) != nil else {
        throw PostgresError.invalidURL(reason: "its port is not a number. \(Self.escapes)")
      }
      hosts.append(try Self.decoded(host, "host"))
      ports.append(String(port))
    }
    if hosts.contains(where: { !$0.isEmpty }) { parameters["host"] = hosts.joined(separator: ",") }
    if ports.contains(where: { !$0.isEmpty }) { parameters["port"] = ports.joined(separator: ",") }
  }

  private static let escapes = "In a user's name and a password, write @ as %40, # as %23, / as %2F, ? as %3F, : as %3A and % as %25"
  private static var unescaped: PostgresError { .invalidURL(reason: "an @ stands behind the host. \(escapes)") }

  private static func decoded(_ text: Substring, _ part: String) throws -> String {
    guard let value = String(text).removingPercentEncoding, !value.contains("\0") else {
      throw PostgresError.invalidURL(reason: "its \(part) has a % that begins no character: write % as %25")
    }
    return value
  }

  private mutating func add(_ name: String, _ value: String) throws {
    if name == "sslmode" && value == "no-verify" {
      // Node's and Heroku's word for encryption without a look at the certificate.
      parameters["sslmode"] = "require"
      dropped.append("sslmode=no-verify (taken as require)")
    } else if name == "ssl" && value == "true" {
      parameters["sslmode"] = "require"
    } else if Self.knownKeywords.contains(name), name != "passfile" || !value.isEmpty {
      parameters[name] = value
    } else {
      // A mangled URL may have anything in this place.
      let isName = name.utf8.count <= 40 && name.utf8.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F }
      dropped.append(isName && !value.isEmpty ? name : "one whose name is not shown")
    }
  }

  private mutating func parseString(_ text: String) throws {
    guard text.contains("=") else { throw PostgresError.invalidURL(reason: "it is neither a postgresql:// URL nor a connection string") }
    var message: UnsafeMutablePointer<CChar>?
    guard let options = unsafe PQconninfoParse(text, &message) else {
      // libpq's message quotes the string, and with it the password.
      unsafe PQfreemem(message)
      throw PostgresError.invalidURL(reason: "libpq cannot read it as a connection string")
    }
    defer { unsafe PQconninfoFree(options) }
    var option = unsafe options
    while let keyword = unsafe option.pointee.keyword {
      if let value = unsafe option.pointee.val { unsafe parameters[String(cString: keyword)] = String(cString: value) }
      unsafe option += 1
    }
  }

  /// The keywords that the libpq at hand takes.
  static let knownKeywords: Set<String> = {
    guard let options = unsafe PQconndefaults() else { return [] }
    defer { unsafe PQconninfoFree(options) }
    var keywords: Set<String> = []
    var option = unsafe options
    while let keyword = unsafe option.pointee.keyword {
      unsafe keywords.insert(String(cString: keyword))
      unsafe option += 1
    }
    return keywords
  }()

  /// Adds a server option and an application name to a URL, whose own values would take precedence over libpq's
  /// variables. A URL without such values is not changed.
  package static func url(_ url: String, adding option: String, application: String) -> String {
    guard let start = url.firstIndex(of: "?") else { return url }
    let unreserved = CharacterSet(charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
    func encoded(_ text: String) -> String { text.addingPercentEncoding(withAllowedCharacters: unreserved) ?? "" }
    let parameters = url[url.index(after: start)...].split(separator: "&", omittingEmptySubsequences: false).map { parameter in
      switch parameter.prefix(while: { $0 != "=" }) {
      case "options": "\(parameter)\(encoded(" \(option)"))"
      case "application_name": "application_name=\(encoded(application))"
      default: String(parameter)
      }
    }
    return url[...start] + parameters.joined(separator: "&")
  }

  /// `text` as a value in a connection string.
  package static func quoted(_ text: String) -> String {
    "'" + text.replacingASCII("\\", with: "\\\\").replacingASCII("'", with: "\\'") + "'"
  }
}
