import Foundation
import Platform
import SystemPackage
import TestSupport
import Testing

/// What `firn report` writes.
@Suite struct `A report` {
  /// A store with a history of nights, made by a clock that is set back.
  private func history(nights: [Int]) throws -> Workplace {
    let place = try Workplace(on: TestServer.system.get())
    try place.sql("CREATE TABLE events (id int, body text); CREATE SCHEMA \"<script>alert(1)</script>\"")
    try place.sql("CREATE TABLE \"<script>alert(1)</script>\".\"a & 'b' \"\"c\"\"\" AS SELECT 1 id")
    for night in nights {
      try place.sql("INSERT INTO events SELECT g, md5(g::text) FROM generate_series(1, 100) g")
      let kind = night % 5 == 0 ? "pre-migration" : "nightly"
      // No dump has the rows of a foreign table.
      let isIncomplete = night % 7 == 1
      if isIncomplete {
        try place.sql(
          "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing; CREATE FOREIGN TABLE elsewhere (a int) SERVER nowhere"
        )
      }
      let made = try at(-night, place, "firn-snapshot", ["--kind", kind])
      #expect(made.status == (isIncomplete ? 3 : 0), "\(made)")
      if isIncomplete { try place.sql("DROP FOREIGN DATA WRAPPER nothing CASCADE") }
      if night % 3 == 0 { #expect(try at(-night, place, "firn-verify", [place.database, "latest"]).status == 0) }
    }
    return place
  }

  private func at(_ days: Int, _ place: Workplace, _ name: String, _ arguments: [String]) throws -> CommandResult {
    try place.run(clock: ["-f", "\(days < 0 ? "" : "+")\(days)d"], name, arguments)
  }

  private func chromium(_ arguments: [String]) throws -> CommandResult {
    let folder = try TemporaryFolder()
    return try Workplace.run(
      "/usr/bin/timeout",
      [
        "-s", "KILL", "60", "/usr/bin/chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--user-data-dir=\(folder.path("p"))",
      ]
        + arguments, environment: ["HOME": folder.path.string, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"])
  }

  @Test func `shows every snapshot, table and verification, in a page that needs nothing else`() throws {
    let place = try history(nights: [20, 15, 12, 9, 8, 3, 0])
    #expect(try place.verify(place.database, "latest", "--drill").status == 0)
    let file = place.folder.path("page.html")
    let written = try place.firn("report", "--output", file.string)
    #expect(written.status == 0, "\(written)")
    let page = String(decoding: try Folder.contents(of: file), as: UTF8.self)
    #expect(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;.a &amp; &#39;b&#39; &quot;c&quot;"))
    let linked = page.replacing("href=\"#", with: "")
    for word in ["src=", "href=", "url(", "@import"] { #expect(!linked.contains(word), "\(word)") }
    #expect(page.contains("default-src 'none'"))
    #expect(page.components(separatedBy: "<g><title>").count - 1 == 7, "one square for each day with snapshots")
    #expect(page.contains("pre-migration, INCOMPLETE, proven (read)") && page.contains("nightly, proven (read)") && page.contains("not verified"))
    #expect(page.contains(">events</th>") || page.contains(">public.events</th>"))
    #expect(page.contains("in the only drill"))

    let data = try place.firn("report", "--json").json()
    let database = try #require((data["databases"] as? [[String: Any]])?.first)
    #expect((database["snapshots"] as? [[String: Any]])?.count == 7)
    let tables = try #require(database["tables"] as? [[String: Any]])
    let points = try #require(tables.first { $0["name"] as? String == "public.events" }?["points"] as? [[String: Any]])
    #expect(points.compactMap { $0["rows"] as? Int } == [100, 200, 300, 400, 500, 600, 700])
    let lately = try #require((try place.firn("report", "--days", "10", "--json").json()["databases"] as? [[String: Any]])?.first)
    #expect((lately["snapshots"] as? [[String: Any]])?.count == 4)

    // In a browser: light and dark differ, and nothing sticks out of a phone's width.
    var pictures: [[UInt8]] = []
    for (name, more) in [
      ("light", ["--window-size=1000,1200"]), ("dark", ["--window-size=1000,1200", "--blink-settings=preferredColorScheme=0"]),
      ("phone", ["--window-size=500,1600"]),
    ] {
      let picture = place.folder.path("\(name).png")
      let shot = try chromium(more + ["--enable-logging=stderr", "--screenshot=\(picture)", "file://\(file)"])
      #expect(shot.status == 0, "\(shot)")
      #expect(!shot.errors.contains("Content Security Policy"), "\(shot)")
      pictures.append(try Folder.contents(of: picture))
    }
    #expect(Set(pictures).count == 3 && pictures.allSatisfy { $0.count > 20_000 })
    let measured = page.replacing("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">", with: "")
      .replacing("</body>", with: "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>")
    let probe = try place.folder.write(measured, to: "probe.html")
    let dom = try chromium(["--window-size=500,1600", "--dump-dom", "file://\(probe)"]).output
    let title = try #require(dom.firstMatch(of: /<title>(\d+) of (\d+)<\/title>/))
    #expect(Int(title.1) ?? 0 <= Int(title.2) ?? 0, "\(title.0)")
  }

  @Test func `begins with a row for each database, what is wrong on top, and shows missed nights`() throws {
    let place = try history(nights: [9, 8, 7, 5, 4, 3, 2, 1])
    try place.server.sql("CREATE DATABASE \"fine_\(place.database)\"")
    #expect(try place.snapshot("fine_\(place.database)").status == 0)
    #expect(try place.verify("fine_\(place.database)", "latest").status == 0)
    let page = try place.firn("report").output
    let overview = try #require(page.split(separator: "<section>").dropFirst().first)
    let names = overview.matches(of: /href="#d\d+">([^<]+)</).map { String($0.output.1) }
    #expect(names == [place.database, "fine_\(place.database)"], "what needs attention comes first")
    #expect(overview.contains("1 were missed") && overview.contains("! attention") && overview.contains("✓ ok"))
    #expect(page.contains(": missed</title>") && page.contains("seen from \(Host.name)"))
    let data = try place.firn("report", "--json").json()
    #expect(data["host"] as? String == Host.name && (data["storedBytes"] as? Int ?? 0) > 0 && data["freeBytes"] is Int)
  }

  @Test func `says what is wrong at the top, and refuses what it can't do`() throws {
    let place = try history(nights: [9])
    let page = try place.firn("report").output
    #expect(page.contains("1 of 1 database needs attention") && page.contains("the newest snapshot was taken 9 days ago"))
    #expect(try place.firn("report", "nothing").status == 10)
    #expect(try place.firn("report", "--days", "0").status == 64)
    #expect(try place.firn("report", "--output", "/nonexistent/page.html").status == 1)
    #expect(try Workplace(on: TestServer.system.get()).firn("report").status == 10)
  }

  @Test func `of an encrypted store, without an identity, shows times and no contents`() throws {
    var place = try Workplace(on: TestServer.system.get())
    let recipient = try place.firn("key", "new", place.folder.path("identity").string).output
    place.environment["FIRN_STORE"] = place.folder.path("sealed").string
    #expect(try place.firn("init", "--recipient", recipient).status == 0)
    try place.sql("CREATE TABLE secrets (id int)")
    _ = try place.takeSnapshot()
    let page = try place.firn("report").output
    #expect(page.contains("<g><title>") && !page.contains("secrets"))
    #expect(try place.firn("report", "--identity", place.folder.path("identity").string).output.contains("public.secrets"))
  }
}
