import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// However a run ends, listed snapshots are whole, and the next run needs no help.
@Suite(.serialized) struct `A run that is killed` {
  /// Rows enough that a snapshot takes about a second.
  private func workplace(on server: TestServer, database: String? = nil) throws -> Workplace {
    let place = try Workplace(on: server, database: database)
    try place.sql(
      """
      CREATE TABLE a AS SELECT g id, md5(g::text) || repeat(md5((g * 3)::text), 6) x FROM generate_series(1, 120000) g;
      CREATE TABLE b AS SELECT g id, md5((g * 5)::text) || repeat(md5((g * 7)::text), 6) x FROM generate_series(1, 120000) g;
      """)
    return place
  }

  /// The conditions that must hold afterwards.
  private func expectSound(_ place: Workplace, restoring: Bool) throws {
    let listed = try place.listedSnapshots()
    if !listed.isEmpty {
      let read = try place.verify(place.database, "all", "--read")
      #expect(read.status == 0, "\(read)")
    }
    let next = try place.snapshot()
    #expect(next.status == 0, "\(next)")
    #expect(try place.listedSnapshots().count == listed.count + 1)
    #expect(try place.leftovers().isEmpty)
    guard restoring else { return }
    for id in try place.listedSnapshots() {
      let copy = "\(place.database)_copy"
      let restored = try place.restore(place.database, id, "--as", copy)
      #expect(restored.status == 0, "\(restored)")
      try place.server.sql("DROP DATABASE \"\(copy)\"")
    }
    // The next run removes everything the killed run stored: no file remains that no snapshot names.
    let files = try filesByPath(under: place.store)
    var named: Set<String> = []
    for path in files.keys where path.hasSuffix("SHA256SUMS") {
      let text = String(decoding: try Folder.contents(of: place.store.appending(path)), as: UTF8.self)
      named.formUnion(text.split(separator: "\n").map { String($0.dropFirst(66)) })
    }
    let stray = files.filter { $0.value.kind == .file && $0.key.hasPrefix("objects/") && !named.contains($0.key) }.keys
    #expect(stray.isEmpty, "\(stray)")
    #expect(files.keys.filter { $0.contains(".writing-") }.isEmpty)
  }

  /// Runs snapshots and kills something at moments spread over their length.
  private func repeatedly(_ times: Int, _ place: Workplace, kill: (ChildProcess) throws -> Void) throws {
    let clock = ContinuousClock.now
    _ = try place.takeSnapshot()
    let usual = (ContinuousClock.now - clock).inSeconds
    for round in 0..<times {
      try place.sql(
        "UPDATE a SET x = md5(x) WHERE id % 997 = \(round); UPDATE b SET x = repeat(md5(id::text || \(round)), 8) WHERE id % 3 = \(round % 3)")
      let before = try place.listedSnapshots()
      let command = try place.start("firn-snapshot", [])
      Thread.sleep(forTimeInterval: usual * 1.2 * Double.random(in: 0...1))
      let children = ProcessTable.children(of: command.id).map(\.id)
      try kill(command)
      let status = command.wait()
      let after = try place.listedSnapshots()
      #expect(after.count == before.count + (status == 0 ? 1 : 0) || status == 137, "exit \(status)")
      let deadline = ContinuousClock.now + .seconds(10)
      while children.contains(where: ProcessTable.isAlive), ContinuousClock.now < deadline { Thread.sleep(forTimeInterval: 0.02) }
      #expect(!children.contains(where: ProcessTable.isAlive), "a child lives on")
      try expectSound(place, restoring: round % 5 == 4)
      // Otherwise the checks grow with the square of the rounds.
      #expect(try place.prune("--keep-last", "2", "--apply").status == 0)
    }
  }

  @Test func `by kill -9 of the command leaves nothing half-done, at 12 random moments`() throws {
    let place = try workplace(on: TestServer.system.get())
    try repeatedly(12, place) { ProcessTable.send(SIGKILL, to: $0.id) }
  }

  @Test func `by kill -9 of its pg_dump fails, at 12 random moments`() throws {
    let place = try workplace(on: TestServer.system.get())
    try repeatedly(12, place) { command in
      for child in ProcessTable.children(of: command.id) where child.name.hasPrefix("pg_dump") {
        // One of its workers in every other case, when there are some.
        let worker = ProcessTable.children(of: child.id).randomElement()
        ProcessTable.send(SIGKILL, to: Bool.random() ? worker?.id ?? child.id : child.id)
      }
    }
  }

  @Test func `by kill -9 of the server fails, at 12 random moments`() throws {
    let server = try TestServer(binaries: try TestServer.binaries(at: 0))
    try server.sql("CREATE DATABASE app")
    let place = try workplace(on: server, database: "app")
    try repeatedly(12, place) { command in
      server.crash()
      // The command's work ends before the server is back.
      _ = command.wait()
      try server.start()
    }
  }

