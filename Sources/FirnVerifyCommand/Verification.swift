import CommandSupport
import FirnCore
import Foundation
import Platform
import Repository

/// `--quick`, `--read` and `--sample`, and `--repair` after them.
struct Verification {
  let command: FirnVerify
  let context: CommandContext

  func run(on places: [SnapshotPath], in repository: Repository) throws -> ExitStatus {
    let extent = try extent()
    // Before hours of reading.
    let donors = try (command.repair ? command.donors : []).map { location -> any Store in
      let store = try context.store(at: location)
      // It may hold other data, but must be a store.
      _ = try Repository(opening: store)
      return store
    }
    var outcome = try verify(places, in: repository, extent)
    var repairs: [RepairOperation.Outcome] = []
    if command.repair {
      // Damage hidden behind other damage shows only when that is repaired.
      while !outcome.isSound {
        let damaged = outcome.snapshots.filter { !$0.problems.isEmpty }
        let objects = damaged.flatMap(\.problems).compactMap(\.object).compactMap {
          ObjectName(hexadecimal: $0, isEncrypted: repository.format.isEncrypted)
        }
        let repair = try context.withProgress { progress in
          try RepairOperation(repository: repository, donors: donors, progress: progress).run(on: damaged.map(\.place), damaged: Set(objects))
        }
        let known = Set(repairs.flatMap(\.mended).map(\.key))
        repairs.append(repair)
        if known.isSuperset(of: repair.mended.map(\.key)) { break }
        // A verification that clears a finding must be complete, and at least a whole second later.
        try Interruption.sleep(until: .now + .seconds(1))
        outcome = try verify(places, in: repository, .read)
      }
    }
    try context.result(VerifyReport(outcome, repairs: repairs))
    if !command.common.json { show(outcome, extent, repairs) }
    let newer = outcome.snapshots.filter(\.isNewer).map { "\($0.place.database) \($0.place.id)" }
    if !newer.isEmpty { context.warn("newer than this program, so only their stored bytes were checked: \(FailureReport.some(newer))") }
    let closed = outcome.snapshots.count(where: \.isClosed)
    if let reason = outcome.unrecorded.map({ FailureReport($0).message }) {
      context.warn(
        outcome.isSound
          ? "the result could not be written to the store: these snapshots will not count as verified (\(reason))"
          : "THE DAMAGE COULD NOT BE RECORDED in the store: firn list, status and prune don't know of it (\(reason))")
    }
    if closed > 0 {
      context.warn("\(closed) of \(outcome.snapshots.count) snapshots are encrypted to other identities, so their contents were not read")
    }
    return outcome.isSound
      ? (repairs.isEmpty && closed == 0 && newer.isEmpty && outcome.unrecorded == nil ? .done : .doneWithWarnings) : .verificationFailed
  }

  private func extent() throws -> VerifyExtent {
    guard let sample = command.sample else { return command.quick ? .quick : .read }
    guard sample.hasSuffix("%"), let number = Double(sample.dropLast()), number > 0, number <= 100 else {
      throw UsageError("--sample takes a share such as 5%, not \(sample)")
    }
    return .sample(number / 100)
  }

  private func verify(_ places: [SnapshotPath], in repository: Repository, _ extent: VerifyExtent) throws -> VerifyOperation.Outcome {
    try context.withProgress { progress in
      try VerifyOperation(repository: repository, extent: extent, progress: progress).run(on: places)
    }
  }

  private func show(_ outcome: VerifyOperation.Outcome, _ extent: VerifyExtent, _ repairs: [RepairOperation.Outcome]) {
    let names = DatabaseNames(outcome.snapshots.map(\.place))
    for snapshot in outcome.snapshots {
      let name = "\(names.name(of: snapshot.place)) \(snapshot.place.id)"
      if let finding = snapshot.standingFinding {
        context.output("\(name)  NOT SOUND (\(Self.proof(snapshot.level)))")
        context.output("  \(finding) (--read)")
      } else if snapshot.problems.isEmpty {
        context.output("\(name)  intact (\(Self.proof(snapshot.level)))")
      } else {
        context.output("\(name)  DAMAGED")
        for problem in snapshot.problems { context.output("  \(problem.text)") }
      }
    }
    context.tell(
      "\(Quantity.count(outcome.objectsChecked, "object"))\(isSampled(extent) ? " of the store, the next ones in turn" : "")"
        + (outcome.bytesChecked > 0 ? ", \(Quantity.size(outcome.bytesChecked))" : "") + " in \(Quantity.span(outcome.elapsed.inSeconds))")
    for file in repairs.flatMap(\.mended) { context.tell("repaired \(file.key) from \(file.from)") }
    if let first = repairs.first(where: \.keepsWhatStoodThere) {
      context.tell("what stood there is kept under \(first.quarantine) in the store")
    }
    for key in repairs.last?.unrepaired ?? [] { context.warn("no other store has \(key) as it was") }
    guard !outcome.isSound else { return }
    let affected = Set(outcome.snapshots.filter { !$0.isSound }.map(\.place.folder))
    let good = outcome.snapshots.last { $0.isSound && affected.contains($0.place.folder) }
    context.fail(
      outcome.snapshots.allSatisfy(\.problems.isEmpty)
        ? "damage was found before, and this verification was not thorough enough to clear it" : "damage was found",
      hint: (command.repair ? "name further stores with --from; " : "a copy of the store can repair it: --repair --from STORE; ")
        + (good.map { "\($0.place.id) is intact; " } ?? "") + "leave the damaged files as they are")
  }

  private static func proof(_ level: CheckRecord.Level) -> String {
    switch level {
    case .quick: "every object is there"
    case .scrub: "every stored byte is as it was written; what it says is encrypted, and was not read"
    case .read, .drill: "every byte was read"
    }
  }

  private func isSampled(_ extent: VerifyExtent) -> Bool { if case .sample = extent { true } else { false } }
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
  struct Repair: Encodable {
    let key: String
    let from: String
  }
  let snapshots: [Snapshot]
  let objectsChecked: Int
  let bytesChecked: Int64
  let seconds: Double
  let repaired: [Repair]
  let unrepaired: [String]

  init(_ outcome: VerifyOperation.Outcome, repairs: [RepairOperation.Outcome]) {
    snapshots = outcome.snapshots.map { snapshot in
      Snapshot(
        id: snapshot.place.id.description, level: snapshot.level.rawValue, ok: snapshot.isSound,
        problems: snapshot.problems.map { Problem(table: $0.table, object: $0.object, reason: $0.reason) }
          + (snapshot.standingFinding.map { [Problem(table: nil, object: nil, reason: $0)] } ?? []))
    }
    objectsChecked = outcome.objectsChecked
    bytesChecked = outcome.bytesChecked
    seconds = outcome.elapsed.inSeconds
    repaired = repairs.flatMap(\.mended).map { Repair(key: $0.key, from: $0.from) }
    unrepaired = repairs.last?.unrepaired ?? []
  }
}
