import Foundation
import Platform
import Postgres
import SystemPackage
import TestSupport
import Testing

/// Notifications of runs, and that they never harm a run.
@Suite struct `A run notifies` {
  private static let listener = Result { try NoticeListener() }

  private func place(_ configuration: String) throws -> Workplace {
    var place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE t AS SELECT g id FROM generate_series(1, 100) g")
    for name in [".config", ".config/firn"] { try Folder.make(place.folder.path(name)) }
    place.environment["PLACE"] = place.folder.path.string
    _ = try place.folder.write(configuration, to: ".config/firn/firn.yaml")
    return place
  }

  private func text(_ place: Workplace, _ name: String) throws -> String {
    String(decoding: try Folder.contents(of: place.folder.path(name)), as: UTF8.self).trimmingCharacters(in: .newlines)
  }

  @Test func `its hooks before, after and on failure, with the result as JSON and in the environment`() throws {
    let place = try place(
      """
      hooks:
        before: 'cat > $PLACE/before; echo "$FIRN_EVENT $FIRN_JOB" >> $PLACE/told; echo seen'
        after: 'cat > $PLACE/after; echo "$FIRN_EVENT $FIRN_JOB $FIRN_DATABASE $FIRN_SNAPSHOT $FIRN_EXIT_CODE" >> $PLACE/told'
        on-failure: ['cat > $PLACE/failed; echo "$FIRN_EVENT $FIRN_JOB $FIRN_EXIT_CODE" >> $PLACE/told']
      """)
    let result = try place.snapshot()
    #expect(result.status == 0 && result.errors.contains("hook: seen"), "\(result)")
    let database = place.database
    #expect(try text(place, "told").split(separator: "\n") == ["start snapshot", "success snapshot \(database) \(result.output) 0"])
    let object = try #require(try JSONSerialization.jsonObject(with: Data(try text(place, "after").utf8)) as? [String: Any])
    #expect(object["event"] as? String == "success" && object["database"] as? String == database && object["exitCode"] as? Int == 0)
    let inner = try #require(object["result"] as? [String: Any])
    #expect(inner["id"] as? String == result.output && inner["complete"] as? Bool == true)
    let state = try #require((object["status"] as? [[String: Any]])?.first)
    #expect(state["database"] as? String == database && (state["problems"] as? [String])?.contains("no snapshot was ever verified") == true)
    let first = try #require(try JSONSerialization.jsonObject(with: Data(try text(place, "before").utf8)) as? [String: Any])
    #expect(first["run"] as? String == object["run"] as? String)

    #expect(try place.firn("list").status == 0)
    #expect(try place.prune("--keep-last", "3").status == 0)
    #expect(try text(place, "told").split(separator: "\n").count == 2, "a run that changes nothing notifies no one")
    var lost = place
    lost.environment["DATABASE_URL"] = "postgresql://127.0.0.1:1/nowhere"
    #expect(try lost.snapshot("nowhere").status == 8)
    #expect(try text(place, "told").split(separator: "\n").suffix(2) == ["start snapshot", "failure snapshot 8"])
    let failed = try #require(try JSONSerialization.jsonObject(with: Data(try text(place, "failed").utf8)) as? [String: Any])
    #expect((failed["error"] as? String)?.contains("connect") == true && failed["database"] as? String == "nowhere")
  }

  @Test func `that a hook before it failed or hangs: nothing is done, except for a restore`() throws {
    let place = try place("hooks: {before: 'exit 3'}")
    let refused = try place.snapshot()
    #expect(refused.status == 6 && refused.errors.contains("exit code 3"), "\(refused)")
    #expect(try place.listedSnapshots().isEmpty)
    _ = try place.folder.write("hooks: {before: 'sleep 600', time-limit: 1s}", to: ".config/firn/firn.yaml")
    let hanging = try place.snapshot()
    #expect(hanging.status == 6 && hanging.errors.contains("took longer than 1 s"), "\(hanging)")
    _ = try place.folder.write("store: \(place.store)", to: "none.yaml")
    let id = try place.takeSnapshot("--config", place.folder.path("none.yaml").string)
    let restored = try place.restore(place.database, id, "--as", "\(place.database)_copy")
    #expect(restored.status == 0 && restored.errors.contains("took longer"), "\(restored)")
  }

  @Test func `a hook that runs Firn itself, once`() throws {
    let place = try place("hooks: {after: 'echo run >> $PLACE/told; \(FirnProgram.path("firn-verify")) --quick > /dev/null'}")
    #expect(try place.snapshot().status == 0)
    #expect(try text(place, "told") == "run")
  }

