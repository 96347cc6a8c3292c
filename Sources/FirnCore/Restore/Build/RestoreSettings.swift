/// Settings for the sessions that restore: no time limits, no waiting for the log at each commit, memory for index builds, and the
/// faster compression.
enum RestoreSettings {
  static let compression = "default_toast_compression"

  /// - Parameter sharedBuffers: bytes. Sessions that build indexes may use as much together: it was chosen for the machine.
  static func usual(jobs: Int, sharedBuffers: Int64, serverMajor: Int) -> [(name: String, value: String)] {
    let memory = min(2048, max(256, (sharedBuffers / Int64(jobs)) >> 20))
    // A session of pg_restore that has nothing to do waits for the others.
    let newer = [(14, "idle_session_timeout"), (17, "transaction_timeout")].filter { serverMajor >= $0.0 }.map { ($0.1, "0") }
    return newer + [
      ("default_transaction_read_only", "off"), ("statement_timeout", "0"), ("lock_timeout", "0"),
      ("idle_in_transaction_session_timeout", "0"), ("synchronous_commit", "off"), ("maintenance_work_mem", "\(memory)MB"),
    ]
  }
}
