internal import Foundation
internal import Platform
package import Repository
internal import SystemPackage

/// Whether a store can be reached, written to, and is ours. It leaves nothing behind.
package struct StoreExamination {
  private let role: String
  private let open: () throws -> any Store
  private let permit: (any Store) throws -> Repository
  private let isKnown: (String) -> Bool
  private let words: (any Error) -> String

  /// - Parameters:
  ///   - role: what the findings are named by, as `store`.
  ///   - permit: opens the repository, and refuses one that is encrypted to others than it should be.
  ///   - isKnown: whether there was a repository in a location before.
  package init(
    _ role: String, open: @escaping () throws -> any Store, permit: @escaping (any Store) throws -> Repository,
    isKnown: @escaping (String) -> Bool, words: @escaping (any Error) -> String
  ) {
    self.isKnown = isKnown
    self.role = role
    self.open = open
    self.permit = permit
    self.words = words
  }

  /// - Parameters:
  ///   - isMade: whether a repository has to be there already.
  ///   - original: that of which it has to be a copy.
  /// - Throws: `Interruption`.
  package func run(isMade: Bool, copyOf original: RepositoryFormat? = nil) throws -> [Finding] {
    let store: any Store
    do { store = try open() } catch { return [Finding(role, .stop, words(error))] }
    do {
      let repository = try permit(store)
      if let original { try CopyOperation.requireCopy(repository, of: original) }
      let kind = repository.format.recipients.isEmpty ? "not encrypted" : "encrypted to \(repository.format.recipients.count)"
      let count = try repository.catalog.snapshots().count
      var findings = [Finding(role, .pass, "\(store.location): \(count) snapshot\(count == 1 ? "" : "s"), \(kind)")]
      findings += try writing(store)
      findings += try holders(store)
      findings += room(repository)
      return findings
    } catch RepositoryError.noRepository where !isMade && !isKnown(store.location) {
      return [Finding(role, .pass, "\(store.location): no copy yet")]
    } catch RepositoryError.noRepository where !isMade {
      return [Finding(role, .stop, words(FirnError.copyGone(location: store.location)), hint: "look whether it is mounted, and the right one")]
    } catch RepositoryError.noRepository {
      return [Finding(role, .stop, "there is no repository in \(store.location)", hint: "make one with: firn init")]
    } catch {
      try Interruption.check()
      return [Finding(role, .stop, words(error))]
    }
  }

  /// A lock is written, looked at, and taken away again.
  private func writing(_ store: any Store) throws -> [Finding] {
    do {
      let lock = try StoreHousekeeping(store: store).sharedLock(purpose: "firn doctor", onlyReads: true)
      defer { lock.release() }
      try lock.requireWritten()
      let newest = try store.list("locks/").map(\.modified).max() ?? 0
      let skew = abs(Date().timeIntervalSince1970 - newest)
      if let failure = lock.release() {
        return [
          Finding(
            "\(role)-writing", .warn, "can be written to, and nothing deleted: \(words(failure))",
            hint: "snapshots and restores work; to prune, the right to delete is needed, from a machine of its own at best")
        ]
      }
      return [
        Finding("\(role)-writing", .pass, "can be written to"), ClockFinding.of("\(role)-clock", skew: skew, of: "the store's clock"),
      ]
    } catch RepositoryError.locked(let holder) {
      // A prune, for example, which will end.
      return [
        Finding("\(role)-writing", .warn, "it is in use by \(holder), so writing was not tried", hint: "run this again when that has ended")
      ]
    } catch {
      try Interruption.check()
      return [Finding("\(role)-writing", .stop, words(error), hint: "nothing can be stored there as this user")]
    }
  }

  private func holders(_ store: any Store) throws -> [Finding] {
    let gone = try RepositoryLock.holders(in: store).filter { $0.liveness == .dead }
    guard let first = gone.first else { return [] }
    return [
      Finding(
        "\(role)-locks", .warn, "\(gone.count == 1 ? "1 lock of a dead process" : "\(gone.count) locks of dead processes"), such as \(first.words)",
        hint: "firn unlock shows and removes them")
    ]
  }

  /// The free space of a folder on this machine.
  private func room(_ repository: Repository) -> [Finding] {
    guard repository.store is LocalStore, let free = try? Folder.freeSpace(at: FilePath(repository.store.location)) else { return [] }
    // The first snapshot of a database is stored whole, those after it are not.
    let groups = Dictionary(grouping: (try? repository.catalog.snapshots()) ?? []) { "\($0.source.keyComponent)/\($0.database.keyComponent)" }
    let newest =
      groups.values.compactMap { places -> Int64? in
        guard places.count > 1, let last = places.last else { return nil }
        return try? repository.catalog.summary(of: last).storedBytes
      }.max() ?? 0
    let text = "\(megabytes(free)) free in \(repository.store.location)"
    if free < 1 << 30 || free < newest * 3 {
      return [Finding("\(role)-disk", free < 64 << 20 || free < newest ? .stop : .warn, text, hint: "make room, or prune: firn-prune")]
    }
    return [Finding("\(role)-disk", .pass, text)]
  }
}
