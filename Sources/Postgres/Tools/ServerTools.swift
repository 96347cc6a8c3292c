internal import Foundation
internal import Platform
package import SystemPackage

/// The stock tools of one major version of PostgreSQL.
package struct ServerTools: Sendable {
  package let major: Int
  package let folder: FilePath
  /// The tool that was asked for its version, and what it said.
  private let asked: (tool: String, line: String)

  package func path(_ tool: String) -> FilePath { folder.appending(tool) }

  /// The folder whose `tool` is of exactly this major version.
  /// - Parameter configured: folders to look in before the usual ones.
  /// - Throws: `PostgresError.noTool`.
  package static func find(_ tool: String, major: Int, configured: [FilePath]) throws -> ServerTools {
    var found: [String] = []
    for folder in candidates(major: major, configured: configured) {
      let path = folder.appending(tool)
      guard Folder.isExecutable(path), !isDebianWrapper(path), let version = try version(of: path) else { continue }
      if version.major == major { return ServerTools(major: major, folder: folder, asked: (tool, version.text)) }
      if !found.contains("\(version.text) in \(folder)") { found.append("\(version.text) in \(folder)") }
    }
    throw PostgresError.noTool(name: tool, major: major, found: found)
  }

  private static func candidates(major: Int, configured: [FilePath]) -> [FilePath] {
    let search = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").filter { $0.hasPrefix("/") }
    let usual = ["/usr/lib/postgresql/\(major)/bin", "/usr/pgsql-\(major)/bin", "/usr/local/pgsql/bin"]
    return configured + (usual + search.map(String.init)).map { FilePath($0) }
  }

  /// Debian's `/usr/bin/pg_dump` picks a version by rules of its own.
  private static func isDebianWrapper(_ path: FilePath) -> Bool {
    URL(fileURLWithPath: path.string).resolvingSymlinksInPath().lastPathComponent == "pg_wrapper"
  }

  /// What `tool --version` says: `pg_dump (PostgreSQL) 15.18 (Debian …)`.
  private static func version(of path: FilePath) throws -> (text: String, major: Int)? {
    guard let result = try? ProgramResult.run(path, ["--version"], environment: ["LC_ALL": "C"]), result.exitCode == 0 else {
      try Interruption.check()
      return nil
    }
    let text = String(decoding: result.output, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    guard let start = text.range(of: "(PostgreSQL) ") else { return nil }
    return Int(text[start.upperBound...].prefix { $0.isNumber }).map { (text, $0) }
  }

  /// The whole line of `tool --version`.
  package func versionLine(of tool: String) throws -> String {
    if tool == asked.tool { return asked.line }
    return try Self.version(of: path(tool))?.text ?? "\(tool) \(major)"
  }
}

/// How a tool reaches the server we are connected to: everything but the password in a connection string, that in a pass file.
package struct ToolAccess: Sendable {
  private let parameters: [String: String]
  private let passFile: FilePath

  /// Writes the pass file, mode 0600.
  /// - Parameter folder: a private folder of ours.
  package init(as connection: Connection, folder: FilePath) throws {
    try connection.requireToolsCanFollow()
    var parameters = connection.effectiveParameters
    // Where a name stands for several servers, the one that answered.
    parameters["hostaddr"] = connection.address
    self.parameters = parameters
    passFile = folder.appending("pgpass")
    let password = connection.password.replacingASCII("\\", with: "\\\\").replacingASCII(":", with: "\\:")
    try Folder.write(password.isEmpty ? [] : Array("*:*:*:*:\(password)\n".utf8), to: passFile)
  }

  /// The connection string for one database.
  package func connectionString(database: String, applicationName: String, options: String = "") -> String {
    var parameters = parameters
    parameters["dbname"] = database
    parameters["passfile"] = passFile.string
    parameters["application_name"] = applicationName
    if !options.isEmpty { parameters["options"] = [parameters["options"], options].compactMap { $0 }.joined(separator: " ") }
    return parameters.sorted { $0.key < $1.key }.map { "\($0.key)=\(ConnectionSettings.quoted($0.value))" }.joined(separator: " ")
  }

  /// The environment for a tool that takes no connection string.
  package func environment(database: String) -> [String: String] {
    let names = [
      "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT",
      "sslcert": "PGSSLCERT",
      "sslkey": "PGSSLKEY", "gssencmode": "PGGSSENCMODE", "channel_binding": "PGCHANNELBINDING", "options": "PGOPTIONS",
    ]
    var environment = Self.environment
    for (keyword, variable) in names { environment[variable] = parameters[keyword] ?? environment[variable] }
    // These override the database's own settings.
    let own = ["-c default_transaction_read_only=off", "-c statement_timeout=0", "-c lock_timeout=0"]
    environment["PGOPTIONS"] = ([environment["PGOPTIONS"]].compactMap(\.self) + own).joined(separator: " ")
    environment["PGPASSFILE"] = passFile.string
    environment["PGDATABASE"] = database
    return environment
  }

  /// The environment for a tool: messages in English, nothing of ours that could lead it elsewhere.
  package static var environment: [String: String] {
    var environment = ["LC_ALL": "C", "PATH": "/usr/bin:/bin"]
    for name in ["HOME", "TMPDIR", "KRB5CCNAME", "PGSSLROOTCERT", "LD_LIBRARY_PATH"] {
      environment[name] = ProcessInfo.processInfo.environment[name]
    }
    return environment
  }
}
