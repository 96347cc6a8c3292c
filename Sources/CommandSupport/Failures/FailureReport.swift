internal import ArgumentParser
internal import Compression
internal import Encryption
internal import FirnCore
internal import Platform
internal import Postgres
internal import Repository

/// The report of a failure for the user: message, hint and exit code.
package struct FailureReport: Sendable {
  package let message: String
  package let hint: String?
  package let status: ExitStatus
  /// Whether the command ran unattended: a timer without `--confirm` would do nothing, night after night.
  let isUnattended: Bool

  private init(_ status: ExitStatus, _ message: String, hint: String? = nil, isUnattended: Bool = false) {
    self.status = status
    self.message = message
    self.hint = hint
    self.isUnattended = isUnattended
  }

  /// The message for destinations outside this machine: details of a server's or tool's message may contain rows.
  package var messageWithoutRows: String {
    let lines = message.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    return lines.compactMap { line -> String? in
      let text = line.drop { $0 == " " }
      if text.hasPrefix("DETAIL:") { return nil }
      // As "CONTEXT:  COPY people, line 7, column note: "…"".
      guard text.hasPrefix("CONTEXT:"), let quote = line.utf8.firstRange(of: ": \"".utf8) else { return line }
      return String(line.utf8[..<quote.lowerBound])
    }.joined(separator: "\n")
  }

  package init(_ error: any Error) {
    switch error {
    case let error as ConfigurationError: self.init(.configuration, error.message, hint: error.hint)
    case let error as UsageError: self.init(.usage, error.message, hint: error.hint)
    case let error as FirnError: self.init(error)
    case let left as LeftBehind:
      let cause = FailureReport(left.cause)
      let names = ["DROP DATABASE \(Connection.identifier(left.database))"] + left.roles.map { "DROP ROLE \(Connection.identifier($0))" }
      self.init(
        cause.status, "\(cause.message)\n  what was made could not be taken away again: \(FailureReport(left.reason).message)",
        hint: "when the server is back: \(names.joined(separator: "; "))")
    case let failed as SafetySnapshotFailed:
      let cause = FailureReport(failed.cause)
      self.init(
        cause.status, "the database as it is could not be snapshotted, so it was left alone: \(cause.message)",
        hint: failed.keepsOldDatabase
          ? "if it is too broken for that, say --no-safety-snapshot; it is kept under another name in any case"
          : "without it nothing would be left of the database: make room and restore without --in-place, or save it otherwise first")
    case let failure as ApplicationControl.Failure:
      self.init(
        .failed, "\(failure.command) failed with exit code \(failure.exitCode)",
        hint: "nothing was exchanged, and the application was started again; fix maintenance: stop in firn.yaml")
    case let unwell as ApplicationUnwell:
      self.init(
        .failed,
        "\(unwell.database) was exchanged, and the application is not well: \(unwell.healthCheck) keeps failing" + Self.lines(unwell.startFailures),
        hint: unwell.keptAs.map { "the previous database is \($0); to undo: firn-restore \(unwell.database.shellWord) --undo" }
          ?? "there was no \(unwell.database) before: look at the application's log")
    case let undone as SwapUndone:
      self.init(
        .failed,
        "the application was not well (\(undone.healthCheck) kept failing), so \(undone.database) is what it was before"
          + Self.lines(undone.startFailures), hint: "the restored database is kept as \(undone.keptAs)")
    case let failed as UndoFailed:
      let cause = FailureReport(failed.cause)
      self.init(
        cause.status,
        "\(failed.database) was exchanged, the application is not well (\(failed.healthCheck) keeps failing), and the exchange could not be taken back: "
          + cause.message + Self.lines(failed.startFailures),
        hint: "the previous database is \(failed.keptAs), whole; to undo: firn-restore \(failed.database.shellWord) --undo")
    case let failed as TrialFailed:
      let cause = FailureReport(failed.cause)
      self.init(
        cause.status,
        "\(cause.message)\n  this was a trial, before anything was stopped or dropped: \(failed.database) is as it was",
        hint: cause.hint ?? "fix that and run this again; or restore it beside the old one, with --as, to look")
    case let destroyed as DatabaseDestroyed:
      let cause = FailureReport(destroyed.cause)
      let database = destroyed.database
      let next =
        destroyed.built.map {
          "ALTER DATABASE \(Connection.identifier($0)) RENAME TO \(Connection.identifier(database)), once nothing else has that name"
        } ?? "fix that and run this again"
      self.init(
        cause.status,
        "\(cause.message)\n  "
          + (destroyed.isCertain
            ? "\(database) was dropped before this, and the new one does not stand in its place"
            : "the server went away while \(database) was dropped: whether it is gone is unknown")
          + (destroyed.built.map { "; it is whole, under the name \($0)" } ?? "")
          + (destroyed.applicationIsStopped
            ? "\n  the application stays stopped until the database is there: firn-restore \(database.shellWord) --recover looks" : ""),
        hint: next
          + (destroyed.safetySnapshot.map { "; the database as it was: firn-restore \(database.shellWord) \($0)" } ?? "; no snapshot was made of it")
          + "; --recover shows this again")
    case let damaged as SnapshotDamaged:
      let cause = FailureReport(damaged.cause)
      self.init(
        .verificationFailed, cause.message + (damaged.tables.isEmpty ? "" : ": it holds rows of \(Self.some(damaged.tables))"),
        hint: "use another snapshot (firn-verify --read shows which are intact), or, into a whole database, --only-intact for all but these tables")
    case let stopped as ApplicationNotStarted:
      let cause = FailureReport(stopped.cause)
      self.init(
        cause.status,
        "\(cause.message)\n  nothing was exchanged, but not all that was stopped was started again:" + Self.lines(stopped.startFailures),
        hint: "start it by hand; then: \(cause.hint ?? "run this again")")
    case let refused as HookRefused:
      self.init(
        .refused, "\(refused.name) \(refused.reason)", hint: "nothing was done; fix it, or remove it from firn.yaml")
    case let error as RepositoryError: self.init(error)
    case AgeError.notARecipient(let text) where text.uppercased().contains("SECRET") || text.contains("PRIVATE"):
      self.init(
        .usage, "that is an identity, which is secret, and no recipient",
        hint: "give the line that begins with age1: firn key new and age-keygen -y print it")
    case AgeError.notARecipient(let text):
      self.init(
        .usage, "\(text) is no age recipient", hint: "it begins with age1, as firn key new prints it, or is a line ssh-ed25519 … of a public key")
    case let error as StoreError: self.init(error)
    case let error as PostgresError: self.init(error)
    case let error as SystemError:
      self.init(.failed, error.description, hint: error.isOutOfSpace ? "make room there, then run this again" : nil)
    case let error as CompressionError:
      self.init(.store, "compressed data cannot be read: \(error.reason)", hint: "firn-verify --read shows which snapshots are damaged")
    case let failure as Hook.Failure: self.init(.failed, "a command of firn.yaml \(failure.reason)")
    case let failure as Notice.Failure: self.init(.failed, "a notification \(failure.reason)")
    case let damaged as SourceDamaged: self = FailureReport(damaged.cause)
    case let unreadable as ArchiveDirectory.Unreadable:
      self.init(.store, "the archive's table of contents cannot be read: \(unreadable.reason)", hint: "use another snapshot")
    case let deadlock as ExportTransaction.Deadlock:
      self.init(
        .postgres, "pg_dump waits for a lock that \(deadlock.holder) asks for, which waits for this snapshot",
        hint: "wait for the end of that session, then run this again")
    case let interruption as Interruption: self.init(CutOff(interruption: interruption, state: nil))
    case let cutOff as CutOff:
      self.init(
        cutOff.interruption.signal == 2 ? .interrupted : .terminated,
        "interrupted by \(cutOff.interruption.signal.signalName)\(cutOff.state.map { ": \($0)" } ?? "")", hint: "run it again whenever you like")
    default: self.init(.failed, "\(error)")
    }
  }

  private init(_ error: FirnError) {
    switch error {
    case .tablesKeptChanging(let attempts, let example):
      self.init(
        .postgres, "the tables changed under each of \(attempts) attempts: \(example)",
        hint: "a migration or a job that truncates or rewrites tables is at work: wait for its end, then run this again")
    case .noRights(let role, let tables):
      self.init(
        .refused, "role \(role) may not read \(Self.some(tables))",
        hint: "as a superuser: GRANT pg_read_all_data TO \(role); or take the snapshot as the database's owner or a superuser")
    case .lockTableTooSmall(let relations, let capacity):
      self.init(
        .refused, "the database has \(relations) tables, the server's lock table holds about \(capacity)",
        hint: "raise max_locks_per_transaction in postgresql.conf and restart the server")
    case .unsoundArchive(let reason):
      self.init(.postgres, "the archive is not sound: \(reason)", hint: "run it again; if it stays so, this is a bug worth reporting")
    case .lostTrackOfSpool:
      self.init(.failed, "the tool opened files faster than they could be followed", hint: "raise fs.inotify.max_queued_events, or use fewer --jobs")
    case .databaseExists(let name):
      self.init(.refused, "database \(name) is not empty", hint: "name a database that does not exist")
    case .invalidName(let name, let reason): self.init(.refused, "\(name): \(reason)", hint: "choose another name")
    case .refused(let reasons):
      self.init(
        .refused, reasons.count == 1 ? reasons[0] : "\(reasons.count) things stand in the way:\n  - " + reasons.joined(separator: "\n  - "),
        hint: "nothing was touched; fix this, then run it again")
    case .restoredCopyDiffers(let differences):
      self.init(
        .verificationFailed,
        "the restored database is not what was dumped:\n  - " + differences.prefix(20).joined(separator: "\n  - ")
          + (differences.count > 20 ? "\n  - and \(differences.count - 20) more" : ""),
        hint: "the new database was dropped; check the snapshot with firn-verify --read")
    case .onlySnapshot(let id): self.init(.refused, "\(id) is the only snapshot: it is never removed")
    case .beingRestored(let database, let process, let place, let rest):
      self.init(
        .locked, "another restore of \(database) is at work, process \(process) on \(place)",
        hint: "wait for its end, then run this again" + (rest.map { "; if there is none: DROP DATABASE \"\($0)\"" } ?? ""))
    case .copyGone(let location):
      self.init(
        .notFound, "\(location) holds no repository any more: this machine knew one there",
        hint: "look whether it is mounted, and the right one; to begin a new one there: firn copy --init --to '\(location)'")
    case .noKeptDatabase(let name):
      self.init(
        .notFound, "no database is kept for \(name) on this server",
        hint: "firn list shows those of the server that DATABASE_URL or firn.yaml names; comments of databases tell as well: psql -l+")
    case .notConfirmed(let phrase, let given):
      self.init(
        .notConfirmed, given.map { "\"\($0)\" is not \"\(phrase)\": nothing was changed" } ?? "confirmation required; nothing was changed",
        hint: given == nil ? "on a terminal you are asked; elsewhere say --confirm '\(phrase)'" : "run it again when you are sure",
        isUnattended: given == nil)
    case .notConfirmedFurther(let phrase, let given, let dropped):
      self.init(
        .notConfirmed, "\"\(given)\" is not \"\(phrase)\": it stays; \(Self.some(dropped)) was dropped before", hint: "run it again when you are sure"
      )
    case .noDatabaseNamed: self.init(.usage, "no database is named", hint: "give its name, or --database-url")
    case .clockInDoubt(let reason, let phrase):
      self.init(.refused, "\(reason); nothing was removed", hint: "look at the clocks; if this one is right, say --confirm '\(phrase)'")
    case .prunedInPart(let left, let reasons, let phrase, let database):
      self.init(
        .notConfirmed, "\((reasons + ["nobody is here to confirm"]).joined(separator: "; ")): nothing of \(Self.some(left)) was removed",
        hint: "look at the plan; if it is right: firn-prune\(database.map { " '\($0)'" } ?? "") --apply --confirm '\(phrase)'", isUnattended: true)
    case .planChanged:
      self.init(.refused, "another run changed what the plan was made of: nothing was removed", hint: "look at the plan once more")
    case .differentlyMade(let location, let isEncrypted):
      self.init(
        .refused,
        "\(location) holds a repository already, which is \(isEncrypted ? "encrypted to others than these" : "NOT ENCRYPTED"): it stays as it is",
        hint: "firn key list shows its recipients, firn key add adds one; a clear one stays clear: make another store")
    case .mustStay(let database, let id, let reasons):
      self.init(
        .refused, "\(database) \(id) stays (\(reasons.joined(separator: "; "))): nothing was removed",
        hint: reasons.contains { $0.hasPrefix("on hold") }
          ? "if it is no longer needed: firn hold \(database.shellWord) \(id) --release"
          : reasons.contains { $0.hasPrefix("the newest") }
            ? "make a newer one first, and verify it"
            : "minimum-count and minimum-age of the policy hold here too: --policy takes a file that has less")
    case .onHold(let database, let id, let reason):
      self.init(
        .refused, "\(database) \(id) is on hold (\(reason)): nothing was removed",
        hint: "if it is no longer needed: firn hold \(database.shellWord) \(id) --release; what is no file goes by hand")
    case .sameStore(let location):
      self.init(
        .refused, "\(location) is the store itself, or a duplicate of all of it", hint: "name another; firn copy makes its repository by itself")
    case .migrationRuns(let database, let holder):
      self.init(.locked, "another migration of \(database) is under way: \(holder)", hint: "wait for its end, then run this again")
    case .backfillLost(let table, let key):
      self.init(
        .failed, "whether the last batch of the run that was cut off was committed is no longer known (\(table), after key \(key))",
        hint: "look at the rows after that key, and say --start-over where the condition leaves out rows that are done")
    case .backfillFailedOver(let table, let key, let lsn):
      self.init(
        .failed,
        "the server was promoted or restored since the backfill of \(table) was cut off (after key \(key), at \(lsn) of the previous timeline): "
          + "the last batches may be lost; nothing was changed",
        hint: "check the rows up to that key; then run it with --start-over and a --where that excludes the rows already done")
    case .differentlyEncrypted(let location):
      self.init(
        .refused, "\(location) is encrypted to others than this store, or not at all: nothing was copied",
        hint:
          "copies are the same bytes, so both need the same recipients: firn key list shows them, firn key add adds one")
    case .recipientsChanged(let location):
      self.init(.refused, "the recipients of \(location) changed while this run waited: nothing was stored", hint: "run it again")
    case .notEncrypted(let location):
      self.init(
        .refused, "\(location) is not encrypted: what lies in it is in clear, and would stay so",
        hint: "make another repository with firn init --recipient, and take snapshots there")
    case .noFolder(let path, let reason): self.init(.failed, "cannot work in \(path): \(reason)", hint: "name another folder with --spool")
    }
  }

  private init(_ error: RepositoryError) {
    switch error {
    case .noRepository(let location):
      self.init(
        .notFound, "there is no repository in \(location)",
        hint:
          "look whether it is mounted; if it is elsewhere, name it: --store LOCATION, or FIRN_STORE. (Only if there never was one: firn init makes one)"
      )
    case .alreadyExists(let location): self.init(.refused, "\(location) holds a repository already", hint: "nothing needs to be done")
    case .newerFormat(let location, let version):
      self.init(.store, "\(location) is of format \(version), newer than this program knows", hint: "use a newer Firn")
    case .identityNeeded(let recipients):
      self.init(
        .configuration, "the repository is encrypted, and this needs the identity of \(Self.either(recipients))",
        hint: "name its file with --identity FILE, or FIRN_IDENTITY; it begins with AGE-SECRET-KEY-1, or is the private key of an SSH key")
    case .wrongIdentity(let given, let recipients):
      self.init(
        .configuration,
        "the identity of \(Self.either(given)) does not open it: what is stored now is encrypted to \(Self.either(recipients))"
          + (given.allSatisfy(recipients.contains) ? ", and this was stored before that one was added" : ""),
        hint: "name the file of another identity with --identity")
    case .malformed(let key, let reason):
      self.init(.store, "\(key) cannot be read: \(reason)", hint: "restore it from a copy of the store, or use another snapshot")
    case .damagedObject(let name, let reason):
      self.init(
        .verificationFailed, "object \(name) is damaged: \(reason)", hint: "see what it holds with firn-verify --read, and use another snapshot")
    case .hiddenSnapshot(let key):
      self.init(
        .store, "\(key) is in no place of a snapshot, and may belong to one: nothing was deleted",
        hint: "move it back, or move it out of the store")
    case .listLost(let folder):
      self.init(
        .store, "\(folder)SHA256SUMS is gone, so what this snapshot needs is unknown; nothing was deleted",
        hint: "bring it back with firn-verify --repair --from STORE; or delete the folder by hand, if it may go")
    case .databaseLost(let folder, let mark):
      self.init(
        .store, "\(folder) has had snapshots, and no prune removed them: what they need is unknown, so nothing was deleted",
        hint: "move the folder back; if it is lost, delete the file \(mark) from the store")
    case .noSuchDatabase(let name, let known):
      self.init(
        .notFound, "the store has no snapshot of \(name)",
        hint: known.isEmpty ? "it has no snapshot at all: make one with firn-snapshot" : "it has snapshots of \(Self.some(known))")
    case .ambiguousDatabase(let name, let sources):
      self.init(
        .notFound, "several sources have a database \(name)",
        hint: "say which: \(sources.map { "\($0)/\(name)" }.joined(separator: ", "))")
    case .noSuchSnapshot(let selector, let database):
      self.init(.notFound, "\(database) has no snapshot \(selector)", hint: "firn list shows those it has")
    case .ambiguousSnapshot(let selector, let candidates):
      self.init(.notFound, "\(selector) begins several ids: \(Self.some(candidates))", hint: "give more of the id")
    case .invalidSelector(let text):
      self.init(.usage, "\(text) names no time", hint: "write it as before:2026-11-22T02:00 (UTC)")
    case .lockLost:
      self.init(
        .store, "the lock of this run was taken away while it worked, so it stopped: nothing more is listed or deleted",
        hint: "another run took it for dead (a machine that slept, a clock that jumped) or the file was deleted; run this again")
    case .locked(let holder):
      self.init(.locked, "the repository is in use by \(holder)", hint: "wait for its end, then run this again")
    }
  }

  private init(_ error: StoreError) {
    switch error {
    case .missing(let key): self.init(.store, "\(key) is missing from the store", hint: "firn-verify --read shows what else is damaged")
    case .truncated(let key): self.init(.store, "\(key) is cut off", hint: "firn-verify --read shows what else is damaged")
    case .tooLarge(let key): self.init(.store, "\(key) is larger than it can be", hint: "it was changed by something else")
    case .notAFile(let key): self.init(.store, "\(key) is no ordinary file", hint: "it was changed by something else")
    case .unreadable(let key, let reason):
      self.init(.store, "\(key) can't be read: \(reason)", hint: "look at the disk; firn-verify shows what else is damaged")
    case .full(let location):
      self.init(.store, "\(location) is full", hint: "make room (firn-prune removes old snapshots), then run this again; nothing half-done is listed")
    case .refused(_, let reason, let hint): self.init(.store, reason, hint: hint)
    case .badLocation(let location, let reason):
      self.init(.usage, "\(location) names no store: \(reason)", hint: "name a folder, s3://BUCKET/PREFIX, or sftp://USER@HOST/PATH")
    case .locked(let keys, let reason):
      self.init(.store, "the store keeps \(keys.count) files that were to be deleted: \(reason)", hint: "they can go when its lock on them ends")
    case .unreachable(_, let reason), .readOnly(_, let reason): self.init(.store, reason, hint: "check the store's place and rights")
    }
  }

  private init(_ error: PostgresError) {
    switch error {
    case .invalidURL(let reason):
      self.init(.usage, "the database URL is not one: \(reason)", hint: "write it as postgresql://USER@HOST:PORT/DATABASE")
    case .cannotConnect(let target, let reason):
      self.init(
        .postgres, "cannot connect to \(target): \(reason)",
        hint: "if the server answered, what it says is the reason; else check that it runs there and takes connections")
    case .wrongPassword(let target, let reason):
      self.init(
        .postgres, "\(target) refused the password: \(reason)", hint: "check the user and password in DATABASE_URL, PGPASSWORD or ~/.pgpass")
    case .noSuchDatabase(let name): self.init(.notFound, "the server has no database \(name)", hint: "psql -l shows those it has")
    case .connectionLost(let reason):
      self.init(.postgres, "the connection to the server was lost: \(reason)", hint: "run it again when the server is back")
    case .statementFailed(let message, let state):
      self.init(
        .postgres, "the server refused: \(message) (SQLSTATE \(state))",
        hint: state == "42501" ? "the role of this connection lacks that right: grant it, or connect as the owner or a superuser" : nil)
    case .rowsRefused(_, _, let details):
      self.init(
        .postgres, "the server refused rows of \(error.lines.joined(separator: "\n  "))",
        hint: details.state == "53100"
          ? "a disk is full, the server's: make room, then run this again"
          : error.isOfMissingName
            ? "if the database has what was not found, a function of this table looks for it by search_path, which restores leave empty: name the schemas with --search-path, as --search-path public (restore: search-path in firn.yaml, for snapshots to come)"
            : "the reason is above: the row is in the snapshot as it was dumped, and this server does not take it")
    case .unexpectedAnswer(let what):
      self.init(.postgres, "the server answered the COPY of \(what) with something else", hint: "run it again; if it fails again, report it as a bug")
    case .behindPooler(let reason, let portOnly):
      self.init(
        .refused, "this connection goes through a pooler: \(reason)",
        hint: portOnly
          ? "give the server's own address; if a port is merely forwarded (Docker, ssh -L), say --through-forwarded-port"
          : "give the server's own address, not PgBouncer's: a dump through it would break the application's sessions")
    case .noTool(let name, let major, let found):
      self.init(
        .postgres, "no \(name) of PostgreSQL \(major) was found" + (found.isEmpty ? "" : " (found: \(Self.some(found)))"),
        hint: "install postgresql-client-\(major), or name its folder with --pg-bin")
    case .unsupportedServer(let version): self.init(.postgres, "PostgreSQL \(version) is not supported", hint: "13 to 18 are")
    case .lockTimeout(let message, let holders):
      self.init(
        .postgres, "a table stayed locked: \(message)" + holders.map { "\n  \($0)" }.joined(),
        hint: "wait for that session, or wait longer with --lock-wait")
    case .secretForTools(let parameter):
      self.init(
        .refused, "pg_dump and pg_restore can't be given \(parameter) without showing it to other users",
        hint: "give the key without a passphrase, in a file of mode 0600 (openssl pkey -in KEY -out OPENED), or log in with a password")
    case .toolFailed(let tool, let code, let messages):
      let isFull = PostgresError.tellsOfFullDisk(messages)
      self.init(
        .postgres,
        "\(tool) failed" + (code > 128 ? ": it was ended by signal \(code - 128)" : "")
          + messages.prefix(12).map { "\n  \($0)" }.joined(),
        hint: !isFull
          ? "what it says above is the reason"
            + (tool == "pg_restore"
              ? "; if it does not find a function or table that the database has, name its schema with --search-path, as --search-path public" : "")
          : tool == "pg_dump"
            ? "a disk is full: make room where the spool is, or name another place with --spool or less with --spool-cap"
            : "a disk is full, the server's most likely: make room, then run this again")
    }
  }

  private static func either(_ names: [String]) -> String { names.joined(separator: " or ") }

  /// The first of several names.
  package static func some(_ names: [String]) -> String {
    names.prefix(8).joined(separator: ", ") + (names.count > 8 ? " and \(names.count - 8) more" : "")
  }

  private static func lines(_ failures: [String]) -> String { failures.map { "\n  \($0)" }.joined() }

  /// For programs, on standard output, unless they have read a result there.
  package func showAsJSON() {
    struct Failed: Encodable {
      let error: String
      let hint: String?
      let exitCode: Int32
    }
    guard !Terminal.hasOutput, let json = try? JSON.bytes(Failed(error: message, hint: hint, exitCode: status.rawValue)) else { return }
    Terminal.writeOutput(String(decoding: json, as: UTF8.self))
  }

  /// Tells it on standard error.
  package func show(command: String) {
    MessageLog.write(.error, message, hint: hint ?? (status == .usage ? "\(command) --help explains more" : nil), command: command)
  }
}

/// A wrong value on the command line.
package struct UsageError: Error, Sendable {
  package let message: String
  package let hint: String?

  package init(_ message: String, hint: String? = nil) {
    self.message = message
    self.hint = hint
  }
}
