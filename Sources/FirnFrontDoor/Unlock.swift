import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Repository

/// Removes locks, after a look at who holds them.
struct Unlock: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "unlock", abstract: "Show who holds the locks of a store, and remove those whose holders are gone.",
    discussion: """
      Locks of dead processes of this machine are removed by every run, those of other machines after half an hour without a sign of \
      life. This is for what is left: a lock of a machine that is gone, or one that can't be read. Locks of living processes of this \
      machine stay. The number of locks to remove has to be typed, as: remove 1 lock.
      """)
  @OptionGroup var confirmation: ConfirmationOption
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let store = try context.repository().store
    let now = Date()
    let holders = try RepositoryLock.holders(in: store, now: now)
    guard !holders.isEmpty else {
      context.tell("nobody holds a lock")
      return .done
    }
    let rows = holders.map { holder in
      [
        holder.mode?.rawValue ?? "?", Quantity.age(of: holder.createdAt, now: now), Quantity.age(of: holder.refreshedAt, now: now),
        holder.isAlive.map { $0 ? "alive" : "dead" } ?? "can't be told", holder.words,
      ]
    }
    context.output(header: ["LOCK", "SINCE", "SIGN OF LIFE", "HOLDER IS", "HOLDER"], rows: rows)
    let removable = holders.filter { $0.isAlive != true }
    guard !removable.isEmpty else {
      context.tell("all of them live: wait for their end")
      return .done
    }
    if removable.contains(where: { $0.isAlive == nil }) {
      context.explain("a run on another machine may be at work: look there first. If it is, what it makes will not be listed")
    }
    let locks = "\(removable.count) lock\(removable.count == 1 ? "" : "s")"
    try Confirmation.require("remove \(locks)", given: confirmation.confirm)
    for holder in removable { try RepositoryLock.takeAway(holder, in: store) }
    context.tell("removed \(locks)")
    return .done
  }
}
