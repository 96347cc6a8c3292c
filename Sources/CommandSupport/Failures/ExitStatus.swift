/// The exit code of a command. Every `--help` lists them.
package enum ExitStatus: Int32, CaseIterable, Sendable {
  case done = 0
  case failed = 1
  case doneWithWarnings = 3
  case verificationFailed = 4
  case notConfirmed = 5
  case refused = 6
  case locked = 7
  case postgres = 8
  case store = 9
  case notFound = 10
  case usage = 64
  case configuration = 78
  case interrupted = 130
  case terminated = 143

  package var meaning: String {
    switch self {
    case .done: "done"
    case .failed: "unexpected failure"
    case .doneWithWarnings:
      "done, with warnings (an incomplete snapshot, a table that lost most of its rows, a copy that was not written), or something needs attention"
    case .verificationFailed: "verification failed: damage, a restored copy that differs because of the snapshot, or an unmet assertion"
    case .notConfirmed: "not confirmed"
    case .refused: "refused by a preflight check; nothing was changed"
    case .locked: "another run holds the lock"
    case .postgres: "PostgreSQL: cannot connect, or a PostgreSQL program failed"
    case .store: "store or network failed"
    case .notFound: "no such snapshot, database or store"
    case .usage: "wrong usage"
    case .configuration: "wrong configuration"
    case .interrupted: "interrupted by SIGINT (Ctrl-C); unfinished data was removed, or the next run removes it"
    case .terminated: "ended by a signal: SIGTERM (143), SIGHUP (129) or SIGQUIT (131); unfinished data was removed, or the next run removes it"
    }
  }
}
