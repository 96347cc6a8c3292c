package import Foundation
internal import Platform

/// The name and the servers of a source: `.source.json` in its folder. No database's folder begins with a dot.
package struct SourceRecord: Codable, Sendable, Equatable {
  /// A server that was backed up under this source.
  package struct Server: Codable, Sendable, Equatable {
    package let systemIdentifier: String
    /// Nil in an encrypted repository.
    package var host: String?
    package var port: Int?
    package var clusterName: String?
    /// PostgreSQL's version, as `15.20`.
    package var version: String
    /// When its first snapshot under this source began.
    package let since: Date

    package init(systemIdentifier: String, host: String?, port: Int?, clusterName: String?, version: String, since: Date) {
      self.systemIdentifier = systemIdentifier
      self.host = host
      self.port = port
      self.clusterName = clusterName
      self.version = version
      self.since = since
    }

    /// For users, such as `db1:5432`.
    package var place: String? { host.map { host in port.map { "\(host):\($0)" } ?? host } }
  }

  /// The name for users. Keys of snapshots have the source's folder, which keeps its name for good.
  package var name: String
  /// In the order in which they were backed up. The last one is backed up now.
  package var servers: [Server]

  package init(name: String, servers: [Server]) {
    self.name = name
    self.servers = servers
  }

  static let fileName = ".source.json"
  fileprivate static let sizeLimit = 1 << 20

  static func key(_ source: String) -> StoreKey { "\(SnapshotPath.root)\(source.keyComponent)/\(fileName)" }

  /// Whether a key is that of such a file.
  static func isKey(_ key: StoreKey) -> Bool {
    let parts = key.split(separator: "/", omittingEmptySubsequences: false)
    return parts.count == 3 && parts[2] == fileName
  }
}

/// A source that has snapshots, with what is known of it.
package struct KnownSource: Sendable {
  /// Its folder in the store.
  package let folder: String
  package let record: SourceRecord?
  /// The name for users.
  package var name: String { record?.name ?? folder }
}

extension Catalog {
  /// Nil if nothing, or nothing readable, is known: stores of older versions have no such files, and no snapshot depends on one.
  package func sourceRecord(of source: String) throws -> SourceRecord? {
    let bytes: [UInt8]
    do { bytes = try store.read(SourceRecord.key(source), limit: SourceRecord.sizeLimit) } catch let error as StoreError where error.isOfOneFile {
      return nil
    }
    return try? JSON.decoder.decode(SourceRecord.self, from: Data(bytes))
  }

  /// Whether there is a record that can't be read, which must not be overwritten.
  package func hasUnreadableRecord(of source: String) throws -> Bool {
    try sourceRecord(of: source) == nil && store.size(of: SourceRecord.key(source)) != nil
  }

  /// Writes the records of sources to a copy that is missing them, or has the beginning of their servers.
  package func copySourceRecords(of places: [SnapshotPath], to copy: Catalog) throws {
    for source in try sources(of: places) {
      guard let record = source.record, try !copy.hasUnreadableRecord(of: source.folder) else { continue }
      let there = try copy.sourceRecord(of: source.folder)
      // The copy may know more than the original, if that was restored from it.
      if there.map({ record.servers.count > $0.servers.count && record.servers.starts(with: $0.servers) }) ?? true {
        try copy.write(record, of: source.folder)
      }
    }
  }

  package func write(_ record: SourceRecord, of source: String) throws {
    try store.write(try JSON.bytes(record), to: SourceRecord.key(source), durability: .immediate)
  }

  /// The sources of snapshots, in the order of their folders.
  package func sources(of places: [SnapshotPath]) throws -> [KnownSource] {
    let folders = Dictionary(places.map { ($0.source.keyComponent, $0.source) }, uniquingKeysWith: { first, _ in first })
    return try folders.values.sorted().map { KnownSource(folder: $0, record: try sourceRecord(of: $0)) }
  }

  /// The names of sources for users, by their folders.
  package func sourceNames(of folders: some Sequence<String>) throws -> [String: String] {
    try Set(folders).reduce(into: [:]) { $0[$1] = try KnownSource(folder: $1, record: sourceRecord(of: $1)).name }
  }

  /// The source that users mean by a name: a name it was given, or its folder's.
  /// - Returns: nil if no source with snapshots has it.
  package func source(named name: String) throws -> String? {
    if let record = try sourceRecord(of: name), record.name.isSame(as: name) { return name }
    let sources = try sources(of: snapshots())
    return (sources.first { $0.record?.name.isSame(as: name) ?? false } ?? sources.first { $0.folder.isSame(as: name) })?.folder
  }
}