  @Test func `of an encrypted store, without asking for a passphrase`() throws {
    var place = try place("hooks: {after: 'cat > $PLACE/after'}")
    let recipient = try place.firn("key", "new", place.folder.path("identity").string).output
    place.environment["FIRN_STORE"] = place.folder.path("sealed").string
    place.environment["FIRN_IDENTITY"] = place.folder.path("no such identity").string
    #expect(try place.firn("init", "--recipient", recipient).status == 0)
    let made = try place.snapshot()
    #expect(made.status == 0, "\(made)")
    let object = try #require(try JSONSerialization.jsonObject(with: Data(try text(place, "after").utf8)) as? [String: Any])
    #expect((object["status"] as? [[String: Any]])?.first?["newestAt"] != nil, "\(object)")
  }

  @Test func `that a hook after it failed: done, with warnings, to everybody`() throws {
    let listener = try NoticeListener()
    let place = try place("hooks: {after: 'sleep 600 & : secret-word; exit 1'}\nping: 'http://127.0.0.1:\(listener.port)/ping'")
    let result = try place.snapshot()
    #expect(result.status == 3 && result.errors.contains("hooks: after failed with exit code 1"), "\(result)")
    #expect(try place.listedSnapshots() == [result.output])
    let heard = try listener.heard()
    #expect(heard.map(\.path) == ["/ping/start", "/ping/fail"] && heard.last?.body.contains("hooks: after failed") == true, "\(heard)")
    // Output of a command may be secret.
    #expect(!heard.contains { $0.body.contains("secret-word") } && !result.errors.contains("secret-word"))
  }

  @Test func `a hook that leaves a program in a session of its own, and waits for no end of that`() throws {
    let place = try place("hooks: {after: 'setsid sh -c \"echo \\$\\$ > $PLACE/pid; exec sleep 300\" & sleep 1'}")
    let result = try place.snapshot()
    #expect(result.status == 0, "\(result)")
    let left = try #require(Int32(try text(place, "pid")))
    #expect(ProcessTable.commandLines().contains { $0.hasPrefix("sleep 300") || $0.contains("sleep 300") })
    ProcessTable.send(SIGKILL, to: left)
  }

  @Test func `of a configuration that can't be read, as far as it can`() throws {
    let listener = try NoticeListener()
    let ping = "ping: 'http://127.0.0.1:\(listener.port)/ping'"
    for broken in [
      "stor: /nowhere\n\(ping)\n", "\(ping)\ncopies: [a, b\nstore: x\n", "mail: {from: x}\n\(ping)\n", "\(ping)\r\ncopies: [a, b\r\n",
      "database-url: \"postgresql://u:hidden\"word@h/d\"\n\(ping)\n", "recipients: [AGE-SECRET-KEY-hidden]\n\(ping)\n",
    ] {
      let place = try place(broken)
      let result = try place.snapshot()
      #expect(result.status == 78 && !result.errors.contains("hidden"), "\(result)")
      let heard = try listener.heard()
      #expect(heard.map(\.path) == ["/ping/fail"] && heard.first?.body.contains("exit code 78") == true, "\(broken): \(heard)")
      #expect(!heard.contains { $0.body.contains("hidden") }, "\(heard)")
    }
  }

  @Test func `that it needed a confirmation, and there was no terminal`() throws {
    let listener = try NoticeListener()
    let place = try place("{}")
    for _ in 0..<4 { _ = try place.takeSnapshot() }
    _ = try place.folder.write("ping: 'http://127.0.0.1:\(listener.port)/ping'", to: ".config/firn/firn.yaml")
    let pruned = try place.prune("--apply", "--keep-last", "1")
    #expect(pruned.status == 5, "\(pruned)")
    let heard = try listener.heard()
    #expect(heard.map(\.path) == ["/ping/start", "/ping/fail"] && heard.last?.body.contains("confirmation required") == true, "\(heard)")
    #expect(try place.listedSnapshots().count == 4)
  }