  @Test func `by SIGINT, SIGTERM, SIGHUP or SIGQUIT ends with nothing kept, in every phase`() throws {
    let place = try workplace(on: TestServer.system.get())
    for (step, signal) in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGINT, SIGTERM, SIGHUP, SIGQUIT].enumerated() {
      let command = try place.start("firn-snapshot", [])
      Thread.sleep(forTimeInterval: 0.02 + 0.1 * Double(step))
      ProcessTable.send(signal, to: command.id)
      let status = command.wait()
      #expect(status == 0 || status == 128 + signal)
      #expect(try place.leftovers().isEmpty, "step \(step)")
      #expect(try filesByPath(under: place.store).filter { $0.key.hasPrefix("locks/") }.isEmpty)
    }
    try expectSound(place, restoring: true)
  }

  @Test func `by a full disk says so and loses nothing, in the store and in the spool`() throws {
    let place = try workplace(on: TestServer.system.get())
    let small = place.folder.path("small")
    try Folder.make(small)
    // A file system of its own: as root a mount, else one in a namespace where we are.
    let namespace = Host.isRoot ? ["--mount"] : ["--map-root-user", "--mount"]
    let script = """
      set -eu
      mount -t tmpfs -o size=6m,mode=700 none "$1"
      export FIRN_STORE="$1/store"
      "$2" init --quiet
      status=0; "$2-snapshot" || status=$?; echo "store full: $status"
      "$2" list --json
      status=0; "$2-verify" x all --read || status=$?; echo "verify: $status"
      find "$1/store" -type f | grep -v -e firn.json || true
      export FIRN_STORE="$3"
      mkdir "$1/spool"
      rm -rf "$1/store"
      head -c 5500000 /dev/zero > "$1/ballast"
      status=0; "$2-snapshot" --spool "$1/spool" || status=$?; echo "spool full: $status"
      ls -A "$1/spool"
      """
    let result = try Workplace.run(
      "/usr/bin/unshare", namespace + ["/bin/sh", "-c", script, "sh", small.string, FirnProgram.path("firn").string, place.store.string],
      environment: place.environment)
    #expect(result.status == 0, "\(result)")
    let lines = result.output.split(separator: "\n").map(String.init)
    #expect(lines.first == "store full: 9", "\(result)")
    #expect(result.errors.contains("is full"))
    #expect(lines.contains { $0.contains("\"snapshots\":[]") })
    #expect(lines.contains("verify: 10"))
    // The objects of the failed run are removed.
    #expect(!lines.contains { $0.hasSuffix(".zst") })
    let spool = lines.last { $0.hasPrefix("spool full: ") }
    #expect(spool == "spool full: 8" || spool == "spool full: 1" || spool == "spool full: 0", "\(result)")
    if spool != "spool full: 0" { #expect(result.errors.lowercased().contains("no space left on device")) }
    #expect(lines.last == spool, "the spool is not empty: \(lines)")
    try expectSound(place, restoring: false)
  }

  @Test func `by a pg_dump that fails midway or lies about its end lists nothing`() throws {
    let server = try TestServer.system.get()
    let place = try workplace(on: server)
    // Programs in pg_dump's place: what they write comes from the real one.
    let find = "for a; do case $b in --file) f=$a;; esac; b=$a; done"
    let liars = [
      "fails midway": "$real \"$@\" & sleep 0.15; kill -KILL $!; exit 1",
      "is killed, and its end hidden": "$real \"$@\" & sleep 0.15; kill -KILL $!; wait $! 2>/dev/null; exit 0",
      "leaves its table of contents out": "$real \"$@\"; \(find); rm -f \"$f/toc.dat\"; exit 0",
      "cuts tables off": """
      \(find); n=$#
      while [ $n -gt 0 ]; do a=$1; shift; [ "$a" = "$f" ] && a=$f.real; set -- "$@" "$a"; n=$((n - 1)); done
      $real "$@" && mkdir "$f" && cd "$f.real" || exit 1
      for t in [0-9]*.dat; do head -c -6 "$t" > "$f/$t"; done
      cp toc.dat "$f"
      """,
      "writes nothing": "exit 0",
      "says an error and goes on": "echo 'pg_dump: error: something' >&2; exit 3",
    ]
    for (what, script) in liars {
      let tools = try place.tools(with: script, inPlaceOf: "pg_dump")
      let result = try place.snapshot("--pg-bin", tools.string)
      #expect(result.status == 8 || result.status == 1, "\(what): \(result)")
      #expect(try place.listedSnapshots().isEmpty, "\(what)")
      #expect(try place.leftovers().isEmpty, "\(what)")
    }
    try expectSound(place, restoring: true)
  }
}
