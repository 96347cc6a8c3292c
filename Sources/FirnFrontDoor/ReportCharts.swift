import FirnCore
import Foundation

/// Values over time, as a picture that fills the width it is given.
struct LineChart {
  struct Point {
    let at: Date
    let value: Double
    let label: String
  }

  private let points: [Point]
  private let hasPoints: Bool
  private let words: (Double) -> String

  /// - Parameters:
  ///   - points: two at least, the oldest first.
  ///   - hasPoints: whether each value has a point that says what it is.
  ///   - words: of a value, for the axis.
  init(_ points: [Point], hasPoints: Bool = true, words: @escaping (Double) -> String) {
    self.points = points
    self.hasPoints = hasPoints
    self.words = words
  }

  var svg: String {
    let (width, height, left, right, top, bottom) = (420.0, 150.0, 4.0, 4.0, 16.0, 20.0)
    let first = points[0].at.timeIntervalSince1970
    let span = max(1, points[points.count - 1].at.timeIntervalSince1970 - first)
    let most = max(points.map(\.value).max() ?? 1, .leastNonzeroMagnitude)
    // Values that are close together fill the height; a line at their floor says that it is not zero.
    let lowest = points.map(\.value).min() ?? 0
    let least = lowest > most / 2 && lowest < most ? lowest - (most - lowest) / 8 : 0
    func x(_ point: Point) -> Double { left + (point.at.timeIntervalSince1970 - first) / span * (width - left - right) }
    func y(_ point: Point) -> Double { height - bottom - (point.value - least) / (most - least) * (height - top - bottom) }
    let line = points.map { "\(short(x($0))),\(short(y($0)))" }.joined(separator: " ")
    let dots =
      points.count > 60 || !hasPoints
      ? ""
      : points.map { point in
        "<circle cx=\"\(short(x(point)))\" cy=\"\(short(y(point)))\" r=\"2.5\" fill=\"var(--nightly)\"><title>\(point.label.html)</title></circle>"
      }.joined()
    let floor = short(height - bottom)
    return """
      <svg viewBox="0 0 \(Int(width)) \(Int(height))" role="img" aria-label="\("from \(words(points[0].value)) to \(words(points[points.count - 1].value))".html)">\
      <line x1="0" x2="\(Int(width))" y1="\(floor)" y2="\(floor)" stroke="var(--line)"/>\
      <line x1="0" x2="\(Int(width))" y1="\(short(top))" y2="\(short(top))" stroke="var(--line)" stroke-dasharray="2 4"/>\
      <text x="0" y="11">\(words(most).html)</text>\
      \(least > 0 ? "<text x=\"\(Int(width))\" y=\"\(Int(height) - 24)\" text-anchor=\"end\">from \(words(lowest).html)</text>" : "")\
      <text x="0" y="\(Int(height) - 5)">\(ReportPage.day(points[0].at))</text>\
      <text x="\(Int(width))" y="\(Int(height) - 5)" text-anchor="end">\(ReportPage.day(points[points.count - 1].at))</text>\
      <polyline points="\(line)" fill="none" stroke="var(--nightly)" stroke-width="1.8" stroke-linejoin="round"/>\(dots)</svg>
      """
  }
}

/// A line without words, for a row of a table.
struct Sparkline {
  private let points: [(at: Date, value: Double)]

  init(_ points: [(Date, Double)]) { self.points = points.map { ($0.0, $0.1) } }

  var svg: String {
    let first = points[0].at.timeIntervalSince1970
    let span = max(1, points[points.count - 1].at.timeIntervalSince1970 - first)
    let most = max(points.map(\.value).max() ?? 1, 1)
    let line = points.map { point in
      "\(short(1 + (point.at.timeIntervalSince1970 - first) / span * 118)),\(short(23 - point.value / most * 20))"
    }
    return """
      <svg width="120" height="24" viewBox="0 0 120 24" aria-hidden="true"><line x1="0" x2="120" y1="23" y2="23" stroke="var(--line)"/>\
      <polyline points="\(line.joined(separator: " "))" fill="none" stroke="var(--nightly)" stroke-width="1.5"/></svg>
      """
  }
}

/// A day is a square: what kind its snapshots are of, how many, and whether they were proven.
struct SnapshotCalendar {
  private let days: [Int: [StoreReport.Snapshot]]
  private let firstDay: Int
  private let lastDay: Int
  private let missed: Set<Int>

  private static let cell = 15
  private static let step = 18
  private static let left = 30
  private static let top = 18

  /// - Parameter snapshots: the oldest first.
  init(_ snapshots: [StoreReport.Snapshot], until now: Date) {
    days = Dictionary(grouping: snapshots) { Self.day(of: $0.startedAt) }
    missed = SnapshotDays(snapshots, until: now).missed
    lastDay = max(Self.day(of: now), days.keys.max() ?? 0)
    // Half a year at least, from a Monday on: 1970 began on a Thursday.
    let first = min(days.keys.min() ?? lastDay, lastDay - 181)
    firstDay = first - (first + 3) % 7
  }

