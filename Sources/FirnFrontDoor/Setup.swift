import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository
import SystemPackage

/// Shows or makes the roles that backups and restores need.
struct Setup: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "setup", abstract: "Show the roles that snapshots and restores need on a server, and create them.",
    discussion: """
      Prints SQL for what is missing: a role that may read everything, and one for restores with the least rights that the server's databases \
      need. --apply runs it, as a superuser: run it as root on the server's machine, or name a superuser with \
      --superuser-url.
      """)
  @Flag(help: "Run the SQL.") var apply = false
  @Option(help: ArgumentHelp("Connect as this superuser. Default: as the Unix user postgres, on this machine.", valueName: "url")) var superuserURL:
    String?
  @Option(name: .customLong("server"), help: ArgumentHelp("Name of a server in firn.yaml.", valueName: "name")) var serverName: String?
  @Option(help: ArgumentHelp("Role for snapshots: the name of the Unix user that runs Firn.", valueName: "name")) var role = "firn"
  @Option(help: ArgumentHelp("The role for restores.", valueName: "name")) var restoreRole = "firn_restore"
  @Option(
    help: ArgumentHelp(
      "Also give this Unix group access to the store's folder, for operators who are not root. For the package's store: firn.",
      valueName: "group"))
  var operators: String?
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    // Its databases may have settings of their own.
    let own = try serverName.map { try context.choosing(context.servers([$0])[0]) } ?? context.choosingOnlyServer
    let settings = try superuserURL.map { try ConnectionSettings($0) } ?? own.serverAsWhoRuns()
    let shared = try operators.map { try sharedFolder(for: $0, context) }
    let user = try unixUser()
    func connect(_ database: String) throws -> Connection {
      let settings = settings.with(database: database)
      guard let user else { return try Connection(settings, applicationName: "firn setup") }
      return try Host.acting(as: user) { try Connection(settings, applicationName: "firn setup") }
    }
    let server: Connection
    do { server = try connect("postgres") } catch PostgresError.noSuchDatabase { server = try connect(settings.database ?? "template1") }
    let setup = try ServerSetup(
      on: server, backupRole: role, restoreRole: restoreRole,
      usesFileTimes: { own.configuration.backsUp($0) && own.configuration.incremental(for: $0) == .fileTimes }, connect: connect)
    if !common.json { show(setup, context) }
    if apply { try setup.apply(on: server, connect: connect) }
    if common.json { try context.output(json: Report(setup, applied: apply)) }
    if !common.json {
      if setup.steps.isEmpty {
        context.tell("nothing is missing on \(server.target)")
      } else {
        context.tell(apply ? "done, on \(server.target)" : "nothing was changed; --apply runs this SQL")
      }
    }
    if let shared, let operators { try share(shared, with: operators, context) }
    guard !common.json else { return .done }
    if context.configuration.restoreRole != restoreRole {
      context.tell("to let firn-restore use this role, add to firn.yaml:\n  restore:\n    role: \(restoreRole)")
    }
    return .done
  }

  /// - Throws: `UsageError` if the group can't be given access to the store.
  private func sharedFolder(for group: String, _ context: CommandContext) throws -> SharedFolder {
    guard let store = try context.store() as? LocalStore else {
      throw UsageError("--operators is for a store in a folder", hint: "a bucket or a file server has permissions of its own")
    }
    let shared = try SharedFolder(store.root, group: group)
    if let obstacle = shared.obstacle { throw UsageError(obstacle.message, hint: obstacle.hint) }
    return shared
  }

  private func share(_ shared: SharedFolder, with group: String, _ context: CommandContext) throws {
    let location = context.storeLocation
    guard apply else {
      if !common.json { for command in shared.commands { context.output("# \(command)") } }
      return context.tell("--apply also gives the group \(group) access to \(location)")
    }
    let lock = try RepositoryLock(.exclusive, on: context.repository().store, purpose: "firn setup --operators")
    defer { lock.release() }
    try shared.apply()
    context.tell("the group \(group) has access to \(location); to add an operator: adduser NAME \(group)")
  }

  /// PostgreSQL lets its own Unix user in as superuser, whose ids root takes to connect; nil to connect as who runs this.
  private func unixUser() throws -> (user: UInt32, group: UInt32)? {
    guard superuserURL == nil, Host.isRoot else { return nil }
    guard let user = Host.user(named: "postgres") else {
      throw UsageError("there is no user postgres on this machine", hint: "name a superuser with --superuser-url")
    }
    return user
  }

  private func show(_ setup: ServerSetup, _ context: CommandContext) {
    for step in setup.steps {
      context.output("-- \(step.purpose)")
      if let database = step.database {
        context.output("\\connect -reuse-previous=on \(Connection.identifier("dbname=\(ConnectionSettings.quoted(database))"))")
      }
      for statement in step.statements { context.output("\(statement);") }
    }
    guard !setup.reasonsForSuperuser.isEmpty else { return }
    context.tell("restores need a superuser on this server, for \(FailureReport.some(setup.reasonsForSuperuser))")
  }

  /// The JSON of a setup. Its keys are fixed.
  private struct Report: Encodable {
    struct OfDatabase: Encodable {
      let database: String
      let statements: [String]
    }
    let statements: [String]
    /// Those that must be run in a database.
    let ofDatabases: [OfDatabase]
    let reasonsForSuperuser: [String]
    let applied: Bool

    init(_ setup: ServerSetup, applied: Bool) {
      statements = setup.steps.filter { $0.database == nil }.flatMap(\.statements)
      ofDatabases = setup.steps.compactMap { step in step.database.map { OfDatabase(database: $0, statements: step.statements) } }
      reasonsForSuperuser = setup.reasonsForSuperuser
      self.applied = applied
    }
  }
}
