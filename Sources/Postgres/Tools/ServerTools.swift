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
