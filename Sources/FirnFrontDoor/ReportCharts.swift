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
  private let words: (Double) -> String

  /// - Parameters:
  ///   - points: two at least, the oldest first.
  ///   - words: of a value, for the axis.
  init(_ points: [Point], words: @escaping (Double) -> String) {
    self.points = points
    self.words = words
  }

  var svg: String {
    let (width, height, left, right, top, bottom) = (420.0, 150.0, 4.0, 4.0, 16.0, 20.0)
    let first = points[0].at.timeIntervalSince1970
    let span = max(1, points[points.count - 1].at.timeIntervalSince1970 - first)
    let most = max(points.map(\.value).max() ?? 1, .leastNonzeroMagnitude)
    func x(_ point: Point) -> Double { left + (point.at.timeIntervalSince1970 - first) / span * (width - left - right) }
    func y(_ point: Point) -> Double { height - bottom - point.value / most * (height - top - bottom) }
    let line = points.map { "\(short(x($0))),\(short(y($0)))" }.joined(separator: " ")
    let dots =
      points.count > 60
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

  private static let cell = 15
  private static let step = 18
  private static let left = 30
  private static let top = 18

  /// - Parameter snapshots: the oldest first.
  init(_ snapshots: [StoreReport.Snapshot], until now: Date) {
    days = Dictionary(grouping: snapshots) { Self.day(of: $0.startedAt) }
    lastDay = max(Self.day(of: now), days.keys.max() ?? 0)
    // Half a year at least, from a Monday on: 1970 began on a Thursday.
    let first = min(days.keys.min() ?? lastDay, lastDay - 181)
    firstDay = first - (first + 3) % 7
  }

  /// Days since 1970, UTC.
  private static func day(of date: Date) -> Int { Int((date.timeIntervalSince1970 / 86400).rounded(.down)) }

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
      parts.append(Self.square(x, y, date, days[day] ?? []))
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

  private static func square(_ x: Int, _ y: Int, _ date: Date, _ snapshots: [StoreReport.Snapshot]) -> String {
    guard let last = snapshots.last else {
      return
        "<rect x=\"\(x)\" y=\"\(y)\" width=\"\(cell)\" height=\"\(cell)\" rx=\"3\" fill=\"var(--empty)\"><title>\(ReportPage.day(date)): none</title></rect>"
    }
    let lines = snapshots.map { snapshot in
      let proof = snapshot.isIntact.map { $0 ? "proven (\(snapshot.verifiedBy ?? ""))" : "DAMAGED" } ?? "not verified"
      let hold = snapshot.isOnHold ? ", on hold" : ""
      return "\(ReportPage.minute(snapshot.startedAt)): \(snapshot.kind)\(snapshot.complete ? "" : ", INCOMPLETE"), \(proof)\(hold)"
    }
    let isBad = snapshots.contains { !$0.complete || $0.isIntact == false }
    let mark =
      isBad
      ? "<path d=\"M\(x + 4) \(y + 4)l7 7m0 -7l-7 7\" stroke=\"var(--back)\" stroke-width=\"2\"/>"
      : snapshots.contains { $0.isIntact == true }
        ? "<path d=\"M\(x + 3) \(y + 8)l3 3l6 -7\" fill=\"none\" stroke=\"var(--back)\" stroke-width=\"2\"/>" : ""
    return """
      <g><title>\(lines.joined(separator: "\n").html)</title>\
      <rect x="\(x)" y="\(y)" width="\(cell)" height="\(cell)" rx="3" fill="\(isBad ? "var(--bad)" : colour(last.kind))"/>\(mark)</g>
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
    items.append(item("var(--bad)", "<path d=\"M4 4l7 7m0 -7l-7 7\" stroke=\"var(--back)\" stroke-width=\"2\"/>", "incomplete or damaged"))
    return "<ul class=\"legend\">\(items.joined())</ul>"
  }
}

/// A coordinate with one decimal.
private func short(_ value: Double) -> String { String(format: "%.1f", value) }
