package import Foundation
package import Postgres
internal import Platform
internal import Repository

/// A database that was replaced and is kept under another name. Its comment describes what it was.
package struct KeptDatabase: Sendable {
  /// The facts needed to undo the replacement.
  package struct Record: Codable, Sendable {
    /// The name it had.
    package let database: String
    package let keptAt: Date
    /// The snapshot that took its place; nil if a kept database was brought back.
    package let snapshot: String?
    /// The comment it had.
    package let comment: String?
    /// The name it is kept under. With any other name it does not count as kept: it was renamed, or a copy of it
    /// has the same comment.
    package let name: String?

    package init(database: String, name: String, keptAt: Date, snapshot: String?, comment: String?) {
      self.database = database
      self.name = name
      self.keptAt = keptAt
      self.snapshot = snapshot
      self.comment = comment
    }
  }

  package let name: String
  package let oid: UInt32
  package let record: Record
  /// Bytes on disk.
  package let size: Int64
  package let owner: String
  package let isUsable: Bool

  private static let mark = "kept by firn: "

  /// The comment of a kept database.
  static func comment(for record: Record) throws -> String {
    let encoder = JSONEncoder()
    encoder.dateEncodingStrategy = .iso8601
    encoder.outputFormatting = [.sortedKeys]
    return mark + String(decoding: try encoder.encode(record), as: UTF8.self)
  }

  /// The original comment of a kept database. A database still has the comment of a kept one if it was renamed back
  /// by hand.
  static func original(_ comment: String?) -> String? { comment.flatMap(record(in:)).map(\.comment) ?? comment }

  /// Whether a database is kept: a copy of one has its comment, too, but another name.
  static func isKept(_ entry: DatabaseEntry) -> Bool {
    guard let record = entry.comment.flatMap(record(in:)) else { return false }
    return record.name.map { $0.isSame(as: entry.name) } ?? true
  }

  private static func record(in comment: String) -> Record? {
    guard comment.hasPrefix(mark) else { return nil }
    let decoder = JSONDecoder()
    decoder.dateDecodingStrategy = .iso8601
    return try? decoder.decode(Record.self, from: Data(comment.dropFirst(mark.count).utf8))
  }

  /// The kept databases of a server, the newest first.
  /// - Parameter database: only those that had this name.
  package static func all(on server: Connection, of database: String? = nil) throws -> [KeptDatabase] {
    try server.databaseEntries().compactMap { entry in
      guard let record = entry.comment.flatMap(record(in:)), record.name?.isSame(as: entry.name) ?? !record.database.isSame(as: entry.name) else {
        return nil
      }
      return KeptDatabase(
        name: entry.name, oid: entry.oid, record: record, size: entry.size, owner: entry.owner, isUsable: entry.isUsable)
    }
    .filter { kept in database.map { kept.record.database.isSame(as: $0) } ?? true }
    .sorted { ($0.record.keptAt, $0.name) > ($1.record.keptAt, $1.name) }
  }

  /// `DATABASE_before_20261124T193000Z`: at most 63 bytes, and no name that is taken.
  package static func name(for database: String, _ infix: String = "before", at time: Date, taken: Set<String>) -> String {
    var number = 1
    while true {
      let suffix = "_\(infix)_\(time.idStamp)" + (number > 1 ? "_\(number)" : "")
      var stem = database
      while stem.utf8.count + suffix.utf8.count > 63 { stem.removeLast() }
      if !taken.contains(stem + suffix) { return stem + suffix }
      number += 1
    }
  }
}
