internal import ArgumentParser
internal import FirnCore
internal import Foundation
internal import Platform
package import Postgres
package import Repository

/// The server of a command: by options, environment or configuration.
extension CommandContext {
  /// The only server of the configuration.
  var onlyServer: ServerConfiguration? {
    configuration.servers.count == 1 && (configuration.databaseURL ?? "").isEmpty ? configuration.servers[0] : nil
  }

  /// The context for the server that options name; if neither they nor the environment name one, for the only server of the configuration.
  package func choosing(_ options: ConnectionOptions) throws -> CommandContext {
    guard options.servers.count <= 1 else { throw UsageError("--server is given twice", hint: "name one server") }
    if !options.servers.isEmpty {
      if options.databaseURL != nil { throw UsageError("--server and --database-url exclude each other") }
      return choosing(try servers(options.servers)[0])
    }
    return givesServer(options) || configuration.isOfNamedServer ? self : choosingOnlyServer
  }

  /// The context for the only server of the configuration; the same if there is none, or several.
  package var choosingOnlyServer: CommandContext { onlyServer.map(choosing) ?? self }

  /// The contexts for the servers to examine: the named one, or, if none is named, all of the configuration.
  package func serversToExamine(_ options: ConnectionOptions) throws -> [CommandContext] {
    let isOpen = options.servers.isEmpty && !givesServer(options) && (configuration.databaseURL ?? "").isEmpty && configuration.servers.count > 1
    return isOpen ? configuration.servers.map(choosing) : [try choosing(options)]
  }

  /// The context for the server of a snapshot, if it is one of the configuration and nothing names another one.
  package func choosing(serverOf place: SnapshotPath, in catalog: Catalog, _ options: ConnectionOptions) throws -> CommandContext {
    guard !configuration.isOfNamedServer, !givesServer(options) else { return self }
    let name = try catalog.sourceNames(of: [place.source])[place.source] ?? place.source
    return configuration.servers.first { $0.name.isSame(as: name) || $0.name.isSame(as: place.source) }.map(choosing) ?? self
  }

  /// The source that --server names for a restore, and the context for the server to restore onto: that of the configuration, or
  /// another one that the options or the environment lead to.
  /// - Throws: `UsageError` if it is unclear which server is meant.
  package func restoring(_ options: ConnectionOptions) throws -> (source: String?, context: CommandContext) {
    guard let name = options.servers.first else { return (nil, try choosing(options).restoring) }
    guard options.servers.count == 1 else { throw UsageError("--server is given twice", hint: "name one server") }
    if options.databaseURL == nil, let server = configuration.servers.first(where: { $0.name == name }) { return (name, choosing(server).restoring) }
    guard givesServer(options) || configuration.servers.isEmpty else {
      throw UsageError(
        "there is no server \(name) in \(configurationName)",
        hint:
          "it names \(configuration.servers.map(\.name).joined(separator: ", ")); to restore source \(name) onto another server, add --database-url")
    }
    return (name, CommandContext(choosing: nil, self).restoring)
  }

  /// The `--server` option to add to a suggested command, so that it reaches the same server; empty if there is only one.
  package var serverOption: String {
    configuration.isOfNamedServer && configuration.servers.count > 1 ? " --server \(configuration.source ?? "")" : ""
  }

  /// A context for snapshots.
  package var taking: CommandContext {
    var context = self
    context.restores = false
    return context
  }

  /// A context for restores.
  package var restoring: CommandContext {
    var context = self
    context.restores = true
    return context
  }

  /// Connects once, if sessions take the role for restores, so that a missing role gives a clear error.
  /// - Throws: `ConfigurationError` if the server lets this user in, but not into that role.
  package func requireRestoreRole(_ options: ConnectionOptions) throws {
    // Only servers of the configuration have it.
    guard restores, let role = configuration.restoreRole, configuration.isOfNamedServer || !givesServer(options) else { return }
    let settings = try connectionSettings(options)
    do { _ = try ServerConnection.open(settings) } catch let error as PostgresError {
      guard (try? ServerConnection.open(taking.connectionSettings(options))) != nil else { return }
      throw ConfigurationError(
        message: "\(configurationName): sessions can't take role \(role) of restore: \(FailureReport(error).message)",
        hint: "create it: firn setup --apply; or remove the key, to restore with the rights of the role that connects")
    }
  }

