import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

@main struct Main {
  static func main() { Program.start(FirnVerify.self) }
}

/// Looks whether snapshots are intact.
struct FirnVerify: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "firn-verify", abstract: "Prove that snapshots are what they were.",
    discussion: """
      --quick looks whether every object is there with its right size; --read reads every byte back; --drill restores each snapshot into \
      a server made for it, compares everything with what was dumped, and takes it away again.
      """)

  @Argument(help: "The database, or SOURCE/DATABASE; else all of the store.") var database: String?
  @Argument(help: "An id, the beginning of one, latest, latest:verified, latest:KIND, before:TIME, or all.") var snapshot: String?
  @Flag(help: "Every object there, of the right size.") var quick = false
  @Flag(help: "Every byte hashed, every frame decoded, every table compared. The default.") var read = false
  @Flag(help: "Restored, compared in all that was dumped, and dropped again.") var drill = false
  @Option(help: ArgumentHelp("Drill on this server, under a passing name, instead of one that is made for it.", valueName: "url")) var server: String?
  @Option(name: .customLong("pg-bin"), help: ArgumentHelp("Look here for PostgreSQL's programs first. May be repeated.", valueName: "folder"))
  var toolFolders: [String] = []
  @Option(help: ArgumentHelp("Drill in this folder. Else $TMPDIR or /var/tmp.", valueName: "folder")) var spool: String?
  @Option(help: ArgumentHelp("Tables worked on at once in a drill.", valueName: "n")) var jobs: Int?
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if [quick, read, drill].count(where: { $0 }) > 1 { throw ValidationError("--quick, --read and --drill exclude each other") }
    if server != nil && !drill { throw ValidationError("--server belongs to --drill") }
    if let jobs, !(1...64).contains(jobs) { throw ValidationError("--jobs takes a number from 1 to 64") }
  }

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repository()
    let places = try chosen(in: repository)
    guard !places.isEmpty else { throw RepositoryError.noSuchDatabase(name: database ?? "any database", known: []) }
    if drill { return try Drills(command: self, context: context).run(on: places, in: repository) }
    let level: CheckRecord.Level = quick ? .quick : .read
    let outcome = try context.withProgress { progress in
      try VerifyOperation(repository: repository, level: level, progress: progress).run(on: places)
    }
    let isSound = outcome.snapshots.allSatisfy { $0.problems.isEmpty }
    if common.json {
      try context.output(json: VerifyReport(outcome, level: level))
    } else {
      for snapshot in outcome.snapshots {
        let name = "\(snapshot.place.database) \(snapshot.place.id)"
        if snapshot.problems.isEmpty {
          context.output("\(name)  intact (\(level == .quick ? "every object is there" : "every byte was read"))")
        } else {
          context.output("\(name)  DAMAGED")
          for problem in snapshot.problems { context.output("  \(problem.text)") }
        }
      }
      context.tell(
        "\(Quantity.count(Int64(outcome.objectsChecked))) objects"
          + (outcome.bytesChecked > 0 ? ", \(Quantity.size(outcome.bytesChecked))" : "") + " in \(Quantity.span(outcome.elapsed.inSeconds))")
      if !isSound {
        let good = outcome.snapshots.last { $0.problems.isEmpty }
        Terminal.writeError("firn-verify: error: damage was found\n")
        Terminal.writeError(
          "hint: \(good.map { "\($0.place.id) is intact" } ?? "look for a copy of the store"); leave the damaged files as they are\n")
      }
    }
    return isSound ? .done : .verificationFailed
  }

  private func chosen(in repository: Repository) throws -> [SnapshotPlace] {
    guard let database else { return try repository.catalog.snapshots() }
    if database == "all" && snapshot == nil { return try repository.catalog.snapshots() }
    let places = try repository.catalog.database(named: database)
    if snapshot == "all" { return places }
    return [try SnapshotSelector(snapshot ?? "latest").choose(from: places, in: repository.catalog)]
  }
}

extension VerifyOperation.Problem {
  fileprivate var text: String {
    ([table.map { "table \($0)" }, object.map { "object \($0)" }].compactMap(\.self) + [reason]).joined(separator: ": ")
  }
}

/// The JSON of a verification. Its keys are fixed.
private struct VerifyReport: Encodable {
  struct Snapshot: Encodable {
    let id: String
    let level: String
    let ok: Bool
    let problems: [Problem]
  }
  struct Problem: Encodable {
    let table: String?
    let object: String?
    let reason: String
  }
  let snapshots: [Snapshot]
  let objectsChecked: Int
  let bytesChecked: Int64
  let seconds: Double

  init(_ outcome: VerifyOperation.Outcome, level: CheckRecord.Level) {
    snapshots = outcome.snapshots.map { snapshot in
      Snapshot(
        id: snapshot.place.id.description, level: level.rawValue, ok: snapshot.problems.isEmpty,
        problems: snapshot.problems.map { Problem(table: $0.table, object: $0.object, reason: $0.reason) })
    }
    objectsChecked = outcome.objectsChecked
    bytesChecked = outcome.bytesChecked
    seconds = outcome.elapsed.inSeconds
  }
}
