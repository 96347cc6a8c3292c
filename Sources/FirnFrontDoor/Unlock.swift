import ArgumentParser
import CommandSupport
import FirnCore
import Platform
import Foundation
import Repository

/// Removes locks, after a look at who holds them.
struct Unlock: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "unlock", abstract: "Show the locks of a store, and remove those of processes that are not known to be running.",
    discussion: """
      Every run removes the locks of dead processes of this machine. It also removes locks of other machines that were not refreshed for \
      half an hour. Use this command for other locks: of a lost machine, or unreadable ones. Locks of running processes of this machine \
      are never removed, but those of processes on other machines may be: check there first. To confirm, type the phrase shown, such as: \
      remove 1 lock.
      """)
  @OptionGroup var confirmation: ConfirmationOption
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let store = try context.repository().store
    let now = Date()
    let holders = try RepositoryLock.holders(in: store, now: now)
    guard !holders.isEmpty else {
      if common.json { try context.output(json: Report([], removed: 0)) }
      context.tell("no process holds a lock")
      return .done
    }
    if !common.json { show(holders, context, now) }
    let removable = holders.filter { $0.liveness != .alive }
    guard !removable.isEmpty else {
      if common.json { try context.output(json: Report(holders, removed: 0)) }
      context.tell("all of them live: wait for their end")
      return .done
    }
    if removable.contains(where: { $0.liveness == .unknown }) {
      context.explain("a run on another machine may be at work: look there first. If it is, what it makes will not be listed")
    }
    let locks = "\(removable.count) lock\(removable.count == 1 ? "" : "s")"
    if common.json { for holder in removable { context.explain(holder.words) } }
    do { try Confirmation.require("remove \(locks)", given: confirmation.confirm) } catch {
      if common.json { try context.output(json: Report(holders, removed: 0)) }
      throw error
    }
    for holder in removable { try RepositoryLock.takeAway(holder, in: store) }
    if common.json { try context.output(json: Report(holders, removed: removable.count)) }
    context.tell("removed \(locks)")
    return .done
  }

  private func show(_ holders: [RepositoryLock.Holder], _ context: CommandContext, _ now: Date) {
    let rows = holders.map { holder in
      [
        Table.Cell(holder.mode?.rawValue ?? "?"), .init(Quantity.age(of: holder.createdAt, now: now)),
        .init(Quantity.age(of: holder.refreshedAt, now: now)), .init("\(holder.liveness)"),
        .init(holder.words),
      ]
    }
    context.output(Table(header: ["LOCK", "SINCE", "SIGN OF LIFE", "HOLDER IS", "HOLDER"], rows: rows))
  }

  /// The JSON of locks. Its keys are fixed.
  private struct Report: Encodable {
    let locks: [Lock]
    let removed: Int

    init(_ holders: [RepositoryLock.Holder], removed: Int) {
      locks = holders.map { holder in
        Lock(
          mode: Nullable(holder.mode?.rawValue), createdAt: holder.createdAt, refreshedAt: holder.refreshedAt,
          alive: Nullable(holder.liveness == .unknown ? nil : holder.liveness == .alive),
          holder: holder.words)
      }
      self.removed = removed
    }

    struct Lock: Encodable {
      /// Null for one that can't be read.
      let mode: Nullable<String>
      let createdAt: Date
      let refreshedAt: Date
      /// Null if unknown.
      let alive: Nullable<Bool>
      let holder: String
    }
  }
}
