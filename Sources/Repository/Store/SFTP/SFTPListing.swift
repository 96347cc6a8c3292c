internal import Foundation
internal import Platform

/// A folder as an SFTP server lists it: lines as `ls -l` writes them, which is what libcurl gives.
struct SFTPListing {
  struct Entry {
    enum Kind { case file, folder, other }
    let name: String
    let kind: Kind
    let size: Int64
    /// Seconds since 1970, had the server's clock no time zone; to the minute where the file is young, else to the day.
    let modified: Double
    /// Whether the listing shows its time of day.
    let hasTime: Bool
  }

  struct UnknownLine: Error {
    let text: String
  }

  let entries: [Entry]

  /// - Parameter now: to tell the year of young files.
  /// - Throws: `UnknownLine` for a line that can't be understood: what it hides might be needed.
  init(_ bytes: [UInt8], now: Date) throws(UnknownLine) {
    var entries: [Entry] = []
    for line in bytes.split(separator: 0x0A) {
      let line = String(decoding: line, as: UTF8.self)
      guard let entry = Entry(line, now: now) else { throw UnknownLine(text: line) }
      if entry.name != "." && entry.name != ".." { entries.append(entry) }
    }
    self.entries = entries.sorted { $0.name < $1.name }
  }
}

extension SFTPListing.Entry {
  private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

  /// `-rw-r--r--    1 user     group          6 Nov 25 23:33 name`, or with a year in place of the time.
  fileprivate init?(_ line: String, now: Date) {
    let text = line.trimmingCharacters(in: ["\r"])
    // Names of users and groups may hold spaces: size, month, day and time follow each other once.
    guard let match = text.firstMatch(of: /^(\S+) .*? (\d+) +([A-Z][a-z][a-z]) +(\d+) +(\d+:\d+|\d{4}) (.+)$/) else { return nil }
    let fields = [match.1, "", "", "", match.2, match.3, match.4, match.5]
    guard let size = Int64(fields[4]), size >= 0, let month = Self.months.firstIndex(of: String(fields[5])),
      let day = Int(fields[6]), (1...31).contains(day)
    else { return nil }
    name = String(match.6)
    guard !name.isEmpty, !name.contains("/") else { return nil }
    switch fields[0].first {
    case "-": kind = .file
    case "d": kind = .folder
    default: kind = .other
    }
    self.size = size
    var parts = DateComponents(year: nil, month: month + 1, day: day)
    let clock = fields[7].split(separator: ":").compactMap { Int($0) }
    hasTime = clock.count == 2
    if hasTime {
      parts.hour = clock[0]
      parts.minute = clock[1]
      // The current year, unless that would be in the future by more than a time zone's difference.
      let year = Calendar.utc.component(.year, from: now)
      let candidates = [year + 1, year, year - 1].compactMap { year -> Date? in
        parts.year = year
        return Calendar.utc.date(from: parts)
      }
      guard let date = candidates.first(where: { $0.timeIntervalSince(now) < 86400 * 1.5 }) else { return nil }
      modified = date.timeIntervalSince1970
    } else {
      guard let year = clock.first, year > 1900 else { return nil }
      parts.year = year
      guard let date = Calendar.utc.date(from: parts) else { return nil }
      modified = date.timeIntervalSince1970
    }
  }
}
