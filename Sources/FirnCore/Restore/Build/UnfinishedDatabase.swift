internal import Digests
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// The database that a restore builds. It has a temporary name until it is complete, so that it is never mistaken
/// for a finished one.
///
/// The name is unique, so dropping it can't drop any other database. Its comment names the process that builds it
/// and the final name.
/// The next restore drops those of dead runs of the same machine (`RestoreLeftover`).
struct UnfinishedDatabase {
  private static let prefix = "firn_unfinished_"

  let name: String
  /// Whether it is created under a temporary name. Otherwise it exists, empty, under the name it keeps.
  let isTemporary: Bool
  let finalName: String
  private let builder: DatabaseStatements
  /// Objects that were in an existing database before: extensions.
  private var formerObjects: Set<UserObject> = []

  init(for finalName: String, builder: DatabaseStatements) {
    self.finalName = finalName
    self.builder = builder
    name = Self.passingName()
    isTemporary = true
  }

  /// A database that exists and is empty.
  /// - Throws: `FirnError.databaseExists` if it is not.
  init(existing name: String, builder: DatabaseStatements) throws {
    (self.name, finalName) = (name, name)
    self.builder = builder
    isTemporary = false
    guard let former = try Self.objectsOfEmpty(name, on: builder.server) else { throw FirnError.databaseExists(name: name) }
    formerObjects = former
  }

  /// The extensions of a database that has nothing else; nil if it has more.
  static func objectsOfEmpty(_ name: String, on server: Connection) throws -> Set<UserObject>? {
    let connection = try Connection(server.settings.with(database: name), applicationName: "firn-restore")
    let objects = Set(try connection.userObjects())
    return objects.allSatisfy { $0.kind == "extension" } ? objects : nil
  }

  /// Whether a name is one that Firn gives to unfinished databases.
  static func isTemporary(_ name: String) -> Bool { name.hasPrefix(prefix) }

  /// The name identifies the process until the comment is set.
  static func passingName() -> String {
    let run = "\(place)_\(tag(Host.bootID))_\(Host.processID)_\(Host.startTime(of: Host.processID) ?? 0)"
    return "\(prefix)\(run)_\(UInt16.random(in: 0 ... .max))"
  }

  private static func tag(_ text: String) -> String { String("\(SHA256Digest(of: Array(text.utf8)))".prefix(8)) }

  /// Within which process ids mean something: names of hosts are not their own.
  private static var place: String { tag("\(Host.name) \(Host.machineID) \(Host.processSpace)") }

  /// Whether a database that has no comment yet is of a run on this machine that ended.
  static func isOfDeadRun(_ name: String) -> Bool {
    let parts = name.dropFirst(prefix.count).split(separator: "_")
    guard parts.count == 5, parts[0] == place, let process = Int32(parts[2]), let start = UInt64(parts[3]) else { return false }
    return parts[1] != tag(Host.bootID) || Host.startTime(of: process) != start
  }

  /// Those of all runs, with what they say of themselves.
  static func all(on server: Connection) throws -> [(name: String, owner: RestoreMarker?)] {
    try server.databases(namedWith: prefix).map { ($0.name, RestoreMarker(comment: $0.comment)) }
  }

  /// Creates the database.
  /// - Parameters:
  ///   - snapshot: the snapshot it is filled from.
  ///   - inPlace: the facts about the dropped database if it is dropped before this one is filled.
  /// - Throws: `FirnError.refused` if the server can't create one with these properties, `.beingRestored` if another
  ///   restore is building one for the same name.
  func make(on server: Connection, snapshot: SnapshotID, inPlace: InPlace? = nil) throws {
    guard isTemporary else { return }
    // Also before: while that one stands still, nothing can be dropped.
    try refuseRivals(server)
    do {
      try server.execute(builder.createStatement(name: name))
      let owner = RestoreMarker(target: finalName, snapshot: snapshot, inPlace: inPlace)
      try server.executeTogether([owner.commentStatement(for: name)] + builder.earlyGrantStatements(name: name))
    } catch PostgresError.statementFailed(let message, let state) where !state.hasPrefix("57") {
      // 42809, wrong_object_type, is what it says of a locale that it lacks.
      let hint = state == SQLState.wrongObjectType ? ": this server has other locales than the original; name one of its own with --locale" : ""
      throw FirnError.refused(reasons: ["the server cannot create the database: \(message)\(hint)"])
    }
    try refuseRivals(server)
  }

