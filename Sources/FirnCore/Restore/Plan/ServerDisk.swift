internal import Platform
internal import Postgres
internal import SystemPackage

/// The disk under a server of this machine.
struct ServerDisk {
  let folder: String
  /// Bytes that are free.
  let free: Int64

  /// Nil where the server is elsewhere, or doesn't tell.
  init?(of server: Connection) throws {
    guard server.isLocal, !server.settings.allowsForwardedPort, let folder = try server.dataFolder(),
      let free = try? Folder.freeSpace(at: FilePath(folder))
    else { return nil }
    (self.folder, self.free) = (folder, free)
  }

  /// No database is smaller than a quarter of its dump, however well its rows are compressed.
  static func least(forDumped bytes: Int64) -> Int64 { bytes / 4 }
}
