internal import Repository
internal import Foundation
internal import Platform
internal import SystemPackage

/// A file that pg_dump is still writing: read up to its final end, its disk space freed behind the reader.
struct GrowingFile: ~Copyable {
  private let file: File
  private let name: String
  private let follower: SpoolFollower
  private let failure: FirstFailure
  private var total: Int64 = 0
  private var punched: Int64 = 0
  private(set) var cannotPunchHoles = false

  /// The archive's table of contents: pg_restore reads it once more.
  /// Given back at once.
  private static let holeSize: Int64 = 4 << 20

  init(_ name: String, follower: SpoolFollower, failure: FirstFailure) throws {
    file = try File(follower.folder.appending(name), .readWrite)
    self.name = name
    self.follower = follower
    self.failure = failure
  }

  /// Reads up to `count` bytes to `buffer[start...]`, waiting for some.
  /// - Returns: 0 when pg_dump has closed the file and all of it was read.
  mutating func read(into buffer: inout [UInt8], at start: Int, count: Int) throws -> Int {
    while true {
      try failure.check()
      // Asked before reading: what is there when the file is closed is all.
      let isWritten = follower.isWritten(name)
      let got = try file.read(into: &buffer, at: start, count: count)
      if got > 0 {
        total += Int64(got)
        follower.didRead(name, total: total)
        giveBack()
        // Small pieces, read as they fall, cost more than they are worth.
        if got < count && !isWritten { Thread.sleep(forTimeInterval: 0.002) }
        return got
      }
      if isWritten { return 0 }
      Thread.sleep(forTimeInterval: 0.003)
    }
  }

  private mutating func giveBack() {
    guard name != ArchiveFile.contents, total - punched >= Self.holeSize else { return }
    let end = total & ~4095
    if !file.punchHole(from: punched, count: end - punched) { cannotPunchHoles = true }
    punched = end
  }

  /// Removes the file, except the table of contents, which is needed again.
  func finish() throws {
    if name != ArchiveFile.contents { try Folder.removeFile(file.path) }
    follower.didFinish(name)
  }
}
