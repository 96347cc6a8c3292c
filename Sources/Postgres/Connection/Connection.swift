internal import CLibPQ
internal import Foundation
internal import Glibc
internal import Platform

/// A connection to a server. Used by one thread at a time; closed when it is released.
///
/// Its session reads and writes UTF-8, has an empty `search_path`, and no time limits except those that a caller
/// sets.
@safe package final class Connection {
  let handle: OpaquePointer
  package let settings: ConnectionSettings
  /// How the server writes its messages to this session: as `client_encoding` says.
  var messageEncoding = ArchiveEncoding.utf8
  /// Asked several times a second while the server is waited for; what it throws cancels the statement.
  package var check: () throws -> Void = Interruption.check

  /// - Throws: `PostgresError.cannotConnect`, `.wrongPassword`, `.noSuchDatabase`, or `Interruption`.
  package init(_ settings: ConnectionSettings, applicationName: String = "firn") throws {
    self.settings = settings
    var parameters = settings.parameters
    parameters["application_name"] = applicationName
    parameters["client_encoding"] = "UTF8"
    let asked = parameters["connect_timeout"] ?? ProcessInfo.processInfo.environment["PGCONNECT_TIMEOUT"] ?? ""
    unsafe handle = unsafe try Self.open(parameters, patience: Double(asked) ?? 15)
    unsafe PQsetNoticeProcessor(handle, { _, _ in }, nil)
    // Settings of a session behind a pooler would stay set for the application that gets it next.
    guard try isAnnouncedProcess() else { return }
    try execute(
      """
      SET search_path = ''; SET default_transaction_read_only = off; SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
      SET datestyle = 'ISO'; SET extra_float_digits = 1; SET quote_all_identifiers = off
      """)
    if serverVersion >= 140000 { try execute("SET idle_session_timeout = 0") }
    if serverVersion >= 170000 { try execute("SET transaction_timeout = 0") }
  }

  deinit { unsafe PQfinish(handle) }

  private static func open(_ parameters: [String: String], patience: Double, looksElsewhere: Bool = true) throws -> OpaquePointer {
    let keywords = Array(parameters.keys)
    let values = keywords.map { parameters[$0] ?? "" }
    // expand_dbname is 0: a database named "a=b" is a name.
    let connection = unsafe withCStrings(keywords) { keys in
      unsafe withCStrings(values) { values in unsafe PQconnectStartParams(keys, values, 0) }
    }
    guard let handle = unsafe connection else { throw PostgresError.cannotConnect(target: "the server", reason: "no memory") }
    let hosts = (parameters["host"] ?? "").split(separator: ",").count
    // Like in libpq, 0 and less mean no timeout.
    let deadline = patience > 0 ? ContinuousClock.now + .seconds(min(patience, 86400) * Double(max(1, hosts))) : nil
    var awaited = PGRES_POLLING_WRITING
    do {
      while unsafe PQstatus(handle) != CONNECTION_BAD && awaited != PGRES_POLLING_OK && awaited != PGRES_POLLING_FAILED {
        try Interruption.check()
        if let deadline, ContinuousClock.now > deadline {
          throw PostgresError.cannotConnect(target: unsafe target(handle), reason: "no answer within \(Int(patience)) s")
        }
        var descriptor = pollfd(
          fd: unsafe PQsocket(handle), events: Int16(awaited == PGRES_POLLING_READING ? POLLIN : POLLOUT), revents: 0)
        if unsafe poll(&descriptor, 1, 200) > 0 { awaited = unsafe PQconnectPoll(handle) }
      }
      guard unsafe PQstatus(handle) == CONNECTION_OK else { throw unsafe failure(handle, parameters, looksElsewhere: looksElsewhere) }
      return unsafe handle
    } catch {
      unsafe PQfinish(handle)
      throw error
    }
  }

  private static func failure(_ handle: OpaquePointer, _ parameters: [String: String], looksElsewhere: Bool) -> PostgresError {
    var reason = unsafe String(cString: PQerrorMessage(handle)).trimmingCharacters(in: .whitespacesAndNewlines)
    for secret in ["password", "sslpassword"] {
      // Replacing a short one would make holes in words, and so reveal it.
      if let value = parameters[secret], value.utf8.count >= 6 { reason = reason.replacing(value, with: "****") }
    }
    // libpq quotes values that it can't use: in a mangled URL they may hold a password.
    for (name, value) in parameters where !value.isEmpty && !["host", "hostaddr", "port", "dbname", "user"].contains(name) {
      reason = reason.replacing("\"\(value)\"", with: "(not shown)")
    }
    let place = unsafe target(handle)
    // libpq doesn't tell the SQLSTATE of a refused connection, and its text is in the server's language: look for ourselves.
    if looksElsewhere, let name = parameters["dbname"], unsafe PQsocket(handle) >= 0 || PQconnectionUsedPassword(handle) != 0 {
      var elsewhere = parameters
      elsewhere["dbname"] = name == "postgres" ? "template1" : "postgres"
      if let maintenance = try? unsafe Self.open(elsewhere, patience: 5, looksElsewhere: false) {
        defer { unsafe PQfinish(maintenance) }
        let result = unsafe withCStrings([name]) { values in
          unsafe PQexecParams(maintenance, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", 1, nil, values, nil, nil, 0)
        }
        defer { unsafe PQclear(result) }
        if unsafe PQresultStatus(result) == PGRES_TUPLES_OK, unsafe PQntuples(result) == 0 { return .noSuchDatabase(name: name) }
        return .cannotConnect(target: place, reason: reason)
      }
    }
    if unsafe PQconnectionNeedsPassword(handle) != 0 || PQconnectionUsedPassword(handle) != 0 {
      return .wrongPassword(target: place, reason: reason)
    }
    return .cannotConnect(target: place, reason: reason)
  }

  private static func target(_ handle: OpaquePointer) -> String {
    func text(_ pointer: UnsafeMutablePointer<CChar>?) -> String { unsafe pointer.map { unsafe String(cString: $0) } ?? "" }
    let host = unsafe text(PQhost(handle))
    return unsafe host.hasPrefix("/") ? "socket \(host), port \(text(PQport(handle)))" : "\(host):\(text(PQport(handle)))"
  }

  /// The server's host and port; the host is nil for a socket of this machine.
  package var place: (host: String?, port: Int?) {
    let host = unsafe PQhost(handle).map { unsafe String(cString: $0) } ?? ""
    return (host.hasPrefix("/") || host.isEmpty ? nil : host, unsafe PQport(handle).flatMap { unsafe Int(String(cString: $0)) })
  }

  /// Where we are connected to, for messages.
  package var target: String { unsafe Self.target(handle) }

  /// As `server_version_num`.
  package var serverVersion: Int { Int(unsafe PQserverVersion(handle)) }
  package var serverMajor: Int { serverVersion / 10000 }
  package var database: String { unsafe String(cString: PQdb(handle)) }
  package var user: String { unsafe String(cString: PQuser(handle)) }
  package var isLocal: Bool {
    let host = unsafe String(cString: PQhost(handle))
    return host.hasPrefix("/") || ["localhost", "127.0.0.1", "::1"].contains(host)
  }

  /// The process id that was announced when we connected: of the server's process, or invented by a pooler.
  var announcedProcessID: Int32 { unsafe PQbackendPID(handle) }
  /// The port we asked for; nil for a socket.
  var askedPort: Int? {
    unsafe String(cString: PQhost(handle)).hasPrefix("/") ? nil : Int(unsafe String(cString: PQport(handle)))
  }
  var password: String { unsafe String(cString: PQpass(handle)) }
  /// The address of the server, if it is reached over a network.
  var address: String? {
    let host = unsafe String(cString: PQhost(handle))
    let address = unsafe String(cString: PQhostaddr(handle))
    // libpq does not give the zone of a link-local address.
    return host.hasPrefix("/") || host.contains("%") || address.isEmpty ? nil : address
  }

  /// For those who will have PostgreSQL's tools follow: these get the password in a file, and no other secret.
  /// - Throws: `PostgresError.secretForTools`.
  package func requireToolsCanFollow() throws {
    let others = settings.parameters.keys.filter {
      $0.hasPrefix("ssl") && $0.hasSuffix("password") || ["oauth_client_secret", "scram_client_key"].contains($0)
    }
    if let name = others.sorted().first(where: { settings.parameters[$0] != "" }) { throw PostgresError.secretForTools(parameter: name) }
  }

  /// The parameters that differ from libpq's own defaults, as they are in force, without secrets and without the database.
  var effectiveParameters: [String: String] {
    guard let options = unsafe PQconninfo(handle) else { return [:] }
    defer { unsafe PQconninfoFree(options) }
    let left: Set<String> = [
      "password", "passfile", "sslpassword", "dbname", "service", "servicefile", "application_name",
      "fallback_application_name", "client_encoding", "replication", "target_session_attrs", "load_balance_hosts",
    ]
    var result: [String: String] = [:]
    var option = unsafe options
    while let keyword = unsafe option.pointee.keyword {
      let value = unsafe option.pointee.val.map { unsafe String(cString: $0) } ?? ""
      let usual = unsafe option.pointee.compiled.map { unsafe String(cString: $0) }
      // Libpq marks what is secret so (libpq-fe.h, PQconninfoOption).
      let isSecret = unsafe option.pointee.dispchar.map { unsafe String(cString: $0) } == "*"
      unsafe option += 1
      let name = unsafe String(cString: keyword)
      if !left.contains(name) && !isSecret && !value.isEmpty && value != usual { result[name] = value }
    }
    // The host that answered, of several.
    result["host"] = unsafe String(cString: PQhost(handle))
    result["port"] = unsafe String(cString: PQport(handle))
    result["user"] = user
    result["hostaddr"] = nil
    return result
  }

  /// A URL that leads to the same database as the same role, for programs that take nothing else. It may hold the password.
  ///
  /// A socket's folder stands where a host does: Rails drops a `host` parameter, and goes where its `database.yml` says instead.
  package var url: String {
    func encoded(_ text: String) -> String { text.addingPercentEncoding(withAllowedCharacters: Self.unreserved) ?? "" }
    var query = effectiveParameters
    query["user"] = nil
    let host = query.removeValue(forKey: "host") ?? ""
    let port = query.removeValue(forKey: "port") ?? ""
    let secret = password.isEmpty ? "" : ":\(encoded(password))"
    let place = host.contains(":") && !host.hasPrefix("/") ? "[\(host)]" : encoded(host)
    let parameters = query.sorted { $0.key < $1.key }.map { "\($0.key)=\(encoded($0.value))" }.joined(separator: "&")
    return "postgresql://\(encoded(user))\(secret)@\(place):\(port)/\(encoded(database))" + (parameters.isEmpty ? "" : "?\(parameters)")
  }

  /// libpq's variables for the same database and role, without a password.
  package var environment: [String: String] {
    let parameters = effectiveParameters
    return ["PGHOST": parameters["host"] ?? "", "PGPORT": parameters["port"] ?? "", "PGUSER": user, "PGDATABASE": database]
  }

  /// Variables by which libpq is led to a server, as a role, and to how safely (PostgreSQL's documentation, "Environment Variables").
  package static func leads(_ variable: String) -> Bool {
    let names: Set<String> = [
      "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGREQUIREAUTH",
      "PGCHANNELBINDING", "PGREQUIRESSL", "PGREQUIREPEER", "PGKRBSRVNAME", "PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS",
    ]
    return names.contains(variable) || ["PGSSL", "PGGSS"].contains { variable.hasPrefix($0) }
  }

  private static let unreserved = CharacterSet(charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")

  /// Runs one or more statements.
  package func execute(_ sql: String) throws { _ = unsafe try run { unsafe PQsendQuery($0, sql) } }

  /// Runs one statement with parameters (`$1` …) and gives its rows as text.
  func rows(_ sql: String, _ arguments: [String?] = []) throws -> [[String?]] {
    unsafe try run { handle in
      unsafe withCStrings(arguments) { values in
        unsafe PQsendQueryParams(handle, sql, Int32(arguments.count), nil, values, nil, nil, 0)
      }
    }
  }

  /// The only value of the only row.
  func value(_ sql: String, _ arguments: [String?] = []) throws -> String? {
    try rows(sql, arguments).first?.first ?? nil
  }

  private func run(_ send: (OpaquePointer) -> Int32) throws -> [[String?]] {
    guard unsafe send(handle) == 1 else { throw lost() }
    var rows: [[String?]] = []
    var failure: PostgresError?
    let interruption = unsafe try forEachResult { result in
      switch unsafe PQresultStatus(result) {
      case PGRES_TUPLES_OK: rows = unsafe Self.rows(of: result)
      case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: break
      default:
        if unsafe PQstatus(handle) == CONNECTION_BAD {
          failure = lost()
        } else if failure == nil {
          failure = unsafe self.failure(in: result)
        }
      }
      return true
    }
    // Completed statements stay completed; the next one will not run.
    if let interruption, failure != nil { throw interruption }
    if let failure { throw failure }
    return rows
  }

  /// Waits for the results of what was sent, and hands them over until `body` returns false or none is left.
  /// - Returns: what `check` threw meanwhile; the statement was cancelled then.
  @discardableResult func forEachResult(_ body: (OpaquePointer) throws -> Bool) throws -> (any Error)? {
    var interruption: (any Error)?
    while true {
      while unsafe PQisBusy(handle) == 1 {
        if interruption == nil {
          do { try check() } catch {
            interruption = error
            cancel()
          }
        }
        try waitForServer(Int16(POLLIN))
      }
      guard let result = unsafe PQgetResult(handle) else { return interruption }
      defer { unsafe PQclear(result) }
      guard try unsafe body(result) else { return interruption }
      // Until all rows of a COPY are read or sent, libpq gives the same result again and again.
      if [PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH].contains(unsafe PQresultStatus(result)) { return interruption }
    }
  }

  /// Waits a moment until the server has sent something, or takes more.
  func waitForServer(_ events: Int16) throws {
    var descriptor = pollfd(fd: unsafe PQsocket(handle), events: events, revents: 0)
    guard unsafe poll(&descriptor, 1, 200) > 0, descriptor.revents & ~Int16(POLLOUT) != 0 else { return }
    if unsafe PQconsumeInput(handle) == 0 { throw lost() }
  }

  func failure(in result: OpaquePointer) -> PostgresError {
    .statementFailed(message: unsafe errorField("M", of: result) ?? "", state: unsafe errorField("C", of: result) ?? "")
  }

  /// A field of an error, by its letter (PostgreSQL's documentation, "Error and Notice Message Fields"); nil if it has none.
  func errorField(_ letter: Unicode.Scalar, of result: OpaquePointer) -> String? {
    unsafe PQresultErrorField(result, Int32(letter.value)).map { text in
      unsafe messageEncoding.text(UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }
  }

  private static func rows(of result: OpaquePointer) -> [[String?]] {
    let columns = unsafe PQnfields(result)
    return unsafe (0..<PQntuples(result)).map { row in
      (0..<columns).map { column in
        unsafe PQgetisnull(result, row, column) == 1 ? nil : String(cString: PQgetvalue(result, row, column))
      }
    }
  }

  func lost() -> PostgresError {
    .connectionLost(reason: unsafe String(cString: PQerrorMessage(handle)).trimmingCharacters(in: .whitespacesAndNewlines))
  }

  func cancel() {
    guard let request = unsafe PQgetCancel(handle) else { return }
    defer { unsafe PQfreeCancel(request) }
    var reason = [CChar](repeating: 0, count: 256)
    unsafe PQcancel(request, &reason, 256)
  }

  /// `name` as an identifier in a statement, always quoted.
  package static func identifier(_ name: String) -> String { "\"" + name.replacingASCII("\"", with: "\"\"") + "\"" }

  /// `text` as a literal in a statement.
  package static func literal(_ text: String) -> String {
    let quoted = "'" + text.replacingASCII("'", with: "''") + "'"
    return text.utf8.contains(UInt8(ascii: "\\")) ? " E" + quoted.replacingASCII("\\", with: "\\\\") : quoted
  }
}

private func withCStrings<Result>(_ strings: [String?], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result) -> Result {
  let copies: [UnsafeMutablePointer<CChar>?] = unsafe strings.map { unsafe $0.flatMap { unsafe strdup($0) } } + [nil]
  defer { unsafe copies.forEach { unsafe free($0) } }
  let pointers = unsafe copies.map { unsafe UnsafePointer($0) }
  return unsafe pointers.withUnsafeBufferPointer { unsafe body($0.baseAddress!) }
}
