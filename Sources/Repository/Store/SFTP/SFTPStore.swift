internal import Foundation
internal import Platform
package import SystemPackage
package import Transfer

/// A store in a folder of a server that speaks SFTP, version 3. No shell is needed there.
///
/// The protocol can't rename over an existing file, so a file is replaced in three steps: the old one is renamed to a
/// name that refers to it, the new one is renamed into place, and the old one is deleted. A reader in between finds
/// the old file; a process that finds only the old one, as after a crash, renames it back. Objects never need that: a
/// file with an object's name has its bytes, or is damaged.
///
/// libcurl has no call for fsync: a write survives a power cut of the server once its system has written it out.
package final class SFTPStore: Store {
  let client: SFTPClient
  private var place: SFTPLocation { client.location }
  /// Seconds between the server's listings and the truth: they are in its time zone.
  let offset = Monitor<Double?>(nil)

  static let temporaryPrefix = ".writing-"
  static let formerPrefix = ".former-"

  package init(_ location: SFTPLocation, retries: Retries = Retries()) { client = SFTPClient(location, retries: retries) }

  package var location: String { place.text }
  package var requestsAtOnce: Int { 4 }
  package var isDurableWhenVisible: Bool { false }

  private static func sibling(of key: StoreKey, named name: (Substring) -> String) -> StoreKey {
    let start = key.lastIndex(of: "/").map { key.index(after: $0) } ?? key.startIndex
    return key[..<start] + name(key[start...])
  }

  /// Where what stood under a key waits for the new to take its place.
  private static func former(_ key: StoreKey) -> StoreKey { sibling(of: key) { formerPrefix + $0 } }
  private static func temporary(_ key: StoreKey) -> StoreKey {
    sibling(of: key) { _ in temporaryPrefix + "\(Host.processID)-\(UInt64.random(in: 0 ... .max))" }
  }

  /// Whether files of that name are replaced, rather than written once.
  private static func isReplaced(_ key: StoreKey) -> Bool { !key.hasPrefix(ObjectName.root) }

  /// Renames an old file back if there is no new one.
  /// - Returns: whether there was one.
  private func bringBack(_ key: StoreKey) throws -> Bool {
    guard Self.isReplaced(key) else { return false }
    do {
      try client.command(["rename \(place.quoted(Self.former(key))) \(place.quoted(key))"])
      return true
    } catch is SFTPRefusal {
      return false
    } catch StoreError.readOnly {
      return false
    }
  }

  /// Runs a read; repeats it if the file was being replaced.
  private func reading<Result>(_ key: StoreKey, _ body: () throws -> Result) throws -> Result {
    for _ in 0..<20 {
      do { return try body() } catch StoreError.missing {
        guard Self.isReplaced(key) else { throw StoreError.missing(key) }
        if try bringBack(key) { continue }
        // The new one may have come meanwhile.
        do { return try body() } catch StoreError.missing {
          guard try bringBack(key) else { throw StoreError.missing(key) }
        }
      }
    }
    throw StoreError.missing(key)
  }

  // MARK: Reading

  package func read(_ key: StoreKey, limit: Int) throws -> [UInt8] {
    try reading(key) {
      let response = try client.answer("GET", key) { $0.limit = limit }
      if let size = response.size, size != Int64(response.body.count) { throw StoreError.truncated(key) }
      return response.body
    }
  }

  package func read(_ key: StoreKey, from offset: Int64, count: Int) throws -> [UInt8] {
    guard count > 0 else {
      try requirePlace(offset, in: key)
      return []
    }
    return try reading(key) {
      let response = try client.answer("GET", key) {
        $0.range = offset...(offset + Int64(count) - 1)
        $0.limit = count
      }
      guard response.body.count == count else { throw StoreError.truncated(key) }
      return response.body
    }
  }

  package func size(of key: StoreKey) throws -> Int64? {
    do {
      return try reading(key) { try presentSize(of: key) }
    } catch StoreError.missing {
      return nil
    }
  }

  /// - Throws: `StoreError.missing`.
  private func presentSize(of key: StoreKey) throws -> Int64 {
    for _ in 0..<5 {
      if let size = try client.answer("HEAD", key).size { return size }
      // It is empty; or its size could not be had.
      do { if try client.answer("GET", key, { $0.limit = 0 }).body.isEmpty { return 0 } } catch StoreError.tooLarge { continue }
    }
    throw StoreError.unreachable(location: location, reason: "\(location) does not tell the size of \(key)")
  }

  // MARK: Writing

  package func write(_ bytes: [UInt8], to key: StoreKey, durability: Durability) throws { try put(.bytes(bytes), to: key) }

  package func write(contentsOf path: FilePath, to key: StoreKey) throws {
    guard let status = try Folder.status(of: path, followingLinks: true) else { throw StoreError.missing(path.string) }
    try put(.file(path, count: status.size), to: key)
  }

  /// - Throws: `SFTPRefusal` where the name is taken, or the answer was lost.
  private func upload(_ body: TransferRequest.Body, as passing: StoreKey, thenNamed key: StoreKey) throws {
    do {
      try client.answer("PUT", passing) {
        $0.body = body
        $0.commandsAfter = ["rename \(place.quoted(passing)) \(place.quoted(key))"]
      }
    } catch StoreError.missing {
      // Folders that are not there are made.
      throw StoreError.refused(
        location: location, reason: "\(location) can't be created: its parent is not a folder, or \(place.user) may not write there",
        hint: place.path.hasPrefix("/~/")
          ? "is the path right? It begins in the home of \(place.user)"
          : "is the path right? It begins at the root of the server; one in the home of \(place.user) is written /~/PATH")
    }
    // libcurl ignores the result of closing a file, which may report a full disk. Files that are written once can
    // be checked.
    guard key.hasPrefix(ObjectName.root) || key.hasPrefix(SnapshotPath.root) else { return }
    let size = try fileSize(key)
    guard size == body.count else {
      try? client.command(["*rm \(place.quoted(key))"])
      throw StoreError.unreachable(
        location: location, reason: "\(location) has \(size ?? 0) bytes of \(key) and was sent \(body.count): its disk may be full")
    }
  }

  /// Removes what has a name of ours, if it is there.
  private func discard(_ key: StoreKey) throws { try client.command(["*rm \(place.quoted(key))"]) }

  private func put(_ body: TransferRequest.Body, to key: StoreKey) throws {
    for _ in 0..<5 {
      let passing = Self.temporary(key)
      do {
        do {
          return try upload(body, as: passing, thenNamed: key)
        } catch is SFTPRefusal {
          if try fileSize(passing) != nil { return try replace(key, by: passing, body) }
          // The rename succeeded and its answer was lost, or another process removed the file.
          if try isSame(key, body) { return }
        }
      } catch {
        try? discard(passing)
        if let refusal = error as? SFTPRefusal { throw failure(refusal) }
        throw error
      }
    }
    throw StoreError.missing(key)
  }

  private func failure(_ refusal: SFTPRefusal) -> StoreError {
    .unreachable(location: location, reason: "\(location) refused: \(refusal.reason)")
  }

  /// Replaces a file by an uploaded one.
  private func replace(_ key: StoreKey, by passing: StoreKey, _ body: TransferRequest.Body) throws {
    let (new, old) = (place.quoted(passing), place.quoted(key))
    guard Self.isReplaced(key) else {
      // The existing object may be needed, so it is not replaced by the same bytes.
      if try isSame(key, body) { return try client.command(["*rm \(new)"]) }
      return try client.command(["*rm \(old)", "rename \(new) \(old)"])
    }
    let former = place.quoted(Self.former(key))
    for attempt in 0..<200 {
      do {
        return try client.command(["rename \(old) \(former)", "rename \(new) \(old)", "*rm \(former)"])
      } catch let error as SFTPRefusal {
        // Others may be at it; or it is done, and the answer was lost.
        if try fileSize(passing) == nil { return try client.command(["*rm \(former)"]) }
        // The name is free; or one that died has left its former file.
        if (try? client.command(["rename \(new) \(old)", "*rm \(former)"])) != nil { return }
        if attempt % 20 == 19, try fileSize(key) != nil { try client.command(["*rm \(former)"]) }
        if attempt == 199 { throw error }
        try Interruption.sleep(until: .now + .milliseconds(Int.random(in: 1...50)))
      }
    }
  }

  /// The size of the file of exactly this name.
  private func fileSize(_ key: StoreKey) throws -> Int64? {
    do { return try presentSize(of: key) } catch StoreError.missing { return nil }
  }

  private func isSame(_ key: StoreKey, _ body: TransferRequest.Body) throws -> Bool {
    guard try fileSize(key) == body.count else { return false }
    switch body {
    case .none: return true
    case .bytes(let bytes): return try read(key, limit: bytes.count) == bytes
    case .file(let path, let count):
      let file = try File(path, .read)
      var start: Int64 = 0
      while start < count {
        let piece = try file.read(count: Int(min(count - start, 8 << 20)), from: start)
        guard !piece.isEmpty, try read(key, from: start, count: piece.count) == piece else { return false }
        start += Int64(piece.count)
      }
      return true
    }
  }

  package func create(_ bytes: [UInt8], at key: StoreKey) throws -> Bool {
    if try size(of: key) != nil { return false }
    let passing = Self.temporary(key)
    do {
      try upload(.bytes(bytes), as: passing, thenNamed: key)
      return true
    } catch let refusal as SFTPRefusal {
      let isUploaded = try fileSize(passing) != nil
      try? discard(passing)
      guard try size(of: key) != nil else { throw failure(refusal) }
      // The file may be our own, whose answer was lost: no other process writes the same bytes.
      return try !isUploaded && read(key, limit: bytes.count + 1) == bytes
    } catch {
      try? discard(passing)
      throw error
    }
  }

  package func refresh(_ key: StoreKey, with bytes: [UInt8]) throws {
    // A space more at its end changes nothing of what it says, and leaves it under its name all the while.
    try client.answer("PUT", key) {
      $0.body = .bytes([0x20])
      $0.appends = true
    }
  }

  package func rename(_ key: StoreKey, as aside: StoreKey) throws -> Bool {
    // An interrupted replacement may have left the file under its temporary name.
    var source = key
    var found = try fileSize(key)
    if found == nil {
      source = Self.former(key)
      found = try fileSize(source)
    }
    guard let size = found else { return false }
    let rename = "rename \(place.quoted(source)) \(place.quoted(aside))"
    for attempt in 0..<20 {
      do {
        try client.command([rename])
        return true
      } catch let refusal as SFTPRefusal {
        if try fileSize(source) == nil {
          // The rename may have succeeded although its answer was lost; otherwise another process was faster.
          return try fileSize(aside) == size
        }
        if attempt == 19 { throw failure(refusal) }
      }
      let (taken, former) = (place.quoted(aside), place.quoted(Self.former(aside)))
      do {
        // The existing file keeps its name until the new one takes it.
        try client.command(place.folders(above: aside).map { "*mkdir \($0)" } + ["*rename \(taken) \(former)", rename, "*rm \(former)"])
        return true
      } catch is SFTPRefusal {
        _ = try bringBack(aside)
        if attempt % 5 == 4, try fileSize(aside) != nil { try client.command(["*rm \(former)"]) }
      }
    }
    return false
  }

  package func delete(_ keys: [StoreKey], _ mayGoOn: @escaping @Sendable () throws -> Void) throws {
    func commands(_ key: StoreKey) -> [String] {
      // Otherwise a later reader would rename it back.
      (Self.isReplaced(key) ? ["*rm \(place.quoted(Self.former(key)))"] : []) + ["rm \(place.quoted(key))"]
    }
    defer { removeFolders(above: keys) }
    for start in stride(from: 0, to: keys.count, by: 32) {
      // After a signal, at most one batch is deleted.
      if start > 0 { try Interruption.check() }
      let some = keys[start..<min(start + 32, keys.count)]
      do { try client.command(some.flatMap { commands($0) }, mayBeSent: mayGoOn) } catch is SFTPRefusal {
        // One is missing, or can't be deleted: the others go.
        for key in some {
          do { try client.command(commands(key), mayBeSent: mayGoOn) } catch let refusal as SFTPRefusal {
            if try fileSize(key) != nil { throw failure(refusal) }
          }
        }
      }
    }
  }

  /// Folders of snapshots that hold nothing any more: each would be listed for ever. One that holds something stays.
  private func removeFolders(above keys: [StoreKey]) {
    let folders = Set(
      keys.filter { $0.hasPrefix(SnapshotPath.root) }.flatMap { key in
        let parts = key.split(separator: "/")
        // Those of one snapshot: its databases' and sources' stay.
        return parts.indices.dropFirst(4).map { parts[..<$0].joined(separator: "/") }
      })
    let commands = folders.sorted { $0.utf8.count > $1.utf8.count }.map { "*rmdir \(place.quoted($0))" }
    for start in stride(from: 0, to: commands.count, by: 100) { try? client.command(Array(commands[start..<min(start + 100, commands.count)])) }
  }

  package func flush() throws {}

  package func removeLeftovers() throws { try removeLeftovers(in: "") }

  private func removeLeftovers(in folder: String) throws {
    let entries = try self.entries(of: folder)
    for entry in entries where entry.kind == .file {
      if entry.name.hasPrefix(Self.temporaryPrefix) { try discard(folder + entry.name) }
      guard entry.name.hasPrefix(Self.formerPrefix) else { continue }
      let key = folder + entry.name.dropFirst(Self.formerPrefix.count)
      if try !bringBack(key), try fileSize(key) != nil { try discard(folder + entry.name) }
    }
    for entry in entries where entry.kind == .folder { try removeLeftovers(in: "\(folder)\(entry.name)/") }
  }
}
