internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// The marker in the comment of an unfinished database: the process that builds it, and facts for a later recovery.
struct RestoreMarker: Codable {
  /// How complete the replacement of a dropped database is.
  enum State: String, Codable {
    /// Filled and counted: only its name is missing.
    case whole
    /// Emptied: it exists only for its marker.
    case mark
  }

  private let host: String
  private let machine: String
  private let space: String
  let process: Int32
  private let start: UInt64
  private let boot: String
  /// The name it will get.
  let target: String?
  let snapshot: String?
  let inPlace: UnfinishedDatabase.InPlace?
  var state: State?

  /// This process.
  init(target: String, snapshot: SnapshotID, inPlace: UnfinishedDatabase.InPlace?) {
    let own = ProcessIdentity.current
    host = own.host
    machine = own.machine
    space = own.space
    process = own.process
    start = own.start
    boot = own.boot
    self.target = target
    self.snapshot = snapshot.description
    self.inPlace = inPlace
  }

  /// Nil if a comment is no marker.
  init?(comment: String?) {
    guard let comment, let brace = comment.firstIndex(of: "{"),
      let owner = try? JSONDecoder().decode(Self.self, from: Data(comment[brace...].utf8))
    else { return nil }
    self = owner
  }

  /// The statement that writes the marker.
  func commentStatement(for name: String) throws -> String {
    let what =
      switch state {
      case nil: "not finished"
      case .whole: "complete, waiting for its name"
      case .mark: "not finished; this empty database only holds the following record"
      }
    let facts = String(decoding: try JSONEncoder().encode(self), as: UTF8.self)
    return Connection.commentStatement(name, "restore of \(snapshot ?? "") by firn, \(what): \(facts)")
  }

  /// Whether this process wrote it.
  var isOwn: Bool { liveness == .alive && process == Host.processID }

  var liveness: Liveness {
    ProcessIdentity(host: host, machine: machine, boot: boot, space: space, process: process, start: start).liveness()
  }

  /// A description of where the process runs.
  var place: String {
    liveness != .unknown ? "this machine" : host == Host.name ? "another machine or container called \(host)" : host
  }

  /// Describes the lost database and the ways to restore it; nil if none was dropped.
  func loss(on server: Connection) throws -> String? {
    guard let inPlace, let target, let snapshot else { return nil }
    let there = try server.databaseOID(target)
    // Applications may have created an empty one in its place.
    if let there, try !server.isHalfDropped(target), inPlace.oid.map({ $0 == there }) ?? true { return nil }
    let what =
      there == nil
      ? "\(target) IS GONE: it was dropped for an in-place restore that did not finish"
      : "THE ORIGINAL DATABASE \(target) IS GONE: it was dropped for an in-place restore that did not finish, and the database of this name is another one"
    let before = inPlace.safetySnapshot.map { "; the database as it was: firn-restore \(target.shellWord) \($0)" } ?? ""
    let store = inPlace.store.map { " (these are in \($0))" } ?? ""
    return "\(what). To continue: firn-restore \(target.shellWord) \(snapshot)\(before)\(store)"
  }
}
