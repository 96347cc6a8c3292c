internal import Foundation
internal import Platform
package import SystemPackage

/// A command's output and exit code.
package struct CommandResult: Sendable, CustomStringConvertible {
  package let status: Int32
  package let output: String
  package let errors: String

  package var description: String { "exit \(status)\n\(output)\n\(errors)" }

  /// The JSON object on standard output.
  package func json() throws -> [String: Any] {
    guard let object = try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any] else {
      throw Unavailable("no JSON object: \(self)")
    }
    return object
  }
}

/// The built programs.
package enum FirnProgram {
  /// They lie beside the tests.
  package static func path(_ name: String) -> FilePath {
    let folder = Bundle.main.executablePath.map { FilePath($0).removingLastComponent() } ?? "."
    return folder.appending(name)
  }

  /// Everything of the project, such as `Tests/CommandTests/Torture.sql`.
  package static func projectFile(_ path: String) -> FilePath {
    FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent().appending(path)
  }
}
