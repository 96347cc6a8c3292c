internal import Foundation
internal import Platform
internal import Transfer

/// Listings of a store on an SFTP server.
extension SFTPStore {
  package func list(_ prefix: String, _ body: (StoreEntry) throws -> Void) throws {
    try list([prefix], body)
  }

  /// Lists folders one behind the other, a few of them fetched at once, with what lies in them: an answer takes its time.
  private func list(_ folders: [String], _ body: (StoreEntry) throws -> Void) throws {
    for start in stride(from: 0, to: folders.count, by: 32) {
      let some = Array(folders[start..<min(start + 32, folders.count)])
      var listings = try entries(of: some).mapValues { try $0.get() }
      var hasAhead = false
      /// Fetches the listings of all of them when the first is needed. One that fails is fetched again in its turn.
      func lookAhead() throws {
        guard !hasAhead else { return }
        hasAhead = true
        let within = some.flatMap { Self.folders(in: $0, listings) }
        if within.count <= 64 { listings.merge(try entries(of: within).compactMapValues { try? $0.get() }) { $1 } }
      }
      func tell(_ folder: String) throws {
        let entries = listings[folder] ?? []
        for entry in entries where entry.kind != .folder {
          if let told = try shown(entry, folder, entries) { try body(told) }
        }
        let inner = Self.folders(in: folder, listings)
        if inner.isEmpty { return }
        try lookAhead()
        if inner.allSatisfy({ listings[$0] != nil }) { for folder in inner { try tell(folder) } } else { try list(inner, body) }
      }
      for folder in some { try tell(folder) }
    }
  }

  private static func folders(in folder: String, _ listings: [String: [SFTPListing.Entry]]) -> [String] {
    (listings[folder] ?? []).filter { $0.kind == .folder }.map { "\(folder)\($0.name)/" }
  }

  private func entries(of folders: [String]) throws -> [String: Result<[SFTPListing.Entry], any Error>] {
    let listings = Monitor<[String: Result<[SFTPListing.Entry], any Error>]>([:])
    try forEachInParallel(folders, thread: "list", threads: min(requestsAtOnce, folders.count)) { [self] folder in
      let entries = Result { try self.entries(of: folder) }
      listings.update { $0[folder] = entries }
    }
    return listings.current
  }

  func entries(of folder: String) throws -> [SFTPListing.Entry] {
    let response: TransferResponse
    do { response = try client.answer("GET", folder) { $0.limit = 1 << 30 } } catch StoreError.missing { return [] }
    do { return try SFTPListing(response.body, now: Date()).entries } catch {
      throw StoreError.unreachable(location: location, reason: "\(location) listed what can't be understood: \(Terminal.oneLine(error.text))")
    }
  }

  /// The listed form of an entry; nil for a file that is being written.
  private func shown(_ entry: SFTPListing.Entry, _ folder: String, _ all: [SFTPListing.Entry]) throws -> StoreEntry? {
    if entry.name.hasPrefix(Self.temporaryPrefix) { return nil }
    var name = entry.name
    if name.hasPrefix(Self.formerPrefix) {
      name = String(name.dropFirst(Self.formerPrefix.count))
      // It is the file, unless that is there as well.
      if all.contains(where: { $0.name == name }) { return nil }
    }
    // Locks are compared by minutes, so this must also hold on a night when clocks change.
    let exact =
      folder.hasPrefix("locks/") && entry.kind == .file ? try? client.answer("HEAD", folder + entry.name) { $0.asksForTime = true }.modified : nil
    let modified = try exact.map(Double.init) ?? entry.modified + difference(for: entry, folder)
    return StoreEntry(key: folder + name, size: entry.size, modified: modified, isFile: entry.kind == .file)
  }

  /// The difference to add to listed times. One file's exact time is requested to find it.
  private func difference(for entry: SFTPListing.Entry, _ folder: String) throws -> Double {
    if let known = offset.current { return known }
    guard entry.hasTime, entry.kind == .file else { return 0 }
    let response: TransferResponse
    do { response = try client.answer("HEAD", folder + entry.name) { $0.asksForTime = true } } catch StoreError.missing { return 0 }
    guard let modified = response.modified else { return 0 }
    // Time zones differ by quarters of hours.
    let found = ((Double(modified) - entry.modified) / 900).rounded() * 900
    offset.update { $0 = found }
    return found
  }
}
