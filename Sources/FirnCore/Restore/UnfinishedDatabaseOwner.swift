internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// What the comment of an unfinished database says: whose it is, and what whoever finds it has to know.
struct UnfinishedDatabaseOwner: Codable {
  /// How far the one that is to come in the place of a dropped one has come.
  enum State: String, Codable {
    /// Filled and counted: it lacks its name alone.
    case whole
    /// Emptied: it stands there for what it says, and for nothing else.
    case mark
  }

  private let host: String
  private let machine: String
  private let space: String
  let process: Int32
  private let start: UInt64
  private let boot: String
  /// The name it is to get.
  let target: String?
  let snapshot: String?
  let inPlace: UnfinishedDatabase.InPlace?
  var state: State?

  /// This process.
  init(target: String, snapshot: SnapshotID, inPlace: UnfinishedDatabase.InPlace?) {
    host = Host.name
    machine = Host.machineID
    space = Host.processSpace
    process = Host.processID
    start = Host.startTime(of: process) ?? 0
    boot = Host.bootID
    self.target = target
    self.snapshot = snapshot.description
    self.inPlace = inPlace
  }

  /// Nil where a comment says nothing of the kind.
  init?(comment: String?) {
    guard let comment, let brace = comment.firstIndex(of: "{"),
      let owner = try? JSONDecoder().decode(Self.self, from: Data(comment[brace...].utf8))
    else { return nil }
    self = owner
  }

  /// The statement that has a database say so.
  func commentStatement(for name: String) throws -> String {
    let what =
      switch state {
      case nil: "not finished"
      case .whole: "whole, and not named"
      case .mark: "not finished; empty, for what follows alone"
      }
    let facts = String(decoding: try JSONEncoder().encode(self), as: UTF8.self)
    return Connection.commentStatement(name, "restore of \(snapshot ?? "") by firn, \(what): \(facts)")
  }

  /// Whether it is of this process.
  var isOwn: Bool { isAlive == true && process == Host.processID }

  /// Whether its process lives; nil for one of another machine, or of another container of this.
  var isAlive: Bool? {
    LockOwner.current.tellsAlive(host: host, machine: machine, boot: boot, space: space, process: process, start: start)
  }

  /// Where it is at work, in words.
  var place: String {
    isAlive != nil ? "this machine" : host == Host.name ? "another machine or container called \(host)" : host
  }

  /// That a database is gone, and how to have one again; nil where none was to be dropped, or it is there as it was.
  func loss(on server: Connection) throws -> String? {
    guard let inPlace, let target, let snapshot else { return nil }
    let there = try server.databaseOID(target)
    // Applications make an empty one where they find none.
    if let there, try !server.isHalfDropped(target), inPlace.oid.map({ $0 == there }) ?? true { return nil }
    let what = there == nil ? "IS GONE: it" : "IS NOT WHAT IT WAS, WHICH IS GONE: that"
    let before = inPlace.safetySnapshot.map { "; the database as it was: firn-restore \(target.shellWord) \($0)" } ?? ""
    let store = inPlace.store.map { " (these are in \($0))" } ?? ""
    return "\(target) \(what) was dropped to be replaced in place. To go on: firn-restore \(target.shellWord) \(snapshot)\(before)\(store)"
  }
}