  @Test func `a service that waits for pings: start, success, failure, and log without a confirmation`() throws {
    let listener = try NoticeListener()
    let place = try place("ping: 'http://127.0.0.1:\(listener.port)/ping/secret?x=1'")
    let id = try place.takeSnapshot()
    var heard = try listener.heard()
    #expect(heard.map(\.path) == ["/ping/secret/start", "/ping/secret"])
    #expect(Set(heard.map(\.query)).count == 1 && heard[0].query.hasPrefix("x=1&rid="))
    #expect(heard[1].body.contains(place.database))
    #expect(try place.incompleteSnapshot().status == 3)
    heard = try listener.heard()
    #expect(heard.map(\.path) == ["/ping/secret/start", "/ping/secret/fail"])
    #expect(heard[1].body.contains("with warnings"))
    #expect(try place.restore(place.database, id, "--confirm", "no").status == 5)
    #expect(try listener.heard().map(\.path) == ["/ping/secret/start", "/ping/secret/log"])
    #expect(try place.restore("nothing", "latest").status == 10)
    #expect(try listener.heard().map(\.path) == ["/ping/secret/start", "/ping/secret/fail"])
    // One for snapshots alone, of which warnings are welcome.
    _ = try place.folder.write("http://127.0.0.1:\(listener.port)/other\n", to: "address")
    _ = try place.folder.write("ping: {snapshot: \(place.folder.path("address")), warnings: success}", to: ".config/firn/firn.yaml")
    #expect(try place.incompleteSnapshot().status == 3)
    #expect(try place.verify(place.database, "latest").status == 0)
    #expect(try listener.heard().map(\.path) == ["/other/start", "/other"])
  }

  @Test func `a service that is down, broken or hangs nothing it could not bear, and keeps the address to itself`() throws {
    let listener = try Self.listener.get()
    for address in [
      "http://127.0.0.1:1/secret-word", "http://127.0.0.1:\(listener.port)/gone/secret-word", "http://no.such.host.invalid/secret-word",
    ] {
      let place = try place(
        """
        ping: '\(address)'
        webhook: {url: '\(address)', on: always}
        mail: {to: ops@example.org, program: /nonexistent/sendmail, on: always}
        metrics: /nonexistent/firn.prom
        """)
      let result = try place.snapshot()
      #expect(result.status == 0, "\(result)")
      #expect(!result.errors.contains("secret-word") && result.errors.components(separatedBy: "warning: ").count == 5, "\(result)")
      #expect(try place.listedSnapshots() == [result.output])
    }
    let place = try place("ping: 'http://127.0.0.1:\(listener.port)/hanging'")
    let start = ContinuousClock.now
    let command = try place.start("firn-snapshot", [])
    Thread.sleep(forTimeInterval: 1)
    ProcessTable.send(SIGTERM, to: command.id)
    #expect(command.wait() == 128 + SIGTERM)
    // An attempt of 8 s at the start, one at the end.
    #expect(ContinuousClock.now - start < .seconds(60))
  }

  @Test func `a web service by its own template, whatever the names hold`() throws {
    let listener = try NoticeListener()
    let place = try place(
      """
      webhook:
        url: http://127.0.0.1:\(listener.port)/hook
        template: '{"text": "{{summary}}", "blocks": [{"error": "{{ error }}"}]}'
      """)
    _ = try place.takeSnapshot()
    #expect(try listener.heard().isEmpty, "success is not notified")
    #expect(try place.restore("odd \"name\" \\ {{hint}}", "latest").status == 10)
    let heard = try listener.heard()
    #expect(heard.count == 1 && heard[0].path == "/hook" && heard[0].type == "application/json")
    let object = try #require(try JSONSerialization.jsonObject(with: Data(heard[0].body.utf8)) as? [String: Any])
    #expect((object["text"] as? String)?.contains("odd \"name\" \\ {{hint}}") == true, "\(heard)")
    #expect(((object["blocks"] as? [[String: String]])?.first?["error"])?.contains("no snapshot") == true)
  }

