internal import Foundation
internal import Platform
package import SystemPackage

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
