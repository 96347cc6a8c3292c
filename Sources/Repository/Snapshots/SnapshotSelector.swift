internal import Platform
package import Foundation

/// Which snapshot of a database a user means.
package enum SnapshotSelector: Sendable, Equatable {
  case latest
  case latestVerified
  case latestOfKind(String)
  case before(Date)
  /// An id, or its beginning.
  case prefix(String)

  /// - Throws: `RepositoryError.invalidSelector` for a time that is none.
  /// - Parameter now: the time that relative times refer to.
  package init(_ text: String, now: Date = Date()) throws {
    switch text {
    case "latest": self = .latest
    case "latest:verified": self = .latestVerified
    case _ where text.hasPrefix("latest:"): self = .latestOfKind(String(text.dropFirst(7)))
    case _ where text.hasPrefix("before:"):
      guard let date = Self.time(String(text.dropFirst(7)), now: now) else { throw RepositoryError.invalidSelector(text) }
      self = .before(date)
    default: self = .prefix(text)
    }
  }

  /// A time as people write it: `2026-11-22`, `2026-11-22 02:00`, `2026-11-22T02:00:00`; `02:00` for the most recent 02:00;
  /// `2h` (also `m` or `min`, `d`, `w`) for that long ago; `today` and `yesterday` for the start of that day. With a `Z` at its end, and in the form that
  /// ids have, it is in UTC.
  /// - Parameter zone: of times without a `Z`.
  package static func time(_ text: String, now: Date = Date(), zone: TimeZone = .current) -> Date? {
    var calendar = Calendar.utc
    let isOfID = text.wholeMatch(of: /\d{8}T\d{4,6}Z?|\d{12,14}/) != nil
    if !isOfID && !text.hasSuffix("Z") { calendar.timeZone = zone }
    return relativeTime(text, now: now, calendar) ?? absoluteTime(text, calendar)
  }

  private static func relativeTime(_ text: String, now: Date, _ calendar: Calendar) -> Date? {
    let today = calendar.startOfDay(for: now)
    if text == "now" { return now }
    if text == "today" { return today }
    if text == "yesterday" { return calendar.date(byAdding: .day, value: -1, to: today) }
    if let match = text.wholeMatch(of: /(\d{1,5})(m|min|h|d|w)(?: ago)?/), let count = Double(match.output.1) {
      let unit: Double = ["m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400][match.output.2] ?? 0
      return now - count * unit
    }
    guard let match = text.wholeMatch(of: /(\d{1,2}):(\d\d)(?::(\d\d))?Z?/), let hour = Int(match.output.1), let minute = Int(match.output.2),
      let second = Int(match.output.3 ?? "0"), hour < 24, minute < 60, second < 60,
      let time = calendar.date(bySettingHour: hour, minute: minute, second: second, of: today)
    else { return nil }
    return time > now ? calendar.date(byAdding: .day, value: -1, to: time) : time
  }

  private static func absoluteTime(_ text: String, _ calendar: Calendar) -> Date? {
    let digits = text.filter(\.isNumber)
    let isPlain = text.allSatisfy { $0.isASCII && ($0.isNumber || "-:TZ ".contains($0)) }
    guard isPlain, [8, 12, 14].contains(digits.count) else { return nil }
    let numbers = digits.compactMap(\.wholeNumberValue)
    func number(_ start: Int, _ length: Int) -> Int {
      guard start + length <= numbers.count else { return 0 }
      return numbers[start..<(start + length)].reduce(0) { $0 * 10 + $1 }
    }
    let parts = DateComponents(
      year: number(0, 4), month: number(4, 2), day: number(6, 2), hour: number(8, 2), minute: number(10, 2), second: number(12, 2))
    guard parts.isValidDate(in: calendar) else { return nil }
    return calendar.date(from: parts)
  }

  /// The snapshot among those of one database, oldest first.
  /// - Throws: `RepositoryError.noSuchSnapshot`, `.ambiguousSnapshot`.
  package func choose(from places: [SnapshotPath], in catalog: Catalog) throws -> SnapshotPath {
    let database = places.first?.database ?? ""
    func required(_ place: SnapshotPath?) throws -> SnapshotPath {
      guard let place else { throw RepositoryError.noSuchSnapshot(selector: description, database: database) }
      return place
    }
    switch self {
    case .latest: return try required(newest(of: places, in: catalog))
    case .latestVerified:
      var verdicts: [SnapshotPath: CheckRecord] = [:]
      for place in places { verdicts[place] = try catalog.verdict(of: place) }
      let verified = places.filter { verdicts[$0]?.ok == true }
      let damaged = try catalog.sharingDamage(verified, verdicts: verdicts)
      return try required(newest(of: verified.filter { !damaged.contains($0) }, in: catalog))
    case .latestOfKind(let kind): return try required(places.last { try catalog.summary(of: $0).kind == kind })
    case .before(let date):
      let stamp = SnapshotID.stamp(date)
      return try required(newest(of: places.filter { $0.id.description < stamp }, in: catalog))
    case .prefix(let text):
      if let exact = places.first(where: { $0.id.description == text }) { return exact }
      let matches = text.isEmpty ? [] : places.filter { $0.id.description.hasPrefix(text) }
      if matches.count > 1 {
        throw RepositoryError.ambiguousSnapshot(selector: text, candidates: matches.map(\.id.description))
      }
      return try required(matches.first)
    }
  }

  /// The snapshot of each database that has one, in the order of their names.
  /// - Throws: `RepositoryError.noSuchSnapshot` if none has one.
  package func chooseForEach(of places: [SnapshotPath], in catalog: Catalog) throws -> [SnapshotPath] {
    let groups = Dictionary(grouping: places) { "\($0.source.keyComponent)/\($0.database.keyComponent)" }
    var found: [SnapshotPath] = []
    var missing: RepositoryError?
    for (_, own) in groups.sorted(by: { $0.key < $1.key }) {
      do { found.append(try choose(from: own, in: catalog)) } catch let error as RepositoryError {
        guard case .noSuchSnapshot = error else { throw error }
        missing = error
      }
    }
    if found.isEmpty { throw missing ?? RepositoryError.noSuchDatabase(name: "any database", known: []) }
    return found
  }

  /// A safety snapshot, taken by a restore of the database it replaced, is chosen only if there is nothing else.
  private func newest(of places: [SnapshotPath], in catalog: Catalog) -> SnapshotPath? {
    places.last { !catalog.isSafetySnapshot($0) } ?? places.last
  }

  package var description: String {
    switch self {
    case .latest: "latest"
    case .latestVerified: "latest:verified"
    case .latestOfKind(let kind): "latest:\(kind)"
    case .before(let date): "before:\(SnapshotID.stamp(date))"
    case .prefix(let text): text
    }
  }
}
