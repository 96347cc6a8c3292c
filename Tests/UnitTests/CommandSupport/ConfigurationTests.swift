import CommandSupport
import FirnCore
import Testing

@Suite struct `A configuration file` {
  @Test func `sets what its keys say`() throws {
    let configuration = try Configuration(
      parsing:
        "store: /srv/backup\njobs: 4\nspool-cap: 64MiB\nlock-wait: 5s\nexclude-table-data: [a.*, b]\npg-bin: /opt/pg/bin\nmax-age: 30h\nanomaly: 20%\n",
      name: "firn.yaml")
    #expect(configuration.store == "/srv/backup")
    #expect(configuration.jobs == 4)
    #expect(configuration.spoolCap == 64 << 20)
    #expect(configuration.lockWait == .seconds(5))
    #expect(configuration.excludedTableData == ["a.*", "b"])
    #expect(configuration.limits.snapshotAge == .seconds(30 * 3600) && configuration.limits.proofAge == .seconds(8 * 86400))
    #expect(configuration.anomaly == 0.2)
    #expect(configuration.toolFolders == ["/opt/pg/bin"])
    #expect(try Configuration(parsing: "", name: "firn.yaml") == Configuration())
  }

  @Test func `can hold a policy of its own`() throws {
    let named = try Configuration(parsing: "policy: nightly\n", name: "firn.yaml")
    #expect(try named.policy?.file() == PolicyFile(named: "nightly"))
    let written = try Configuration(parsing: "policy: {keep: {daily: 7, within: 2d}, minimum-count: 3}\n", name: "firn.yaml")
    #expect(try written.policy?.file() == PolicyFile(parsing: "keep: {daily: 7, within: 2d}\nminimum-count: 3\n", name: "policy"))
    #expect(written.policy?.name == "of firn.yaml")
  }

  @Test func `can't ask for more than a machine has`() {
    let levels = (1..<12).map { "b\($0): &b\($0) [\(Array(repeating: "*b\($0 - 1)", count: 10).joined(separator: ","))]\n" }.joined()
    let deep = "store: " + String(repeating: "[", count: 100_000)
    #expect(throws: ConfigurationError(message: "firn.yaml uses more than 16 aliases", hint: "write out what they stand for")) {
      try Configuration(parsing: "b0: &b0 [x, x]\n\(levels)? *b11\n: x\n", name: "firn.yaml")
    }
    #expect(throws: notYAML(1, "Maximum nesting level reached, set with yaml_set_max_nest_level())")) {
      try Configuration(parsing: deep, name: "firn.yaml")
    }
  }

  @Test(arguments: [
    ("store: x\nstor: y\n", "firn.yaml line 2: there is no key stor", "did you mean store?"),
    ("policy: {keep: {dayly: 7}}\n", "firn.yaml line 1: there is no key dayly", "did you mean daily?"),
    ("restore: {frobnicate: x}\n", "firn.yaml line 1: there is no key frobnicate", "its keys are search-path, role"),
    ("jobs: many\n", "firn.yaml line 1: jobs is not a number from 1 to 64", nil),
    ("jobs: 0\n", "firn.yaml line 1: jobs is not a number from 1 to 64", nil),
    ("\nlock-wait: soon\n", "firn.yaml line 2: lock-wait is not a duration such as 30s, 15min, 26h or 8d", nil),
    ("spool-cap: 4k\n", "firn.yaml line 1: spool-cap is not a size such as 512MiB, at least 1MiB", nil),
    ("max-unread-age: 0d\n", "firn.yaml line 1: max-unread-age is not a duration above zero, such as 26h or 8d", nil),
    ("- store\n", "firn.yaml is not a list of keys and values", "write a line as store: /var/lib/firn"),
    ("store: [a, b]\n", "firn.yaml line 1: store is not a text", nil),
  ])
  func `that is wrong is refused with the line and the nearest key`(_ text: String, _ message: String, _ hint: String?) {
    do {
      _ = try Configuration(parsing: text, name: "firn.yaml")
      Issue.record("\(text) was taken")
    } catch let error as ConfigurationError {
      #expect(error.message == message)
      #expect(error.hint == hint)
    } catch {
      Issue.record("\(error)")
    }
  }

  @Test func `that is no YAML is refused`() {
    #expect(throws: notYAML(2, "did not find expected ',' or ']'")) { try Configuration(parsing: "store: [a\n", name: "firn.yaml") }
  }

  private func notYAML(_ line: Int, _ reason: String) -> ConfigurationError {
    ConfigurationError(message: "firn.yaml line \(line): it is not YAML: \(reason)", hint: "look at that line, and at the one before it")
  }
}
