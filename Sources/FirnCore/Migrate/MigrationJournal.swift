internal import Foundation
internal import Platform
internal import Postgres
internal import SystemPackage

/// A note on the disk of a migration that is under way: should this process be killed, the next one finds out how far it came,
/// ends what is left of it, and starts the application again.
struct MigrationJournal {
  enum Step: String, Codable {
    case snapshot, stopping, command, starting, health, answer

    var words: String {
      switch self {
      case .snapshot: "before anything was changed"
      case .stopping: "while the application was being stopped"
      case .command: "while the command ran"
      case .starting: "while the application was being started"
      case .health: "while it waited for the application"
      case .answer: "while it answered a failure"
      }
    }
  }

  private struct Record: ProcessNote {
    let host: String
    let database: String
    /// The server: its system identifier, or its address.
    let cluster: String
    let startedAt: Date
    let process: Int32
    let processStart: UInt64
    let boot: String
    /// The application name of the command's sessions.
    let application: String
    let log: String
    var step: Step
    var versionsBefore: [String]
    var snapshot: String?
    var command: Int32?
    var commandStart: UInt64?
  }

  private static let prefix = "migrating-"
  private let path: FilePath
  private var record: Record

  init(cluster: String, database: String, application: String, log: FilePath, startedAt: Date, versions: [String]) throws {
    do {
      try Folder.make(StateFolder.path)
      path = StateFolder.path.appending("\(Self.prefix)\(Host.processID)-\(UInt32.random(in: 0 ... .max)).json")
      record = Record(
        host: Host.name, database: database, cluster: cluster, startedAt: startedAt, process: Host.processID,
        processStart: Host.startTime(of: Host.processID) ?? 0,
        boot: Host.bootID, application: application, log: log.string, step: .snapshot, versionsBefore: versions)
      try StateFolder.write(record, to: path)
    } catch let error as SystemError {
      throw FirnError.noFolder(path: StateFolder.path.string, reason: "\(error)")
    }
  }

  /// To be called before anything is stopped: without a note of it nothing is.
  mutating func beginStopping(after snapshot: String) throws {
    record.step = .stopping
    record.snapshot = snapshot
    try StateFolder.write(record, to: path)
  }

  /// From here on, a journal that can't be written must not delay the application's start.
  mutating func begin(_ step: Step) {
    record.step = step
    try? StateFolder.write(record, to: path)
  }

  /// Notes which process the command is. Its group goes with it.
  mutating func note(command: Int32) {
    record.command = command
    record.commandStart = Host.startTime(of: command)
    try? StateFolder.write(record, to: path)
  }

  func remove() { try? Folder.removeFile(path) }

  /// Ends what is left of migrations whose process was killed, and starts the application again.
  /// - Parameter settings: of the server, with its database.
  /// - Returns: what was found and done, in words.
  static func recover(
    _ progress: WorkProgress, words: (any Error) -> String, _ settings: () throws -> ConnectionSettings
  ) -> [String] {
    var told: [String] = []
    var cutOff: [(path: FilePath, record: Record)] = []
    for (path, bytes) in StateFolder.files(namedWith: prefix) {
      guard let record = try? JSONDecoder().decode(Record.self, from: Data(bytes)) else {
        told.append("\(path) can't be read: whether a migration was cut off is not known; look, then remove it")
        continue
      }
      guard record.host == Host.name, record.isOfDeadProcess else { continue }
      cutOff.append((path, record))
      endCommand(of: record)
    }
    var states: [String] = []
    var isUnknown: Set<String> = []
    for (_, record) in cutOff {
      do { states.append(try settle(record, settings())) } catch {
        isUnknown.insert(record.application)
        states.append("the state of the database is unknown: \(words(error))")
      }
    }
    // Not before the command and its sessions are gone.
    told += StoppedApplication.startAgain(progress, server: settings)
    for (entry, state) in zip(cutOff, states) {
      let record = entry.record
      told.append(
        "the migration of \(record.database) of \(record.startedAt.formatted(.iso8601)) was cut off \(record.step.words): \(state)"
          + (record.snapshot.map { "; its snapshot is \($0)" } ?? "") + "; its log is \(record.log)")
      if !isUnknown.contains(record.application) { try? Folder.removeFile(entry.path) }
    }
    return told
  }

  /// The command and whatever it started in its group.
  private static func endCommand(of record: Record) {
    guard let command = record.command, record.boot == Host.bootID else { return }
    // Another process of that number would have begun a group of its own.
    if let start = Host.startTime(of: command), start != record.commandStart { return }
    guard Host.groupExists(command) else { return }
    Host.send(15, toGroup: command)
    for _ in 0..<100 where Host.groupExists(command) { Thread.sleep(forTimeInterval: 0.1) }
    Host.send(9, toGroup: command)
  }

  /// Ends the command's sessions: a server continues a statement even if its client is gone.
  /// - Returns: the state in which the database was left, in words.
  private static func settle(_ record: Record, _ settings: ConnectionSettings) throws -> String {
    let connection = try Connection(settings.with(database: record.database), applicationName: "firn-migrate")
    guard try connection.clusterName() == record.cluster else {
      throw FirnError.refused(reasons: ["it ran on another server than \(connection.target): name that one, and run firn-migrate recover"])
    }
    try connection.endSessions(ofApplication: record.application, patience: .seconds(30))
    let now = Set(try connection.appliedMigrations().versions)
    let before = Set(record.versionsBefore)
    let change = AppliedChange(before: before, after: now)
    return change.isNone ? "schema_migrations is as it was before it" : "since then \(change.words)"
  }
}

/// The change of the list of applied migrations.
package struct AppliedChange: Sendable, Equatable {
  package let added: [String]
  package let removed: [String]

  init(before: Set<String>, after: Set<String>) {
    added = after.subtracting(before).sorted()
    removed = before.subtracting(after).sorted()
  }

  package var isNone: Bool { added.isEmpty && removed.isEmpty }

  package var words: String {
    [added.isEmpty ? nil : "applied \(added.joined(separator: ", "))", removed.isEmpty ? nil : "rolled back \(removed.joined(separator: ", "))"]
      .compactMap(\.self).joined(separator: "; ")
  }
}