  /// Creates another, empty one with the same properties, to be dropped by the caller.
  func makeReference(on server: Connection, snapshot: SnapshotID) throws -> UnfinishedDatabase {
    let reference = UnfinishedDatabase(for: finalName, builder: builder)
    try server.execute(builder.createStatement(name: reference.name))
    try server.execute(RestoreMarker(target: finalName, snapshot: snapshot, inPlace: nil).commentStatement(for: reference.name))
    return reference
  }

  /// Gives it all but its name, and has it say so.
  func markWhole(on server: Connection, snapshot: SnapshotID, inPlace: InPlace?) throws {
    var owner = RestoreMarker(target: finalName, snapshot: snapshot, inPlace: inPlace)
    owner.state = .whole
    try server.executeTogether(builder.finishingStatements(name: name) + [owner.commentStatement(for: name)])
  }

  /// Gives it the settings it is to have.
  func applySettings(on server: Connection) throws { try server.executeTogether(builder.settingStatements(name: name)) }

  /// Gives it the last of its properties and its own name, in one step. One that existed keeps its own.
  func finish(on server: Connection) throws {
    guard isTemporary else { return try server.executeTogether(builder.settingStatements(name: name)) }
    let statements =
      builder.finishingStatements(name: name)
      + [Connection.renameStatement(name, to: finalName)]
    // A rename that meets a session of ours which is just ending looks again only after 100 ms (procarray.c, CountOtherDBBackends).
    let deadline = ContinuousClock.now + .milliseconds(90)
    while ContinuousClock.now < deadline, try server.hasSessions(in: name) { Thread.sleep(forTimeInterval: 0.003) }
    for attempt in 1...20 {
      do {
        return try server.executeTogether(statements)
      } catch PostgresError.statementFailed(_, SQLState.objectInUse) where attempt < 20 {
        // Sessions in an unfinished database, such as those of a monitor, are ended.
        try server.endSessions(in: [name])
        Thread.sleep(forTimeInterval: 0.2)
      } catch PostgresError.statementFailed(_, SQLState.duplicateDatabase) {
        throw FirnError.refused(reasons: ["database \(finalName) was made by someone else meanwhile"])
      }
    }
  }

  /// Takes it away: drops it, or, if it existed, drops all that is new in it.
  /// - Parameter entries: of the archive. If a table is new that they don't name, another program is at work there, and all stays.
  /// - Throws: what keeps it from being dropped; `FirnError.refused` where something is left in it.
  func discard(on server: Connection, entries: [ArchiveDirectory.Entry]) throws {
    guard !isTemporary else { return try server.dropDatabase(name, within: .seconds(600)) }
    try ServerConnection.patiently {
      let connection = try Connection(server.settings.with(database: name), applicationName: "firn-restore")
      func added() throws -> [UserObject] { try connection.userObjects().filter { !formerObjects.contains($0) } }
      let objects = try added()
      let ours = Set(entries.map(\.qualifiedName))
      if let other = objects.first(where: { $0.kind == "table" && !(QualifiedName(quoted: $0.identity).map(ours.contains) ?? false) }) {
        throw FirnError.refused(reasons: ["table \(other.identity) in database \(name) is not from this restore: nothing in it was dropped"])
      }
      try connection.drop(objects)
      if let left = try added().first {
        throw FirnError.refused(reasons: ["database \(name) could not be emptied again: \(left.kind) \(left.identity) is left"])
      }
    }
  }

  /// Two that build for the same name see each other, however they come: each has made its own before it looks.
  private func refuseRivals(_ server: Connection) throws {
    for (other, owner) in try Self.all(on: server) where other != name {
      guard let owner, owner.target == finalName, owner.liveness != .dead, owner.state != .mark, !owner.isOwn else { continue }
      throw FirnError.beingRestored(database: finalName, process: owner.process, place: owner.place, rest: owner.liveness == .unknown ? other : nil)
    }
  }

  /// Facts for the process that finds the leftovers of a restore in place.
  struct InPlace: Codable, Sendable {
    /// The safety snapshot of the dropped database.
    let safetySnapshot: String?
    /// The OID of the dropped database.
    var oid: UInt32?
    /// Where the snapshots are.
    var store: String?
  }
}
