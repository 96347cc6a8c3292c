import ArgumentParser
import CommandSupport
import Foundation
import Platform
import SystemPackage

/// `firn`.
package enum FrontDoor {
  private static let programs = ["snapshot", "verify", "restore", "prune", "migrate"]
  private static var ownCommands: [String] { Firn.configuration.subcommands.map { $0._commandName }.filter { !programs.contains($0) } }

  /// Runs `firn snapshot …` as `firn-snapshot …`, like git; `firn help snapshot` prints that program's help.
  package static func start() {
    let arguments = CommandLine.arguments.dropFirst()
    switch arguments.first {
    case let name? where programs.contains(name): become(name, Array(arguments.dropFirst()))
    case "help":
      if let name = arguments.dropFirst().first { help(name, Array(arguments.dropFirst(2))) }
    case let name? where !name.hasPrefix("-") && !name.isEmpty:
      if !ownCommands.contains(name) {
        let near = Spelling.nearest(to: name, in: programs + ownCommands).map { "did you mean firn \($0)? " } ?? ""
        fail("there is no command firn \(name)", hint: "\(near)there are \((programs + ownCommands).joined(separator: ", "))", .usage)
      }
    default: break
    }
    Program.start(Firn.self)
  }

  /// The help of a program, or a guide. Returns for the front door's own commands.
  private static func help(_ name: String, _ others: [String]) {
    if programs.contains(name) { become(name, others + ["--help"]) }
    if ownCommands.contains(name) || name.hasPrefix("-") { return }
    let guides = Guide.all(programs: programFolder)
    guard let guide = guides.first(where: { [name.lowercased(), Guide.topic(of: name)].contains($0.topic) }) else {
      let topics = guides.isEmpty ? "guides are not installed here" : "guides are \(guides.map(\.topic).joined(separator: ", "))"
      fail("there is no help on \(name)", hint: "commands are \((programs + ownCommands).joined(separator: ", ")); \(topics)", .usage)
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
      snapshot, verify, restore, prune and migrate run the programs firn-snapshot, firn-verify, firn-restore, firn-prune and \
      firn-migrate. firn help COMMAND explains one; firn help TOPIC opens a guide, such as restoring or disaster-recovery.
      """,
    version: FirnVersion.text,
    subcommands: [
      Init.self, Setup.self, SnapshotEntry.self, VerifyEntry.self, RestoreEntry.self, PruneEntry.self, MigrateEntry.self, List.self, Show.self,
      Status.self,
      Log.self, Doctor.self, Report.self, Copy.self, Key.self, Source.self, Hold.self, Unlock.self,
    ])
}

/// A program of its own: listed in the help and in completions. `FrontDoor.start` runs it before its arguments are parsed.
private protocol ProgramEntry: ParsableCommand {}

extension ProgramEntry {
  func run() throws {}
}

struct SnapshotEntry: ProgramEntry {
  static let configuration = CommandConfiguration(commandName: "snapshot", abstract: "Take a snapshot of a database.")
  @Argument(parsing: .captureForPassthrough, completion: Completions.databases) var arguments: [String] = []
}

struct VerifyEntry: ProgramEntry {
  static let configuration = CommandConfiguration(commandName: "verify", abstract: "Verify that snapshots are intact and can be restored.")
  @Argument(parsing: .captureForPassthrough, completion: Completions.databases) var arguments: [String] = []
}

struct RestoreEntry: ProgramEntry {
  static let configuration = CommandConfiguration(commandName: "restore", abstract: "Restore a snapshot. The replaced database is kept.")
  @Argument(parsing: .captureForPassthrough, completion: Completions.databases) var arguments: [String] = []
}

struct PruneEntry: ProgramEntry {
  static let configuration = CommandConfiguration(commandName: "prune", abstract: "Remove old snapshots.")
  @Argument(parsing: .captureForPassthrough, completion: Completions.databases) var arguments: [String] = []
}

struct MigrateEntry: ProgramEntry {
  static let configuration = CommandConfiguration(commandName: "migrate", abstract: "Migrate a database with a way back.")
  @Argument(parsing: .captureForPassthrough) var arguments: [String] = []
}
