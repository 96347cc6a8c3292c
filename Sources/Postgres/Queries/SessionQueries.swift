package import Foundation
internal import Platform

/// About the connection itself.
extension Connection {
  /// Refuses a connection that a pooler passes on: its sessions are not ours, and what we set leaks to the application.
  /// - Throws: `PostgresError.behindPooler`.
  /// Whether we speak to the server's process that was announced when we connected.
  func isAnnouncedProcess() throws -> Bool {
    try value("SELECT pg_catalog.pg_backend_pid()").flatMap { Int32($0) } == announcedProcessID
  }

  package func refusePooler() throws {
    for _ in 0..<3 {
      guard let number = try value("SELECT pg_catalog.pg_backend_pid()").flatMap({ Int32($0) }) else { continue }
      if number != announcedProcessID {
        throw PostgresError.behindPooler(
          reason: "the server's process (\(number)) is not the one announced (\(announcedProcessID))", portOnly: false)
      }
    }
    if !settings.allowsForwardedPort, let asked = askedPort,
      let actual = try value("SELECT pg_catalog.inet_server_port()").flatMap({ Int($0) }), actual != asked
    {
      throw PostgresError.behindPooler(reason: "the server listens on port \(actual), we asked for \(asked)", portOnly: true)
    }
  }

  package func isSuperuser() throws -> Bool {
    try value("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user") == "t"
  }

  package func canReadPasswords() throws -> Bool {
    try value("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')") == "t"
  }

  /// The cluster's own number; nil where this role may not read it.
  package func systemIdentifier() throws -> String? {
    guard try value("SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')") == "t" else { return nil }
    return try value("SELECT system_identifier FROM pg_catalog.pg_control_system()")
  }

  /// The setting `cluster_name`; nil if it is empty.
  package func clusterNameSetting() throws -> String? { try value("SHOW cluster_name").flatMap { $0.isEmpty ? nil : $0 } }

  /// How the database writes characters, as `UTF8`.
  package func serverEncoding() throws -> String { try value("SHOW server_encoding") ?? "" }

  /// Identifies the server: its system identifier, or its address.
  package func clusterName() throws -> String { try systemIdentifier() ?? target }

  /// Makes what this session commits survive a crash of the server: with `synchronous_commit = off` a server confirms commits up to
  /// three times `wal_writer_delay` before they are durable. Other values are durable on the server itself, and stay.
  package func makeCommitsDurable() throws {
    _ = try value(
      """
      SELECT pg_catalog.set_config('synchronous_commit', 'on', false)
      WHERE pg_catalog.current_setting('synchronous_commit') = 'off'
      """)
  }

  /// Makes the log durable up to here, including what open transactions of other sessions have written. Until then a crash may lose a
  /// transaction's number, which another transaction then gets.
  package func flushLog() throws {
    let end = try value("SELECT pg_catalog.pg_current_wal_insert_lsn()") ?? "0/0"
    // A commit flushes the log if it wrote to it (xact.c, RecordTransactionCommit). This needs no table, and no standby.
    do {
      try execute(
        "BEGIN; SET LOCAL synchronous_commit = local; SELECT pg_catalog.pg_logical_emit_message(true, 'firn', ''); COMMIT")
    } catch PostgresError.statementFailed(_, SQLState.insufficientPrivilege) {
      try execute("ROLLBACK")
    }
    // The server's log writer also flushes, several times a second.
    while try value("SELECT pg_catalog.pg_current_wal_flush_lsn() >= $1::pg_lsn", [end]) != "t" {
      try Interruption.sleep(until: ContinuousClock.now + .milliseconds(20))
    }
  }

  /// The timeline that the server writes, eight hexadecimal digits. A promotion or a restore to a point in time starts a new timeline, and
  /// may lose what was committed on the old one.
  package func timeline() throws -> String {
    try value("SELECT pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)") ?? ""
  }

  package func isInRecovery() throws -> Bool { try value("SELECT pg_catalog.pg_is_in_recovery()") == "t" }

  package func versionText() throws -> String { try value("SHOW server_version") ?? "" }

  /// The server's time.
  package func clock() throws -> Date {
    let seconds = try value("SELECT EXTRACT(epoch FROM pg_catalog.clock_timestamp())").flatMap { Double($0) } ?? 0
    return Date(timeIntervalSince1970: seconds)
  }

  /// Bytes of `shared_buffers`.
  package func sharedBuffers() throws -> Int64 {
    try value(
      "SELECT setting::int8 * pg_catalog.current_setting('block_size')::int8 FROM pg_catalog.pg_settings WHERE name = 'shared_buffers'"
    ).flatMap { Int64($0) } ?? 0
  }

  /// Whether compressed values could use LZ4, which takes a fraction of the time, and no compression was
  /// configured.
  package func mayCompressFaster() throws -> Bool {
    try value(
      "SELECT 'lz4' = ANY (enumvals) AND source = 'default' FROM pg_catalog.pg_settings WHERE name = 'default_toast_compression'") == "t"
  }

  /// How many objects the lock table holds, about.
  package func lockTableCapacity() throws -> Int {
    try value(
      """
      SELECT pg_catalog.current_setting('max_locks_per_transaction')::int8 * (pg_catalog.current_setting('max_connections')::int8
        + pg_catalog.current_setting('max_prepared_transactions')::int8)
      """
    ).flatMap { Int($0) } ?? .max
  }
}
