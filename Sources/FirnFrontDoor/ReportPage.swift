import CommandSupport
import FirnCore
import Foundation

/// A store's report as one page of HTML: no script, nothing from elsewhere.
struct ReportPage {
  private let report: StoreReport
  private var now: Date { report.generatedAt }

  init(_ report: StoreReport) {
    self.report = report
    // Databases that need attention come first.
    databases = report.databases.filter { !$0.problems.isEmpty } + report.databases.filter(\.problems.isEmpty)
  }

  private let databases: [StoreReport.Database]
  /// From this many databases on, each has less detail, to keep the page small: `firn report DATABASE` shows all of one.
  private static let manyDatabases = 30
  private static let fewTables = 4
  private static let fewPoints = 30

  var html: String {
    let bad = report.databases.count { !$0.problems.isEmpty }
    let isGood = bad == 0 && report.problems.isEmpty
    let state =
      isGood
      ? "Everything is in order."
      : bad == 0
        ? "The store needs attention." : "\(bad) of \(Quantity.count(report.databases.count, "database")) need\(bad == 1 ? "s" : "") attention."
    return """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
      <meta name="color-scheme" content="light dark">
      <title>Backups in \(report.location.html)</title>
      <style>
      \(Self.style)
      </style>
      </head>
      <body>
      \(NightStrip.definitions)
      <header>
      <h1>Backups</h1>
      <p class="lead \(isGood ? "good" : "bad")">\(isGood ? "✓" : "!") \(state)</p>
      <p class="quiet">\(report.location.html) · seen from \(report.host.html) · as of \(Quantity.time(now).html) · since \(Self.day(report.since))</p>
      </header>
      \(overview)
      \(failedRuns)
      \(databases.enumerated().map { section($0, $1) }.joined(separator: "\n"))
      <footer class="quiet">Written by Firn \(FirnVersion.text.html).</footer>
      </body>
      </html>

      """
  }

  private func name(_ database: StoreReport.Database) -> String {
    sameNames.contains(database.database) ? "\(database.sourceName)/\(database.database)" : database.database
  }

  /// Names that several sources have.
  private var sameNames: Set<String> { Set(Dictionary(grouping: report.databases, by: \.database).filter { $0.value.count > 1 }.keys) }

  /// A row for each database, and the figures of the store.
  private var overview: String {
    var figures = [("Databases", "\(report.databases.count)"), ("Snapshots", "\(report.databases.reduce(0) { $0 + $1.snapshots.count })")]
    if let bytes = report.storedBytes { figures.append(("Stored", Quantity.size(bytes))) }
    if let bytes = report.freeBytes { figures.append(("Free beside it", Quantity.size(bytes))) }
    let names = sameNames
    let rows = databases.enumerated().map { number, database -> String in
      let name = names.contains(database.database) ? "\(database.sourceName)/\(database.database)" : database.database
      let state =
        !database.problems.isEmpty ? "<td class=\"bad\">! attention" : database.isGone ? "<td class=\"quiet\">gone" : "<td class=\"good\">✓ ok"
      let size = database.snapshots.last { $0.bytes != nil }?.bytes.map(Quantity.size) ?? ""
      let stored = database.snapshots.compactMap(\.storedBytes).reduce(0, +)
      return """
        <tr><th scope="row"><a href="#d\(number)">\(name.html)</a></th>\(state)</td>\
        <td>\(NightStrip(database.snapshots, until: now).svg)</td>\
        <td>\(database.newestAt.map { Quantity.age(of: $0, now: now) } ?? "none")</td><td>\(database.provenAt.map { Quantity.age(of: $0, now: now) } ?? "never")</td>\
        <td class="number">\(size)</td><td class="number">\(Quantity.size(stored))</td></tr>
        """
    }
    let problems = report.problems.isEmpty ? "" : "<ul class=\"problems\">\(report.problems.map { "<li>\($0.html)</li>" }.joined())</ul>"
    return """
      <section>
      \(problems)
      <dl class="figures">\(figures.map { "<div><dt>\($0.0)</dt><dd>\($0.1.html)</dd></div>" }.joined())</dl>
      <div class="wide overview"><table><thead><tr><th scope="col">Database</th><th scope="col">State</th><th scope="col">Last 30 days</th>\
      <th scope="col">Newest</th><th scope="col">Verified</th><th scope="col" class="number">Size</th><th scope="col" class="number">Stored</th></tr></thead><tbody>
      \(rows.joined(separator: "\n"))
      </tbody></table></div>
      \(NightStrip.legend)
      </section>
      """
  }

