internal import Foundation
internal import Platform
package import Postgres
internal import SystemPackage

/// A file that says that an application is stopped, and how to start it. If this process is killed, the next run reads it and starts
/// the application.
package struct StoppedApplication: Sendable {
  private struct Record: ProcessNote {
    let host: String
    let database: String
    let start: [String]
    /// The operation it was stopped for; nil for a restore.
    var occasion: String?
    /// The databases of which one must have the name before the application is started; nil while that is not in doubt.
    var awaited: [UInt32]?
    let process: Int32
    let processStart: UInt64
    /// The boot it was stopped in: the next boot starts the application anyway.
    let boot: String
  }

  private let path: FilePath
  private let record: Record

  /// Writes the note, durably.
  /// - Parameter occasion: what it is stopped for, as `a restore`.
  init(database: String, start: [String], for occasion: String = "a restore") throws {
    let folder = StateFolder.path
    do {
      try Folder.make(folder)
      path = folder.appending("\(Self.prefix)\(Host.processID)-\(UInt32.random(in: 0 ... .max)).json")
      record = Record(
        host: Host.name, database: database, start: start, occasion: occasion, process: Host.processID,
        processStart: Host.startTime(of: Host.processID) ?? 0,
        boot: Host.bootID)
      try StateFolder.write(record, to: path)
    } catch let error as SystemError {
      throw FirnError.noFolder(path: folder.string, reason: "\(error)")
    }
  }

  func remove() { try? Folder.removeFile(path) }

  /// Starts the application. The note stays for the next run if a part of it does not start.
  /// - Parameter note: nil if nothing was stopped.
  /// - Returns: messages about what did not start.
  static func start(_ application: ApplicationControl, noted note: StoppedApplication?, _ progress: WorkProgress) -> [String] {
    let failures = application.startAll(progress)
    if failures.isEmpty { note?.remove() }
    if let note { removeNotes(of: note.record.database, besides: note.path) }
    return failures
  }

  /// Removes earlier notes of a database's application: it was just started, or a newer note says that it was not.
  private static func removeNotes(of database: String, besides newest: FilePath) {
    for (path, bytes) in StateFolder.files(namedWith: prefix) where path != newest {
      guard let record = try? JSONDecoder().decode(Record.self, from: Data(bytes)) else { continue }
      let isEnded = record.process == Host.processID || record.isOfDeadProcess
      if record.host == Host.name && record.database.isSame(as: database) && isEnded { try? Folder.removeFile(path) }
    }
  }

  /// Records that the application must not be started until one of these databases has the name.
  func awaitDatabase(_ oids: [UInt32]) {
    var waiting = record
    waiting.awaited = oids
    try? StateFolder.write(waiting, to: path)
  }

  /// Whether there are notes of applications that are still stopped.
  package static var isAnyWaiting: Bool { ((try? Folder.names(in: StateFolder.path)) ?? []).contains { $0.hasPrefix(prefix) } }

  private static let prefix = "stopped-"

  /// Starts what runs that were killed had stopped. A note stays until everything was started.
  /// - Parameters:
  ///   - database: one that is there again, as a restore has just made it.
  ///   - server: how to get to the server, for whether a database is there.
  /// - Returns: what was found and done, in words.
  package static func startAgain(_ progress: WorkProgress, having database: String? = nil, server: () throws -> ConnectionSettings) -> [String] {
    var told: [String] = []
    for (path, bytes) in StateFolder.files(namedWith: prefix) {
      guard let record = try? JSONDecoder().decode(Record.self, from: Data(bytes)) else {
        // Cut off before anything was stopped: it is written first.
        try? Folder.removeFile(path)
        continue
      }
      guard record.host == Host.name else { continue }
      let isBack = database.map { $0.isSame(as: record.database) } ?? false
      // This process has just tried what it noted itself.
      guard isBack && record.process != Host.processID || record.isOfDeadProcess else { continue }
      if let awaited = record.awaited, !isBack,
        (try? ServerConnection.open(server(), except: record.database).hasUsableDatabase(record.database, among: awaited)) != true
      {
        told.append(
          "the application is still stopped: a restore dropped \(record.database) and did not finish. It is started once the database is restored")
        continue
      }
      let failures = ApplicationControl.startAll(record.start, progress)
      told.append(
        "\(record.occasion ?? "a restore") of \(record.database) ended while the application was stopped: it was \(failures.isEmpty ? "" : "not ")started again"
      )
      told += failures
      if failures.isEmpty {
        try? Folder.removeFile(path)
      } else {
        told.append("the next run tries again, until the application starts or you delete \(path)")
      }
    }
    return told
  }
}
