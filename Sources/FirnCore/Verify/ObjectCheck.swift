internal import Compression
internal import Digests
internal import Platform
internal import Repository

/// Reads objects whole, several at once.
struct ObjectCheck {
  let store: any Store
  /// Objects whose hash alone is checked here; a later reader decodes them.
  let decodedLater: Set<ObjectName>
  let progress: WorkProgress

  /// - Returns: the objects that are damaged, with what is wrong.
  func run(on objects: Set<ObjectName>) throws -> [ObjectName: String] {
    let damaged = Monitor<[ObjectName: String]>([:])
    try forEachInParallel(objects.sorted { $0.key > $1.key }, thread: "verify") { [store, decodedLater, progress] object in
      if let reason = try Self.check(object, in: store, decodes: !decodedLater.contains(object), progress) {
        damaged.update { $0[object] = reason }
      }
    }
    return damaged.current
  }

  private static func check(_ object: ObjectName, in store: any Store, decodes: Bool, _ progress: WorkProgress) throws -> String? {
    do {
      let bytes = try store.read(object.key, limit: 1 << 31)
      progress.advance(by: bytes.count)
      guard SHA256Digest(of: bytes) == object.digest else { return "its bytes do not match the digest in its name" }
      return try decodes && !object.isEncrypted ? ZstdDecompressor().firstFault(in: bytes) : nil
    } catch StoreError.missing {
      return "it is missing"
    } catch StoreError.notAFile {
      return "it is not a regular file"
    } catch StoreError.unreadable(_, let reason) {
      return "it can't be read: \(reason)"
    } catch StoreError.truncated {
      return "it is truncated"
    } catch StoreError.tooLarge {
      return "it is larger than it should be"
    }
  }
}