  private var failedRuns: String {
    guard !report.failedRuns.isEmpty else { return "" }
    let rows = report.failedRuns.map { run in
      let error = run.wasKilled ? "killed" : String((run.error ?? "failed").prefix(300))
      return
        "<tr><th scope=\"row\">\(Self.minute(run.at))</th><td>\(run.job.html)</td><td>\((run.database ?? "").html)</td><td>\(run.host.html)</td><td class=\"text\">\(error.html)</td></tr>"
    }
    return """
      <section><h2>Failed runs of the last 30 days</h2><div class="wide"><table><thead><tr><th scope="col">Time</th><th scope="col">Job</th>\
      <th scope="col">Of</th><th scope="col">On</th><th scope="col">Error</th></tr></thead><tbody>
      \(rows.joined(separator: "\n"))
      </tbody></table></div></section>
      """
  }

  private func section(_ number: Int, _ database: StoreReport.Database) -> String {
    var parts = ["<h2 id=\"d\(number)\">\(name(database).html)</h2>"]
    if !database.problems.isEmpty {
      parts.append("<ul class=\"problems\">\(database.problems.map { "<li>\($0.html)</li>" }.joined())</ul>")
    }
    parts.append(figures(database))
    if hasDetail { parts += ["<h3>Snapshots by day</h3>", SnapshotCalendar(database.snapshots, until: now).html] }
    if let trend = sizes(database) { parts += ["<h3>Size</h3>", trend] }
    if !database.drills.isEmpty { parts += ["<h3>How long a restore takes</h3>", restores(database)] }
    if !database.tables.isEmpty { parts += ["<h3>Tables</h3>", tables(database)] }
    if !database.copies.isEmpty { parts += ["<h3>Copies</h3>", copies(database)] }
    return "<section>\n\(parts.joined(separator: "\n"))\n</section>"
  }

  private func figures(_ database: StoreReport.Database) -> String {
    let plain = database.snapshots.compactMap(\.bytes).reduce(0, +)
    let stored = database.snapshots.compactMap(\.storedBytes).reduce(0, +)
    var figures = [
      ("Newest snapshot", database.newestAt.map { Quantity.age(of: $0, now: now) } ?? "none"),
      ("Newest proof", database.provenAt.map { "\(Quantity.age(of: $0, now: now)) (\(database.provenBy ?? ""))" } ?? "never"),
      ("Restores in", database.drills.last.map { Quantity.span($0.seconds) } ?? "not measured"),
      ("Snapshots", "\(database.snapshots.count)" + (database.unreadable > 0 ? ", \(database.unreadable) more unreadable" : "")),
    ]
    if let size = database.snapshots.last(where: { $0.bytes != nil })?.bytes { figures.append(("Database", Quantity.size(size))) }
    if stored > 0 {
      let saved = plain > stored ? ", instead of \(Quantity.size(plain))" : ""
      figures.append(("Stored for all", Quantity.size(stored) + saved))
    }
    return "<dl class=\"figures\">\(figures.map { "<div><dt>\($0.0)</dt><dd>\($0.1.html)</dd></div>" }.joined())</dl>"
  }

  private var hasDetail: Bool { report.databases.count < Self.manyDatabases }

