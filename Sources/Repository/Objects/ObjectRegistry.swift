internal import Platform
internal import Synchronization

/// The objects a new snapshot refers to, in the order in which it came to need them.
package final class ObjectRegistry: Sendable {
  private struct Slot: Sendable {
    var entry: ObjectEntry?
    var isNew: Bool
    var used: Int64 = 0
  }

  private let slots = Mutex<[Slot]>([])

  package init() {}

  /// A place for an object that is being filled.
  func reserve() -> UInt32 {
    slots.withLock {
      $0.append(Slot(entry: nil, isNew: true))
      return UInt32($0.count - 1)
    }
  }

  func complete(_ ordinal: UInt32, _ entry: ObjectEntry) { slots.withLock { $0[Int(ordinal)].entry = entry } }

  /// A place for an object of an earlier snapshot.
  func adopt(_ entry: ObjectEntry) -> UInt32 {
    slots.withLock {
      $0.append(Slot(entry: entry, isNew: false))
      return UInt32($0.count - 1)
    }
  }

  func addUses(_ uses: [UInt32: Int64]) {
    slots.withLock { slots in
      // The head of a list states these numbers; a damaged one may state any.
      for (ordinal, bytes) in uses {
        let slot = Int(ordinal)
        let (sum, overflows) = slots[slot].used.addingReportingOverflow(bytes)
        slots[slot].used = overflows ? .max : sum
      }
    }
  }

  /// All objects with what is used of them.
  package func completed() throws -> [ObjectEntry] {
    try slots.withLock { slots in
      try slots.map { slot in
        guard let entry = slot.entry else { throw RepositoryError.malformed(key: ObjectName.root, reason: "an object was never finished") }
        return ObjectEntry(
          name: entry.name, storedBytes: entry.storedBytes, usedBytes: min(slot.used, entry.plainBytes), frames: entry.frames)
      }
    }
  }

  /// Stored bytes of the objects of earlier snapshots that are used again, by key.
  package var reused: [StoreKey: Int64] { storedBytes { !$0.isNew } }

  /// Stored bytes of the objects that were written for this snapshot, by key.
  package var written: [StoreKey: Int64] { storedBytes(where: \.isNew) }

  private func storedBytes(where isWanted: (Slot) -> Bool) -> [StoreKey: Int64] {
    slots.withLock { slots in
      let entries = slots.filter(isWanted).compactMap(\.entry)
      return Dictionary(entries.map { ($0.name.key, $0.storedBytes) }, uniquingKeysWith: { first, _ in first })
    }
  }

  /// How many objects are new, and their stored bytes.
  package var added: (objects: Int, bytes: Int64) {
    slots.withLock { slots in
      slots.reduce((0, 0)) { $1.isNew ? ($0.0 + 1, $0.1 + ($1.entry?.storedBytes ?? 0)) : $0 }
    }
  }
}