  private static func day(of date: Date) -> Int { SnapshotDays.day(of: date) }

  var html: String {
    let weeks = (lastDay - firstDay) / 7 + 1
    let width = Self.left + weeks * Self.step
    var parts = [("Mon", 0), ("Wed", 2), ("Fri", 4), ("Sun", 6)].map { name, row in
      "<text x=\"0\" y=\"\(Self.top + row * Self.step + 12)\">\(name)</text>"
    }
    var month = ""
    var labelEnd = 0
    for day in firstDay...lastDay {
      let date = Date(timeIntervalSince1970: Double(day) * 86400)
      let (x, y) = (Self.left + (day - firstDay) / 7 * Self.step, Self.top + (day - firstDay) % 7 * Self.step)
      let name = String(ReportPage.day(date).prefix(7))
      if name != month, (day - firstDay) % 7 == 0 {
        month = name
        // One that has only a week here would stand in the next one's way.
        let nextMonth = ReportPage.day(date.addingTimeInterval(21 * 86400)).prefix(7)
        if x >= labelEnd, x + 46 <= width, nextMonth == name || day > firstDay {
          parts.append("<text x=\"\(x)\" y=\"11\">\(name)</text>")
          labelEnd = x + 50
        }
      }
      parts.append(square(x, y, date, days[day] ?? [], isMissed: missed.contains(day)))
    }
    return """
      <div class="calendar"><svg width="\(width)" height="\(Self.top + 7 * Self.step)" role="img" \
      aria-label="\(days.count) days with snapshots since \(ReportPage.day(Date(timeIntervalSince1970: Double(firstDay) * 86400)))">\
      \(parts.joined())</svg></div>
      \(legend)
      """
  }

  private static func colour(_ kind: String) -> String {
    ["nightly", "pre-migration", "pre-restore", "manual"].contains(kind) ? "var(--\(kind))" : "var(--other)"
  }

  private func square(_ x: Int, _ y: Int, _ date: Date, _ snapshots: [StoreReport.Snapshot], isMissed: Bool) -> String {
    let cell = Self.cell
    guard let last = snapshots.last else {
      guard isMissed else { return "<use href=\"#none\" x=\"\(x)\" y=\"\(y)\"/>" }
      return "<g><title>\(ReportPage.day(date)): missed</title><use href=\"#missed\" x=\"\(x)\" y=\"\(y)\"/></g>"
    }
    let lines = snapshots.map { snapshot in
      let proof = snapshot.isIntact.map { $0 ? "proven (\(snapshot.verifiedBy ?? ""))" : "DAMAGED" } ?? "not verified"
      let hold = snapshot.isOnHold ? ", on hold" : ""
      return "\(ReportPage.minute(snapshot.startedAt)): \(snapshot.kind)\(snapshot.complete ? "" : ", INCOMPLETE"), \(proof)\(hold)"
    }
    // One sound snapshot makes a sound day; a mark says that there are others.
    let isBad = SnapshotDays.isBad(snapshots)
    let mark =
      isBad
      ? "<path d=\"M\(x + 4) \(y + 4)l7 7m0 -7l-7 7\" stroke=\"var(--back)\" stroke-width=\"2\"/>"
      : snapshots.contains { $0.isIntact == true }
        ? "<path d=\"M\(x + 3) \(y + 8)l3 3l6 -7\" fill=\"none\" stroke=\"var(--back)\" stroke-width=\"2\"/>" : ""
    let other =
      !isBad && snapshots.contains(where: SnapshotDays.isBad) ? "<circle cx=\"\(x + 12)\" cy=\"\(y + 3)\" r=\"3\" fill=\"var(--bad)\"/>" : ""
    return """
      <g><title>\(lines.joined(separator: "\n").html)</title>\
      <rect x="\(x)" y="\(y)" width="\(cell)" height="\(cell)" rx="3" fill="\(isBad ? "var(--bad)" : Self.colour(last.kind))"/>\(mark)\(other)</g>
      """
  }

