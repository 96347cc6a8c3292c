internal import Digests
internal import Foundation
internal import Repository

/// How far around a store the reading of a share at a time has come. Objects are named for their bytes, so their names are as good as
/// drawn by lot, and new ones fall anywhere in the round.
struct ScrubCursor {
  private struct Record: Codable { let after: String? }

  private static let key = "scrub.json"
  /// Objects between two notes of how far it is.
  static let step = 32

  /// The object that was read last; nil before the first.
  let after: ObjectName?

  init(after: ObjectName?) { self.after = after }

  /// One that can't be read begins a new round.
  static func load(from store: any Store, objectsAreEncrypted: Bool) -> ScrubCursor {
    guard let bytes = try? store.read(key, limit: 1 << 16), let record = try? JSON.decoder.decode(Record.self, from: Data(bytes)) else {
      return ScrubCursor(after: nil)
    }
    return ScrubCursor(after: record.after.flatMap { ObjectName(hexadecimal: $0, isEncrypted: objectsAreEncrypted) })
  }

  func save(in store: any Store) throws {
    try store.write(JSON.bytes(Record(after: after?.digest.description)), to: Self.key, durability: .immediate)
  }

  /// The objects that come next, at least one of them, until they make up a share of all bytes.
  func next(share: Double, of objects: Set<ObjectName>, size: (ObjectName) -> Int64) -> [ObjectName] {
    let sorted = objects.sorted { $0.key < $1.key }
    let first = after.flatMap { after in sorted.firstIndex { $0.key > after.key } } ?? 0
    let total = sorted.reduce(0) { $0 + Double(size($1)) }
    var chosen: [ObjectName] = []
    var bytes = 0.0
    for object in sorted[first...] + sorted[..<first] {
      if !chosen.isEmpty, bytes >= total * share { break }
      chosen.append(object)
      bytes += Double(size(object))
    }
    return chosen
  }
}
