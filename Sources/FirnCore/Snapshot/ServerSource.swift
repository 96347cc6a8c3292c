package import Foundation
internal import Platform
package import Postgres
package import Repository

/// The source of a server's snapshots: the configured name, or the folder of its system identifier.
package struct ServerSource: Sendable {
  /// Its folder.
  package let folder: String
  private let record: SourceRecord?
  private let server: SourceRecord.Server?
  /// The configured name.
  private let name: String?
  private let startedAt: Date

  /// - Parameter name: the configured name; nil for none.
  package init(of connection: Connection, named name: String?, in catalog: Catalog, startedAt: Date = Date()) throws {
    let identifier = try connection.systemIdentifier()
    self.name = name
    self.startedAt = startedAt
    folder = try name.map { try catalog.source(named: $0) ?? $0 } ?? identifier ?? connection.target
    record = try catalog.sourceRecord(of: folder)
    let place = connection.place
    server = try identifier.map {
      SourceRecord.Server(
        systemIdentifier: $0, host: place.host ?? Host.name, port: place.port, clusterName: try connection.clusterNameSetting(),
        version: try connection.versionText(), since: startedAt)
    }
  }

  /// The source that has snapshots of a connected server; nil if there is none.
  package static func find(_ connection: Connection, in catalog: Catalog) throws -> String? {
    guard let identifier = try connection.systemIdentifier() else { return nil }
    let sources = try catalog.sources(of: catalog.snapshots())
    return (sources.first { $0.record?.servers.last?.systemIdentifier == identifier } ?? sources.first { $0.folder == identifier })?.folder
  }

  /// The server whose place this one takes; nil if it is the same server as before.
  private var predecessor: SourceRecord.Server? {
    guard let server, let last = record?.servers.last else { return nil }
    return last.systemIdentifier == server.systemIdentifier ? nil : last
  }

  /// Words about a server whose place this one takes; nil if it is the same server as before.
  var takeover: String? {
    guard let record, let server, let last = predecessor else { return nil }
    return "source \(record.name) continues with another server: it was \(Self.words(last)) until now, and is \(Self.words(server))"
  }

  /// - Throws: `FirnError.sourceInUse` if another server took this one's place earlier: two servers would mix their snapshots.
  func requireOwn() throws {
    guard let record, let server, let last = predecessor,
      record.servers.contains(where: { $0.systemIdentifier == server.systemIdentifier })
    else { return }
    throw FirnError.sourceInUse(name: record.name, by: Self.words(last), since: last.since)
  }

  private static func words(_ server: SourceRecord.Server) -> String {
    "PostgreSQL \(server.version)\(server.place.map { " on \($0)" } ?? "")"
  }

  /// Writes what changed. Nothing depends on it, so errors are ignored.
  func remember(in repository: Repository) {
    guard var server else { return }
    if repository.format.isEncrypted { (server.host, server.port, server.clusterName) = (nil, nil, nil) }
    var next = record ?? SourceRecord(name: name ?? defaultName(server, in: repository.catalog), servers: [])
    if let last = next.servers.last, last.systemIdentifier == server.systemIdentifier {
      next.servers[next.servers.count - 1] = .init(
        systemIdentifier: last.systemIdentifier, host: server.host, port: server.port, clusterName: server.clusterName, version: server.version,
        since: last.since)
    } else {
      next.servers.append(server)
    }
    guard next != record, (try? repository.catalog.hasUnreadableRecord(of: folder)) == false else { return }
    try? repository.catalog.write(next, of: folder)
  }

  /// Host and cluster, such as `db1-15-main`; another source may have that name already.
  private func defaultName(_ server: SourceRecord.Server, in catalog: Catalog) -> String {
    guard let host = server.host else { return folder }
    let short = host.split(separator: ".").first.map(String.init) ?? host
    let isAddress = host.allSatisfy { $0.isNumber || $0 == "." || $0 == ":" }
    let cluster = server.clusterName.map { "-" + $0.replacing("/", with: "-") } ?? server.port.flatMap { $0 == 5432 ? nil : "-\($0)" } ?? ""
    let wanted = (isAddress ? host : short) + cluster
    let taken = Set(((try? catalog.sources(of: catalog.snapshots())) ?? []).filter { $0.folder != folder }.map(\.name))
    return ([wanted] + (2...99).map { "\(wanted)-\($0)" }).first { !taken.contains($0) } ?? folder
  }
}