  private var legend: String {
    let found = Set(days.values.joined().map(\.kind))
    let named = ["nightly", "pre-migration", "pre-restore", "manual"].filter(found.contains)
    let others = found.subtracting(named).sorted()
    func item(_ colour: String, _ mark: String, _ text: String) -> String {
      "<li><svg width=\"13\" height=\"13\" viewBox=\"0 0 15 15\" aria-hidden=\"true\"><rect width=\"15\" height=\"15\" rx=\"3\" fill=\"\(colour)\"/>\(mark)</svg>\(text.html)</li>"
    }
    var items = named.map { item(Self.colour($0), "", $0) }
    if !others.isEmpty { items.append(item("var(--other)", "", others.prefix(3).joined(separator: ", ") + (others.count > 3 ? " …" : ""))) }
    items.append(item("var(--nightly)", "<path d=\"M3 8l3 3l6 -7\" fill=\"none\" stroke=\"var(--back)\" stroke-width=\"2\"/>", "proven"))
    if !missed.isEmpty {
      items.append("<li><svg width=\"13\" height=\"13\" viewBox=\"0 0 15 15\" aria-hidden=\"true\"><use href=\"#missed\"/></svg>missed</li>")
    }
    items.append(item("var(--bad)", "<path d=\"M4 4l7 7m0 -7l-7 7\" stroke=\"var(--back)\" stroke-width=\"2\"/>", "incomplete or damaged"))
    return "<ul class=\"legend\">\(items.joined())</ul>"
  }
}

/// The days of a database: those with snapshots, and those that were missed.
struct SnapshotDays {
  /// Days since 1970, UTC, after the first snapshot, without one although there is one on most days.
  let missed: Set<Int>

  /// - Parameter snapshots: the oldest first.
  init(_ snapshots: [StoreReport.Snapshot], until now: Date) {
    let days = Set(snapshots.map { Self.day(of: $0.startedAt) })
    // Today's may still come.
    guard let first = days.min(), case let end = Self.day(of: now), first < end else {
      missed = []
      return
    }
    let all = Set(first..<end)
    missed = days.count >= 3 && days.intersection(all).count * 2 > all.count ? all.subtracting(days) : []
  }

  /// Days since 1970, UTC.
  static func day(of date: Date) -> Int { Int((date.timeIntervalSince1970 / 86400).rounded(.down)) }

  static func isBad(_ snapshot: StoreReport.Snapshot) -> Bool { !snapshot.complete || snapshot.isIntact == false }

  /// Whether none of a day's snapshots is sound.
  static func isBad(_ snapshots: [StoreReport.Snapshot]) -> Bool { snapshots.allSatisfy { isBad($0) } }
}

/// The last 30 days in one row of a table.
struct NightStrip {
  private let days: [Int: [StoreReport.Snapshot]]
  private let missed: Set<Int>
  private let today: Int

  private static let count = 30

  /// - Parameter snapshots: the oldest first.
  init(_ snapshots: [StoreReport.Snapshot], until now: Date) {
    let today = SnapshotDays.day(of: now)
    days = Dictionary(grouping: snapshots) { SnapshotDays.day(of: $0.startedAt) }
    missed = SnapshotDays(snapshots, until: now).missed
    self.today = today
  }

  var svg: String {
    let marks = (0..<Self.count).map { place -> String in
      let day = today - Self.count + 1 + place
      let kind =
        days[day].map { SnapshotDays.isBad($0) ? "b" : $0.contains { $0.isIntact == true } ? "v" : "g" } ?? (missed.contains(day) ? "m" : "n")
      return "<use href=\"#\(kind)\" x=\"\(place * 6)\"/>"
    }
    return "<svg width=\"\(Self.count * 6)\" height=\"16\" role=\"img\" aria-label=\"\(label)\">\(marks.joined())</svg>"
  }

  private var label: String {
    let span = (today - Self.count + 1)...today
    return "\(span.count { days[$0] != nil }) of the last \(Self.count) days have snapshots, \(span.count { missed.contains($0) }) were missed"
  }

  /// Shapes that the page refers to.
  static let definitions = """
    <svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs>\
    <rect id="g" width="5" height="16" rx="1.5" fill="var(--nightly)"/><rect id="v" width="5" height="16" rx="1.5" fill="var(--good)"/>\
    <rect id="b" width="5" height="16" rx="1.5" fill="var(--bad)"/><rect id="n" y="6" width="5" height="4" rx="1.5" fill="var(--empty)"/>\
    <rect id="m" x=".5" y=".5" width="4" height="15" rx="1.5" fill="none" stroke="var(--bad)"/>\
    <rect id="none" width="15" height="15" rx="3" fill="var(--empty)"/>\
    <rect id="missed" x="1" y="1" width="13" height="13" rx="3" fill="none" stroke="var(--bad)" stroke-width="1.5" stroke-dasharray="3 2"/></defs></svg>
    """

  static var legend: String {
    let items = [("g", "snapshot"), ("v", "verified"), ("b", "incomplete or damaged"), ("m", "missed"), ("n", "none")].map { id, text in
      "<li><svg width=\"5\" height=\"16\" aria-hidden=\"true\"><use href=\"#\(id)\"/></svg>\(text)</li>"
    }
    return "<ul class=\"legend\">\(items.joined())</ul>"
  }
}

/// A coordinate with one decimal.
private func short(_ value: Double) -> String { String(format: "%.1f", value) }
