internal import FirnCore
internal import Platform
internal import Postgres
internal import Repository

extension LeftBehind: ReportableError {
  package var report: FailureReport {
    let failure = FailureReport(cause)
    let names = ["DROP DATABASE \(Connection.identifier(database))"] + roles.map { "DROP ROLE \(Connection.identifier($0))" }
    return FailureReport(
      failure.status, "\(failure.message)\n  objects created by this run could not be dropped: \(FailureReport(reason).message)",
      hint: "when the server is back: \(names.joined(separator: "; "))")
  }
}

extension SafetySnapshotFailed: ReportableError {
  package var report: FailureReport {
    let failure = FailureReport(cause)
    return FailureReport(
      failure.status, "no snapshot could be taken of the current database, so it was not changed: \(failure.message)",
      hint: keepsOldDatabase
        ? "if it is too damaged for a snapshot, use --no-safety-snapshot; it is kept under another name in any case"
        : "without that snapshot nothing would be left of the database: make room and restore without --in-place, or save it in another way first")
  }
}

extension ApplicationControl.Failure: ReportableError {
  package var report: FailureReport {
    FailureReport(
      .failed, "\(command) failed with exit code \(exitCode)",
      hint: "nothing was swapped, and the application was started again; fix maintenance: stop in firn.yaml")
  }
}

extension ApplicationUnwell: ReportableError {
  package var report: FailureReport {
    FailureReport(
      .failed, "\(database) was swapped, but the application's health check keeps failing: \(healthCheck)" + FailureReport.lines(startFailures),
      hint: keptAs.map { "the previous database is \($0); to undo: firn-restore \(database.shellWord) --undo" }
        ?? "there was no previous database \(database): see the application's log")
  }
}

extension SwapUndone: ReportableError {
  package var report: FailureReport {
    FailureReport(
      .failed,
      "the application's health check kept failing (\(healthCheck)), so the swap was undone: \(database) is the previous database again"
        + FailureReport.lines(startFailures), hint: "the restored database is kept as \(keptAs)")
  }
}

extension UndoFailed: ReportableError {
  package var report: FailureReport {
    let failure = FailureReport(cause)
    return FailureReport(
      failure.status,
      "\(database) was swapped, the application's health check keeps failing (\(healthCheck)), and the swap could not be undone: "
        + failure.message + FailureReport.lines(startFailures),
      hint: "the previous database is \(keptAs), unchanged; to undo: firn-restore \(database.shellWord) --undo")
  }
}

extension ScriptFailed: ReportableError {
  package var report: FailureReport {
    FailureReport(
      .postgres, "\(script) failed: \(messages.joined(separator: "\n  "))", hint: "the restored database was dropped, and nothing else was changed")
  }
}

extension TrialFailed: ReportableError {
  package var report: FailureReport {
    let failure = FailureReport(cause)
    return FailureReport(
      failure.status, "\(failure.message)\n  this was a trial, before anything was stopped or dropped: \(database) is unchanged",
      hint: failure.hint ?? "fix that and run this again; or restore it beside the old one, with --as, to examine it")
  }
}

extension DatabaseDestroyed: ReportableError {
  package var report: FailureReport {
    let failure = FailureReport(cause)
    let state =
      isCertain
      ? "\(database) was dropped before this, and the new one is not in its place yet"
      : "the server went away while \(database) was dropped: it may be gone"
    let next =
      built.map { "\(Connection.renameStatement($0, to: database)), once nothing else has that name" }
      ?? "fix that and run this again"
    let stopped =
      applicationIsStopped
      ? "\n  the application stays stopped until the database exists again: see firn-restore \(database.shellWord) --recover" : ""
    return FailureReport(
      failure.status, "\(failure.message)\n  \(state)" + (built.map { "; it is complete, under the name \($0)" } ?? "") + stopped,
      hint: next
        + (safetySnapshot.map { "; the database as it was: firn-restore \(database.shellWord) \($0)" } ?? "; no snapshot was taken of it")
        + "; --recover shows this again")
  }
}

extension SnapshotDamaged: ReportableError {
  package var report: FailureReport {
    let failure = FailureReport(cause)
    return FailureReport(
      .verificationFailed, failure.message + (tables.isEmpty ? "" : ": it holds rows of \(FailureReport.some(tables))"),
      hint: "use another snapshot (firn-verify --read shows which are intact); or restore all tables except these with --only-intact")
  }
}

extension ApplicationNotStarted: ReportableError {
  package var report: FailureReport {
    let failure = FailureReport(cause)
    return FailureReport(
      failure.status,
      "\(failure.message)\n  nothing was swapped, but parts of the application did not start again:" + FailureReport.lines(startFailures),
      hint: "start it by hand; then: \(failure.hint ?? "run this again")")
  }
}

extension SourceDamaged: ReportableError {
  package var report: FailureReport { FailureReport(cause) }
}

extension ArchiveDirectory.Unreadable: ReportableError {
  package var report: FailureReport {
    FailureReport(.store, "the archive's table of contents cannot be read: \(reason)", hint: "use another snapshot")
  }
}

extension ExportTransaction.Deadlock: ReportableError {
  package var report: FailureReport {
    FailureReport(
      .postgres, "pg_dump waits for a lock that \(holder) requests, and that session waits for this snapshot",
      hint: "wait for the end of that session, then run this again")
  }
}
