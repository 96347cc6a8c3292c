import ArgumentParser
import CommandSupport
import Foundation
import Platform
import SystemPackage

/// `firn`.
package enum FrontDoor {
  private static let programs = ["snapshot", "verify", "restore", "prune", "migrate"]

  /// Runs `firn snapshot …` as `firn-snapshot …`, like git; `firn help snapshot` prints that program's help.
  package static func start() {
    let arguments = CommandLine.arguments.dropFirst()
    switch arguments.first {
    case let name? where programs.contains(name): become(name, Array(arguments.dropFirst()))
    case "help":
      if let name = arguments.dropFirst().first { help(name, Array(arguments.dropFirst(2))) }
    case let name? where !name.hasPrefix("-") && !name.isEmpty:
      let own = Firn.configuration.subcommands.map { String(describing: $0).lowercased() }
      if !own.contains(name) {
        fail("there is no command firn \(name)", hint: "there are \((programs + own).joined(separator: ", "))", .usage)
      }
    default: break
    }
    Program.start(Firn.self)
  }

  /// The help of a program, or a guide. Returns for the front door's own commands.
  private static func help(_ name: String, _ others: [String]) {
    if programs.contains(name) { become(name, others + ["--help"]) }
    let own = Firn.configuration.subcommands.map { String(describing: $0).lowercased() }
    if own.contains(name) || name.hasPrefix("-") { return }
    let guides = Guide.all(programs: programFolder)
    guard let guide = guides.first(where: { $0.topic == name.lowercased() }) else {
      let topics = guides.isEmpty ? "guides are not installed here" : "guides are \(guides.map(\.topic).joined(separator: ", "))"
      fail("there is no help on \(name)", hint: "commands are \((programs + own).joined(separator: ", ")); \(topics)", .usage)
    }
    guide.show()
    exit(ExitStatus.done.rawValue)
  }

  private static var programFolder: FilePath { FilePath(Bundle.main.executablePath ?? CommandLine.arguments[0]).removingLastComponent() }

  private static func become(_ name: String, _ arguments: [String]) {
    let search = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map { FilePath(String($0)) }
    for folder in [programFolder] + search {
      let program = folder.appending("firn-\(name)")
      if Folder.isExecutable(program) { Host.become(program, arguments: ["firn-\(name)"] + arguments) }
    }
    fail("firn-\(name) was not found beside firn or on the PATH", hint: "install all of Firn's programs in one folder", .failed)
  }

  private static func fail(_ message: String, hint: String, _ status: ExitStatus) -> Never {
    Terminal.writeError("firn: error: \(message)\nhint: \(hint)\n")
    exit(status.rawValue)
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