  /// Servers of the configuration by their names; all of them if none is named.
  /// - Throws: `UsageError`.
  package func servers(_ names: [String]) throws -> [ServerConfiguration] {
    guard !names.isEmpty else { return configuration.servers }
    return try names.map { name in
      if let server = configuration.servers.first(where: { $0.name == name }) { return server }
      let known = configuration.servers.map(\.name)
      throw UsageError(
        "there is no server \(name) in \(configurationName)",
        hint: known.isEmpty ? "it names none: see servers in firn.yaml(5)" : "it names \(known.joined(separator: ", "))")
    }
  }

  /// Whether options or the environment name a server.
  package func givesServer(_ options: ConnectionOptions) -> Bool { givesServer(options.databaseURL) }

  /// - Parameter url: from the command line.
  func givesServer(_ url: String? = nil) -> Bool { urlBeforeFile(url) != nil || serverVariable != nil }

  package func connectionSettings(_ options: ConnectionOptions, database: String? = nil) throws -> ConnectionSettings {
    let isChosen = configuration.isOfNamedServer && options.databaseURL == nil || ignoresServerNames && !options.servers.isEmpty
    let chosen = isChosen ? self : try choosing(options)
    return try chosen.connectionSettings(options.databaseURL, throughForwardedPort: options.throughForwardedPort, database: database)
  }

  /// - Parameter url: from the command line.
  package func connectionSettings(_ url: String? = nil, throughForwardedPort: Bool = false, database: String? = nil) throws -> ConnectionSettings {
    var settings = try givenSettings(url)
    settings.allowsForwardedPort = throughForwardedPort
    if let database { settings = settings.with(database: try Self.name(database)) }
    if !settings.dropped.isEmpty { warn("parameters of the URL that libpq doesn't know were left out: \(settings.dropped.joined(separator: ", "))") }
    return settings
  }

  /// Options override the environment, including libpq's variables, which overrides the file.
  private func givenSettings(_ option: String?) throws -> ConnectionSettings {
    if configuration.isOfNamedServer { return try settingsOfFile(configuration.databaseURL ?? "", overlaid: false) }
    if let url = urlBeforeFile(option) { return try ConnectionSettings(url) }
    guard let url = configuration.databaseURL, !url.isEmpty else {
      let servers = configuration.servers.map(\.name)
      guard serverVariable == nil, !servers.isEmpty else { return ConnectionSettings() }
      throw UsageError(
        "\(configurationName) names \(Quantity.count(servers.count, "server")), and this command does not say which one is meant",
        hint:
          "add --server \(servers[0])\(servers.count > 1 ? ", or another of \(servers.dropFirst().joined(separator: ", "))" : ""); or --database-url")
    }
    if let name = serverVariable {
      let words = "\(name) in the environment comes before database-url in \(configurationName), which is ignored"
      if common.verbose && isNew(words) { tell(words) }
      return ConnectionSettings()
    }
    return try settingsOfFile(url, overlaid: true)
  }

  private func settingsOfFile(_ url: String, overlaid: Bool) throws -> ConnectionSettings {
    do {
      var settings = try ConnectionSettings(url)
      if !overlaid { settings = try pinned(settings) }
      if restores, let role = configuration.restoreRole {
        settings = settings.with(
          "options", [settings.parameters["options"], "-c role=\(ConnectionSettings.optionWord(role))"].compactMap(\.self).joined(separator: " "))
      }
      return overlaid ? settings.overlaid(by: environment) : settings
    } catch let error as PostgresError {
      let report = FailureReport(error)
      throw ConfigurationError(message: "\(configurationName): database-url: \(report.message)", hint: report.hint)
    }
  }

