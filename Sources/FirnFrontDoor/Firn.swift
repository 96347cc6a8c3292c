import ArgumentParser
import CommandSupport
import Foundation
import Platform
import SystemPackage

/// `firn`.
package enum FrontDoor {
  /// `firn snapshot …` runs `firn-snapshot …`, as git does.
  package static func start() {
    let arguments = CommandLine.arguments
    if arguments.count > 1, ["snapshot", "verify", "restore", "prune", "migrate"].contains(arguments[1]) {
      let beside = FilePath(Bundle.main.executablePath ?? arguments[0]).removingLastComponent()
      let search = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map { FilePath(String($0)) }
      for folder in [beside] + search {
        let program = folder.appending("firn-\(arguments[1])")
        if Folder.isExecutable(program) { Host.become(program, arguments: ["firn-\(arguments[1])"] + arguments.dropFirst(2)) }
      }
      Terminal.writeError(
        "firn: error: firn-\(arguments[1]) was not found beside firn or on the PATH\nhint: install all of Firn's programs in one folder\n")
      exit(ExitStatus.failed.rawValue)
    }
    Program.start(Firn.self)
  }
}

/// The front door.
struct Firn: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "firn", abstract: "Back up PostgreSQL databases, and get them back.",
    discussion: """
      firn snapshot, firn verify, firn restore, firn prune and firn migrate run the programs firn-snapshot, firn-verify, \
      firn-restore, firn-prune and firn-migrate; each has its own --help.

      \(ExitStatus.table)
      """,
    version: FirnVersion.text,
    subcommands: [Init.self, List.self, Show.self, Status.self, Doctor.self, Report.self, Copy.self, Key.self, Hold.self, Unlock.self])
}