  @Test(arguments: [
    ("slack", "", ["text"]), ("discord", "", ["content"]), ("teams", "", ["attachments", "content", "body", "text"]),
    ("telegram", "-100\"7", ["text"]), ("ntfy", "nights", ["message"]),
  ]) func `messengers in the form that each of them takes`(_ service: String, _ channel: String, _ path: [String]) throws {
    let listener = try NoticeListener()
    let place = try place(
      "webhook: {url: 'http://127.0.0.1:\(listener.port)/hook', service: \(service)\(channel.isEmpty ? "" : ", channel: '\(channel)'")}")
    #expect(try place.restore("odd \"name\"", "latest").status == 10)
    let heard = try listener.heard()
    #expect(heard.count == 1 && heard[0].type == "application/json")
    var value: Any = try JSONSerialization.jsonObject(with: Data(heard[0].body.utf8))
    let object = value as? [String: Any] ?? [:]
    if !channel.isEmpty { #expect((object["chat_id"] ?? object["topic"]) as? String == channel, "\(object)") }
    for key in path {
      if let list = value as? [Any], let first = list.first { value = first }
      value = (value as? [String: Any])?[key] ?? ""
    }
    #expect((value as? String)?.contains("no snapshot of odd \"name\"") == true, "\(object)")
  }

  @Test func `people by mail, in one letter each`() throws {
    let place = try place("mail: {to: [ops@example.org, night@example.org], from: firn@example.org, program: $PLACE}")
    let mailer = try place.folder.write(
      "#!/bin/sh\nprintf '%s\\n' \"$@\" > \(place.folder.path("arguments"))\ncat > \(place.folder.path("letter"))\n", to: "mailer")
    _ = try Workplace.run("/bin/chmod", ["700", mailer.string], environment: [:])
    _ = try place.folder.write(
      "mail: {to: [ops@example.org, night@example.org], from: firn@example.org, program: \(mailer)}", to: ".config/firn/firn.yaml")
    _ = try place.takeSnapshot()
    #expect(try place.restore("größe\nBcc: all@example.org", "latest").status == 10)
    #expect(try text(place, "arguments").split(separator: "\n") == ["-i", "-f", "firn@example.org", "--", "ops@example.org", "night@example.org"])
    let letter = try text(place, "letter")
    let head = try #require(letter.components(separatedBy: "\n\n").first)
    #expect(head.contains("To: ops@example.org, night@example.org") && head.contains("Subject: =?utf-8?B?") && !head.contains("Bcc"))
    let coded = letter.components(separatedBy: "\n\n").dropFirst().joined()
    let body = String(decoding: Data(base64Encoded: coded, options: .ignoreUnknownCharacters) ?? Data(), as: UTF8.self)
    #expect(body.contains("no snapshot of größe") && body.contains("Next step"), "\(body)")
    #expect(!body.contains("/\(place.database): "), "another database is named: \(body)")
  }

  @Test func `Prometheus, in a file that is never half-written`() throws {
    let place = try place("metrics: /tmp/x.prom")
    let file = place.folder.path("firn.prom")
    _ = try place.folder.write("metrics: \(file)", to: ".config/firn/firn.yaml")
    let source = "source=\""
    let id = try place.takeSnapshot()
    func values() throws -> [String: Double] {
      try text(place, "firn.prom").split(separator: "\n").filter { !$0.hasPrefix("#") }.reduce(into: [:]) { values, line in
        let space = try #require(line.lastIndex(of: " "))
        let name = line[..<space].prefix { $0 != "{" }
        #expect(!line.hasPrefix("firn_last_success") || line.contains(source))
        let job = line.firstRange(of: "job=\"").map { line[$0.upperBound...].prefix { $0 != "\"" } }
        let key = job.map { "\(name) \($0)" } ?? String(name)
        values[key] = Double(String(line[line.index(after: space)...]))
      }
    }
    let first = try values()
    #expect(first["firn_last_run_exit_code snapshot"] == 0 && first["firn_snapshot_rows"] == 100 && first["firn_status_ok"] == 0)
    #expect(first["firn_last_proof_timestamp_seconds"] == nil)
    #expect(abs(try #require(first["firn_last_success_timestamp_seconds"]) - Date().timeIntervalSince1970) < 300)
    #expect(try Folder.status(of: file)?.mode == 0o644)
    #expect(try place.verify(place.database, id).status == 0)
    let second = try values()
    #expect(second["firn_status_ok"] == 1 && second["firn_last_run_exit_code verify"] == 0 && second["firn_last_proof_timestamp_seconds"] != nil)
    #expect(second["firn_last_run_timestamp_seconds snapshot"] == first["firn_last_run_timestamp_seconds snapshot"])
    // An incomplete one is no success.
    #expect(try place.incompleteSnapshot().status == 3)
    let third = try values()
    #expect(third["firn_last_run_exit_code snapshot"] == 3 && third["firn_status_ok"] == 0)
    #expect(third["firn_last_success_timestamp_seconds"] == first["firn_last_success_timestamp_seconds"])
    // Several writers at once, beside a reader.
    let runs = try (0..<6).map { _ in try place.start("firn-verify", ["--quick"]) }
    while runs.contains(where: { $0.exitCode() == nil }) { #expect(try values()["firn_status_ok"] != nil) }
    for run in runs { #expect(run.wait() == 0) }
    #expect(try Folder.names(in: place.folder.path).filter { $0.hasPrefix(".firn.prom") } == [])
  }

  @Test func `Prometheus of each store by itself, also of one that is gone`() throws {
    var place = try place("metrics: /tmp/x.prom")
    _ = try place.folder.write("metrics: \(place.folder.path("firn.prom"))", to: ".config/firn/firn.yaml")
    func ok(_ store: FilePath) throws -> [String] {
      try text(place, "firn.prom").split(separator: "\n").filter { $0.hasPrefix("firn_status_ok{store=\"\(store)\"") }.map { String($0.suffix(2)) }
    }
    _ = try place.takeSnapshot()
    #expect(try place.verify("--read").status == 0)
    #expect(try ok(place.store) == [" 1"])
    let (first, second) = (place.store, place.folder.path("second"))
    place.environment["FIRN_STORE"] = second.string
    #expect(try place.firn("init").status == 0)
    #expect(try place.snapshot().status == 0)
    #expect(try ok(first) == [" 1"] && ok(second) == [" 0"])
    #expect(try place.verify("--read").status == 0)
    #expect(try ok(first) == [" 1"] && ok(second) == [" 1"])
    try Folder.rename(second, to: place.folder.path("away"))
    #expect(try place.snapshot().status == 10)
    #expect(try ok(first) == [" 1"] && ok(second) == [" 0"])
    try Folder.rename(place.folder.path("away"), to: second)
    // Verifications leave a failed snapshot unanswered.
    #expect(try place.snapshot().status == 0)
    #expect(try ok(second) == [" 1"])
    // A failure from before its database was known is over with the next run.
    let runs = try text(place, "firn.prom").split(separator: "\n").filter {
      $0.hasPrefix("firn_last_run_exit_code{") && $0.contains("job=\"snapshot\"")
    }
    #expect(runs.count == 2, "\(runs)")
    // A mistyped store leaves no metrics; a store that lost everything does.
    let before = try text(place, "firn.prom")
    #expect(try place.verify("--quick", "--store", place.folder.path("mistaken").string).status == 10)
    #expect(try text(place, "firn.prom") == before)
    try Folder.removeTree(second.appending("snapshots"))
    _ = try place.verify("--quick")
    #expect(try ok(second) == [" 0"])
  }

  @Test func `its messages as JSON, or as systemd's journal takes them`() throws {
    let place = try place("log-format: json")
    let result = try place.incompleteSnapshot()
    let lines = try result.errors.split(separator: "\n").map { line in
      try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String])
    }
    #expect(lines.contains { $0["level"] == "warning" && $0["message"]?.hasPrefix("incomplete") == true && $0["command"] == "firn-snapshot" })
    #expect(lines.allSatisfy { $0["time"] != nil && $0["message"]?.isEmpty == false })
    let failed = try place.restore("nothing", "latest")
    #expect(failed.errors.contains("\"level\":\"error\"") && failed.errors.contains("\"hint\":"))
    _ = try place.folder.write("log-format: journal", to: ".config/firn/firn.yaml")
    let journal = try place.restore("nothing", "latest").errors.split(separator: "\n")
    #expect(journal.count == 2 && journal.allSatisfy { $0.hasPrefix("<3>") })
    #expect(try place.incompleteSnapshot().errors.contains("<4>firn-snapshot: warning: incomplete"))
  }

  @Test(arguments: [
    ("ping: ftp://x", "ping"), ("ping: {snapshots: 'http://x'}", "did you mean snapshot?"), ("ping: {warnings: maybe}", "success or failure"),
    ("webhook: {on: always}", "webhook has no url"), ("webhook: {url: 'http://x', template: '{\"a\": {{nothing}}}'}", "JSON with words"),
    ("webhook: {url: 'http://x', service: pager}", "slack, discord"), ("webhook: {url: 'http://x', service: ntfy}", "ntfy needs a channel"),
    ("webhook: {url: 'http://x', service: slack, channel: ops}", "slack takes no channel"),
    ("webhook: {url: 'http://x', channel: ops}", "no service"),
    ("webhook: {url: 'http://x', service: slack, template: '{}'}", "a service and a template"),
    ("mail: {from: a@b}", "mail has no to"), ("mail: {to: a@b, program: sendmail}", "path"), ("metrics: firn.txt", ".prom"),
    ("hooks: {befor: x}", "did you mean before?"), ("hooks: {time-limit: soon}", "duration"), ("log-format: xml", "json"),
    ("ping: /nonexistent/address", ""),
  ]) func `what is wrong in the configuration`(_ text: String, _ word: String) throws {
    let place = try place(text)
    let result = try place.snapshot()
    if word.isEmpty {
      #expect(result.status == 0 && result.errors.contains("/nonexistent/address is no file"), "\(result)")
    } else {
      #expect(result.status == 78 && result.errors.contains(word), "\(result)")
    }
  }
}
