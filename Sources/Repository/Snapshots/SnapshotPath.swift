internal import Platform
internal import Foundation

/// Where a snapshot's files lie.
package struct SnapshotPath: Hashable, Sendable {
  package let source: String
  package let database: String
  package let id: SnapshotID

  package init(source: String, database: String, id: SnapshotID) {
    self.source = source
    self.database = database
    self.id = id
  }

  package static func == (left: Self, right: Self) -> Bool {
    left.id == right.id && left.source.isSame(as: right.source) && left.database.isSame(as: right.database)
  }

  package func hash(into hasher: inout Hasher) { hasher.combine(id) }

  /// By time, then by name.
  static func isOlder(_ left: Self, _ right: Self) -> Bool { (left.id, left.source, left.database) < (right.id, right.source, right.database) }

  package static let root = "snapshots/"
  /// Under which those of one database of one source are.
  static func root(source: String, database: String) -> StoreKey { "\(root)\(source.keyComponent)/\(database.keyComponent)/" }

  /// Where the snapshots of its database are.
  package var folder: StoreKey { Self.root(source: source, database: database) }

  package var prefix: StoreKey { "\(Self.root(source: source, database: database))\(id)/" }
  static let checksumsName = "SHA256SUMS"
  static let holdName = "hold.json"
  static let checksFolder = "checks/"
  static let unfinishedName = "unfinished-"
  static let removedName = "removed"

  package var checksums: StoreKey { prefix + Self.checksumsName }
  /// The files it consists of besides objects.
  package func files(areEncrypted: Bool) -> SnapshotFiles { SnapshotFiles(prefix, areEncrypted: areEncrypted) }
  /// The same for who does not know whether the snapshot is encrypted.
  var possibleFiles: [SnapshotFiles] { [files(areEncrypted: false), files(areEncrypted: true)] }
  /// Stands beside a manifest until the snapshot is committed, and becomes its list of checksums then. Without a list and without
  /// this a snapshot was damaged.
  /// - Parameter run: the name of its lock: two may copy one snapshot.
  func unfinished(_ run: String) -> StoreKey { prefix + Self.unfinishedName + run }
  /// Whether a key of this snapshot is such a mark, of whatever run.
  package func isUnfinished(_ key: StoreKey) -> Bool { key.dropFirst(prefix.count).hasPrefix(Self.unfinishedName) }
  /// The list of checksums of a snapshot that is being removed.
  package var removed: StoreKey { prefix + Self.removedName }
  /// Results of verifications.
  package var checks: StoreKey { prefix + Self.checksFolder }
  package var hold: StoreKey { prefix + Self.holdName }

  /// From the key of any file of a snapshot; nil where the key is no such.
  package init?(key: StoreKey) {
    let parts = key.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count >= 5, parts[0] == "snapshots", let source = String(keyComponent: parts[1]),
      let database = String(keyComponent: parts[2]), let id = SnapshotID(parts[3])
    else { return nil }
    self.init(source: source, database: database, id: id)
  }
}
