package import Foundation
internal import Platform
package import SystemPackage

/// A log of a migration, line by line with the time: written to a file and passed to listeners.
package final class MigrationLog: Sendable {
  package struct Entry: Sendable {
    package let time: Date
    package let text: String
  }

  package let path: FilePath
  private let file: File
  private let listener: @Sendable (String) -> Void
  private let entries = Monitor<[Entry]>([])

  /// Begins a new file, for this user alone.
  /// - Throws: `FirnError.noFolder`.
  package init(in folder: FilePath, database: String, at time: Date, listener: @escaping @Sendable (String) -> Void) throws {
    do {
      try Folder.make(folder)
      let stamp = time.formatted(.iso8601).replacing(":", with: "").replacing("-", with: "")
      let name = String(database.map { $0.isLetter || $0.isNumber || "-_.".contains($0) ? $0 : "_" }.prefix(40))
      path = folder.appending("\(name)-\(stamp)-\(Host.processID).log")
      file = try File(path, .create)
    } catch {
      throw FirnError.noFolder(path: folder.string, reason: "\(error)")
    }
    self.listener = listener
  }

  /// The default folder for logs.
  package static var usualFolder: FilePath { StateFolder.path.appending("migrations") }

  /// The filled-in checklist's file, beside the log.
  package var checklist: FilePath { path.removingLastComponent().appending((path.stem ?? "migration") + ".md") }

  package func add(_ text: String) {
    keep(text)
    listener(text)
  }

  /// Adds a line to the file alone, for output that is shown in another way.
  func keep(_ text: String) {
    let time = Date()
    entries.update { entries in
      entries.append(Entry(time: time, text: text))
      write(time, text)
    }
  }

  /// A line of the command's own: to the file alone, it is shown otherwise.
  package func add(output line: String) { entries.update { _ in write(Date(), "| \(line)") } }

  private func write(_ time: Date, _ text: String) {
    // A disk that is full keeps nothing from being undone.
    try? file.write(Array("\(time.formatted(.iso8601)) \(text)\n".utf8).span)
  }

  package var lines: [Entry] { entries.current }
  package func end() { try? file.synchronize() }
}
