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

  /// A time in UTC: `2026-11-22`, `2026-11-22T02:00`, `2026-11-22T02:00:00Z`, the time of an id; `02:00` for the last time it was that late;
  /// `2h` (also `m`, `d`, `w`) for that long ago; `today` and `yesterday` for their beginning.
  package static func time(_ text: String, now: Date = Date()) -> Date? {
    relativeTime(text, now: now) ?? absoluteTime(text)
  }

  private static func relativeTime(_ text: String, now: Date) -> Date? {
    let today = Calendar.utc.startOfDay(for: now)
    if text == "now" { return now }
    if text == "today" { return today }
    if text == "yesterday" { return today - 86400 }
    if let match = text.wholeMatch(of: /(\d{1,5})([mhdw])(?: ago)?/), let count = Double(match.output.1) {
      let unit: Double = ["m": 60, "h": 3600, "d": 86400, "w": 7 * 86400][match.output.2] ?? 0
      return now - count * unit
    }
    guard let match = text.wholeMatch(of: /(\d{1,2}):(\d\d)(?::(\d\d))?Z?/), let hour = Double(match.output.1), let minute = Double(match.output.2),
      let second = Double(match.output.3 ?? "0"), hour < 24, minute < 60, second < 60
    else { return nil }
    let time = today + hour * 3600 + minute * 60 + second
    return time > now ? time - 86400 : time
  }

  private static func absoluteTime(_ text: String) -> Date? {
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
    guard parts.isValidDate(in: .utc) else { return nil }
    return Calendar.utc.date(from: parts)
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