  /// All values, or as many as a small chart can show.
  private func shown<Point>(_ points: [Point]) -> [Point] {
    guard !hasDetail, points.count > Self.fewPoints else { return points }
    return (0..<Self.fewPoints).map { points[$0 * (points.count - 1) / (Self.fewPoints - 1)] }
  }

  private func sizes(_ database: StoreReport.Database) -> String? {
    let points = database.snapshots.compactMap { snapshot in
      snapshot.bytes.map {
        LineChart.Point(at: snapshot.startedAt, value: Double($0), label: "\(Self.minute(snapshot.startedAt)): \(Quantity.size($0))")
      }
    }
    let added = database.snapshots.dropFirst().compactMap { snapshot in
      snapshot.storedBytes.map {
        LineChart.Point(at: snapshot.startedAt, value: Double($0), label: "\(Self.minute(snapshot.startedAt)): \(Quantity.size($0))")
      }
    }
    guard points.count > 1 || added.count > 1 else { return nil }
    func figure(_ title: String, _ points: [LineChart.Point]) -> String {
      points.count > 1
        ? "<figure><figcaption>\(title)</figcaption>\(LineChart(shown(points), hasPoints: hasDetail) { Quantity.size(Int64($0)) }.svg)</figure>" : ""
    }
    return "<div class=\"pair\">\(figure("The database", points))\(figure("What each snapshot added to the store, but for the first", added))</div>"
  }

  private func restores(_ database: StoreReport.Database) -> String {
    let points = database.drills.map { LineChart.Point(at: $0.at, value: $0.seconds, label: "\(Self.minute($0.at)): \(Quantity.span($0.seconds))") }
    guard points.count > 1 else {
      return "<p>\(Quantity.span(database.drills[0].seconds).html), in the only drill, \(Self.minute(database.drills[0].at)).</p>"
    }
    return
      "<div class=\"pair\"><figure><figcaption>Each drill</figcaption>\(LineChart(shown(points), hasPoints: hasDetail) { Quantity.span($0) }.svg)</figure></div>"
  }

  private func tables(_ database: StoreReport.Database) -> String {
    let tables = hasDetail ? database.tables : Array(database.tables.prefix(Self.fewTables))
    let rows = tables.map { table -> String in
      let (first, last) = (table.points.first, table.points.last)
      let change = (last?.rows ?? 0) - (first?.rows ?? 0)
      let line = table.points.count > 1 ? Sparkline(shown(table.points).map { ($0.at, Double($0.bytes)) }).svg : ""
      return """
        <tr><th scope="row">\(table.name.html)</th><td class="number">\(Quantity.count(last?.rows ?? 0))</td>\
        <td class="number">\(change == 0 ? "±0" : change > 0 ? "+\(Quantity.count(change))" : "−\(Quantity.count(-change))")</td>\
        <td class="number">\(Quantity.size(last?.bytes ?? 0))</td><td class="line">\(line)</td></tr>
        """
    }
    let others = database.otherTables + database.tables.count - tables.count
    let more = others > 0 ? "<p class=\"quiet\">and \(others) smaller ones</p>" : ""
    return """
      <div class="wide"><table><thead><tr><th scope="col">Table</th><th scope="col" class="number">Rows</th><th scope="col" class="number">Change</th>\
      <th scope="col" class="number">Size</th><th scope="col">Size over time</th></tr></thead><tbody>
      \(rows.joined(separator: "\n"))
      </tbody></table></div>\(more)
      """
  }

  private func copies(_ database: StoreReport.Database) -> String {
    let rows = database.copies.map { copy in
      let newest = copy.newestAt.map { Quantity.age(of: $0, now: now) } ?? "none"
      let state = copy.behind == 0 ? "✓ up to date" : "! \(copy.behind) behind"
      return
        "<tr><th scope=\"row\">\(copy.store.html)</th><td>\(newest.html)</td><td class=\"\(copy.behind == 0 ? "good" : "bad")\">\(state)</td></tr>"
    }
    return """
      <div class="wide"><table><thead><tr><th scope="col">Store</th><th scope="col">Newest snapshot</th><th scope="col">State</th></tr></thead>\
      <tbody>\(rows.joined())</tbody></table></div>
      """
  }

