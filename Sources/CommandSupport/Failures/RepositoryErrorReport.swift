internal import FirnCore
internal import Platform
internal import Postgres
internal import Repository

/// The messages of repositories.
extension RepositoryError: ReportableError {
  package var report: FailureReport {
    switch self {
    case .noRepository(let location):
      FailureReport(
        .notFound, "there is no repository in \(location)",
        hint:
          "check that it is mounted; if it is elsewhere, use --store LOCATION or FIRN_STORE. (Only if there never was one: firn init creates one)"
      )
    case .alreadyExists(let location): FailureReport(.refused, "\(location) already holds a repository", hint: "nothing needs to be done")
    case .newerFormat(let location, let version):
      FailureReport(.store, "\(location) has format \(version), which is newer than this program", hint: "use a newer Firn")
    case .identityNeeded(let recipients):
      FailureReport(
        .configuration, "the repository is encrypted; this needs the identity of \(FailureReport.either(recipients))",
        hint: "give its file with --identity FILE, or FIRN_IDENTITY; it begins with AGE-SECRET-KEY-1, or is an SSH private key")
    case .wrongIdentity(let given, let recipients):
      FailureReport(
        .configuration,
        "the identity of \(FailureReport.either(given)) does not open it: new files are encrypted to \(FailureReport.either(recipients))"
          + (given.allSatisfy(recipients.contains) ? ", and this was stored before that one was added" : ""),
        hint: "name the file of another identity with --identity")
    case .malformed(let key, let reason):
      FailureReport(.store, "\(key) cannot be read: \(reason)", hint: "restore it from a copy of the store, or use another snapshot")
    case .damagedObject(let name, let reason):
      FailureReport(
        .verificationFailed, "object \(name) is damaged: \(reason)",
        hint: "see which tables it holds with firn-verify --read, and use another snapshot")
    case .hiddenSnapshot(let key):
      FailureReport(
        .store, "\(key) is not where a snapshot's files belong, and may belong to one: nothing was deleted",
        hint: "move it back, or move it out of the store")
    case .listLost(let folder):
      FailureReport(
        .store, "\(folder)SHA256SUMS is missing, so the objects of this snapshot are unknown; nothing was deleted",
        hint: "restore it with firn-verify --repair --from STORE; or delete the folder by hand, if it is not needed")
    case .databaseLost(let folder, let mark):
      FailureReport(
        .store, "\(folder) had snapshots, and no prune removed them: their objects are unknown, so nothing was deleted",
        hint: "move the folder back; if it is lost, delete the file \(mark) from the store")
    case .noSuchDatabase(let name, let known):
      FailureReport(
        .notFound, "the store has no snapshot of \(name)",
        hint: known.isEmpty ? "it has no snapshot at all: take one with firn-snapshot" : "it has snapshots of \(FailureReport.some(known))",
        isMistake: !known.isEmpty)
    case .ambiguousDatabase(let name, let sources, let servers):
      FailureReport(
        .notFound, "several sources have a database \(name)",
        hint: "name one: \(sources.map { "\($0)/\(name)" }.joined(separator: ", "))\(servers.isEmpty ? "" : "; \(servers.joined(separator: ", "))")",
        isMistake: true)
    case .noSuchSource(let name, let known):
      FailureReport(
        .notFound, "the store has no source \(name)",
        hint: known.isEmpty ? "it has no snapshot at all: take one with firn-snapshot" : "it has \(FailureReport.some(known))",
        isMistake: !known.isEmpty)
    case .noSuchSnapshot(let selector, let database):
      FailureReport(
        .notFound, selector == "latest:verified" ? "no snapshot of \(database) is verified" : "\(database) has no snapshot \(selector)",
        hint: SnapshotSelector.time(selector) == nil
          ? "firn list shows its snapshots" : "the newest before that time is before:\(selector); firn list shows all of them", isMistake: true)
    case .ambiguousSnapshot(let selector, let candidates):
      FailureReport(.notFound, "several ids begin with \(selector): \(FailureReport.some(candidates))", hint: "give more of the id", isMistake: true)
    case .invalidSelector(let text):
      FailureReport(
        .usage, "\(text) is not a time",
        hint:
          "write it as 'before:2026-11-22 02:00', before:22:50 (local time; with Z at the end, UTC), before:2h (also min, d, w) or before:yesterday")
    case .lockLost:
      FailureReport(
        .store, "the lock of this run was removed while it worked, so it stopped: nothing more is listed or deleted",
        hint: "another run considered it dead (a suspended machine, a clock that jumped) or its file was deleted; run this again")
    case .locked(let holder):
      FailureReport(.locked, "the repository is in use by \(holder)", hint: "wait for its end, then run this again")
    }
  }
}

/// The messages of stores.
extension StoreError: ReportableError {
  package var report: FailureReport {
    switch self {
    case .missing(let key) where key.hasPrefix(RepositoryLock.root):
      FailureReport(
        .store, "the lock \(key) is gone, although it was just written", hint: "the store's locks must be a folder: move a file of that name away")
    case .missing(let key): FailureReport(.store, "\(key) is missing from the store", hint: "firn-verify --read shows what else is damaged")
    case .truncated(let key): FailureReport(.store, "\(key) is truncated", hint: "firn-verify --read shows what else is damaged")
    case .tooLarge(let key): FailureReport(.store, "\(key) is larger than it should be", hint: "it was changed by something else")
    case .notAFile(let key): FailureReport(.store, "\(key) is not a regular file", hint: "it was changed by something else")
    case .unreadable(let key, let reason):
      FailureReport(.store, "\(key) can't be read: \(reason)", hint: "check the disk; firn-verify shows what else is damaged")
    case .full(let location):
      FailureReport(
        .store, "\(location) is full", hint: "make room (firn-prune removes old snapshots), then run this again; no incomplete snapshot is listed")
    case .refused(_, let reason, let hint): FailureReport(.store, reason, hint: hint)
    case .badLocation(let location, let reason):
      FailureReport(
        .usage, "\(location) is not the location of a store: \(reason)", hint: "give a folder, s3://BUCKET/PREFIX, or sftp://USER@HOST/PATH")
    case .locked(let keys, let reason):
      FailureReport(
        .store, "the store keeps \(keys.count) files that should be deleted: \(reason)", hint: "they can be deleted when its lock on them ends")
    case .unreachable(_, let reason), .readOnly(_, let reason): FailureReport(.store, reason, hint: "check the store's location and permissions")
    }
  }
}
