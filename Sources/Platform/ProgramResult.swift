internal import CLinux
internal import Foundation
package import SystemPackage
internal import Synchronization
internal import Glibc

/// Runs a short program to its end.
package struct ProgramResult: Sendable {
  package let exitCode: Int32
  package let output: [UInt8]
  package let errors: [String]

  package static func run(_ program: FilePath, _ arguments: [String], environment: [String: String]) throws -> ProgramResult {
    try run(program, arguments, environment: environment, until: nil)!
  }

  /// - Returns: nil if it had not ended in time and was stopped.
  package static func run(_ program: FilePath, _ arguments: [String], environment: [String: String], within time: Duration) throws -> ProgramResult? {
    try run(program, arguments, environment: environment, until: .now + time)
  }

  private static func run(
    _ program: FilePath, _ arguments: [String], environment: [String: String], until deadline: ContinuousClock.Instant?
  ) throws -> ProgramResult? {
    let lines = Monitor<[String]>([])
    let child = try ChildProcess(program, arguments: arguments, environment: environment, output: .kept) { line in
      lines.update { $0.append(line) }
    }
    struct OutOfTime: Error {}
    let code: Int32
    do {
      code = try child.wait {
        try Interruption.check()
        if let deadline, ContinuousClock.now > deadline { throw OutOfTime() }
      }
    } catch is OutOfTime { return nil }
    return ProgramResult(exitCode: code, output: child.standardOutput, errors: lines.current)
  }
}
