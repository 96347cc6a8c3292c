import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// Output on terminals of all kinds, by `script` of util-linux.
@Suite struct `On a terminal` {
  private func onTerminal(_ place: Workplace, columns: Int, _ command: String, _ variables: [String: String] = [:]) throws -> String {
    let environment = place.environment.merging(["TERM": "xterm"]) { $1 }.merging(variables) { $1 }
    let result = try Workplace.run(
      "/usr/bin/script", ["-qec", "stty cols \(columns); \(FirnProgram.path("firn").string) \(command)", "/dev/null"], environment: environment)
    return result.output
  }

  private static let escape = "\u{1B}["

  @Test func `colours have a meaning, and stay away from pipes, dumb terminals and NO_COLOR`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT generate_series(1, 10) id")
    _ = try place.takeSnapshot()
    #expect(try place.verify(place.database, "--read").status == 0)
    #expect(try onTerminal(place, columns: 200, "list").contains("\(Self.escape)32mverified"))
    #expect(try onTerminal(place, columns: 200, "status").contains("\(Self.escape)32mok"))
    #expect(try onTerminal(place, columns: 200, "list nosuch").contains("\(Self.escape)31mfirn list: error:"))
    for variables in [["NO_COLOR": "1"], ["TERM": "dumb"], ["TERM": ""]] {
      #expect(try !onTerminal(place, columns: 200, "list", variables).contains("\u{1B}"), "\(variables)")
      #expect(try !onTerminal(place, columns: 200, "verify --read", variables).contains("\u{1B}"), "\(variables)")
    }
    #expect(try !place.firn("list").output.contains("\u{1B}"))
  }

  @Test func `tables fit 80 columns, and survive 20, 500 and an unknown width`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT generate_series(1, 10) id")
    let id = try place.takeSnapshot("--kind", "pre-migration")
    for columns in [0, 20, 80, 500] {
      for command in ["list", "status", "doctor", "prune --keep-last 1"] {
        let output = try onTerminal(place, columns: columns, command, ["NO_COLOR": "1"])
        if columns == 0 || columns == 80 {
          let long = output.split(whereSeparator: \.isNewline).filter { $0.count > 80 && !$0.contains("/") && !$0.contains("stay") }
          #expect(long.isEmpty, "\(command) at \(columns): \(long)")
        }
        if command == "list" { #expect(output.contains(id), "\(output)") }
      }
    }
  }

  @Test func `Firn's own characters are ASCII in the POSIX locale, and names stay as they are`() throws {
    let place = try Workplace(on: TestServer.system.get())
    var posix = place
    posix.environment["LC_ALL"] = "C"
    let help = try posix.firn("init", "--help")
    #expect(help.output.contains("age1...") && help.output.utf8.allSatisfy { $0 < 128 }, "\(help)")
    #expect(try place.firn("init", "--help").output.contains("age1…"))
    try place.sql("CREATE TABLE \"größe\" AS SELECT 1 id")
    _ = try place.takeSnapshot()
    #expect(try posix.firn("show", place.database).output.contains("größe"))
  }
}

/// Every command's help.
@Suite struct `A help` {
  private static let commands = [
    "firn", "firn-snapshot", "firn-verify", "firn-restore", "firn-prune", "firn-migrate", "firn-migrate check", "firn-migrate run",
    "firn-migrate recover", "firn-migrate rehearse", "firn-migrate watch", "firn-migrate backfill", "firn init", "firn list", "firn show",
    "firn status", "firn doctor", "firn report", "firn copy", "firn key", "firn key new", "firn key add", "firn key list", "firn key trust",
    "firn hold", "firn unlock",
  ]

  private func run(_ command: String, _ arguments: String...) throws -> CommandResult {
    let words = command.split(separator: " ").map(String.init)
    return try Workplace.run(FirnProgram.path(words[0]), words.dropFirst() + arguments, environment: ["PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"])
  }

  @Test(arguments: commands) func `ends with examples that the command takes, and exit codes`(_ command: String) throws {
    let help = try run(command, "--help")
    #expect(help.status == 0)
    let sections = ["USAGE:", "OPTIONS:", "EXAMPLES:", "EXIT CODES:"].map { help.output.range(of: $0)?.lowerBound }
    #expect(!sections.contains(nil) && sections.compactMap(\.self) == sections.compactMap(\.self).sorted(), "\(help)")
    #expect(help.output.components(separatedBy: "EXIT CODES:").count == 2)
    // Options of examples exist.
    let examples = help.output.components(separatedBy: "EXAMPLES:\n")[1].components(separatedBy: "\n\n")[0]
    for line in examples.split(separator: "\n") where !line.hasPrefix("      ") {
      let own = line.components(separatedBy: " -- ")[0]
      for option in own.split(separator: " ").filter({ $0.hasPrefix("--") }).map(String.init) {
        let other = own.hasPrefix("  \(command) ") || command == "firn" ? help : try run(command, "--help")
        #expect(other.output.contains(option), "\(own)")
      }
    }
  }

  @Test func `of firn lists every program, and knows no other command`() throws {
    let help = try run("firn", "--help").output
    for name in ["snapshot", "verify", "restore", "prune", "migrate", "init", "list"] {
      #expect(help.contains(try Regex("(?m)^  \(name) +[A-Z]")), "\(name)")
    }
    let unknown = try run("firn", "help", "nonsense")
    #expect(unknown.status == 64 && unknown.errors.contains("no help on nonsense"), "\(unknown)")
  }

  @Test func `of a shell completes databases and snapshots of the store`() throws {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT generate_series(1, 10) id")
    let id = try place.takeSnapshot()
    func completions(_ words: String...) throws -> [Substring] {
      let script = """
        source <('\(FirnProgram.path(words[0]).string)' --generate-completion-script bash)
        COMP_WORDS=(\(words.map { "'\($0)'" }.joined(separator: " "))); COMP_CWORD=\(words.count - 1)
        COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
        $(complete -p \(words[0]) | sed 's/.*-F \\([^ ]*\\).*/\\1/') '\(words[0])' '\(words[words.count - 1])' '\(words[words.count - 2])'
        printf '%s\\n' "${COMPREPLY[@]}"
        """
      var environment = place.environment
      environment["PATH"] = "\(FirnProgram.path("firn").removingLastComponent()):/usr/bin:/bin"
      return try Workplace.run("/bin/bash", ["-c", script], environment: environment).output.split(separator: "\n")
    }
    #expect(try completions("firn-restore", "").contains { $0.hasPrefix(place.database) })
    #expect(try completions("firn-restore", place.database, "").contains { $0.hasPrefix(id) })
    #expect(try completions("firn", "list", "").contains { $0.hasPrefix(place.database) })
    #expect(try completions("firn", "re").contains { $0.hasPrefix("restore") })
  }
}
