internal import FirnCore
internal import Platform
internal import Postgres
internal import Repository
internal import Retention

/// The messages of operations.
extension FirnError: ReportableError {
  package var report: FailureReport {
    switch self {
    case .tablesKeptChanging(let attempts, let example):
      FailureReport(
        .postgres, "the tables changed under each of \(attempts) attempts: \(example)",
        hint: "a migration or a job that truncates or rewrites tables is at work: wait for its end, then run this again")
    case .noRights(let role, let tables):
      FailureReport(
        .refused, "role \(role) may not read \(FailureReport.some(tables))",
        hint: "as a superuser: GRANT pg_read_all_data TO \(role); or take the snapshot as the database's owner or a superuser")
    case .lockTableTooSmall(let relations, let capacity):
      FailureReport(
        .refused, "the database has \(relations) tables, the server's lock table holds about \(capacity)",
        hint: "raise max_locks_per_transaction in postgresql.conf and restart the server")
    case .unsoundArchive(let reason):
      FailureReport(.postgres, "the archive is not valid: \(reason)", hint: "run it again; if it fails again, please report this as a bug")
    case .lostTrackOfSpool:
      FailureReport(
        .failed, "the tool opened files faster than they could be followed", hint: "raise fs.inotify.max_queued_events, or use fewer --jobs")
    case .databaseExists(let name):
      FailureReport(.refused, "database \(name) is not empty", hint: "name a database that does not exist")
    case .invalidName(let name, let reason): FailureReport(.refused, "\(name): \(reason)", hint: "choose another name")
    case .refused(let reasons):
      FailureReport(
        .refused, reasons.count == 1 ? reasons[0] : "\(reasons.count) obstacles:\n  - " + reasons.joined(separator: "\n  - "),
        hint: "nothing was changed; fix this, then run it again")
    case .restoredCopyDiffers(let differences):
      FailureReport(
        .verificationFailed,
        "the restored database differs from the snapshot:\n  - " + differences.prefix(20).joined(separator: "\n  - ")
          + (differences.count > 20 ? "\n  - and \(differences.count - 20) more" : ""),
        hint: "the new database was dropped; check the snapshot with firn-verify --read")
    case .beingRestored(let database, let process, let place, let rest):
      FailureReport(
        .locked, "another restore of \(database) is running: process \(process) on \(place)",
        hint: "wait for its end, then run this again" + (rest.map { "; if there is none: DROP DATABASE \"\($0)\"" } ?? ""))
    case .copyGone(let location):
      FailureReport(
        .notFound, "\(location) no longer holds a repository, although copies were written there before",
        hint: "check that it is mounted, and the right location; to start a new one there: firn copy --init --to '\(location)'")
    case .noKeptDatabase(let name):
      FailureReport(
        .notFound, "no database is kept for \(name) on this server",
        hint: "firn list shows kept databases of the server in DATABASE_URL or firn.yaml; so do the comments of databases: psql -c '\\l+'")
    case .notConfirmed(let phrase, let given):
      FailureReport(
        .notConfirmed, given.map { "\"\($0)\" is not \"\(phrase)\": nothing was changed" } ?? "confirmation required; nothing was changed",
        hint: given == nil ? "a terminal asks for it; otherwise give --confirm '\(phrase)'" : "run it again when you are sure",
        isUnattended: given == nil)
    case .notConfirmedFurther(let phrase, let given, let dropped):
      FailureReport(
        .notConfirmed, "\"\(given)\" is not \"\(phrase)\": it is kept; \(FailureReport.some(dropped)) was dropped already",
        hint: "run it again when you are sure"
      )
    case .noDatabaseNamed: FailureReport(.usage, "no database given", hint: "give its name, or --database-url")
    case .clockInDoubt(let reason, let phrase):
      FailureReport(.refused, "\(reason); nothing was removed", hint: "check the clocks; if this one is right, give --confirm '\(phrase)'")
    case .prunedInPart(let left, let reasons, let phrase, let database):
      FailureReport(
        .notConfirmed, "\((reasons + ["confirmation required"]).joined(separator: "; ")): no snapshot of \(FailureReport.some(left)) was removed",
        hint: "check the plan; if it is right: firn-prune\(database.map { " '\($0)'" } ?? "") --apply --confirm '\(phrase)'", isUnattended: true)
    case .planChanged:
      FailureReport(.refused, "another run changed the store since the plan was made: nothing was removed", hint: "check the plan again")
    case .differentlyMade(let location, let isEncrypted):
      FailureReport(
        .refused,
        "\(location) already holds a repository, which is \(isEncrypted ? "encrypted to other recipients" : "NOT ENCRYPTED"): it was not changed",
        hint: "firn key list shows its recipients, firn key add adds one; an unencrypted one stays unencrypted: use another store")
    case .mustStay(let database, let id, let reasons, let guardian):
      FailureReport(
        .refused, "\(database) \(id) stays (\(reasons.joined(separator: "; "))): nothing was removed",
        hint: Self.hint(against: guardian, database, id))
    case .onHold(let database, let id, let reason):
      FailureReport(
        .refused, "\(database) \(id) is on hold (\(reason)): nothing was removed",
        hint: "if it is no longer needed: firn hold \(database.shellWord) \(id) --release; if it is not a file, remove it by hand")
    case .sameStore(let location):
      FailureReport(
        .refused, "\(location) is the store itself, or a duplicate of it", hint: "name another location; firn copy creates its repository there")
    case .migrationRuns(let database, let holder):
      FailureReport(.locked, "another migration of \(database) is running: \(holder)", hint: "wait for its end, then run this again")
    case .backfillLost(let table, let key):
      FailureReport(
        .failed, "it is no longer known whether the last batch of the interrupted run was committed (\(table), after key \(key))",
        hint: "check the rows after that key; then run it with --start-over and a --where that excludes the rows already done, such as one on the key"
      )
    case .backfillFailedOver(let table, let key, let lsn):
      FailureReport(
        .failed,
        "the server was promoted or restored since the backfill of \(table) was interrupted (after key \(key), at \(lsn) of the previous timeline): "
          + "the last batches may be lost; nothing was changed",
        hint: "check the rows up to that key; then run it with --start-over and a --where that excludes the rows already done")
    case .sourceInUse(let name, let server, let since):
      FailureReport(
        .refused, "another server takes its snapshots as source \(name) since \(Quantity.time(since)): \(server); nothing was stored",
        hint:
          "give one of the two servers another name (source in firn.yaml, or --source); if this server has the name for good, run it once with --take-source-back"
      )
    case .differentlyEncrypted(let location):
      FailureReport(
        .refused, "\(location) is encrypted to other recipients than this store, or not at all: nothing was copied",
        hint:
          "copies are byte for byte the same, so both need the same recipients: firn key list shows them, firn key add adds one")
    case .recipientsChanged(let location):
      FailureReport(.refused, "the recipients of \(location) changed while this run waited: nothing was stored", hint: "run it again")
    case .notEncrypted(let location):
      FailureReport(
        .refused, "\(location) is not encrypted, and its contents would stay unencrypted",
        hint: "create another repository with firn init --recipient, and take snapshots there")
    case .noFolder(let path, let reason): FailureReport(.failed, "cannot work in \(path): \(reason)", hint: "name another folder with --spool")
    }
  }

  private static func hint(against guardian: RetentionGuard, _ database: String, _ id: String) -> String {
    switch guardian {
    case .hold: "if it is no longer needed: firn hold \(database.shellWord) \(id) --release"
    case .newest: "take a newer one first, and verify it"
    case .policy: "minimum-count and minimum-age of the policy apply here too: --policy takes a file with lower ones"
    }
  }
}
