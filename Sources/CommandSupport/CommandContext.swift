internal import ArgumentParser
internal import Encryption
package import FirnCore
internal import Foundation
internal import Platform
package import Postgres
package import Repository
package import SystemPackage

/// The settings of a command. Options override the environment, which overrides the file.
package struct CommandContext: Sendable {
  package let command: String
  package let common: CommonOptions
  package let configuration: Configuration
  package let environment: [String: String]
  /// The record of this run, for notifications.
  package let record: RunRecord
  /// Warnings that were printed already.
  let warned: Monitor<Set<String>>

  /// Whether the configuration could be read. If not, only its notification settings are used.
  package let isWhole: Bool

  /// Whether --server names a source, and no server of the configuration.
  let ignoresServerNames: Bool

  /// Whether sessions take the role that the configuration has for restores.
  var restores = false

  /// The notification settings of an unusable configuration.
  package init(unconfigured command: String, common: CommonOptions) {
    self.init(command, common, Configuration.loadNotifications(named: common.config), isWhole: false)
  }

  private init(_ command: String, _ common: CommonOptions, _ configuration: Configuration, isWhole: Bool) {
    self.command = command
    self.common = common
    self.configuration = configuration
    self.isWhole = isWhole
    ignoresServerNames = false
    (record, warned) = (RunRecord(), Monitor([]))
    environment = ProcessInfo.processInfo.environment
  }

  package init(command: String, common: CommonOptions) throws {
    self.init(command, common, try Configuration.load(named: common.config), isWhole: true)
    if let format = configuration.logFormat { MessageLog.use(format) }
    for file in configuration.passedOver { warn("\(file) can't be read by this user, and is not used") }
  }

  /// A context for one of the configured servers alone.
  package func choosing(_ server: ServerConfiguration) -> CommandContext {
    CommandContext(choosing: server, self)
  }

  init(choosing server: ServerConfiguration?, _ other: CommandContext) {
    (command, common, environment, isWhole) = (other.command, other.common, other.environment, other.isWhole)
    (record, warned) = (other.record, other.warned)
    configuration = server.map(other.configuration.choosing) ?? other.configuration
    ignoresServerNames = server == nil
    restores = other.restores
  }

  /// The snapshots of a database of a source. `SOURCE/DATABASE` may name another source.
  package func places(of database: String, preferring source: String, in catalog: Catalog) throws -> [SnapshotPath] {
    do { return try places(of: database, from: source, in: catalog) ?? [] } catch let error as RepositoryError {
      switch error {
      case .noSuchDatabase, .noSuchSource: break
      default: throw error
      }
      guard database.contains("/") else { throw error }
      return try catalog.database(named: database)
    }
  }

  package var storeLocation: String {
    if common.store?.isEmpty == true { return "" }
    let given = [common.store, environment["FIRN_STORE"], configuration.store].compactMap(\.self).first { !$0.isEmpty }
    if let given { return given }
    return Host.isRoot ? "/var/lib/firn" : (Host.homeFolder ?? "/").appending(".local/share/firn").string
  }

  package func store() throws -> any Store { try store(at: storeLocation) }

  /// The location without secrets; empty if it is invalid.
  package var shownStore: String { (try? store())?.location ?? "" }

  /// - Parameter asksWhatIsThere: whether to check that the location is a folder.
  package func store(at location: String, asksWhatIsThere: Bool = true) throws -> any Store {
    do { return try open(location, asksWhatIsThere) } catch StoreError.badLocation(let shown, let reason)
      where common.store != location && ([configuration.store] + configuration.copies).contains(location)
    {
      let report = FailureReport(StoreError.badLocation(location: shown, reason: reason))
      throw ConfigurationError(message: "\(configurationName): \(report.message)", hint: report.hint)
    }
  }

  /// Foreign files among those of a store would stop every prune.
  /// - Throws: `UsageError` if the path, whose parent must exist, is inside the store.
  package func refuseInsideStore(_ path: FilePath, option: String) throws {
    guard let store = try store() as? LocalStore else { return }
    func real(_ path: FilePath) -> FilePath { FilePath(URL(fileURLWithPath: path.string).resolvingSymlinksInPath().path) }
    guard real(path.removingLastComponent()).starts(with: real(store.root)) else { return }
    throw UsageError("\(option) \(path) is inside the store", hint: "choose a folder outside \(store.location)")
  }

  var configurationName: String { configuration.file?.string ?? "firn.yaml" }

  private func open(_ location: String, _ asksWhatIsThere: Bool) throws -> any Store {
    guard !location.isEmpty else { throw UsageError("--store names nothing", hint: "name a folder, or leave --store out") }
    if location.hasPrefix("s3://") {
      return S3Store(
        try S3Location(location, environment: environment), credentialsCommand: configuration.credentialsCommand, environment: environment)
    }
    if location.hasPrefix("sftp://") { return SFTPStore(try SFTPLocation(location, environment: environment)) }
    if let scheme = location.firstRange(of: "://") {
      // The part before an @ may be a secret.
      let host = location[scheme.upperBound...].withoutLogin.prefix { $0 != "/" && $0 != "?" }
      throw StoreError.badLocation(
        location: String(location[..<scheme.upperBound] + host), reason: "it is neither a folder nor a bucket nor an SFTP server")
    }
    // A bucket or server in another program's notation would become a local folder, on the disk that is to be backed up.
    let first = location.prefix { $0 != "/" }
    guard !first.contains(":"), !location.hasPrefix("s3//"), !location.hasPrefix("sftp//"), !location.allSatisfy(\.isWhitespace) else {
      throw StoreError.badLocation(
        location: String(location.withoutLogin),
        reason: "it is not a folder: write ./ before the name of a folder that has a colon")
    }
    var path = Host.path(location)
    if path.isRelative { path = FilePath(FileManager.default.currentDirectoryPath).pushing(path) }
    if asksWhatIsThere, let status = try? Folder.status(of: path, followingLinks: true), status.kind != .folder {
      throw StoreError.unreachable(location: location, reason: "\(location) is a file, a store is a folder")
    }
    return LocalStore(root: path.lexicallyNormalized())
  }

  package func repository() throws -> Repository { try repository(in: try store()) }

  /// A repository to read from. Unexpected recipients are a warning.
  package func repository(in store: any Store) throws -> Repository {
    let repository = try Repository(opening: store, identities: identities)
    do { try requireRecipients(of: repository) } catch let error as ConfigurationError { warn(error.message) }
    return repository
  }

  /// A repository to write to.
  /// - Parameter recipient: a recipient that is being added; the configuration may name it already.
  /// - Throws: `ConfigurationError` if its recipients are not those of the configuration, or differ from those that this machine knows.
  package func repositoryToFill(in store: any Store, adding recipient: String? = nil) throws -> Repository {
    let repository = try Repository(opening: store, identities: identities)
    try permitFilling(repository, adding: recipient)
    return repository
  }

  /// A repository to write to, without remembering its recipients.
  /// - Throws: `ConfigurationError`, as `repositoryToFill`.
  package func repositoryToJudge(in store: any Store) throws -> Repository {
    let repository = try Repository(opening: store, identities: identities)
    try requireRecipients(of: repository)
    return repository
  }

  /// The same check for a repository that was opened for reading.
  package func permitFilling(_ repository: Repository, adding recipient: String? = nil) throws {
    try requireRecipients(of: repository, adding: recipient)
    knownRecipients.remember(repository.format.recipients, of: repository.store.location)
  }

  /// Recipients of the stores that this machine has written to.
  package var knownRecipients: KnownRecipients { KnownRecipients(root: StateFolder.path, formerly: cacheRoot) }

  /// An attacker with write access to a store could remove its recipients, or add one. So recipients are compared with known ones.
  private func requireRecipients(of repository: Repository, adding recipient: String? = nil) throws {
    let (found, location) = (repository.format.recipients, repository.store.location)
    let what = found.isEmpty ? "\(location) is not encrypted" : "\(location) is encrypted to \(found.joined(separator: " and "))"
    var wanted = Set(configuration.recipients)
    if !wanted.isEmpty {
      if let recipient, let added = try? AgeRecipient(recipient).description, !found.contains(added) { wanted.remove(added) }
      guard wanted != Set(found) else { return }
      throw ConfigurationError(
        message: "\(what), and the configuration names other recipients",
        hint: "nothing was stored: the store was changed, or recipients in firn.yaml is not up to date")
    }
    guard let known = knownRecipients.recipients(of: location), Set(known) != Set(found) else { return }
    throw ConfigurationError(
      message: "\(what); when this machine stored there last, it was \(known.isEmpty ? "not" : "to \(known.joined(separator: " and "))")",
      hint: "nothing was stored: find out who changed it; if it is right: firn key trust")
  }

  /// The identity for encrypted repositories; nil if none is configured.
  private var identities: (@Sendable () throws -> [AgeIdentity])? {
    guard let path = [common.identity, environment["FIRN_IDENTITY"], configuration.identity].compactMap(\.self).first(where: { !$0.isEmpty }) else {
      return nil
    }
    return { [self] in try IdentityFile(path).identities { warn($0) } }
  }

  /// The cache folder: $XDG_CACHE_HOME/firn, or ~/.cache/firn.
  package var cacheRoot: FilePath? {
    if let named = environment["XDG_CACHE_HOME"], named.hasPrefix("/") { return FilePath(named).appending("firn") }
    return Host.homeFolder?.appending(".cache/firn")
  }

  package func toolFolders(_ options: ToolOptions) -> [FilePath] { toolFolders(options.folders) }

  /// Folders with PostgreSQL's programs.
  /// - Parameter named: folders from the command line.
  package func toolFolders(_ named: [String]) -> [FilePath] {
    (named + (environment["FIRN_PG_BIN"] ?? "").split(separator: ":").map(String.init) + configuration.toolFolders).map { Host.path($0) }
  }

  package func jobs(_ options: ServerOptions) -> Int { jobs(options.jobs) }
  package func jobs(_ named: Int?) -> Int { named ?? configuration.jobs ?? min(8, processorCount) }

  /// The snapshots of a database. If several sources have one of that name, those of the configured source, or of the connected server.
  /// - Parameter server: nil for the one in the environment or the file.
  /// - Throws: `RepositoryError.noSuchDatabase`, `.ambiguousDatabase`.
  package func places(of database: String, in catalog: Catalog, on server: ConnectionOptions? = nil) throws -> [SnapshotPath] {
    let name = try Self.name(database)
    let preferred = configuration.source ?? (givesServer(server?.databaseURL) ? nil : onlyServer?.name)
    do { return try catalog.database(named: name, preferring: preferred) } catch let error as RepositoryError {
      // Where several servers are configured, it is not clear which one is meant, and the error says that.
      guard case .ambiguousDatabase = error, let settings = try? server.map({ try connectionSettings($0) }) ?? namedServer(),
        let connection = try? ServerConnection.open(settings.with("connect_timeout", "5")),
        let source = try? ServerSource.find(connection, in: catalog)
      else { throw error }
      return try catalog.database(named: name, preferring: source)
    }
  }

  /// The snapshots of a database, or of all, as far as they belong to a source.
  /// - Parameters:
  ///   - database: nil for all.
  ///   - source: nil for every source.
  /// - Returns: nil for all snapshots of the store.
  /// - Throws: `RepositoryError.noSuchDatabase`, `.ambiguousDatabase`, `.noSuchSource`.
  package func places(of database: String?, from source: String?, in catalog: Catalog) throws -> [SnapshotPath]? {
    guard let source else { return try database.map { try places(of: $0, in: catalog) } }
    let all = try catalog.snapshots()
    guard let folder = try catalog.source(named: source) else {
      throw RepositoryError.noSuchSource(name: source, known: try catalog.sources(of: all).map(\.name))
    }
    return try database.map { try catalog.database(named: "\(folder)/\($0)") } ?? all.filter { $0.source.isSame(as: folder) }
  }

  /// A snapshot request from the configuration. The caller sets its purpose.
  package func snapshotRequest(_ settings: ConnectionSettings, _ options: ServerOptions) -> SnapshotRequest {
    var request = SnapshotRequest(settings: settings)
    request.source = configuration.source
    request.jobs = jobs(options)
    request.toolFolders = toolFolders(options.tools)
    request.spoolRoot = spoolRoot(options.spool)
    request.cacheRoot = cacheRoot
    request.searchPath = configuration.searchPath
    if let wait = configuration.lockWait { request.lockWait = wait }
    if let cap = configuration.spoolCap { request.spoolCap = cap }
    return request
  }

  /// Files that an option names.
  /// - Throws: `UsageError` if one does not exist.
  package func files(_ named: [String], option: String) throws -> [FilePath] {
    try named.map { name in
      guard Folder.exists(Host.path(name)) else { throw UsageError("there is no file \(name)", hint: "check \(option)") }
      return Host.path(name)
    }
  }

  package func spoolRoot(_ options: SpoolOption) -> FilePath { spoolRoot(options.folder) }
  package func spoolRoot(_ named: String?) -> FilePath { (named ?? configuration.spool).map { Host.path($0) } ?? WorkFolder.defaultRoot }

  /// Runs a body with progress, and shows it on a line of the terminal.
  package func withProgress<Result>(_ body: (WorkProgress) throws -> Result) throws -> Result {
    let progress = verboseProgress()
    let line = ProgressLine(progress, isShown: !common.quiet && !common.json && !common.verbose)
    defer { line.end() }
    return try body(progress)
  }

  /// Progress that only prints lines with `--verbose`.
  /// - Parameter prefix: of each line.
  package func verboseProgress(_ prefix: String = "") -> WorkProgress {
    let (isVerbose, command) = (common.verbose, command)
    return WorkProgress { line in if isVerbose { MessageLog.write(.detail, prefix + line, command: command) } }
  }
}
