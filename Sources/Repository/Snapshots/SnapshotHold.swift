package import Foundation

/// An order to keep a snapshot, whatever any policy says. Lies beside it, not under its checksums.
package struct SnapshotHold: Codable, Sendable, Equatable {
  /// Nil for ever.
  package let until: Date?
  package let reason: String
  package let placedAt: Date
  /// The host it was placed from.
  package let host: String

  static let sizeLimit = 1 << 16

  package init(until: Date?, reason: String, placedAt: Date, host: String) {
    self.until = until
    self.reason = reason
    self.placedAt = placedAt
    self.host = host
  }

  func lasts(longerThan other: SnapshotHold) -> Bool {
    guard let end = other.until else { return false }
    return until.map { $0 > end } ?? true
  }

  package func holds(at now: Date) -> Bool { until.map { now < $0 } ?? true }
}

extension Catalog {
  /// The snapshot's hold, even if it has ended. An unreadable hold counts as one without an end, since the snapshot
  /// was meant to be kept.
  package func hold(of place: SnapshotPath) throws -> SnapshotHold? {
    let bytes: [UInt8]
    do {
      bytes = try store.read(place.hold, limit: SnapshotHold.sizeLimit)
    } catch StoreError.missing {
      return nil
    } catch let error as StoreError where error == .notAFile(place.hold) || error == .tooLarge(place.hold) {
      return Self.unreadableHold
    }
    return (try? JSON.decoder.decode(SnapshotHold.self, from: Data(bytes))) ?? Self.unreadableHold
  }

  private static var unreadableHold: SnapshotHold {
    SnapshotHold(until: nil, reason: "an order that can't be read", placedAt: .distantPast, host: "")
  }

  package func place(_ hold: SnapshotHold, on place: SnapshotPath) throws {
    try store.write(try JSON.bytes(hold), to: place.hold, durability: .immediate)
  }

  /// Removes a hold; a missing one is no error.
  package func release(_ place: SnapshotPath) throws { try store.delete([place.hold]) }
}