  /// A named server's settings, with defaults for what libpq would otherwise take from the environment, such as another server's port.
  private func pinned(_ settings: ConnectionSettings) throws -> ConnectionSettings {
    func lacks(_ keyword: String) -> Bool { settings.parameters[keyword] == nil }
    // A service has its own values for all of them.
    guard lacks("service") else { return settings }
    let places = [("PGSERVICE", true), ("PGHOSTADDR", lacks("hostaddr")), ("PGHOST", lacks("host") && lacks("hostaddr"))]
    for (name, counts) in places where counts && !(environment[name] ?? "").isEmpty {
      throw UsageError("\(name) in the environment would point server \(configuration.source ?? "") to another host", hint: "unset it")
    }
    var settings = settings
    for (name, keyword, value) in [("PGPORT", "port", "5432"), ("PGUSER", "user", Host.userName)] where !(environment[name] ?? "").isEmpty {
      if settings.parameters[keyword] == nil { settings = settings.with(keyword, value) }
    }
    return settings
  }

  /// The server of the configuration or the environment, connected to as the current user, not as the role they name.
  package func serverAsWhoRuns() throws -> ConnectionSettings {
    try (givesServer() ? self : choosingOnlyServer).givenSettings(nil).withoutUser
  }

  /// The URL of the server, if a URL alone names it.
  package func givenURL(_ options: ConnectionOptions) -> String? {
    if configuration.isOfNamedServer { return nil }
    if let url = urlBeforeFile(options.databaseURL) { return url }
    guard let url = configuration.databaseURL, serverVariable == nil, let settings = try? ConnectionSettings(url),
      settings.overlaid(by: environment).parameters == settings.parameters
    else { return nil }
    return url
  }

  private func urlBeforeFile(_ option: String?) -> String? {
    [option, environment["DATABASE_URL"]].compactMap(\.self).first { !$0.isEmpty }
  }

  /// The libpq variable that names a server.
  private var serverVariable: String? { ["PGHOST", "PGSERVICE", "PGHOSTADDR"].first { !(environment[$0] ?? "").isEmpty } }

  /// The name of a database, as given by the user.
  /// - Throws: `UsageError` if it is a URL. It is not printed, because it may hold a password.
  package static func name(_ given: String) throws -> String {
    guard given.prefixMatch(of: /(?i)(postgres(ql)?|postgis):\/\/.*(@|password=)/) != nil else { return given }
    throw UsageError("give a database name, not a URL", hint: "give the URL with --database-url, or as DATABASE_URL, where fewer see it")
  }

  /// The database in the connection settings; nil if libpq would use its default.
  package func databaseOfURL(_ options: ConnectionOptions) -> String? {
    ((try? connectionSettings(options))?.database ?? environment["PGDATABASE"]).flatMap { $0.isEmpty ? nil : $0 }
  }

  /// The database that libpq connects to; empty if a service names it.
  package func database(_ options: ConnectionOptions) throws -> String {
    if let name = databaseOfURL(options) { return name }
    guard try namesNoDatabase(options) else { return "" }
    return try connectionSettings(options).parameters["user"] ?? environment["PGUSER"].flatMap { $0.isEmpty ? nil : $0 } ?? Host.userName
  }

  /// Whether neither a database nor a service is configured.
  package func namesNoDatabase(_ options: ConnectionOptions) throws -> Bool {
    guard databaseOfURL(options) == nil, (environment["PGSERVICE"] ?? "").isEmpty else { return false }
    return try connectionSettings(options).parameters["service"] == nil
  }

  /// Whether libpq would use the maintenance database, because none is configured and the user has its name.
  package func meansMaintenanceDatabase(_ options: ConnectionOptions) throws -> Bool {
    try namesNoDatabase(options) && database(options) == "postgres"
  }

  /// The server in the environment or the file; nil if there is none.
  package func namedServer() throws -> ConnectionSettings? {
    if givesServer() || !(configuration.databaseURL ?? "").isEmpty { return try givenSettings(nil) }
    return try onlyServer.map { try choosing($0).givenSettings(nil) }
  }

  /// The database in the environment or the file; nil if there is none.
  package func namedDatabase() throws -> String? { try namedServer()?.database ?? environment["PGDATABASE"].flatMap { $0.isEmpty ? nil : $0 } }
}
