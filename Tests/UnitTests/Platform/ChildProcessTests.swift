import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

@Suite struct `A child process` {
  private func run(_ script: String, environment: [String: String] = [:]) throws -> ProgramResult {
    try ProgramResult.run("/bin/sh", ["-c", script], environment: environment)
  }

  @Test func `gives its output, its errors by line, and its exit code`() throws {
    let result = try run("printf 'a\\0b'; echo one >&2; printf two >&2; exit 7")
    #expect(result.output == [0x61, 0, 0x62])
    #expect(result.errors == ["one", "two"])
    #expect(result.exitCode == 7)
  }

  @Test func `has the environment it is given and no other, no terminal, and files for its user alone`() throws {
    let folder = try TemporaryFolder()
    let result = try run(
      "env; cat; : >\(folder.path("made").string); stat -c %a \(folder.path("made").string)", environment: ["PATH": "/usr/bin:/bin", "X": "y z"])
    let lines = String(decoding: result.output, as: UTF8.self).split(separator: "\n").map(String.init)
    #expect(lines.contains("X=y z") && lines.contains("600"))
    #expect(!lines.contains { $0.hasPrefix("HOME=") })
  }

  @Test func `that is ended by a signal reports so, and ends its children`() throws {
    #expect(try run("kill -9 $$").exitCode == 137)
    let line = Monitor<String?>(nil)
    let child = try ChildProcess("/bin/sh", arguments: ["-c", "sleep 60 & echo $! >&2; trap '' TERM; wait; sleep 60"], environment: [:]) { text in
      line.update { $0 = text }
    }
    line.wait(until: { $0 != nil }) { _ in }
    let grandchild = try #require(Int32(line.current ?? ""))
    child.terminate(grace: .milliseconds(200))
    let deadline = ContinuousClock.now + .seconds(5)
    while ProcessTable.isAlive(grandchild), ContinuousClock.now < deadline { Thread.sleep(forTimeInterval: 0.01) }
    #expect(!ProcessTable.isAlive(grandchild) && !ProcessTable.isAlive(child.id))
  }

  @Test func `that can't be started is an error with its name`() {
    #expect { try ProgramResult.run("/nowhere/program", [], environment: [:]) } throws: { ($0 as? SystemError)?.number == .noSuchFileOrDirectory }
    do {
      _ = try ProgramResult.run("/nowhere/program", [], environment: [:])
    } catch {
      #expect("\(error)" == "cannot start /nowhere/program: no such file or directory")
    }
  }
}
