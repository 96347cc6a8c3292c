package import Foundation
internal import Platform

/// Sizes, durations and times as people read and write them.
package enum Quantity {
  /// From `512MiB`, `1GB`, `4096`.
  package static func bytes(_ text: String) -> Int64? {
    let digits = text.prefix { $0.isNumber }
    let units: [String: Int64] = [
      "": 1, "B": 1, "KB": 1000, "MB": 1_000_000, "GB": 1_000_000_000, "TB": 1_000_000_000_000,
      "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
    ]
    let unit = text.dropFirst(digits.count).trimmingCharacters(in: .whitespaces).uppercased()
    guard let number = Int64(digits), let factor = units[unit] else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: factor)
    return overflow ? nil : product
  }

  /// From `250ms`, `30s`, `5min`, `26h`, `7d`; a number without a unit is none but 0: days are meant as often as seconds. Nor is `6m`, by
  /// which some mean months.
  package static func duration(_ text: String) -> Duration? {
    let digits = text.prefix { $0.isNumber }
    let units: [String: Int64] = ["ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000]
    guard let number = Int64(digits), number < 1 << 40,
      let factor = text == "0" ? 0 : units[text.dropFirst(digits.count).trimmingCharacters(in: .whitespaces)]
    else { return nil }
    // Up to about three thousand years: sums of these with times stay numbers.
    let (product, overflows) = number.multipliedReportingOverflow(by: factor)
    return overflows || product > 100_000_000_000_000 ? nil : .milliseconds(product)
  }

  /// As `1.2 GB`: three digits at most, powers of 1000.
  package static func size(_ bytes: Int64) -> String {
    var value = Double(bytes)
    for unit in ["B", "kB", "MB", "GB", "TB"] {
      if abs(value) < 999.5 || unit == "TB" {
        return unit == "B" ? "\(bytes) B" : value < 9.95 ? String(format: "%.1f %@", value, unit) : String(format: "%.0f %@", value, unit)
      }
      value /= 1000
    }
    return "\(bytes) B"
  }

  /// As `14 h ago`.
  package static func age(of date: Date, now: Date) -> String {
    let seconds = now.timeIntervalSince(date)
    return seconds < 0 ? "in the future" : "\(span(seconds)) ago"
  }

  /// As `4.2 s`, `3 min`, `14 h`.
  package static func span(_ seconds: Double) -> String {
    switch seconds {
    case ..<0.05: "under 0.1 s"
    case ..<9.95: String(format: "%.1f s", seconds)
    case ..<90: "\(Int(seconds.rounded())) s"
    case ..<5400: "\(Int((seconds / 60).rounded())) min"
    case ..<172_800: "\(Int((seconds / 3600).rounded())) h"
    default: "\(Int((seconds / 86400).rounded())) days"
    }
  }

  /// With thin groups, as `1 234 567`.
  package static func count(_ number: Int64) -> String {
    let digits = String(number)
    var result = ""
    for (index, digit) in digits.enumerated() {
      if index > 0 && (digits.count - index) % 3 == 0 && digit != "-" { result.append(" ") }
      result.append(digit)
    }
    return result
  }

  /// As `1 object`, `1 234 objects`.
  package static func count(_ number: Int, _ noun: String) -> String { number == 1 ? "1 \(noun)" : "\(count(Int64(number))) \(noun)s" }

  /// As `12 tables and parts of another`.
  /// - Parameter inPart: how many more tables are meant in part.
  package static func tables(_ whole: Int, inPart: Int) -> String {
    switch (whole, inPart) {
    case (_, 0): tables(whole)
    case (0, _): "ranges of \(tables(inPart))"
    default: "\(tables(whole)) and ranges of \(inPart == 1 ? "another" : "\(inPart) others")"
    }
  }

  /// As `1 table`, `12 tables`.
  package static func tables(_ number: Int) -> String { number == 1 ? "1 table" : "\(count(Int64(number))) tables" }

  /// As `1 row`, `1 234 rows`.
  package static func rows(_ number: Int64) -> String { number == 1 ? "1 row" : "\(count(number)) rows" }

  /// Formats a time as `2026-11-22 02:00 UTC (03:00 here)`; the local time only if it differs.
  package static func time(_ date: Date, zone: TimeZone = .current) -> String {
    func parts(_ zone: TimeZone) -> String {
      let parts = Calendar.gregorian(in: zone).dateComponents([.year, .month, .day, .hour, .minute], from: date)
      return String(
        format: "%04d-%02d-%02d %02d:%02d", parts.year ?? 0, parts.month ?? 0, parts.day ?? 0, parts.hour ?? 0, parts.minute ?? 0)
    }
    let universal = parts(.gmt)
    let local = parts(zone)
    return local == universal ? "\(universal) UTC" : "\(universal) UTC (\(local.dropFirst(local.hasPrefix(universal.prefix(10)) ? 11 : 0)) here)"
  }
}
