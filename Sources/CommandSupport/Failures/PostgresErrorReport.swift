internal import FirnCore
internal import Platform
internal import Postgres
internal import Repository

/// The messages of servers and their tools.
extension PostgresError: ReportableError {
  package var report: FailureReport {
    switch self {
    case .invalidURL(let reason):
      FailureReport(.usage, "invalid database URL: \(reason)", hint: "write it as postgresql://USER@HOST:PORT/DATABASE")
    case .cannotConnect(let target, let reason):
      FailureReport(
        .postgres, "cannot connect to \(target): \(reason)",
        hint: Host.isRoot && target.hasPrefix("socket")
          ? "PostgreSQL lets a Unix user in as the role of its name: run this as the user of the backups, as in sudo -u firn firn list; firn setup creates the roles"
          : "if the server answered, its message is the reason; otherwise check that it runs there and accepts connections")
    case .wrongPassword(let target, let reason):
      FailureReport(
        .postgres, "\(target) refused the password: \(reason)", hint: "check the user and password in DATABASE_URL, PGPASSWORD or ~/.pgpass")
    case .noSuchDatabase(let name): FailureReport(.notFound, "the server has no database \(name)", hint: "psql -l lists its databases")
    case .connectionLost(let reason):
      FailureReport(.postgres, "the connection to the server was lost: \(reason)", hint: "run it again when the server is back")
    case .statementFailed(let message, let state):
      FailureReport(
        .postgres, "the server refused: \(message) (SQLSTATE \(state))",
        hint: state == SQLState.insufficientPrivilege ? "this role lacks the privilege: grant it, or connect as the owner or a superuser" : nil)
    case .rowsRefused(_, _, let details):
      FailureReport(
        .postgres, "the server refused rows of \(lines.joined(separator: "\n  "))",
        hint: details.state == SQLState.diskFull
          ? "the server's disk is full: make room, then run this again"
          : isOfMissingName
            ? "if the database has the missing object, a function of this table looks for it by search_path, which is empty during a restore: give the schemas with --search-path, as --search-path public (for later snapshots: restore: search-path in firn.yaml)"
            : "the reason is above: the snapshot has the row as it was dumped, and this server does not accept it")
    case .unexpectedAnswer(let what):
      FailureReport(
        .postgres, "the server answered the COPY of \(what) with something else", hint: "run it again; if it fails again, please report it as a bug")
    case .behindPooler(let reason, let portOnly):
      FailureReport(
        .refused, "this connection goes through a pooler: \(reason)",
        hint: portOnly
          ? "give the server's own address; if only the port is forwarded (Docker, ssh -L), use --through-forwarded-port"
          : "give the server's own address, not PgBouncer's: a dump through it would break the application's sessions")
    case .noTool(let name, let major, let found):
      FailureReport(
        .postgres, "no \(name) of PostgreSQL \(major) was found" + (found.isEmpty ? "" : " (found: \(FailureReport.some(found)))"),
        hint: "install postgresql-client-\(major), or give its folder with --pg-bin")
    case .unsupportedServer(let version): FailureReport(.postgres, "PostgreSQL \(version) is not supported", hint: "13 to 18 are")
    case .lockTimeout(let message, let holders):
      FailureReport(
        .postgres, "a table stayed locked: \(message)" + holders.map { "\n  \($0)" }.joined(),
        hint: "wait for that session, or wait longer with --lock-wait")
    case .secretForTools(let parameter):
      FailureReport(
        .refused, "pg_dump and pg_restore can't be given \(parameter) without showing it to other users",
        hint: "give the key without a passphrase, in a file of mode 0600 (openssl pkey -in KEY -out OPENED), or log in with a password")
    case .toolFailed(let tool, let code, let messages): Self.report(ofTool: tool, code, messages)
    }
  }

  private static func report(ofTool tool: String, _ code: Int32, _ messages: [String]) -> FailureReport {
    let isFull = PostgresError.tellsOfFullDisk(messages)
    return FailureReport(
      .postgres,
      "\(tool) failed" + (code > 128 ? ": it was ended by signal \(code - 128)" : "")
        + messages.prefix(12).map { "\n  \($0)" }.joined(),
      hint: !isFull
        ? "its message above is the reason"
          + (tool == "pg_restore"
            ? "; if it does not find a function or table that the database has, name its schema with --search-path, as --search-path public" : "")
        : tool == "pg_dump"
          ? "a disk is full: make room in the spool folder, or choose another with --spool or a lower --spool-cap"
          : "a disk is full, most likely the server's: make room, then run this again")
  }
}