  static func day(_ date: Date) -> String { date.formatted(.iso8601.year().month().day()) }
  static func minute(_ date: Date) -> String { "\(day(date)) \(date.formatted(.iso8601.time(includingFractionalSeconds: false)).prefix(5)) UTC" }

  private static let style = """
    :root { --back: #ffffff; --card: #f5f7fa; --text: #19202b; --quiet: #566273; --line: #d5dbe3; --empty: #e6eaf0; --good: #1a7048; --bad: #b3261e;
      --nightly: #2f6fb5; --pre-migration: #b86614; --pre-restore: #7d57ad; --manual: #2b8a66; --other: #6a7686; }
    @media (prefers-color-scheme: dark) { :root { --back: #12161c; --card: #1b212a; --text: #e6eaf0; --quiet: #9aa7b8; --line: #323c49; --empty: #29313c;
      --good: #5fc997; --bad: #ff8a80; --nightly: #6aa8ea; --pre-migration: #e6a15a; --pre-restore: #b795e6; --manual: #62c79c; --other: #97a3b3; } }
    * { box-sizing: border-box; }
    body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem; background: var(--back); color: var(--text);
      font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
    h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.3rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
    h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
    section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1.1rem 1.2rem 1.3rem; margin-top: 1.2rem; }
    .lead { font-size: 1.1rem; font-weight: 600; margin: .4rem 0 0; } .good { color: var(--good); } .bad { color: var(--bad); }
    .quiet { color: var(--quiet); font-size: .88rem; margin: .3rem 0 0; overflow-wrap: anywhere; }
    .problems { margin: 0 0 1rem; padding: .6rem 1rem .6rem 2rem; border-left: 4px solid var(--bad); color: var(--bad); overflow-wrap: anywhere; }
    .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem 1.2rem; margin: .6rem 0 0; }
    .figures dt { color: var(--quiet); font-size: .82rem; } .figures dd { margin: 0; font-weight: 600; }
    .calendar { overflow-x: auto; direction: rtl; width: fit-content; max-width: 100%; padding-bottom: .3rem; } .calendar svg { direction: ltr; display: block; }
    .pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1.2rem; }
    figure { margin: 0; min-width: 0; } figcaption { color: var(--quiet); font-size: .85rem; }
    figure svg { width: 100%; height: auto; display: block; }
    svg text { fill: var(--quiet); font-size: 11px; font-family: inherit; }
    .legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .82rem; color: var(--quiet); margin: .3rem 0 0; padding: 0; list-style: none; }
    .legend svg { vertical-align: -2px; margin-right: .3rem; }
    .wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
    th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
    thead th { color: var(--quiet); font-weight: 500; font-size: .82rem; } tbody th { font-weight: 500; }
    .overview { margin-top: 1rem; } .overview td, .overview th { padding-top: .25rem; padding-bottom: .25rem; } td.text { white-space: normal; overflow-wrap: anywhere; }
    a { color: inherit; }
    .number { text-align: right; font-variant-numeric: tabular-nums; } .line { min-width: 8rem; }
    footer { margin-top: 1.5rem; }
    """
}

extension String {
  /// As HTML takes it, in text and in quoted attributes.
  var html: String {
    var result = ""
    for scalar in unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "'": result += "&#39;"
      // No page may hold most of these, and none should show what turns text around.
      case _
      where scalar.value < 0x20 && scalar != "\n" || (0x7F...0x9F).contains(scalar.value) || (0x202A...0x202E).contains(scalar.value)
        || (0x2066...0x2069).contains(scalar.value):
        result += "\u{FFFD}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
